"""Symmetric int8 quantiser and the integer codes of the per-head real parameters (DESIGN numeric contract)."""

import math

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError

__all__ = ["QK_MAX", "V_MAX", "QUANTIZED_MIN", "SCALE_MANTISSA_BITS", "SCALE_SHIFT_BITS", "SCALE_SHIFT_MAX",
           "quantize", "saturate_qk", "softmax_scale", "softmax_scale_code", "tau_code"]

QK_MAX = 119
"""Largest Q or K element: above it the high half of the balanced split leaves [-8, 7]."""
V_MAX = 127
QUANTIZED_MIN = -128

SCALE_MANTISSA_BITS = 16
SCALE_SHIFT_BITS = 6
SCALE_SHIFT_MAX = 40
"""A larger right shift would clear every product of a score difference and a mantissa."""


def quantize(x: np.ndarray, limit: int = QK_MAX) -> tuple[np.ndarray, np.ndarray]:
    """Quantise each head symmetrically to int8, rounding half to even.

    Parameters
    ----------
    x : float [..., n, d]
    limit
        Integer that the largest magnitude maps to: `QK_MAX` for queries and keys, `V_MAX` for values.

    Returns
    -------
    codes : int8 [..., n, d]
    scale : float32 [...]
        ``x ~ codes * scale``; 1 for a head that is all zero.
    """
    if not np.isfinite(x).all():
        raise LatteError("cannot quantise: the activations hold NaN or infinity")
    absmax = np.abs(x).max(axis=(-2, -1)).astype(np.float64)
    scale = np.where(absmax > 0, absmax / limit, 1.0).astype(np.float32)
    codes = np.rint(x.astype(np.float64) / scale.astype(np.float64)[..., None, None])
    return np.clip(codes, -limit, limit).astype(np.int8), scale


def saturate_qk(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Saturate int8 Q or K elements above 119 as the input port does.

    Returns
    -------
    x : int8, same shape
    saturated
        Whether any element was changed: the port's sticky status bit.
    """
    return np.minimum(x, QK_MAX).astype(np.int8), bool((x > QK_MAX).any())


def tau_code(tau: float, q_scale: float, k_scale: float, config: AttentionConfig) -> int:
    """Return the threshold in units of the integer estimate.

    ``max(1, floor(tau * sqrt(d) / (s_q * s_k * 256) + 0.5))``, saturating at the register; infinity gives all ones.
    `tau` is in units of the scaled score, natural exponent.
    """
    if math.isnan(tau) or tau < 0:
        raise LatteError(f"tau must be zero, positive or +inf, not {tau}")
    if math.isinf(tau):
        return config.tau_keep_all
    code = float(tau) * math.sqrt(config.head_dim) / (float(q_scale) * float(k_scale) * 256) + 0.5
    return config.tau_keep_all if code >= config.tau_keep_all else max(1, math.floor(code))


def softmax_scale(q_scale: float, k_scale: float, head_dim: int) -> float:
    """Return the base-2 exponent of one integer score step, ``s_q * s_k * log2(e) / sqrt(d)``."""
    return float(q_scale) * float(k_scale) * math.log2(math.e) / math.sqrt(head_dim)


def softmax_scale_code(scale: float, config: AttentionConfig) -> tuple[int, int]:
    """Return (mantissa, shift) with ``scale * 2**exp_frac_bits ~ mantissa / 2**shift``.

    The mantissa is normalised to [2**15, 2**16). A scale so large that one score step already clears a weight
    saturates at (2**16 - 1, 0); one so small that no difference of scores changes a weight is (0, 0).
    """
    if not math.isfinite(scale) or scale <= 0:
        raise LatteError(f"the softmax scale must be positive and finite, not {scale}")
    fraction, exponent = math.frexp(scale * (1 << config.exp_frac_bits))
    mantissa = math.floor(fraction * (1 << SCALE_MANTISSA_BITS) + 0.5)
    shift = SCALE_MANTISSA_BITS - exponent
    if mantissa == 1 << SCALE_MANTISSA_BITS:
        mantissa, shift = mantissa >> 1, shift - 1
    if shift < 0:
        return (1 << SCALE_MANTISSA_BITS) - 1, 0
    if shift > SCALE_SHIFT_MAX:
        return 0, 0
    return mantissa, shift
