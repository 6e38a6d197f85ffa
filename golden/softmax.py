"""Integer base-2 softmax weights relative to the row's largest surviving score."""

import functools

import numpy as np

from latte.golden.config import AttentionConfig

__all__ = ["exp2_table", "power_of_two", "score_maximum", "softmax_weights"]


@functools.cache
def exp2_table(weight_bits: int, frac_bits: int) -> np.ndarray:
    """Return ``round((2**weight_bits - 1) * 2**(-i / 2**frac_bits))``, int64 [2**frac_bits]."""
    steps = np.arange(1 << frac_bits, dtype=np.float64) / (1 << frac_bits)
    return np.floor(((1 << weight_bits) - 1) * np.exp2(-steps) + 0.5).astype(np.int64)


def score_maximum(scores: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return the largest surviving score of each row, int64 [m].

    It need not belong to the key with the largest estimate.
    """
    return np.where(keep, scores, np.iinfo(np.int64).min).max(axis=1)


def power_of_two(delta: np.ndarray, scale_code: tuple[int, int], config: AttentionConfig, *, more_bits: int = 0
                 ) -> np.ndarray:
    """Return ``(2**weight_bits - 1) * 2**(-scale * delta)`` as an unsigned weight.

    With ``(M, s)`` the scale code: ``t = (delta * M + half(s)) >> s`` is the exponent with `exp_frac_bits` fraction
    bits; its fraction indexes the table of powers, its integer part shifts the entry right, rounding half up.

    Parameters
    ----------
    delta : int64, any shape, not negative
        Distance below the maximum, in score steps.
    scale_code
        (mantissa, shift) from `latte.golden.quantizer.softmax_scale_code`.
    more_bits
        Fraction bits of the result, below one weight step.
    """
    mantissa, shift = scale_code
    exponent = (delta * mantissa + ((1 << shift) >> 1)) >> shift
    octaves = np.minimum(exponent >> config.exp_frac_bits, config.weight_bits + 1 + more_bits)
    entry = exp2_table(config.weight_bits, config.exp_frac_bits)[exponent & ((1 << config.exp_frac_bits) - 1)]
    entry = entry << more_bits
    return (entry + ((np.int64(1) << octaves) >> 1)) >> octaves


def softmax_weights(
    scores: np.ndarray, keep: np.ndarray, scale_code: tuple[int, int], config: AttentionConfig
) -> np.ndarray:
    """Return the unsigned weights ``~ (2**weight_bits - 1) * 2**(-scale * (max - score))``.

    Parameters
    ----------
    scores : int64 [m, n]
    keep : bool [m, n]
        At least one survivor in each row.
    scale_code
        (mantissa, shift) from `latte.golden.quantizer.softmax_scale_code`.

    Returns
    -------
    int64 [m, n]
        0 where not kept; a row's largest is ``2**weight_bits - 1``.
    """
    delta = np.where(keep, score_maximum(scores, keep)[:, None] - scores, 0)
    return np.where(keep, power_of_two(delta, scale_code, config), 0)
