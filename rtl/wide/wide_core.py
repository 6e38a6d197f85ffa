"""The accelerator: one LATTE attention engine that runs a list of heads."""

from amaranth import Const, Module, Mux
from amaranth.lib import wiring

from latte.golden.config import AttentionConfig
from latte.rtl.common.core import Core
from latte.rtl.common.primitives import delay
from latte.rtl.common.probes import probe_layout
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.front import connect_front, connect_normalizer, connect_row_buffer, population
from latte.rtl.wide.gap_table import FillTables
from latte.rtl.wide.key_value_scratchpad import KeyValueScratchpad
from latte.rtl.wide.mass_compensation import MassCompensation
from latte.rtl.wide.payloads import row_layout, weighs_gaps
from latte.rtl.wide.row_limiter import RowLimiter
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.survivor_mass import SurvivorMass
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.rtl.wide.virtual_survivors import VirtualSurvivors

__all__ = ["WideCore"]


class WideCore(Core):
    """Complete LATTE attention, int8 Q/K/V in, fixed-point output rows out (LATTE Algorithm 1)::

        parameter -> HeadRegisters
        job ------> JobSequencer -> TileSequencer
        k, v -----> KeyValueScratchpad ---+------------------------------+-----------------------+
        q --------> QueryBuffer ---+      |                              |                       |
                                   v      v                              v                       v
                              ScoreEstimator -> EstimateBuffer -> RowScanner -> ThresholdFilter -> SurvivorQueue
                                                                         -> CrossProductUnit -> ScoreQueue -> Softmax
                                                                                  -> ValueAccumulator -> Normalizer -> o

    Each block is elastic against the next; only queues are between them, and the estimator is meant to be the one
    that never waits. Results leave in job order, row by row.

    Ports are those of `Core`; the probe is `probe_layout`.
    """

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__(config, probe_layout(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.key_value_scratchpad = scratchpad = KeyValueScratchpad(config)
        m.submodules.score_estimator = estimator = ScoreEstimator(config)
        m.submodules.threshold_filter = threshold = ThresholdFilter(config)
        m.submodules.survivor_queue = survivors = SurvivorQueue(config)
        m.submodules.cross_product_unit = cross = CrossProductUnit(config)
        m.submodules.score_queue = scores = ScoreQueue(config)
        m.submodules.softmax = softmax = Softmax(config)
        m.submodules.value_accumulator = values = ValueAccumulator(config)
        tables = FillTables(config) if weighs_gaps(config) else None

        # Estimates.
        front = connect_front(m, self, scratchpad, tables=tables)
        tiles, queries = front.tiles, front.queries
        groups = None
        if config.group_bits:
            m.d.comb += scratchpad.groups.eq(front.jobs.groups)
            groups = delay(m, scratchpad.estimator_groups, estimator.latency, name="groups", reset_less=True)
        scanner = connect_row_buffer(m, front, estimator.latency, estimator.est_valid, estimator.est, groups)
        wiring.connect(m, tiles.query, estimator.q)
        m.d.comb += [
            scratchpad.estimator_bank.eq(tiles.key_bank), scratchpad.estimator_group.eq(tiles.key_group),
            scratchpad.estimator_slice.eq(tiles.key_slice),
            estimator.k_valid.eq(tiles.beat_valid), estimator.k_bank.eq(tiles.beat_query_bank),
            estimator.k_first.eq(tiles.beat_first), estimator.k_hi.eq(scratchpad.estimator_data),
        ]

        # Filter.
        m.submodules.row_queue = rows = StreamQueue(
            row_layout(config), config.query_rows, producer_latency=scanner.row_latency, every_other=True)
        m.d.comb += [
            rows.i.valid.eq(scanner.row_valid), rows.i.payload.eq(scanner.row),
            survivors.i_valid.eq(threshold.o_valid), survivors.i.eq(threshold.o),
        ]
        overflow = survivors.overflow | scores.overflow | rows.overflow
        filter_stalled, pruned_mass = scanner.stalled, Const(0)
        if tables is None:
            m.d.comb += [
                scanner.room.eq(survivors.room & rows.room),
                threshold.i_valid.eq(scanner.o_valid), threshold.i.eq(scanner.o),
            ]
            wiring.connect(m, survivors.o, cross.i)
        else:
            m.submodules.tables = tables
            m.submodules.row_limiter = limiter = RowLimiter(config)
            m.submodules.survivor_mass = mass = SurvivorMass(config)
            wiring.connect(m, tables.ask, softmax.ask)
            wiring.connect(m, survivors.o, mass.i)
            wiring.connect(m, mass.o, cross.i)
            m.d.comb += [
                tables.answer_valid.eq(softmax.answer_valid), tables.answer.eq(softmax.answer),
                tables.release.eq(mass.release), tables.release_table.eq(mass.release_table),
                limiter.fill.eq(tables.fill), mass.fill.eq(tables.fill),
                scanner.room.eq(limiter.room & rows.room),
                limiter.i_valid.eq(scanner.o_valid), limiter.i.eq(scanner.o),
                threshold.i_valid.eq(limiter.o_valid), threshold.i.eq(limiter.o), limiter.o_room.eq(survivors.room),
            ]
            overflow |= limiter.overflow
            filter_stalled = limiter.stalled

        # Survivors.
        wiring.connect(m, scores.o, softmax.i)
        wiring.connect(m, scores.row_max, softmax.row_max)
        wiring.connect(m, rows.o, softmax.row)
        normalizer = connect_normalizer(m, self, front, values)
        if config.key_groups:
            m.submodules.mass_compensation = compensation = MassCompensation(config)
            m.submodules.virtual_survivors = virtual = VirtualSurvivors(config)
            wiring.connect(m, limiter.masses, mass.masses)
            wiring.connect(m, mass.pruned, compensation.pruned)
            wiring.connect(m, softmax.begun, compensation.row)
            wiring.connect(m, compensation.keys, normalizer.keys)
            wiring.connect(m, compensation.added, virtual.added)
            wiring.connect(m, compensation.o, virtual.compensation)
            wiring.connect(m, compensation.denominator, virtual.denominator)
            wiring.connect(m, softmax.o, virtual.i)
            wiring.connect(m, virtual.o, values.i)
            m.d.comb += [
                compensation.rescale_valid.eq(softmax.rescale_valid), compensation.rescale.eq(softmax.rescale),
                compensation.counted.eq(normalizer.counted), compensation.count.eq(normalizer.count),
                values.denominator.eq(virtual.sum_end),
            ]
            if config.group_bits:
                m.d.comb += [
                    scratchpad.group_bank.eq(compensation.group_bank), scratchpad.group_key.eq(compensation.group_key),
                    compensation.group.eq(scratchpad.group),
                ]
            overflow |= mass.overflow | compensation.overflow
            pruned_mass = Mux(compensation.mass_valid, compensation.mass, 0)
        else:
            wiring.connect(m, softmax.o, values.i)
        m.d.comb += [
            queries.cross_slot.eq(cross.slot), queries.cross_slice.eq(cross.slice),
            queries.retire.eq(cross.retire), cross.query.eq(queries.cross_data),
            scratchpad.cross_bank.eq(cross.bank), scratchpad.cross_key.eq(cross.key),
            scratchpad.cross_slice.eq(cross.slice),
            cross.keys.eq(scratchpad.cross_data),
            cross.room.eq(scores.room), scores.i_valid.eq(cross.o_valid), scores.i.eq(cross.o),
            scratchpad.value_bank.eq(values.bank), scratchpad.value_key.eq(values.key),
            scratchpad.value_slice.eq(values.slice), values.values.eq(scratchpad.value_data),
        ]

        group = threshold.probe
        self.keep(m, front.events() | {
            "overflow": overflow,
        }, front.increments() | {
            "pairs_estimated": population(Mux(group.valid, group.visible, 0)),
            "survivors": population(Mux(group.valid, group.keep, 0)),
            "cross_beats": cross.step, "value_beats": values.step, "filter_stalls": filter_stalled,
            "pruned_mass": pruned_mass,
        })
        m.d.comb += [
            self.probe.group.eq(group),
            self.probe.score.valid.eq(cross.o_valid), self.probe.score.row_last.eq(cross.o.row_last),
            self.probe.score.key.eq(cross.o.key), self.probe.score.score.eq(cross.o.score),
            self.probe.weight.valid.eq(softmax.o.valid & softmax.o.ready),
            self.probe.weight.row_last.eq(softmax.o.payload.row_last),
            self.probe.weight.weight.eq(softmax.o.payload.weight),
        ]
        return m
