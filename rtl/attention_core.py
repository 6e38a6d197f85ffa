"""The accelerator: one LATTE attention engine that runs a list of heads."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.compensation_unit import CompensationUnit, pipeline_scores
from latte.rtl.estimate_buffer import EstimateBuffer
from latte.rtl.head_registers import HeadRegisters
from latte.rtl.job_sequencer import JobSequencer
from latte.rtl.key_value_scratchpad import KeyValueScratchpad
from latte.rtl.normalizer import Normalizer
from latte.rtl.payloads import job_layout, key_shape, output_layout, parameter_layout, row_layout
from latte.rtl.primitives import StreamQueue
from latte.rtl.query_buffer import QueryBuffer
from latte.rtl.row_scanner import RowScanner
from latte.rtl.score_estimator import ScoreEstimator
from latte.rtl.softmax import ScoreQueue, Softmax
from latte.rtl.survivor_queue import SurvivorQueue
from latte.rtl.threshold_filter import ThresholdFilter, filter_probe_layout
from latte.rtl.tile_sequencer import TileSequencer
from latte.rtl.value_accumulator import ValueAccumulator

__all__ = ["COUNTER_BITS", "AttentionCore", "counters_layout", "probe_layout", "status_layout"]

COUNTER_BITS = 32
COMPUTE_QUEUE_DEPTH = 4
ROW_QUEUE_MARGIN = 6
"""Rows that the filter may still begin after the row queue asked it to stop."""


def status_layout() -> data.StructLayout:
    """Sticky bits, set by the event and cleared by `clear` or reset.

    ``qk_saturated``: a Q or K element above 119 was limited. ``head_invalid``: a job or parameter named a head that
    does not exist or was never written; the job was refused. ``too_long``: a job had more rows than the build, or
    its sequence, holds; refused. ``no_keys``: a job had no keys to attend to; refused. ``overflow``: a queue lost an
    entry, which the design excludes; results since then are wrong.
    """
    return data.StructLayout({"qk_saturated": 1, "head_invalid": 1, "too_long": 1, "no_keys": 1, "overflow": 1})


def counters_layout() -> data.StructLayout:
    """Performance counters; they wrap at 2**32.

    ``cycles``: a job was being loaded or computed. ``estimator_beats``: the estimator worked. ``pairs_estimated``,
    ``survivors``: (query, key) pairs seen by the filter, and kept. ``compensation_beats``, ``value_beats``: those
    units worked. ``stall_*``: the estimator stood still because keys or values were loading, the next tile's queries
    were not there, or no tile buffer was free. ``filter_stalls``: the filter waited for the survivor queue.
    ``output_stalls``: an output beat waited for its consumer.
    """
    return data.StructLayout(dict.fromkeys((
        "cycles", "estimator_beats", "pairs_estimated", "survivors", "compensation_beats", "value_beats",
        "stall_key_load", "stall_query_load", "stall_filter", "filter_stalls", "output_stalls"), COUNTER_BITS))


def probe_layout(config: AttentionConfig) -> data.StructLayout:
    """Taps for a scoreboard: what the filter, the compensation unit and the softmax put out; unused in a build."""
    return data.StructLayout({
        "group": filter_probe_layout(config),
        "score": data.StructLayout({"valid": 1, "row_last": 1, "key": key_shape(config),
                                    "score": signed(config.score_bits)}),
        "weight": data.StructLayout({"valid": 1, "row_last": 1, "weight": config.weight_bits})})


class AttentionCore(wiring.Component):
    """Complete LATTE attention, int8 Q/K/V in, fixed-point output rows out (LATTE Algorithm 1)::

        parameter -> HeadRegisters
        job ------> JobSequencer -> TileSequencer
        k, v -----> KeyValueScratchpad ---+------------------------------+-----------------------+
        q --------> QueryBuffer ---+      |                              |                       |
                                   v      v                              v                       v
                              ScoreEstimator -> EstimateBuffer -> RowScanner -> ThresholdFilter -> SurvivorQueue
                                                                         -> CompensationUnit -> ScoreQueue -> Softmax
                                                                                  -> ValueAccumulator -> Normalizer -> o

    Each block is elastic against the next; only queues are between them, and the estimator is meant to be the one
    that never waits. Results leave in job order, row by row.

    Members
    -------
    job : In(stream of job_layout)
    parameter : In(stream of parameter_layout)
        Writes the head-wise register file; a job takes the entry that was there when it was accepted.
    q, k, v : In(stream of bus_bytes int8 elements)
        Row-major rows in job order.
    o : Out(stream of output_layout)
    clear : In(1)
        Clears status and counters.
    status : Out(status_layout)
    counters : Out(counters_layout)
    probe : Out(probe_layout)
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        beat = data.ArrayLayout(signed(8), config.bus_bytes)
        super().__init__({
            "job": In(stream.Signature(job_layout())),
            "parameter": In(stream.Signature(parameter_layout(config))),
            "q": In(stream.Signature(beat)), "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)),
            "o": Out(stream.Signature(output_layout(config))),
            "clear": In(1), "status": Out(status_layout()), "counters": Out(counters_layout()),
            "probe": Out(probe_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.head_registers = registers = HeadRegisters(config)
        m.submodules.job_sequencer = jobs = JobSequencer(config)
        m.submodules.key_value_scratchpad = scratchpad = KeyValueScratchpad(config)
        m.submodules.query_buffer = queries = QueryBuffer(config)
        m.submodules.tile_sequencer = tiles = TileSequencer(config)
        m.submodules.score_estimator = estimator = ScoreEstimator(config)
        m.submodules.estimate_buffer = estimates = EstimateBuffer(config)
        m.submodules.row_scanner = scanner = RowScanner(config)
        m.submodules.threshold_filter = threshold = ThresholdFilter(config)
        m.submodules.survivor_queue = survivors = SurvivorQueue(config)
        m.submodules.compensation_unit = compensation = CompensationUnit(config)
        m.submodules.score_queue = scores = ScoreQueue(config, pipeline_scores(config))
        m.submodules.softmax = softmax = Softmax(config)
        m.submodules.value_accumulator = values = ValueAccumulator(config)
        m.submodules.normalizer = normalizer = Normalizer(config)

        # Work list and operands.
        wiring.connect(m, wiring.flipped(self.parameter), registers.parameter)
        wiring.connect(m, wiring.flipped(self.job), jobs.job)
        wiring.connect(m, wiring.flipped(self.k), scratchpad.k)
        wiring.connect(m, wiring.flipped(self.v), scratchpad.v)
        wiring.connect(m, wiring.flipped(self.q), queries.q)
        wiring.connect(m, jobs.kv_load, scratchpad.load)
        m.submodules.query_commands = commands = StreamQueue(jobs.query_load.payload.shape(), COMPUTE_QUEUE_DEPTH)
        wiring.connect(m, jobs.query_load, commands.i)
        wiring.connect(m, commands.o, queries.load)
        m.submodules.compute_queue = compute = StreamQueue(jobs.compute.payload.shape(), COMPUTE_QUEUE_DEPTH)
        wiring.connect(m, jobs.compute, compute.i)
        wiring.connect(m, compute.o, tiles.compute)
        m.d.comb += [
            registers.head.eq(jobs.head), jobs.entry.eq(registers.entry), jobs.known.eq(registers.known),
            jobs.loaded.eq(scratchpad.loaded),
            jobs.release.eq(values.release), jobs.release_bank.eq(values.release_bank),
        ]

        # Estimates.
        wiring.connect(m, queries.o, tiles.rows)
        wiring.connect(m, tiles.query, estimator.q)
        wiring.connect(m, tiles.tile, estimates.tile)
        m.d.comb += [
            scratchpad.estimator_bank.eq(tiles.key_bank), scratchpad.estimator_group.eq(tiles.key_group),
            scratchpad.estimator_slice.eq(tiles.key_slice),
            estimator.k_valid.eq(tiles.beat_valid), estimator.k_bank.eq(tiles.beat_query_bank),
            estimator.k_first.eq(tiles.beat_first), estimator.k_hi.eq(scratchpad.estimator_data),
            estimates.est_valid.eq(estimator.est_valid), estimates.est.eq(estimator.est),
        ]

        # Filter.
        wiring.connect(m, estimates.scan, scanner.scan)
        m.submodules.row_queue = rows = StreamQueue(row_layout(config), config.query_rows)
        row_room = Signal()
        m.d.sync += row_room.eq(rows.level < config.query_rows - ROW_QUEUE_MARGIN)
        m.d.comb += [
            estimates.read_index.eq(scanner.read_index), estimates.read_row.eq(scanner.read_row),
            scanner.read_data.eq(estimates.read_data),
            scanner.room.eq(survivors.room & row_room),
            rows.i.valid.eq(scanner.row_valid), rows.i.payload.eq(scanner.row),
            threshold.i_valid.eq(scanner.o_valid), threshold.i.eq(scanner.o),
            survivors.i_valid.eq(threshold.o_valid), survivors.i.eq(threshold.o),
        ]

        # Survivors.
        wiring.connect(m, survivors.o, compensation.i)
        wiring.connect(m, scores.o, softmax.i)
        wiring.connect(m, scores.row_max, softmax.row_max)
        wiring.connect(m, rows.o, softmax.row)
        wiring.connect(m, softmax.o, values.i)
        m.d.comb += [
            queries.compensation_slot.eq(compensation.slot), queries.compensation_slice.eq(compensation.slice),
            queries.retire.eq(compensation.retire), compensation.query.eq(queries.compensation_data),
            scratchpad.compensation_bank.eq(compensation.bank), scratchpad.compensation_key.eq(compensation.key),
            scratchpad.compensation_slice.eq(compensation.slice),
            compensation.keys.eq(scratchpad.compensation_data),
            compensation.room.eq(scores.room), scores.i_valid.eq(compensation.o_valid), scores.i.eq(compensation.o),
            scratchpad.value_bank.eq(values.bank), scratchpad.value_key.eq(values.key),
            scratchpad.value_slice.eq(values.slice), values.values.eq(scratchpad.value_data),
        ]

        # Output.
        wiring.connect(m, normalizer.o, wiring.flipped(self.o))
        m.d.comb += [
            normalizer.row_reserve.eq(values.row_reserve), values.row_room.eq(normalizer.row_room),
            normalizer.sum_valid.eq(values.sum_valid), normalizer.weight_sum.eq(values.weight_sum),
            normalizer.job_last.eq(values.job_last),
            normalizer.word_valid.eq(values.word_valid), normalizer.word.eq(values.word),
        ]

        self._status(m, {
            "qk_saturated": scratchpad.saturated | queries.saturated,
            "head_invalid": jobs.head_invalid | registers.head_invalid,
            "too_long": jobs.too_long, "no_keys": jobs.no_keys,
            "overflow": survivors.overflow | scores.overflow | (rows.i.valid & ~rows.i.ready),
        })
        group = threshold.probe
        self._counters(m, {
            "cycles": jobs.busy, "estimator_beats": tiles.key_valid,
            "pairs_estimated": _population(group.visible, group.valid),
            "survivors": _population(group.keep, group.valid),
            "compensation_beats": compensation.step, "value_beats": values.step,
            "stall_key_load": jobs.waiting_for_keys, "stall_query_load": tiles.waiting_for_queries,
            "stall_filter": tiles.waiting_for_filter, "filter_stalls": scanner.stalled,
            "output_stalls": self.o.valid & ~self.o.ready,
        })
        m.d.comb += [
            self.probe.group.eq(group),
            self.probe.score.valid.eq(compensation.o_valid), self.probe.score.row_last.eq(compensation.o.row_last),
            self.probe.score.key.eq(compensation.o.key), self.probe.score.score.eq(compensation.o.score),
            self.probe.weight.valid.eq(softmax.o.valid & softmax.o.ready),
            self.probe.weight.row_last.eq(softmax.o.payload.row_last),
            self.probe.weight.weight.eq(softmax.o.payload.weight),
        ]
        return m

    def _status(self, m, events):
        for name, event in events.items():
            with m.If(event):
                m.d.sync += self.status[name].eq(1)
            with m.Elif(self.clear):
                m.d.sync += self.status[name].eq(0)

    def _counters(self, m, increments):
        for name, increment in increments.items():
            # Registered first: the events come from everywhere, the adders are long.
            step = Signal(increment.shape(), name=f"{name}_step")
            m.d.sync += [step.eq(increment), self.counters[name].eq(self.counters[name] + step)]
            with m.If(self.clear):
                m.d.sync += self.counters[name].eq(0)


def _population(bits, valid):
    """Return the number of ones of a bit vector, 0 when not valid."""
    total = bits[0] & valid
    for bit in bits[1:]:
        total = total + (bit & valid)
    return total
