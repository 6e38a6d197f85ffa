"""Stimuli that measure the blocks of `latte.rtl.memory`."""

from latte.golden.memory.build import MemoryBuild
from latte.rtl.memory.candidate_filter import CandidateFilter
from latte.rtl.memory.candidate_list import CandidateList
from latte.rtl.memory.estimate_histogram import EstimateHistogram
from latte.rtl.memory.gap_mass import GapMass
from latte.rtl.memory.limit_finder import LimitFinder
from latte.rtl.memory.mass_return import MassReturn
from latte.rtl.memory.page_table import PagePart, PageTable
from latte.rtl.memory.row_selector import RowSelector
from latte.rtl.memory.row_sums import RowSums
from latte.rtl.memory.sequence_record import SequenceRecord
from latte.rtl.memory.tile_array import TileArray
from latte.rtl.memory.tile_softmax import TileSoftmax
from latte.rtl.memory.tile_values import TileValues
from tests.rtl.latency.measure import PRUNING

BUILD = MemoryBuild(core=PRUNING, window=32, candidates=24, bus_bytes=8, tile_rows=3)


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
    clock.set(first=600, end=601, fill__ends=[1000] * 2, counts=[3, 0, 0, 0], begin=1)
    await clock.tick()
    clock.set(begin=0)
    return await clock.until(lambda: clock.get(dut.mass) == 3)


async def thinned_list(clock, dut):
    """Count the cycles in which a pass over three words and a candidate is busy, without these four."""
    clock.set(append=1)
    await clock.tick(3 * dut.lanes + 1)
    clock.set(append=0, thins=1, begin=1, floor=7)
    await clock.tick()
    clock.set(begin=0)
    assert clock.get(dut.busy)
    return await clock.until(lambda: not clock.get(dut.busy)) - 4


async def found_threshold(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.valid), begin=1)


async def begun_row(clock, dut):
    await clock.until(lambda: clock.get(dut.row.ready))
    clock.set(row__payload={"keys": 1, "streamed": 1, "code": 1})
    return await clock.pulse(lambda: clock.get(dut.key.ready), row__valid=1)


async def weighed_key(clock, dut):
    """Weigh a key that two rows keep; count from the cycle of the second."""
    await clock.tick(5)
    clock.set(i__payload={"rows": 3, "last": 1}, i__valid=1)
    await clock.tick()
    assert clock.get(dut.i.ready)
    return await clock.pulse(lambda: clock.get(dut.o.valid), i__valid=1)


async def returned_mass(clock, dut):
    """Return the mass of a row with one group; count without the three cycles of this one."""
    clock.set(pruned_1__payload={"mass": 1, "last": 1}, pruned_1__valid=1)
    await clock.tick()
    clock.set(pruned_1__valid=0)
    await clock.tick(5)
    clock.set(rescale__payload={"row": 1}, rescale__valid=1)
    await clock.tick()
    clock.set(counted=1)
    await clock.tick(dut.build.core.key_groups)
    clock.set(counted=0)
    return 1 + dut.build.core.key_groups + await clock.until(lambda: clock.get(dut.denominator.valid)) - 3


async def ended_sum(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.word_valid), step__valid=1, step__ends=1)


async def ended_weights(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.sum_valid), weight__valid=1, weight__ends=1)


def left_row(output):
    """Return a stimulus that counts from a tile's last item, which weighs nothing, to an output."""
    async def stimulus(clock, dut):
        clock.set(rows=1, row_room=1, begin=1)
        await clock.tick()
        clock.set(begin=0)
        await clock.until(lambda: clock.get(dut.i.ready))
        clock.set(i__payload={"last": 1})
        return await clock.pulse(lambda: clock.get(getattr(dut, output)), i__valid=1)
    return stimulus


async def read_keys(clock, dut):
    """Count a key of another group than the one that is looked at, then look at that."""
    clock.set(add_valid=1, add={"group": 1, "last": 1})
    await clock.tick()
    clock.set(add_valid=0)
    return await clock.change(dut.keys, 1, read_group=1)


async def found_row(clock, dut):
    """Look up the second value of page 1, the only one that there is."""
    clock.set(pages=1, beat=1, beat_valid=1)
    await clock.tick()
    clock.set(beat_valid=0)
    return await clock.change(dut.address, dut.build.core.head_dim, look_up={"part": PagePart.VALUE, "row": 1})


async def multiplied_chunk(clock, dut):
    clock.set(chunk={"last": 1})
    return await clock.pulse(lambda: clock.get(dut.dot_valid), valid=1)


CASES = {
    "tile-array": (lambda: TileArray(BUILD), "latency", multiplied_chunk),
    "page-table": (lambda: PageTable(BUILD), "latency", found_row),
    "sequence-record": (lambda: SequenceRecord(BUILD), "latency", read_keys),
    "limit-finder": (lambda: LimitFinder(BUILD), "latency", found_threshold),
    "row-selector": (lambda: RowSelector(BUILD), "latency", begun_row),
    "histogram": (lambda: EstimateHistogram(BUILD), "latency", counted_estimate),
    "candidate-filter": (lambda: CandidateFilter(BUILD), "latency", filtered_key),
    "gap-mass": (lambda: GapMass(BUILD), "latency", added_gap),
    "tile-softmax": (lambda: TileSoftmax(BUILD), "latency", weighed_key),
    "mass-return": (lambda: MassReturn(BUILD), "latency", returned_mass),
    "row-sums": (lambda: RowSums(BUILD, 2), "latency", ended_sum),
    "row-sums-weights": (lambda: RowSums(BUILD, 2), "sum_latency", ended_weights),
    "tile-values": (lambda: TileValues(BUILD), "latency", left_row("word_valid")),
    "tile-values-sum": (lambda: TileValues(BUILD), "sum_latency", left_row("sum_valid")),
    "list-pass": (lambda: CandidateList(BUILD), "pass_latency", thinned_list),
}
