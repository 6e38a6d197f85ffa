"""Cycle model of the serial engine: three stages with one row each, every step of a known length."""

import dataclasses

import numpy as np

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.head_work import HeadWork, Prediction

__all__ = ["SerialLatencies", "SerialCycleModel"]


@dataclasses.dataclass(frozen=True)
class SerialLatencies:
    """Cycles, one field per constant of a block; ``tests/golden/test_latencies.py`` holds each to its block.

    Parameters
    ----------
    estimator
        From a slice's address to its place in the sum.
    score
        Of a survivor in the scorer, besides the cycle of every key.
    survivor
        Of a survivor in the finisher.
    division
        From a row's last value to its last output.
    """

    estimator: int
    score: int
    survivor: int
    division: int

    @classmethod
    def of(cls, config: AttentionConfig) -> "SerialLatencies":
        """Return the figures of a build."""
        reciprocal = config.sum_bits - config.weight_bits + 2
        return cls(estimator=ceil_log2(config.dim_lanes) + 4, score=config.compensation_slices + 2,
                   survivor=config.value_slices + 5,
                   division=reciprocal + config.value_slices * (1 + 4 * config.value_lanes))


class SerialCycleModel:
    """The core, one row after the other; cycles count from the first job's acceptance."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latencies = SerialLatencies.of(config)
        self.idle = 0
        self.query_end = -1
        self.offered: list[int] = []  # by the estimator, and accepted by the scorer
        self.scored: list[int] = []
        self.value_end = self.finished = self.output = -1
        self.heads: list[int] = []
        self.busy = 0
        self.beats = {"estimator": 0, "compensation": 0, "value": 0}
        self.stalls = {"key_load": 0, "query_load": 0, "filter": 0}

    def run(self, job: HeadWork) -> None:
        """Add one job."""
        config = self.config
        m, n = job.keep.shape
        load_rows = n if job.load_rows is None else job.load_rows
        accepted = max(self.idle, self.value_end + 1)
        command = accepted + 5 + job.fresh
        load = load_rows * config.head_dim // config.bus_bytes
        dispatch = command + load + 4
        self.idle = dispatch + 1
        if self.scored:
            self.stalls["key_load"] += load
        if m == 0:
            self.busy += dispatch - accepted
            return
        self.query_end = command
        keys = np.arange(n - m + 1, n + 1) if job.causal else np.full(m, n)
        survivors = np.count_nonzero(job.keep, axis=1)
        previous, first_group, free = self.output, None, dispatch + 1
        for visible, kept in zip(keys.tolist(), survivors.tolist(), strict=True):
            taken = self._estimate(free, visible)
            free = taken + 1
            first_group = first_group or taken + 2
            self._finish(taken + 2 + visible + kept * self.latencies.score, kept)
        self.heads.append(self.output - max(previous, first_group))
        self.busy += self.value_end - accepted
        kept = int(survivors.sum())
        self.beats["estimator"] += int(keys.sum()) * config.dim_slices
        self.beats["compensation"] += kept * config.compensation_slices
        self.beats["value"] += kept * config.value_slices

    def _estimate(self, free: int, keys: int) -> int:
        """Estimate a row with an estimator that is `free`; return the cycle in which the scorer takes it."""
        config = self.config
        begin = self.query_end + 1
        if len(self.scored) >= config.query_rows:
            begin = max(begin, self.scored[-config.query_rows] + 1)
        self.query_end = begin + config.head_dim // config.bus_bytes - 1
        start = max(free, self.query_end + 3)
        offered = start + keys * config.dim_slices + self.latencies.estimator + 1
        taken = max(offered, self.scored[-1] + 1 if self.scored else 0)
        self.stalls["query_load"] += start - free
        self.stalls["filter"] += taken - offered
        return taken

    def _finish(self, offered: int, kept: int) -> None:
        """Finish a row of `kept` survivors that the scorer has offered."""
        taken = max(offered, self.finished + 1)
        self.scored.append(taken)
        self.value_end = taken + kept * self.latencies.survivor
        self.finished = self.output = self.value_end + self.latencies.division

    def prediction(self) -> Prediction:
        """Return what was found."""
        return Prediction(self.heads, self.output + 1, self.busy, self.beats["estimator"],
                          self.beats["compensation"], self.beats["value"], self.stalls)
