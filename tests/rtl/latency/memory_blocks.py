"""Stimuli that measure the blocks of `latte.rtl.memory`."""

from latte.golden.memory.build import MemoryBuild
from latte.rtl.memory.candidate_filter import CandidateFilter
from latte.rtl.memory.candidate_list import CandidateList
from latte.rtl.memory.estimate_histogram import EstimateHistogram
from latte.rtl.memory.gap_mass import GapMass
from latte.rtl.memory.limit_finder import LimitFinder
from latte.rtl.memory.row_selector import RowSelector
from latte.rtl.memory.sequence_record import SequenceRecord
from tests.rtl.latency.measure import PRUNING

BUILD = MemoryBuild(core=PRUNING, window=32, candidates=24)
RECORD = MemoryBuild(core=PRUNING, bus_bytes=8)


async def counted_estimate(clock, dut):
    """Count a key, then look at another estimate, and at its own."""
    await clock.until(lambda: clock.get(dut.ready))
    clock.set(estimate=5, group=2, valid=1)
    await clock.tick()
    clock.set(estimate=4, valid=0)
    await clock.until(lambda: not clock.get(dut.busy))
    return await clock.change(dut.counts[2], 1, estimate=5)


async def filtered_key(clock, dut):
    clock.set(keys=1)
    return await clock.pulse(lambda: clock.get(dut.o_valid), valid=1)


async def added_gap(clock, dut):
    """Count from the only gap, behind `begin`: three keys, each of one step, beyond the table."""
    clock.set(first=600, end=601, groups=1, fill__ends=[1000] * 2, counts=[3, 0, 0, 0], begin=1)
    await clock.tick()
    clock.set(begin=0)
    return await clock.until(lambda: clock.get(dut.mass) == 3)


async def thinned_list(clock, dut):
    """Count the cycles in which a pass over three candidates is busy, without these."""
    clock.set(append=1)
    await clock.tick(3)
    clock.set(append=0, thins=1, begin=1, floor=7)
    await clock.tick()
    clock.set(begin=0)
    assert clock.get(dut.busy)
    return await clock.until(lambda: not clock.get(dut.busy)) - 3


async def found_threshold(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.valid), begin=1)


async def begun_row(clock, dut):
    await clock.until(lambda: clock.get(dut.row.ready))
    clock.set(row__payload={"keys": 1, "streamed": 1, "code": 1})
    return await clock.pulse(lambda: clock.get(dut.key.ready), row__valid=1)


async def read_keys(clock, dut):
    """Count a key of another group than the one that is looked at, then look at that."""
    clock.set(add_valid=1, add={"group": 1, "last": 1})
    await clock.tick()
    clock.set(add_valid=0)
    return await clock.change(dut.keys, 1, read_group=1)


CASES = {
    "sequence-record": (lambda: SequenceRecord(RECORD), "latency", read_keys),
    "limit-finder": (lambda: LimitFinder(BUILD), "latency", found_threshold),
    "row-selector": (lambda: RowSelector(BUILD), "latency", begun_row),
    "histogram": (lambda: EstimateHistogram(BUILD), "latency", counted_estimate),
    "candidate-filter": (lambda: CandidateFilter(BUILD), "latency", filtered_key),
    "gap-mass": (lambda: GapMass(BUILD), "latency", added_gap),
    "list-pass": (lambda: CandidateList(BUILD), "pass_latency", thinned_list),
}
