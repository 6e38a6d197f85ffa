"""Float64 mathematics beside the integer model, and the error budget that ties the two together."""

import numpy as np

from latte.golden.attention import HeadTrace
from latte.golden.config import AttentionConfig
from latte.golden.thresholds import ThresholdKind

__all__ = ["MAX_RELATIVE_RMS", "MAX_ERROR_V_LSB", "output_error", "reference_keep", "reference_output"]

MAX_RELATIVE_RMS = 0.005
"""Budget per head, relative to the RMS of the float64 output (DESIGN numeric contract, *Output*)."""
MAX_ERROR_V_LSB = 1.0
"""Budget of the largest error of an element, in steps of V."""


def reference_keep(kind: ThresholdKind, tau: float | np.ndarray, estimate: np.ndarray, visible: np.ndarray, step: float,
                   *, slack: float = 0.0) -> np.ndarray:
    """Return which keys survive by float64 mathematics on the integer estimates, bool [m, n].

    Parameters
    ----------
    kind
    tau : float or float64 [m, 1]
        Real threshold of each row.
    estimate : int64 [m, n]
    visible : bool [m, n]
    step
        One estimate step in units of the scaled score.
    slack
        By mass, the share that a key must exceed is larger by this factor less one; a negative one lets more survive.
    """
    scaled = np.where(visible, estimate * step, -np.inf)
    top = scaled.max(axis=1, keepdims=True)
    best = visible & (scaled == top)
    if kind is ThresholdKind.ABSOLUTE:
        return best | (scaled > tau)
    if kind is ThresholdKind.RELATIVE:
        return best | (visible & (top - scaled < tau))
    share = np.exp(scaled - top)
    share /= share.sum(axis=1, keepdims=True)
    return best | (visible & ((share > np.exp(-tau) * (1 + slack)) | np.isposinf(tau)))


def reference_output(trace: HeadTrace, v: np.ndarray, scale: float, *, gains: tuple[float, float] = (0.0, 0.0),
                     membership: np.ndarray | None = None, estimate_shift: int = 8) -> np.ndarray:
    """Return softmax·V in float64 over the same kept set and integer scores, with what pruned keys give back.

    ``(sum w v + g_m sum_g M_g mean_g) / (sum w + g_d sum_g M_g)``, ``M_g`` the mass of the pruned visible keys of group
    ``g`` by their estimates, ``mean_g`` the mean value of its visible keys.

    Parameters
    ----------
    trace
        Supplies `keep`, `score`, `visible` and `estimate`.
    v : int8 [n, d]
    scale
        Base-2 exponent of one score step, from `latte.golden.quantizer.softmax_scale`.
    gains
        (denominator, mean) of the pruned mass.
    membership : bool [n, groups]
        From `latte.golden.key_groups.KeyGroups.membership`; ``None`` is one group.
    estimate_shift
        Of the configuration.

    Returns
    -------
    float64 [m, d], in V steps
    """
    v = v.astype(np.float64)
    top = trace.score_max[:, None]
    weights = np.exp2(np.where(trace.keep, trace.score - top, -np.inf) * scale)
    total, numerator = weights.sum(axis=1, keepdims=True), weights @ v
    if gains != (0.0, 0.0):
        membership = np.ones((len(v), 1), bool) if membership is None else membership
        pruned = trace.visible & ~trace.keep
        by_estimate = (trace.estimate << estimate_shift) - top
        mass = np.exp2(np.where(pruned, by_estimate, -np.inf) * scale) @ membership
        keys = trace.visible.astype(np.float64) @ membership
        sums = np.einsum("mn,ng,nd->mgd", trace.visible, membership, v, optimize=True)
        means = sums / np.maximum(keys, 1)[..., None]
        numerator = numerator + gains[1] * np.einsum("mg,mgd->md", mass, means)
        total = total + gains[0] * mass.sum(axis=1, keepdims=True)
    return numerator / total


def output_error(output: np.ndarray, reference: np.ndarray, config: AttentionConfig) -> tuple[float, float]:
    """Return (relative RMS, largest error in V steps) of output codes against the reference."""
    error = output / (1 << config.fraction_bits) - reference
    power = np.sqrt(np.mean(reference**2))
    rms = float(np.sqrt(np.mean(error**2)))
    return (rms / float(power) if power > 0 else rms), float(np.abs(error).max())
