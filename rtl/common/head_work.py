"""What the cycle models take and give."""

import dataclasses
from typing import Protocol

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import GAP_TABLE_SIZE, NO_COMPENSATION, gap_weights
from latte.golden.thresholds import ThresholdKind

__all__ = ["CycleModel", "HeadWork", "Prediction"]


@dataclasses.dataclass(frozen=True)
class HeadWork:
    """One job of the work list, as far as time depends on it.

    Parameters
    ----------
    keep : bool [m, n]
        Survivors of each query row among all keys.
    causal
        Row ``r`` sees keys ``0 .. n - m + r`` only.
    load_rows
        Keys and values to load; None for all ``n``.
    fresh
        Starts a sequence of its own.
    by_mass
        The threshold is one by mass: a row is weighed before it is filtered.
    groups
        Groups of keys that get the mass of their pruned keys back; 0: no compensation.
    weights
        Gaps that weigh anything by the head's softmax scale, if its estimates are weighed at all.
    """

    keep: np.ndarray
    causal: bool
    load_rows: int | None = None
    fresh: bool = True
    by_mass: bool = False
    groups: int = 0
    weights: int = 0

    @classmethod
    def of_entry(cls, keep: np.ndarray, entry: HeadParameters, config: AttentionConfig, *, causal: bool,
                 load_rows: int | None = None, fresh: bool = True) -> "HeadWork":
        """Return the work of a job with an entry of the register file."""
        by_mass = entry.threshold.kind is ThresholdKind.MASS
        groups = entry.groups.count if entry.gains != NO_COMPENSATION else 0
        weights = 0
        if config.engine != "dense" and (by_mass or groups):
            weights = int(np.count_nonzero(gap_weights(np.arange(2 * GAP_TABLE_SIZE), entry.scale_code, config)))
        return cls(keep, causal, load_rows, fresh, by_mass, groups, weights)

    @property
    def begins(self) -> bool:
        """Whether it starts a sequence, which takes a bank of its own: fresh, or there were no keys before."""
        return self.fresh or self.load_rows in (None, self.keep.shape[1])

    @property
    def visible(self) -> int:
        """Pairs the estimator has to look at."""
        m, n = self.keep.shape
        return m * n - m * (m - 1) // 2 if self.causal else m * n


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Cycles of a work list.

    Parameters
    ----------
    heads : list of int
        Cycles of each job as the testbenches count them: from the previous job's last output, or this one's first
        estimates if later, to its last output.
    total : int
        From the first job's acceptance to the last output, loading included.
    busy : int
        What the core's own counter ``cycles`` shows: until the last value was read.
    estimator_beats, cross_beats, value_beats : int
        Cycles in which each unit works.
    stalls : dict of str to int
        Cycles in which the estimator stands still between its first and last beat, by cause: ``key_load``,
        ``query_load``, ``filter``.
    """

    heads: list[int]
    total: int
    busy: int
    estimator_beats: int
    cross_beats: int
    value_beats: int
    stalls: dict[str, int]


class CycleModel(Protocol):
    """Predicts the cycles of a work list, job by job; made from a configuration, on an idle core."""

    def __init__(self, config: AttentionConfig) -> None: ...

    def run(self, job: HeadWork) -> None:
        """Add one job."""

    def prediction(self) -> Prediction:
        """Return what was found."""
