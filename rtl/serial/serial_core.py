"""The accelerator for the smallest FPGAs: the same bits from three stages that work on a row each."""

from amaranth import Const, Module, Value
from amaranth.lib import wiring

from latte.golden.config import AttentionConfig
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.core import Core
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.probes import probe_layout
from latte.rtl.serial.serial_estimator import SerialEstimator
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.rtl.serial.serial_gap_table import weighs
from latte.rtl.serial.serial_query_ring import SerialQueryRing
from latte.rtl.serial.serial_scorer import SerialScorer
from latte.rtl.serial.serial_scratchpad import SerialScratchpad

__all__ = ["SerialCore"]


class SerialCore(Core):
    """LATTE attention with everything in memory that a wider core has in registers and queues::

        parameter -> HeadRegisters
        job ------> JobSequencer
        k, v -----> SerialScratchpad -+----------------------+---------------------+
        q --------> SerialQueryRing --|----------+-----------|--------+            |
                                      v          v           v        v            v
                                    SerialEstimator ------> SerialScorer ------> SerialFinisher -> o

    Each stage has one row; what it passes on lies in one half of a memory while the other half is filled. So a row
    takes as long as its slowest stage. Jobs do not overlap, but for the division of a job's last row: keys and values
    have a single port.

    Ports are those of `Core`; the probe is `probe_layout`. ``stall_filter`` counts the cycles in which the
    estimator waits for the scorer, ``filter_stalls`` those in which the scorer waits for the finisher.
    """

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__(config, probe_layout(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.head_registers = registers = HeadRegisters(config)
        m.submodules.job_sequencer = jobs = JobSequencer(config, overlapping=False)
        m.submodules.key_value_scratchpad = scratchpad = SerialScratchpad(config)
        m.submodules.query_ring = queries = SerialQueryRing(config)
        m.submodules.score_estimator = estimator = SerialEstimator(config)
        m.submodules.scorer = scorer = SerialScorer(config)
        m.submodules.finisher = finisher = SerialFinisher(config)
        entry = jobs.compute.payload.entry

        wiring.connect(m, wiring.flipped(self.parameter), registers.parameter)
        wiring.connect(m, wiring.flipped(self.job), jobs.job)
        wiring.connect(m, wiring.flipped(self.k), scratchpad.k)
        wiring.connect(m, wiring.flipped(self.v), scratchpad.v)
        wiring.connect(m, wiring.flipped(self.q), queries.q)
        wiring.connect(m, jobs.kv_load, scratchpad.load)
        wiring.connect(m, jobs.query_load, queries.load)
        wiring.connect(m, jobs.compute, estimator.compute)
        wiring.connect(m, estimator.keys, scratchpad.high)
        wiring.connect(m, estimator.row, scorer.row)
        wiring.connect(m, scorer.keys, scratchpad.halves)
        wiring.connect(m, scorer.o, finisher.row)
        wiring.connect(m, finisher.values, scratchpad.values)
        wiring.connect(m, finisher.o, wiring.flipped(self.o))
        m.d.comb += [
            registers.look_up.eq(jobs.look_up), registers.head.eq(jobs.head), registers.index.eq(jobs.index),
            jobs.word.eq(registers.word), jobs.known.eq(registers.known), jobs.loaded.eq(scratchpad.loaded),
            jobs.release.eq(finisher.release), self.verdict.eq(jobs.verdict),
            estimator.query_available.eq(queries.available), queries.high_slice.eq(estimator.query_slice),
            estimator.query.eq(queries.high), queries.estimated.eq(estimator.row.valid & estimator.row.ready),
            estimator.index.eq(scorer.index), scorer.estimate.eq(estimator.estimate),
            queries.halves_slice.eq(scorer.query_slice), scorer.query.eq(queries.halves),
            queries.scored.eq(scorer.scored),
            scorer.score_index.eq(finisher.index), finisher.score.eq(scorer.score),
            finisher.scale_mantissa.eq(entry.scale_mantissa), finisher.scale_shift.eq(entry.scale_shift),
            self.probe.group.eq(scorer.probe), self.probe.score.eq(finisher.score_probe),
            self.probe.weight.eq(finisher.weight_probe),
        ]
        self._weigh(m, jobs, scratchpad, scorer, finisher)
        self.keep(m, {
            "qk_saturated": scratchpad.saturated | queries.saturated,
            "head_invalid": jobs.verdict.head_invalid | registers.head_invalid,
            "too_long": jobs.verdict.too_long, "no_keys": jobs.verdict.no_keys, "overflow": scratchpad.conflict,
            "entry_invalid": registers.entry_invalid, "groups_differ": jobs.verdict.groups_differ,
        }, {
            "cycles": jobs.busy, "estimator_beats": estimator.keys.read,
            "pairs_estimated": scorer.probe.valid, "survivors": scorer.probe.valid & scorer.probe.keep,
            "cross_beats": scorer.step, "value_beats": finisher.step,
            "stall_key_load": jobs.waiting_for_keys, "stall_query_load": estimator.waiting_for_query,
            "stall_filter": estimator.waiting_for_row, "filter_stalls": scorer.waiting_for_row,
            "pruned_mass": finisher.pruned if config.key_groups else Const(0),
        })
        return m

    def _weigh(self, m: Module, jobs: JobSequencer, scratchpad: SerialScratchpad, scorer: SerialScorer,
               finisher: SerialFinisher) -> None:
        """Connect thresholds, weights of keys by their estimates, and compensation, as far as the build has them."""
        config, entry = self.config, jobs.compute.payload.entry
        weighed: Value = Const(0)
        if config.code_octaves:
            m.d.comb += [scorer.code_valid.eq(jobs.code_valid), scorer.code.eq(jobs.code)]
        else:
            m.d.comb += scorer.tau.eq(entry.tau)
        if len(config.threshold_kinds) > 1:
            m.d.comb += scorer.kind.eq(entry.kind)
        if "mass" in config.threshold_kinds:
            mass = list(ThresholdKind).index(ThresholdKind.MASS)
            weighed |= entry.kind == mass if len(config.threshold_kinds) > 1 else Const(1)
        if config.key_groups:
            # A mean gain is never larger.
            compensated = entry.denominator_gain != 0
            weighed |= compensated
            m.d.comb += [
                scorer.compensated.eq(compensated), finisher.compensated.eq(compensated),
                finisher.denominator_gain.eq(entry.denominator_gain), finisher.mean_gain.eq(entry.mean_gain),
                scorer.mass_group.eq(finisher.mass_group), finisher.mass.eq(scorer.mass),
                finisher.restart.eq(scratchpad.restart),
            ]
        if config.group_bits:
            m.d.comb += [
                scratchpad.groups.eq(jobs.groups), finisher.group_bits.eq(entry.group_bits),
                scratchpad.scored_key.eq(scorer.index), scorer.group.eq(scratchpad.scored_group),
                scratchpad.summed_key.eq(finisher.member), finisher.group.eq(scratchpad.summed_group),
            ]
        if weighs(config):
            m.d.comb += [
                finisher.begin.eq(jobs.compute.valid & jobs.compute.ready), finisher.weighed.eq(weighed),
                scorer.fill.eq(finisher.fill), scorer.filled.eq(finisher.filled),
            ]
