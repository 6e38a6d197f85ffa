"""Top-Theta (arXiv 2502.08363): calibrated absolute thresholds, and three ways to restore the denominator."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.softmax import power_of_two

__all__ = ["SHARE_FRAC_BITS", "Calibration", "MassCalibration", "ThetaTables", "denominator_exact",
           "denominator_exp_threshold", "denominator_offline", "theta_codes", "theta_filter"]

SHARE_FRAC_BITS = 8

_NOTHING: Any = None  # of the sums below, which are arrays as soon as they are made


@dataclasses.dataclass
class Calibration:
    """Statistics of the k-th largest score, by head and row length.

    Parameters
    ----------
    keep
        Share of visible keys to keep: ``k = ceil(keep * length)``.
    heads, lengths
        Of the tables; row lengths are 1 to `lengths`.
    count, total, squares : float64 [heads, lengths]
        Sums so far, over rows; zeros if not given.
    """

    keep: float
    heads: int
    lengths: int
    count: np.ndarray = _NOTHING
    total: np.ndarray = _NOTHING
    squares: np.ndarray = _NOTHING

    SUMS: ClassVar = ("count", "total", "squares")

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise LatteError(f"the share of keys to keep must be above 0 and at most 1, not {self.keep}")
        for name in self.SUMS:
            if getattr(self, name) is _NOTHING:
                setattr(self, name, np.zeros((self.heads, self.lengths)))

    def add(self, score: np.ndarray, visible: np.ndarray) -> None:
        """Take in the scaled scores of some sequences.

        Parameters
        ----------
        score : float [batch, heads, m, n]
        visible : bool [m, n]
        """
        lengths = visible.sum(-1)
        ordered = -np.sort(-np.where(visible, score, -np.inf), axis=-1)
        rank = np.array([math.ceil(self.keep * int(length) - 1e-9) - 1 for length in lengths])
        kth = ordered[..., np.arange(len(rank)), rank].astype(np.float64)
        for table, values in ((self.count, np.ones_like(kth)), (self.total, kth), (self.squares, kth**2)):
            np.add.at(table.T, lengths - 1, values.sum(0).astype(table.dtype).T)

    def theta(self, deviations: float = 0.0) -> np.ndarray:
        """Return ``mean + deviations * std`` of each row length, float64 [heads, lengths].

        A length that never occurred takes the next shorter one's value, or the first that did.
        """
        if not self.count.any():
            raise LatteError("no scores were seen; calibrate on at least one sequence")
        mean = self.total / np.maximum(self.count, 1)
        spread = np.sqrt(np.maximum(self.squares / np.maximum(self.count, 1) - mean**2, 0))
        theta = mean + deviations * spread
        seen = np.where(self.count > 0, np.arange(self.lengths), -1)
        source = np.maximum.accumulate(seen, axis=1)
        source = np.where(source < 0, (self.count > 0).argmax(1)[:, None], source)
        return np.take_along_axis(theta, source, 1)


@dataclasses.dataclass(frozen=True)
class ThetaTables:
    """Everything calibrated for Top-Theta.

    Parameters
    ----------
    theta : float64 [..., heads, lengths]
        Thresholds on the scaled score; entry ``l - 1`` for rows of ``l`` visible keys.
    share : float64 [..., heads]
        What a pruned key weighs on average, over its weight at the threshold.
    ratio : float64 [..., heads, lengths]
        Pruned over surviving mass.
    """

    theta: np.ndarray
    share: np.ndarray
    ratio: np.ndarray

    def share_codes(self) -> np.ndarray:
        """Return `share` as `denominator_exp_threshold` takes it, int64."""
        return np.floor(self.share * (1 << SHARE_FRAC_BITS) + 0.5).astype(np.int64)

    def ratio_codes(self) -> np.ndarray:
        """Return `ratio` as `denominator_offline` takes it, int64."""
        return np.floor(self.ratio * (1 << SHARE_FRAC_BITS) + 0.5).astype(np.int64)


@dataclasses.dataclass
class MassCalibration:
    """Statistics of the mass that given thresholds prune.

    Parameters
    ----------
    theta : float64 [heads, lengths]
    ratios, rows : float64 [heads, lengths]
        Sums so far of pruned over surviving mass, and of rows; zeros if not given.
    shares, pruned : float64 [heads]
        Sums so far of pruned keys' weights over the weight at the threshold, and of pruned keys.
    """

    theta: np.ndarray
    ratios: np.ndarray = _NOTHING
    rows: np.ndarray = _NOTHING
    shares: np.ndarray = _NOTHING
    pruned: np.ndarray = _NOTHING

    SUMS: ClassVar = ("ratios", "rows", "shares", "pruned")

    def __post_init__(self) -> None:
        for name in self.SUMS:
            if getattr(self, name) is _NOTHING:
                setattr(self, name, np.zeros(self.theta.shape if name in ("ratios", "rows") else len(self.theta)))

    def add(self, score: np.ndarray, visible: np.ndarray) -> None:
        """Take in the scaled scores of some sequences.

        Parameters
        ----------
        score : float [batch, heads, m, n]
        visible : bool [m, n]
        """
        lengths = visible.sum(-1)
        theta = self.theta[:, lengths - 1, None]
        keep = theta_filter(score, visible, theta[..., 0])
        pruned = visible & ~keep
        # Relative to the row's largest score, so that no exponential overflows.
        peak = np.where(visible, score, -np.inf).max(-1, keepdims=True)
        weight = np.where(visible, np.exp(score - peak), 0)
        pruned_mass, kept_mass = (weight * pruned).sum(-1), (weight * keep).sum(-1)
        np.add.at(self.ratios.T, lengths - 1, (pruned_mass / kept_mass).sum(0).T)
        np.add.at(self.rows.T, lengths - 1, float(len(score)))
        at_threshold = np.exp(np.minimum(theta - peak, 0))[..., 0]
        self.shares += (pruned_mass / at_threshold).sum((0, 2))
        self.pruned += pruned.sum((0, 2, 3))

    def tables(self) -> ThetaTables:
        """Return the thresholds with share and ratio; a length that never occurred takes the next shorter one's."""
        ratio = self.ratios / np.maximum(self.rows, 1)
        seen = np.maximum.accumulate(np.where(self.rows > 0, np.arange(ratio.shape[1]), 0), axis=1)
        return ThetaTables(self.theta, self.shares / np.maximum(self.pruned, 1), np.take_along_axis(ratio, seen, 1))


def theta_codes(theta: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return ``floor(theta / step)``: for an integer score, ``score * step > theta`` is ``score > code``.

    Parameters
    ----------
    theta : float64 [..., rows]
    step : float64 [..., 1]
        Scaled score of one integer step.
    """
    return np.floor(theta / step).astype(np.int64)


def theta_filter(score: np.ndarray, visible: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the bool [..., m, n] mask ``score > code`` over visible keys.

    A row without survivor keeps its first key of largest score, so that the division is defined.

    Parameters
    ----------
    score : [..., m, n], integer-valued
    visible : bool [m, n]
    codes : int64 [..., m]
    """
    keep: np.ndarray = visible & (score > codes[..., None])
    best = np.where(visible, score, -np.inf).argmax(-1)
    return keep | (np.logical_not(keep.any(-1))[..., None] & (np.arange(score.shape[-1]) == best[..., None]))


def denominator_exact(score: np.ndarray, score_max: np.ndarray, pruned: np.ndarray, scale_code: tuple[int, int],
                      config: AttentionConfig) -> np.ndarray:
    """Return the pruned keys' weights summed, relative to the largest survivor, int64 [m].

    Parameters
    ----------
    score : int64 [m, n]
    score_max : int64 [m]
    pruned : bool [m, n]
    """
    delta = np.where(pruned, score_max[:, None] - score, 0)
    return np.where(pruned, power_of_two(delta, scale_code, config), 0).sum(axis=1)


def denominator_exp_threshold(pruned_count: np.ndarray, codes: np.ndarray, score_max: np.ndarray, share: int,
                              scale_code: tuple[int, int], config: AttentionConfig) -> np.ndarray:
    """Return ``count * weight(threshold) * share / 2**SHARE_FRAC_BITS``, rounded half up, int64 [m].

    Every pruned key is taken to weigh a calibrated share of what it would weigh at the threshold, so no score of a
    pruned key is needed. A threshold above the largest survivor counts as equal to it.
    """
    weight = power_of_two(np.maximum(score_max - codes, 0), scale_code, config)
    return (pruned_count * weight * share + (1 << (SHARE_FRAC_BITS - 1))) >> SHARE_FRAC_BITS


def denominator_offline(weight_sum: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Return ``weight_sum * ratio / 2**SHARE_FRAC_BITS``, rounded half up, int64 [m].

    Parameters
    ----------
    weight_sum : int64 [m]
        Of the survivors.
    ratio : int64 [m]
        Calibrated pruned mass over surviving mass for the row's length.
    """
    return (weight_sum * ratio + (1 << (SHARE_FRAC_BITS - 1))) >> SHARE_FRAC_BITS
