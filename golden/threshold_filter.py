"""Which keys survive: row maximum of the visible estimates and the head's threshold (LATTE Eq. 6)."""

import numpy as np

__all__ = ["row_maximum", "threshold_filter", "visible_keys"]


def visible_keys(rows: int, keys: int, causal: bool) -> np.ndarray:
    """Return the bool [rows, keys] mask of the keys each query may see.

    The queries are the last `rows` positions: causal query ``r`` sees keys ``0 .. keys - rows + r``.
    """
    last = np.arange(keys - rows, keys)[:, None] if causal else np.full((rows, 1), keys - 1)
    return np.arange(keys)[None, :] <= last


def row_maximum(estimates: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return the largest visible estimate of each row, int64 [m]."""
    return np.where(visible, estimates, np.iinfo(np.int64).min).max(axis=1)


def threshold_filter(estimates: np.ndarray, visible: np.ndarray, tau: int) -> np.ndarray:
    """Return the bool [m, n] mask ``est > rowmax - tau`` over visible keys.

    A row is never empty, and ties with the maximum survive at ``tau = 1``. The all-ones code exceeds the range of
    estimates, so it keeps every key by the same comparison.
    """
    return visible & (estimates > (row_maximum(estimates, visible) - tau)[:, None])
