"""The threshold that keeps a wanted share of keys on given activations, exact on the integer estimates."""

import math

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.quantizer import saturate_qk, tau_code
from latte.golden.score_estimator import estimate_scores
from latte.golden.split import split_halves
from latte.golden.threshold_filter import row_maximum, visible_keys

__all__ = ["tau_for_keep", "tau_from_code"]


def tau_from_code(code: int, q_scale: float, k_scale: float, config: AttentionConfig) -> float:
    """Return the real threshold, rounded to float32, that encodes to `code`."""
    if code >= config.tau_keep_all:
        return math.inf
    tau = float(np.float32(code * float(q_scale) * float(k_scale) * 256 / math.sqrt(config.head_dim)))
    if tau_code(tau, q_scale, k_scale, config) != code:
        raise LatteError(f"tau {tau} does not encode to {code}: the scales {q_scale}, {k_scale} are out of range")
    return tau


def tau_for_keep(q: np.ndarray, k: np.ndarray, q_scale: float, k_scale: float, keep: float, config: AttentionConfig,
                 *, causal: bool) -> float:
    """Return the threshold with which the integer filter keeps the share of visible pairs nearest to `keep`.

    Parameters
    ----------
    q, k : int8 [n, d]
    q_scale, k_scale
        Real value of one step.
    keep
        In (0, 1].
    """
    if not 0 < keep <= 1:
        raise LatteError(f"the share of keys to keep must be above 0 and at most 1, not {keep}")
    q_high, k_high = (split_halves(saturate_qk(x)[0], config.split)[0] for x in (q, k))
    estimate, visible = estimate_scores(q_high, k_high), visible_keys(len(q), len(k), causal)
    gaps = (row_maximum(estimate, visible)[:, None] - estimate)[visible]
    kept = np.cumsum(np.bincount(gaps))
    code = 1 + int(np.argmin(np.abs(kept - keep * gaps.size)))
    return tau_from_code(code, q_scale, k_scale, config)
