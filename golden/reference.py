"""Float64 mathematics beside the integer model, and the error budget that ties the two together."""

import numpy as np

from latte.golden.attention import HeadTrace
from latte.golden.config import AttentionConfig

__all__ = ["MAX_ERROR_V_LSB", "MAX_RELATIVE_RMS", "output_error", "reference_output"]

MAX_RELATIVE_RMS = 0.005
"""Budget per head, relative to the RMS of the float64 output (DESIGN numeric contract, *Output*)."""
MAX_ERROR_V_LSB = 1.0
"""Budget of the largest error of an element, in steps of V."""


def reference_output(trace: HeadTrace, v: np.ndarray, scale: float) -> np.ndarray:
    """Return softmax·V in float64 over the same kept set and the same integer scores.

    Parameters
    ----------
    trace
        Supplies `keep` and `score`.
    v : int8 [n, d]
    scale
        Base-2 exponent of one score step, from `latte.golden.quantizer.softmax_scale`.

    Returns
    -------
    float64 [m, d], in V steps
    """
    exponent = np.where(trace.keep, trace.score - trace.score_max[:, None], -np.inf) * scale
    weights = np.exp2(exponent)
    return (weights / weights.sum(axis=1, keepdims=True)) @ v.astype(np.float64)


def output_error(output: np.ndarray, reference: np.ndarray, config: AttentionConfig) -> tuple[float, float]:
    """Return (relative RMS, largest error in V steps) of output codes against the reference."""
    error = output / (1 << config.fraction_bits) - reference
    power = np.sqrt(np.mean(reference**2))
    rms = float(np.sqrt(np.mean(error**2)))
    return (rms / float(power) if power > 0 else rms), float(np.abs(error).max())
