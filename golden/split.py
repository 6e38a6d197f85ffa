"""Split of an 8-bit element in two 4-bit halves (LATTE Eq. 9 and Algorithm 1)."""

import numpy as np

__all__ = ["split_halves"]


def split_halves(x: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (high, low) halves with ``x = 16 * high + low``.

    Parameters
    ----------
    x : int8, any shape
        For the balanced split at most 119, so that the high half stays in [-8, 7].
    split
        ``"balanced"``: both halves in [-8, 7]. ``"slice"``: high in [-8, 7], low in [0, 15].

    Returns
    -------
    high, low : int64, same shape
    """
    x = x.astype(np.int64)
    high = (x + 8) >> 4 if split == "balanced" else x >> 4
    return high, x - 16 * high
