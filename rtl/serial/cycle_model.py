"""Cycle model of the serial engine: three stages with one row each, every step of a known length."""

import numpy as np

from latte.golden.config import AttentionConfig
from latte.rtl.common.head_work import HeadWork, Prediction
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.key_value_loader import KeyValueLoader
from latte.rtl.serial.serial_estimator import SerialEstimator
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.rtl.serial.serial_query_ring import SerialQueryRing
from latte.rtl.serial.serial_row_limiter import SerialRowLimiter
from latte.rtl.serial.serial_scorer import SerialScorer

__all__ = ["SerialCycleModel"]


class SerialCycleModel:
    """The core, one row after the other; cycles count from the first job's acceptance."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.estimator_latency = SerialEstimator.latency_of(config)
        self.scorer_latency = SerialScorer.latency_of(config)
        self.score_cycles = SerialScorer.score_cycles_of(config)
        self.survivor_cycles = SerialFinisher.survivor_cycles_of(config)
        self.division_cycles = SerialFinisher.division_cycles_of(config)
        self.idle = 0
        self.query_end = -1
        self.offered: list[int] = []  # by the estimator, and accepted by the scorer
        self.scored: list[int] = []
        self.value_end = self.finished = self.output = -1
        self.filled = 0
        self.covered = 0  # keys in the sums of groups
        self.heads: list[int] = []
        self.busy = 0
        self.beats = {"estimator": 0, "cross": 0, "value": 0}
        self.stalls = {"key_load": 0, "query_load": 0, "filter": 0}

    def run(self, job: HeadWork) -> None:
        """Add one job."""
        config = self.config
        m, n = job.keep.shape
        load_rows = n if job.load_rows is None else job.load_rows
        accepted = max(self.idle, self.value_end + 1)
        command = accepted + JobSequencer.check_cycles_of(config) + job.begins
        load = load_rows * config.head_dim // config.bus_bytes
        dispatch = command + JobSequencer.command_cycles + KeyValueLoader.overhead + load
        self.idle = dispatch + 1
        if self.scored:
            self.stalls["key_load"] += load
        if job.begins:
            self.covered = 0
        if m == 0:
            self.busy += dispatch - accepted
            return
        self.query_end = command
        if job.weights:
            # The first gap without weight ends the table.
            begin = max(dispatch, self.finished) + 2
            self.filled = begin + (job.weights + 1) * SerialFinisher.fill_cycles
        keys = np.arange(n - m + 1, n + 1) if job.causal else np.full(m, n)
        survivors = np.count_nonzero(job.keep, axis=1)
        previous, first_group, free = self.output, None, dispatch + 1
        for visible, kept in zip(keys.tolist(), survivors.tolist(), strict=True):
            taken = self._estimate(free, visible)
            free = taken + 1
            filtered = taken + self.scorer_latency
            if job.by_mass:
                filtered += SerialRowLimiter.mass_cycles(config, visible)
            first_group = first_group or filtered
            weighed = visible - kept if job.groups else 0
            self._finish(job, filtered + visible + weighed + kept * self.score_cycles, visible, kept)
        self.heads.append(self.output - max(previous, first_group))
        self.busy += self.value_end - accepted
        kept = int(survivors.sum())
        self.beats["estimator"] += int(keys.sum()) * config.dim_slices
        self.beats["cross"] += kept * config.cross_slices
        self.beats["value"] += kept * config.value_slices

    def _estimate(self, free: int, keys: int) -> int:
        """Estimate a row with an estimator that is `free`; return the cycle in which the scorer takes it."""
        config = self.config
        begin = self.query_end + 1
        if len(self.scored) >= config.query_rows:
            begin = max(begin, self.scored[-config.query_rows] + 1)
        self.query_end = begin + config.head_dim // config.bus_bytes - 1
        start = max(free, self.query_end + SerialQueryRing.latency)
        offered = start + keys * config.dim_slices + self.estimator_latency + 1
        taken = max(offered, self.filled, self.scored[-1] + 1 if self.scored else 0)
        self.stalls["query_load"] += start - free
        self.stalls["filter"] += taken - offered
        return taken

    def _finish(self, job: HeadWork, offered: int, visible: int, kept: int) -> None:
        """Finish a row of `visible` keys and `kept` survivors that the scorer has offered."""
        taken = max(offered, self.finished + 1)
        self.scored.append(taken)
        self.value_end = taken + kept * self.survivor_cycles + self._compensate(job, visible)
        self.finished = self.output = self.value_end + self.division_cycles

    def _compensate(self, job: HeadWork, visible: int) -> int:
        """Return the cycles of a row before its first survivor."""
        if not job.groups:
            return 0
        again = visible < self.covered
        new = visible if again else visible - self.covered
        self.covered = visible
        self.beats["value"] += (job.groups + new) * self.config.value_slices
        return SerialFinisher.compensation_cycles_of(self.config, job.groups, new) + again

    def prediction(self) -> Prediction:
        """Return what was found."""
        return Prediction(self.heads, self.output + 1, self.busy, self.beats["estimator"],
                          self.beats["cross"], self.beats["value"], self.stalls)
