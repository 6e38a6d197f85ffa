"""Symmetric int8 quantiser and the integer codes of the per-head real parameters (DESIGN numeric contract)."""

import math

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError

__all__ = ["MASS_CODE_BITS", "MASS_KEEP_ALL", "QK_MAX", "QUANTIZED_MIN", "SCALE_MANTISSA_BITS", "SCALE_SHIFT_BITS",
           "SCALE_SHIFT_MAX", "THETA_FRAC_BITS", "V_MAX", "absolute_code", "mass_code", "quantize",
           "saturate_qk", "softmax_scale", "softmax_scale_code", "tau_code"]

QK_MAX = 119
"""Largest Q or K element with 4-bit halves: above it the high half of the balanced split leaves [-8, 7]."""
V_MAX = 127
QUANTIZED_MIN = -128

SCALE_MANTISSA_BITS = 16
SCALE_SHIFT_BITS = 6
SCALE_SHIFT_MAX = 40
"""A larger right shift would clear every product of a score difference and a mantissa."""

THETA_FRAC_BITS = 8
"""Steps of an octave of theta: its rounding stays below 0.2 %."""
MASS_CODE_BITS = 14
MASS_KEEP_ALL = (1 << MASS_CODE_BITS) - 1
"""The all-ones code of a threshold by mass: theta is 0 and every key survives, even one without weight."""


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


def saturate_qk(x: np.ndarray, limit: int = QK_MAX) -> tuple[np.ndarray, bool]:
    """Saturate int8 Q or K elements above `limit` as the input port does.

    Returns
    -------
    x : int8, same shape
    saturated
        Whether any element was changed: the port's sticky status bit.
    """
    return np.minimum(x, limit).astype(np.int8), bool((x > limit).any())


def tau_code(tau: float, q_scale: float, k_scale: float, config: AttentionConfig) -> int:
    """Return the threshold below the row's largest estimate, in units of the integer estimate.

    ``max(1, floor(tau * sqrt(d) / (s_q * s_k * 256) + 0.5))`` with 4-bit halves, saturating at the register; infinity
    gives all ones. `tau` is in units of the scaled score, natural exponent.
    """
    _check_tau(tau)
    if math.isinf(tau):
        return config.tau_keep_all
    code = _in_steps(tau, q_scale, k_scale, config) + 0.5
    return config.tau_keep_all if code >= config.tau_keep_all else max(1, math.floor(code))


def mass_code(tau: float) -> int:
    """Return the code ``256 e + f`` of ``theta = exp(-tau) ~ (512 - f) / 512 * 2**-e``.

    ``f``, of `THETA_FRAC_BITS` bits, is rounded half up. A larger code is a smaller theta and keeps more. Finite
    `tau` saturate one below `MASS_KEEP_ALL`, which is infinity's.
    """
    _check_tau(tau)
    if math.isinf(tau):
        return MASS_KEEP_ALL
    octaves = float(tau) * math.log2(math.e)
    whole = math.floor(octaves)
    step = math.floor((1 - 2.0 ** (whole - octaves)) * (2 << THETA_FRAC_BITS) + 0.5)
    return min((whole << THETA_FRAC_BITS) + step, MASS_KEEP_ALL - 1)


def absolute_code(tau: float, q_scale: float, k_scale: float, config: AttentionConfig) -> int:
    """Return `tau` in steps of the estimate, rounded down, signed, limited to `est_bits`.

    An integer estimate is above the code if and only if it is above `tau`, within the register's range.

    `tau` is in units of the scaled score, natural exponent, of any sign; minus infinity keeps every key, plus infinity
    the best of each row.
    """
    if math.isnan(tau):
        raise LatteError("tau must be a number, not nan")
    limit = 1 << (config.est_bits - 1)
    code = _in_steps(tau, q_scale, k_scale, config)
    return int(min(max(math.floor(code) if math.isfinite(code) else code, -limit), limit - 1))


def _in_steps(tau: float, q_scale: float, k_scale: float, config: AttentionConfig) -> float:
    return float(tau) * math.sqrt(config.head_dim) / (float(q_scale) * float(k_scale) * (1 << config.estimate_shift))


def _check_tau(tau: float) -> None:
    if math.isnan(tau) or tau < 0:
        raise LatteError(f"tau must be zero, positive or +inf, not {tau}")


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
