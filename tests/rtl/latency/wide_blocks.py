"""Stimuli that measure the blocks of `latte.rtl.wide`."""

from latte.golden.pruned_mass import GAP_TABLE_SIZE
from latte.rtl.wide.cross_product import BitPlaneCrossDot, PairedCrossDot
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.estimate_buffer import EstimateBuffer
from latte.rtl.wide.gap_table import GapTable
from latte.rtl.wide.group_sums import GroupSums
from latte.rtl.wide.key_counts import KeyCounts
from latte.rtl.wide.key_value_scratchpad import KeyValueScratchpad
from latte.rtl.wide.mass_compensation import MassCompensation
from latte.rtl.wide.mass_scan import MassScan
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.operand_plane import OperandPlane
from latte.rtl.wide.packed_dsp_dot import PackedDspDot
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_limits import LimitSearch
from latte.rtl.wide.row_memory import RowMemory, RowRegister
from latte.rtl.wide.row_scaler import RowScaler
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.survivor_mass import SurvivorMass
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.rtl.wide.virtual_survivors import VirtualSurvivors
from latte.rtl.wide.weight_pipeline import FineWeightPipeline, WeightPipeline
from tests.rtl.latency.common_blocks import query_row
from tests.rtl.latency.measure import DSP, LIMIT, LONG_RING, PRUNING, TILED, WIDE


async def read_plane(clock, dut):
    """Read the second row of a plane of rows of 16 elements of 4 bits, beats of 4."""
    for row in range(2):
        for _ in range(4):
            clock.set(beat_valid=1, beat=[row] * 4)
            await clock.tick()
    clock.set(beat_valid=0)
    await clock.tick(5)
    return await clock.change(dut.data[0][0], 1, group=1)


async def read_scratchpad(clock, dut):
    """Load two rows, of zeros and of ones; the value plane shows the second."""
    config = dut.config
    clock.set(load__payload={"start": 0, "rows": 2, "bank": 0, "drop": 0}, load__valid=1)
    await clock.tick()
    clock.set(load__valid=0, k__valid=1, v__valid=1)
    for beat in range(2 * config.head_dim // config.bus_bytes):
        clock.set(v__payload=[beat * config.bus_bytes // config.head_dim] * config.bus_bytes)
        await clock.until(lambda: clock.get(dut.v.ready))
        await clock.tick()
    clock.set(k__valid=0, v__valid=0)
    return await clock.change(dut.value_data[0], 1, value_key=1)


async def packed_products(clock, dut):
    return await clock.change(dut.sums[1], dut.dims, q=[1] * dut.dims, packed=[1 << dut.field] * dut.dims)


async def pair_tables(clock, dut):
    """Choose half differences of 2: both keys of each pair have opposite bits in plane 0 alone."""
    pairs = dut.head_dim // 2
    entry = {"half_sum": 0, "half_diff": 2, "even": 1}
    return await clock.change(dut.sum, -2 * pairs, entries=[entry] * pairs, second=[(1 << pairs) - 1, 0, 0, 0])


async def cross_products(clock, dut):
    query, key = {"low": 1, "high": 1}, {"low": 2, "high": 0}
    return await clock.change(dut.sum, 2 * dut.lanes, query=[query] * dut.lanes, keys=[key] * dut.lanes)


async def maximum(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.maximum) == 5, valid=1, first=1, value=5)


async def estimated(clock, dut, arrived):
    """Load one row of a bank, then offer the slices of a group of keys; count from its last."""
    config = dut.config
    for row in range(config.query_lanes):
        clock.set(q__payload__row=row, q__valid=1)
        await clock.until(lambda: clock.get(dut.q.ready))
        await clock.tick()
        clock.set(q__valid=0)
    await clock.until(lambda: clock.get(dut.q.ready))
    for part in range(config.dim_slices - 1):
        clock.set(k_valid=1, k_first=part == 0)
        await clock.tick()
    return await clock.pulse(lambda: clock.get(arrived), k_valid=1, k_first=config.dim_slices == 1)


async def weighed(clock, dut):
    """No distance weighs all; a great one nothing."""
    clock.set(scale_mantissa=1 << 15, scale_shift=0, delta=(1 << dut.config.score_bits) - 1)
    return await clock.change(dut.weight, (1 << dut.config.weight_bits) - 1, delta=0)


async def divided(clock, dut):
    """Two sums whose reciprocals differ in mantissa and exponent; both come together."""
    least = (1 << dut.config.weight_bits) - 1
    clock.set(weight_sum=least)
    await clock.tick(LIMIT // 10)
    before = clock.get(dut.mantissa), clock.get(dut.exponent)
    clock.set(weight_sum=3 * least)
    cycles = await clock.until(lambda: clock.get(dut.mantissa) != before[0])
    assert clock.get(dut.exponent) == before[1] + 2
    return cycles


async def scaled(clock, dut):
    config = dut.config
    clock.set(mantissa=1 << 16, exponent=0)
    await clock.tick(LIMIT // 10)
    clock.set(numerator=[1 << config.weight_bits] * config.normalizer_lanes)
    return await clock.until(lambda: clock.get(dut.quotient[0]))


def tile(config, **changes):
    entry = {"tau": 1, "scale_mantissa": 0, "scale_shift": 0}
    return {"entry": entry, "rows": 1, "first_keys": 1, "last_keys": 1, "causal": 0, "bank": 0, "slot": 0,
            "job_last": 0} | changes


async def announced_tile(clock, dut):
    clock.set(tile__payload=tile(dut.config), tile__valid=1)
    await clock.tick()
    clock.set(tile__valid=0)
    await clock.tick(dut.announcement - 1)
    config = dut.config
    clock.set(est=[[3] * config.key_lanes] * config.query_lanes)
    cycles = await clock.pulse(lambda: clock.get(dut.scan.valid), est_valid=1)
    assert clock.get(dut.scan.payload.row_max[0]) == 3
    return cycles


async def read_tile(clock, dut):
    await announced_tile(clock, dut)
    clock.set(read_index=dut.config.query_lanes)
    await clock.tick(10)
    return await clock.change(dut.read_data[0], 3, read_index=0)


async def scanned(clock, dut, arrived):
    clock.set(scan__payload__tile=tile(dut.config), scan__payload__single=1, scan__valid=1)
    await clock.tick(3)
    return await clock.pulse(lambda: clock.get(arrived), room=1)


async def filtered(clock, dut, arrived):
    pairs = dut.config.pairs_per_cycle
    clock.set(i={"estimate": [5] * pairs, "visible": 1, "row_max": 5, "tau": 1, "key": 0, "slot": 0, "bank": 0,
                 "row_last": 1})
    return await clock.pulse(lambda: clock.get(arrived), i_valid=1)


async def queued_group(clock, dut):
    clock.set(i__keep=1)
    return await clock.pulse(lambda: clock.get(dut.o.valid), i_valid=1)


async def survivor_scored(clock, dut, arrived):
    """Count from the survivor's last slice."""
    clock.set(i__payload__row_last=1, room=1, i__valid=1)
    await clock.until(lambda: clock.get(dut.i.ready))
    return await clock.pulse(lambda: clock.get(arrived), i__valid=1)


async def row_of_scores(clock, dut):
    clock.set(i={"score": 7, "key": 0, "row_last": 1})
    return await clock.pulse(lambda: clock.get(dut.row_max.valid), i_valid=1)


async def first_weight(clock, dut):
    """Offer a score until it is taken: its row is made the present one first."""
    clock.set(row__valid=1, row_max__valid=1, i__payload__row_last=1, i__valid=1)
    return await clock.until(lambda: clock.get(dut.o.valid))


async def looked_up(clock, dut):
    """Look up a weight beyond the table, which is one step."""
    clock.set(valid=1, fill__ends=[2 * GAP_TABLE_SIZE - 1] * 2)
    return await clock.change(dut.weight, 1, gap=GAP_TABLE_SIZE)


async def row_of_weights(clock, dut):
    clock.set(row_last=1)
    return await clock.pulse(lambda: clock.get(dut.sum_valid), valid=1)


async def row_of_estimates(clock, dut):
    clock.set(i__row_last=1)
    return await clock.pulse(lambda: clock.get(dut.sum_valid), i_valid=1)


async def limited(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.o.valid), i__valid=1)


async def row_of_survivors(clock, dut):
    clock.set(i__payload__row_last=1, i__payload__compensated=1, masses__valid=1, o__ready=1)
    await clock.tick(5)
    return await clock.pulse(lambda: clock.get(dut.pruned.valid), i__valid=1)


async def multiplied(clock, dut):
    return await clock.change(dut.o, 1, a=1, b=1, shift=dut.left)


async def counted_key(clock, dut):
    """Count a single key."""
    clock.set(added_room=1, divided__ready=1, keys=1, begin=1)
    await clock.tick()
    clock.set(begin=0)
    return 1 + await clock.until(lambda: clock.get(dut.counted)) - 1


async def compensated_row(clock, dut):
    """Count from the mass of a row whose key has been counted."""
    clock.set(row__payload__denominator_gain=1, row__payload__keys=1, row__valid=1, rescale_valid=1, keys__ready=1,
              o__ready=1, denominator__ready=1)
    await clock.tick()
    clock.set(row__valid=0, rescale_valid=0)
    await clock.tick(LIMIT // 4)
    clock.set(pruned__payload__last=1)
    return await clock.pulse(lambda: clock.get(dut.o.valid), pruned__valid=1)


async def first_compensated_weight(clock, dut):
    clock.set(begun__ready=1)
    return await first_weight(clock, dut)


async def summed_values(clock, dut, arrived, slices=1):
    """Count from the first slice of a row's only survivor to what that slice leads to."""
    clock.set(i__payload__row_last=1, i__payload__job_last=1, row_room=1, i__valid=1)
    for cycles in range(LIMIT):
        if clock.get(arrived):
            return cycles
        await clock.tick()
        if cycles == slices - 1:
            clock.set(i__valid=0)
    raise AssertionError("nothing came out")


async def released(clock, dut):
    """Count from the last slice."""
    slices = dut.config.value_slices
    return await summed_values(clock, dut, dut.release, slices) - (slices - 1)


async def survivor_in_mid_row(clock, dut):
    """Pass one that is not its row's last."""
    clock.set(o__ready=1)
    return await clock.pulse(lambda: clock.get(dut.o.valid), i__valid=1)


async def held_row(clock, dut):
    """Take one step in a row whose elements are numbered; the second ones come a cycle behind the first."""
    config = dut.config
    for part in range(config.value_slices):
        first = part * config.value_lanes
        clock.set(write_en=1, write_slice=part, write_data=[first + n for n in range(config.value_lanes)])
        if part < config.value_slices - 1:
            await clock.tick()
    await clock.tick()
    clock.set(write_en=0, hand_over=1)
    await clock.tick()
    clock.set(hand_over=0)
    await clock.tick(10)
    assert clock.get(dut.elements[0]) == 0
    return await clock.pulse(lambda: clock.get(dut.elements[0]) == config.normalizer_lanes, step=1) - 1


async def first_beat(clock, dut):
    """Count from a row's last word; its sum came long before."""
    config = dut.config
    clock.set(row_reserve=1, sum_valid=1, weight_sum=(1 << config.weight_bits) - 1)
    await clock.tick()
    clock.set(row_reserve=0, sum_valid=0)
    await clock.tick(30)
    clock.set(word_valid=1)
    await clock.tick(config.value_slices - 1)
    return await clock.pulse(lambda: clock.get(dut.o.valid), word_valid=1)


def plane_of(config):
    return OperandPlane(4, beat_lanes=4, word_lanes=8, head_dim=16, row_lanes=1, rows=4, banks=config.kv_banks)


CASES = {
    "operand-plane": (lambda: plane_of(WIDE), "latency", read_plane),
    "scratchpad": (lambda: KeyValueScratchpad(WIDE), "latency", read_scratchpad),
    "packed-products": (lambda: PackedDspDot(6, 4), "latency", packed_products),
    "pair-tables": (lambda: PairTableDot(12, 4, 4), "latency", pair_tables),
    "cross-paired": (lambda: PairedCrossDot(WIDE), "latency", cross_products),
    "cross-planes": (lambda: BitPlaneCrossDot(TILED), "latency", cross_products),
    "maximum": (lambda: RunningMaximum(8), "latency", maximum),
    "weight": (lambda: WeightPipeline(WIDE), "latency", weighed),
    "reciprocal": (lambda: Reciprocal(WIDE), "latency", divided),
    "row-scaler": (lambda: RowScaler(WIDE), "latency", scaled),
    "row-memory": (lambda: RowMemory(WIDE), "latency", held_row),
    "row-memory-block-ram": (lambda: RowMemory(LONG_RING), "latency", held_row),
    "row-register": (lambda: RowRegister(TILED), "latency", held_row),
    "estimate-buffer": (lambda: EstimateBuffer(WIDE), "latency", announced_tile),
    "estimate-buffer-read": (lambda: EstimateBuffer(WIDE), "read_latency", read_tile),
    "scanner": (lambda: RowScanner(WIDE), "latency", lambda clock, dut: scanned(clock, dut, dut.o_valid)),
    "scanner-row": (lambda: RowScanner(WIDE), "row_latency", lambda clock, dut: scanned(clock, dut, dut.row_valid)),
    "filter": (lambda: ThresholdFilter(WIDE), "latency", lambda clock, dut: filtered(clock, dut, dut.o_valid)),
    "filter-probe": (lambda: ThresholdFilter(WIDE), "probe_latency",
                     lambda clock, dut: filtered(clock, dut, dut.probe.valid)),
    "survivor-queue": (lambda: SurvivorQueue(WIDE), "latency", queued_group),
    "score-queue": (lambda: ScoreQueue(WIDE), "latency", row_of_scores),
    "softmax": (lambda: Softmax(WIDE), "latency", first_weight),
    "softmax-pruning": (lambda: Softmax(PRUNING), "latency", first_compensated_weight),
    "fine-weight": (lambda: FineWeightPipeline(PRUNING), "latency", weighed),
    "gap-table": (lambda: GapTable(PRUNING), "latency", looked_up),
    "group-sums": (lambda: GroupSums(PRUNING, 3), "latency", row_of_weights),
    "mass-scan": (lambda: MassScan(PRUNING), "latency", row_of_estimates),
    "limit-search": (lambda: LimitSearch(PRUNING), "latency", limited),
    "survivor-mass": (lambda: SurvivorMass(PRUNING), "latency", row_of_survivors),
    "scaled-product": (lambda: ScaledProduct(28, 17, 4, 44, [22, 17]), "latency", multiplied),
    "key-counts": (lambda: KeyCounts(PRUNING), "latency", counted_key),
    "compensation": (lambda: MassCompensation(PRUNING), "latency", compensated_row),
    "virtual-survivors": (lambda: VirtualSurvivors(PRUNING), "latency", survivor_in_mid_row),
}
for build in (WIDE, TILED, LONG_RING, DSP):
    CASES |= {
        f"estimator-{build.name}": (
            lambda build=build: ScoreEstimator(build), "latency",
            lambda clock, dut: estimated(clock, dut, dut.est_valid)),
        f"cross-products-{build.name}": (
            lambda build=build: CrossProductUnit(build), "latency",
            lambda clock, dut: survivor_scored(clock, dut, dut.o_valid)),
        f"cross-products-retire-{build.name}": (
            lambda build=build: CrossProductUnit(build), "retire_latency",
            lambda clock, dut: survivor_scored(clock, dut, dut.retire)),
        f"values-{build.name}": (
            lambda build=build: ValueAccumulator(build), "latency",
            lambda clock, dut: summed_values(clock, dut, dut.word_valid, dut.config.value_slices)),
        f"values-sum-{build.name}": (
            lambda build=build: ValueAccumulator(build), "sum_latency",
            lambda clock, dut: summed_values(clock, dut, dut.sum_valid, dut.config.value_slices)),
        f"values-release-{build.name}": (lambda build=build: ValueAccumulator(build), "release_latency", released),
        f"normalizer-{build.name}": (lambda build=build: Normalizer(build), "latency", first_beat),
        f"query-buffer-{build.name}": (
            lambda build=build: QueryBuffer(build), "latency", lambda clock, dut: query_row(clock, dut, dut.o.valid)),
    }
