"""What one head's int8 operands must be: checked before anything is computed, loaded or sent."""

from typing import Any

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError

__all__ = ["check_head", "check_rows"]


def check_rows(name: str, rows: Any, head_dim: int) -> None:
    """Check that `rows` is an int8 array [any number, head_dim].

    Parameters
    ----------
    name
        ``q``, ``k`` or ``v``, for the message.

    Raises
    ------
    LatteError
    """
    if not isinstance(rows, np.ndarray) or rows.dtype != np.int8:
        kind = rows.dtype if isinstance(rows, np.ndarray) else type(rows).__name__
        raise LatteError(f"{name!r} must be an int8 array, not {kind}; quantise it with "
                         "latte.golden.quantizer.quantize")
    if rows.ndim != 2 or rows.shape[1] != head_dim:
        raise LatteError(f"{name!r} must have shape [rows, head_dim = {head_dim}], not {rows.shape}; give one head, "
                         "and a configuration of its head_dim")


def check_head(q: Any, k: Any, v: Any, config: AttentionConfig, *, causal: bool) -> None:
    """Check the operands of one head.

    Parameters
    ----------
    q : int8 [m, d], m >= 1
    k, v : int8 [n, d], n from 1 to the configuration's max_seq_len
    causal
        The queries are the last positions, so ``m <= n``.

    Raises
    ------
    LatteError
    """
    for name, rows in (("q", q), ("k", k), ("v", v)):
        check_rows(name, rows, config.head_dim)
        if not len(rows):
            raise LatteError(f"{name!r} has no rows; a head needs one query and one key at least")
    if len(k) != len(v):
        raise LatteError(f"'k' has {len(k)} rows, but 'v' has {len(v)}; give a value for each key")
    if len(k) > config.max_seq_len:
        raise LatteError(f"'k' has {len(k)} rows, but the configuration {config.name!r} holds at most "
                         f"{config.max_seq_len}; choose more with max_seq_len")
    if causal and len(q) > len(k):
        raise LatteError(f"a causal head of {len(q)} queries and {len(k)} keys: the queries are the last positions, so "
                         "they may not outnumber the keys; give fewer queries or all their keys")
