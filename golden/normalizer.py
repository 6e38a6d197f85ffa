"""Division by the sum of weights: one reciprocal per row from an interpolated table, one product per element."""

import functools

import numpy as np

from latte.golden.config import AttentionConfig

__all__ = ["INTERPOLATION_BITS", "NUMERATOR_FRAC_BITS", "RECIPROCAL_FRAC_BITS", "normalize", "reciprocal",
           "reciprocal_table"]

RECIPROCAL_FRAC_BITS = 17
"""A reciprocal of [1, 2) then is a 17-bit number: one operand of an 18 x 18 signed multiplier."""
INTERPOLATION_BITS = 8
NUMERATOR_FRAC_BITS = 9
"""|numerator / 2**e| < 256, so 9 fraction bits fill the other 18-bit operand."""


@functools.cache
def reciprocal_table(index_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (base, slope) of the reciprocal on [1, 2), each int64 [2**index_bits].

    ``base[i] = min(2**17 - 1, round(2**17 / (1 + i / 2**index_bits)))``; ``slope[i] = base[i] - base[i + 1]``.
    """
    steps = np.arange((1 << index_bits) + 1, dtype=np.float64) / (1 << index_bits)
    base = np.floor((1 << RECIPROCAL_FRAC_BITS) / (1 + steps) + 0.5).astype(np.int64)
    base = np.minimum(base, (1 << RECIPROCAL_FRAC_BITS) - 1)
    return base[:-1], base[:-1] - base[1:]


def reciprocal(weight_sum: np.ndarray, config: AttentionConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return (mantissa, exponent) with ``1 / weight_sum ~ mantissa / 2**(17 + exponent)``.

    The exponent is the place of the leading one; the bits below it, truncated, are the table index and the
    interpolation remainder. Relative error below 2**-15 at the default table size.

    Parameters
    ----------
    weight_sum : int64 [m], positive

    Returns
    -------
    mantissa, exponent : int64 [m]
    """
    exponent = np.frexp(weight_sum.astype(np.float64))[1].astype(np.int64) - 1
    bits = config.reciprocal_bits + INTERPOLATION_BITS
    fraction = ((weight_sum << bits) >> exponent) - (1 << bits)
    base, slope = reciprocal_table(config.reciprocal_bits)
    index, remainder = fraction >> INTERPOLATION_BITS, fraction & ((1 << INTERPOLATION_BITS) - 1)
    step = (slope[index] * remainder + (1 << (INTERPOLATION_BITS - 1))) >> INTERPOLATION_BITS
    return base[index] - step, exponent


def normalize(accumulated: np.ndarray, weight_sum: np.ndarray, config: AttentionConfig) -> np.ndarray:
    """Return ``accumulated / weight_sum`` in steps of ``2**-fraction_bits`` of one V step.

    The numerator is truncated to 9 fraction bits after division by the power of two below the sum, multiplied by
    the reciprocal, rounded half up, and limited to the output width (reachable only by rounding, at -128).

    Parameters
    ----------
    accumulated : int64 [m, d]
    weight_sum : int64 [m]

    Returns
    -------
    int64 [m, d]
    """
    mantissa, exponent = reciprocal(weight_sum, config)
    numerator = (accumulated << NUMERATOR_FRAC_BITS) >> exponent[:, None]
    drop = RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits
    quotient = (numerator * mantissa[:, None] + (1 << (drop - 1))) >> drop
    limit = 1 << (config.out_bits - 1)
    return np.clip(quotient, -limit, limit - 1)
