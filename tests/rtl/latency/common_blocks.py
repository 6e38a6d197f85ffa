"""Stimuli that measure the blocks of `latte.rtl.common`."""


from amaranth import signed

from latte.golden.attention import HeadParameters
from latte.golden.thresholds import Threshold
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.bit_plane_dot import BitPlaneDot
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.key_value_loader import KeyValueLoader
from latte.rtl.common.ram import Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.common.word_packer import WordPacker
from tests.rtl.latency.measure import WIDE


async def read_address(clock, dut):
    await clock.tick(5)
    return await clock.change(dut.read_data, 3, read_addr=2)


async def through_queue(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.o.valid), i__valid=1, i__payload=3)


async def packed_word(clock, dut):
    clock.set(beat_valid=1)
    await clock.tick()
    return await clock.pulse(lambda: clock.get(dut.word_valid), beat_valid=1)


async def looked_up(clock, dut):
    for word in pack_entry(1, HeadParameters(Threshold.relative(5), 0, 0), dut.config):
        clock.set(parameter__payload=word, parameter__valid=1)
        await clock.tick()
    clock.set(parameter__valid=0)
    await clock.tick(5)
    cycles = await clock.change(dut.word, 5, head=1, index=len(dut.words) - 1, look_up=1)
    assert clock.get(dut.known)
    return cycles


async def empty_load(clock, dut):
    """Return the cycles of a command without rows: what comes on top of the beats of others."""
    return await clock.pulse(lambda: clock.get(dut.loaded), load__valid=1)


async def query_row(clock, dut, arrived):
    config = dut.config
    clock.set(load__payload={"rows": 1, "drop": 0}, load__valid=1)
    await clock.tick()
    clock.set(load__valid=0, q__valid=1)
    await clock.until(lambda: clock.get(dut.q.ready))
    await clock.tick(config.head_dim // config.bus_bytes - 1)
    return await clock.pulse(lambda: clock.get(arrived), q__valid=1)


async def begin_sequence(clock, dut):
    """Load a key: a job that begins a sequence waits for a bank as well."""
    clock.set(known=1, query_load__ready=1, kv_load__ready=1,
              job__payload={"head": 0, "load_rows": 1, "fresh": 1, "query_rows": 0, "causal": 0})
    await clock.pulse(lambda: clock.get(dut.kv_load.valid), job__valid=1)
    await clock.tick(2)
    await clock.pulse(lambda: clock.get(dut.job.ready), loaded=1)
    clock.set(query_load__ready=0, kv_load__ready=0, loaded=0)


async def checked_job(clock, dut):
    await begin_sequence(clock, dut)
    clock.set(job__payload={"head": 0, "load_rows": 1, "fresh": 0, "query_rows": 1, "causal": 0})
    return await clock.pulse(lambda: clock.get(dut.query_load.valid), job__valid=1)


async def commanded_job(clock, dut):
    """Return the cycles from the queries' command to the keys', and from their being loaded to the dispatch."""
    await checked_job(clock, dut)
    clock.set(query_load__ready=1, kv_load__ready=1)
    to_command = await clock.until(lambda: clock.get(dut.kv_load.valid))
    await clock.tick(7)
    return to_command + await clock.pulse(lambda: clock.get(dut.compute.valid), loaded=1)


async def summed(clock, dut):
    return await clock.change(dut.sum, sum(range(dut.count)), terms=list(range(dut.count)))


async def bit_planes(clock, dut):
    return await clock.change(dut.sum, 3 * dut.dims, q=[1] * dut.dims, k=[3] * dut.dims)


async def grouped_key(clock, dut):
    clock.set(groups={"group_bits": 1, "elements": [7], "cuts": [3]}, beat=[0, 4] * (dut.config.bus_bytes // 2),
              beat_valid=1)
    await clock.tick(dut.config.head_dim // dut.config.bus_bytes - 1)
    return await clock.pulse(lambda: clock.get(dut.valid), beat_valid=1)


CASES = {
    "ram": (lambda: Ram(8, 4, [0, 1, 3, 0]), "latency", read_address),
    "queue": (lambda: StreamQueue(8, 5), "latency", through_queue),
    "queue-every-other": (lambda: StreamQueue(8, 5, every_other=True), "latency", through_queue),
    "word-packer": (lambda: WordPacker(8, 2, 4, 8), "latency", packed_word),
    "head-registers": (lambda: HeadRegisters(WIDE), "latency", looked_up),
    "key-membership": (lambda: KeyMembership(WIDE.replace(key_groups=2)), "latency", grouped_key),
    "loader": (lambda: KeyValueLoader(WIDE), "overhead", empty_load),
    "job-check": (lambda: JobSequencer(WIDE), "check_cycles", checked_job),
    "job-command": (lambda: JobSequencer(WIDE), "command_cycles", commanded_job),
    "adder-tree": (lambda: AdderTree(5, signed(4)), "latency", summed),
    "bit-planes": (lambda: BitPlaneDot(6, 4), "latency", bit_planes),
}
