"""Stimuli that measure the blocks of `latte.rtl.serial` and `latte.rtl.dense`."""

from latte.rtl.dense.dense_softmax import DenseSoftmax
from latte.rtl.dense.dense_value_accumulator import DenseValueAccumulator
from latte.rtl.dense.score_array import ScoreArray
from latte.rtl.serial.serial_estimator import SerialEstimator
from latte.rtl.serial.serial_gap_table import SerialGapTable
from latte.rtl.serial.serial_memories import DualPortRam, SinglePortRam
from latte.rtl.serial.serial_query_ring import SerialQueryRing
from latte.rtl.serial.serial_row_limiter import SerialRowLimiter
from latte.rtl.serial.serial_scorer import SerialScorer
from latte.rtl.serial.serial_scratchpad import SinglePortPlane
from tests.rtl.latency.common_blocks import query_row, read_address
from tests.rtl.latency.measure import DENSE, SERIAL, SERIAL_KINDS, SERIAL_WHOLE
from tests.rtl.latency.wide_blocks import estimated, summed_values


async def read_single_port(clock, dut):
    clock.set(write_en=1, address=2, write_data=3)
    await clock.tick()
    clock.set(write_en=0, address=0)
    return await clock.change(dut.read_data, 3, address=2)


async def read_single_port_plane(clock, dut):
    beats = dut.config.head_dim // dut.config.bus_bytes
    for row in range(2):
        for _ in range(beats):
            clock.set(beat_valid=1, beat=[row] * dut.config.bus_bytes)
            await clock.tick()
    clock.set(beat_valid=0)
    await clock.tick(5)
    return await clock.change(dut.port.data[0], 1, port__key=1)


async def dense_weights(clock, dut):
    return await clock.pulse(lambda: clock.get(dut.o_valid), i_valid=1)


async def serial_estimates(clock, dut, keys=2):
    """Count from the cycle in which a row's query is found, less its slices and the offer."""
    clock.set(query_available=1, compute__payload__rows=1, compute__payload__keys=keys)
    offered = await clock.pulse(lambda: clock.get(dut.row.valid), compute__valid=1)
    return offered - 1 - keys * dut.config.dim_slices - 1


async def serial_scores(clock, dut, survivors, keys=3):
    """Count from a row's acceptance to its offer, less a cycle for each key; all of them survive or none."""
    clock.set(tau=1, estimate=5 if survivors else 0, row__payload__keys=keys, row__payload__maximum=5)
    offered = await clock.pulse(lambda: clock.get(dut.o.valid), row__valid=1)
    return offered - keys


async def serial_outputs(clock, dut, survivors):
    """Count from a row's acceptance to its last output."""
    clock.set(row__payload__survivors=survivors, o__ready=1)
    return await clock.pulse(lambda: clock.get(dut.o.valid) and clock.get(dut.o.payload.row_last), row__valid=1)


async def gap_weight(clock, dut):
    for gap, weight in enumerate((9, 4, 0)):
        clock.set(fill={"valid": 1, "gap": gap, "weight": weight})
        await clock.tick()
    clock.set(fill={"valid": 0, "gap": 0, "weight": 0}, gap=5)
    await clock.tick(2)
    return await clock.change(dut.weight, 4, gap=1)


async def limited_row(clock, dut):
    clock.set(keys=3)
    return await clock.pulse(lambda: clock.get(dut.done), start=1)


async def limited_scores(clock, dut, keys=3):
    """Count as `serial_scores` do, in a build with codes by length."""
    clock.set(code_valid=1, code={"slot": 0, "octave": 1, "code": 1})
    await clock.tick()
    clock.set(code_valid=0, filled=1, estimate=0, row__payload__keys=keys, row__payload__maximum=5)
    return await clock.pulse(lambda: clock.get(dut.o.valid), row__valid=1) - keys


CASES = {
    "dual-port": (lambda: DualPortRam(8, 4, [0, 1, 3, 0]), "latency", read_address),
    "single-port": (lambda: SinglePortRam(8, 4), "latency", read_single_port),
    "single-port-plane": (lambda: SinglePortPlane(SERIAL, 8, 2), "latency", read_single_port_plane),
    "dense-softmax": (lambda: DenseSoftmax(DENSE), "latency", dense_weights),
    "score-array": (lambda: ScoreArray(DENSE), "latency", lambda clock, dut: estimated(clock, dut, dut.score_valid)),
    "dense-values": (lambda: DenseValueAccumulator(DENSE), "latency",
                     lambda clock, dut: summed_values(clock, dut, dut.word_valid)),
    "dense-values-sum": (lambda: DenseValueAccumulator(DENSE), "sum_latency",
                         lambda clock, dut: summed_values(clock, dut, dut.sum_valid)),
    "serial-estimator": (lambda: SerialEstimator(SERIAL), "latency", serial_estimates),
    "serial-scorer": (lambda: SerialScorer(SERIAL), "latency", lambda clock, dut: serial_scores(clock, dut, 0)),
    "serial-scorer-kinds": (lambda: SerialScorer(SERIAL_KINDS), "latency", limited_scores),
    "serial-gap-table": (lambda: SerialGapTable(SERIAL_KINDS), "latency", gap_weight),
    "serial-row-limiter": (lambda: SerialRowLimiter(SERIAL_KINDS), "latency", limited_row),
}
for build in (SERIAL, SERIAL_WHOLE):
    CASES[f"query-ring-{build.name}"] = (
        lambda build=build: SerialQueryRing(build), "latency",
        lambda clock, dut: query_row(clock, dut, dut.available))
