"""Which keys survive: the gap below the row's largest visible estimate against the row's limit (LATTE Eq. 6)."""

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


def threshold_filter(estimates: np.ndarray, visible: np.ndarray, limit: np.ndarray | int) -> np.ndarray:
    """Return the bool [m, n] mask ``rowmax - est < limit`` over visible keys.

    A row is never empty, and ties with the maximum survive, since a limit is at least 1.

    Parameters
    ----------
    estimates : int64 [m, n]
    visible : bool [m, n]
    limit : int64 [m] or int
        Each row's first gap that is pruned (`latte.golden.row_limit`).
    """
    gap = row_maximum(estimates, visible)[:, None] - estimates
    return visible & (gap < np.reshape(limit, (-1, 1)))
