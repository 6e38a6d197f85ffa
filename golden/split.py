"""Split of an 8-bit element in a high part that makes the estimate and the low rest (LATTE Eq. 9 and Algorithm 1)."""

import numpy as np

__all__ = ["split_halves"]


def split_halves(x: np.ndarray, split: str, bits: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return (high, low) parts with ``x = 2**(8 - bits) * high + low``.

    Parameters
    ----------
    x : int8, any shape
        For the balanced split at most ``127 - 2**(7 - bits)`` (119 for 4 bits), so that the high part stays in range.
    split
        ``"balanced"``: both parts signed, of `bits` and ``8 - bits`` bits. ``"slice"``: low part not negative.
    bits
        Width of the high part.

    Returns
    -------
    high, low : int64, same shape
    """
    x, drop = x.astype(np.int64), 8 - bits
    high = (x + (1 << (drop - 1) if split == "balanced" else 0)) >> drop
    return high, x - (high << drop)
