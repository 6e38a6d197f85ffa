"""Top-Theta (arXiv 2502.08363): calibrated absolute thresholds, and three ways to restore the denominator."""

import dataclasses
import math

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.softmax import power_of_two

__all__ = ["SHARE_FRAC_BITS", "Calibration", "denominator_exact", "denominator_exp_threshold", "denominator_offline",
           "theta_codes", "theta_filter"]

SHARE_FRAC_BITS = 8


@dataclasses.dataclass
class Calibration:
    """Statistics of the k-th largest score, by head and row length.

    Parameters
    ----------
    keep
        Share of visible keys to keep: ``k = ceil(keep * length)``.
    heads, lengths
        Of the tables; row lengths are 1 to `lengths`.
    """

    keep: float
    heads: int
    lengths: int

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise LatteError(f"the share of keys to keep must be above 0 and at most 1, not {self.keep}")
        self.count = np.zeros((self.heads, self.lengths), np.int64)
        self.total = np.zeros((self.heads, self.lengths))
        self.squares = np.zeros((self.heads, self.lengths))

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
            np.add.at(table, (slice(None), lengths - 1), values.sum(0).astype(table.dtype))

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
    keep = visible & (score > codes[..., None])
    best = np.where(visible, score, -np.inf).argmax(-1)
    return keep | (~keep.any(-1)[..., None] & (np.arange(score.shape[-1]) == best[..., None]))


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
