"""Survivors' scores: the two cross products added to the estimate they already have (LATTE Eq. 9)."""

import numpy as np

from latte.golden.score_estimator import integer_matmul

__all__ = ["compensate_scores", "exact_scores"]


def compensate_scores(
    estimates: np.ndarray,
    q_halves: tuple[np.ndarray, np.ndarray],
    k_halves: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Return ``256 * est + 16 * (q_high . k_low + q_low . k_high)``; the low x low product is skipped.

    Parameters
    ----------
    estimates : int64 [m, n]
    q_halves : (high, low), each int [m, d]
    k_halves : (high, low), each int [n, d]

    Returns
    -------
    int64 [m, n]
    """
    cross = integer_matmul(q_halves[0], k_halves[1].T) + integer_matmul(q_halves[1], k_halves[0].T)
    return 256 * estimates + 16 * cross


def exact_scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the full 8-bit product ``q . k`` that the dense baseline computes, int64 [m, n]."""
    return integer_matmul(q, k.T)
