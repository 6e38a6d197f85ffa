"""What the cycle models take and give."""

import dataclasses
from typing import Protocol

import numpy as np

from latte.golden.config import AttentionConfig

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
    """

    keep: np.ndarray
    causal: bool
    load_rows: int | None = None
    fresh: bool = True

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
