"""Compensation for pruned keys: their softmax mass, from the estimates, goes back in the denominator and the output.

Top-Theta (arXiv 2502.08363) restores the softmax denominator and adds ``(1 - sum p) * mean(V)``. In LATTE the estimates
of the pruned keys are there anyway, so their mass is known row by row::

    filter scan:   M0[g] = sum of W(rowmax - est) over pruned keys of group g    relative to the row's largest estimate
    softmax:       M[g]  = M0[g] * 2**(scale * (256 * rowmax - score_max))       to its largest score
    normaliser:    out = (sum w v + g_m * sum_g M[g] * mean_g(V)) / (sum w + g_d * sum_g M[g])    g_d, g_m per head

The means are those of the visible keys of each group (`latte.golden.key_groups`), of all keys if there is one group. A
group enters P·V as one virtual survivor: its value vector is the group's running sum of V, 18 bits for 1024 keys, and
its weight the mass per key, so a causal head needs no vector division per row. The virtual survivors are accumulated
first, so that their fraction bits are rounded away once.
"""

import dataclasses
import math

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.normalizer import RECIPROCAL_FRAC_BITS, reciprocal
from latte.golden.quantizer import SCALE_MANTISSA_BITS, softmax_scale_code
from latte.golden.score_estimator import integer_matmul
from latte.golden.softmax import exp2_table, power_of_two

__all__ = ["GAIN_FRAC_BITS", "GAIN_MAX", "GAP_TABLE_SIZE", "MASS_FRAC_BITS", "NO_COMPENSATION", "UNIT_BITS",
           "UNIT_FRAC_BITS", "Gains", "accumulate_virtual_survivors", "apply_gain", "gap_weights", "group_value_sums",
           "least_held_scale", "pruned_mass", "rescale_mass", "table_holds", "unit_weight"]

MASS_FRAC_BITS = 6
"""A pruned key's weight is summed this much finer than a survivor's: rescaling may enlarge it many times."""
GAP_TABLE_SIZE = 512
"""Gaps of which the hardware's table has the weight; beyond, a weight may be one step or none."""
GAIN_FRAC_BITS = 6
GAIN_MAX = 255
"""Gains are unsigned 8-bit codes in steps of 1/64: 0 to 3.98."""
UNIT_FRAC_BITS = 5
UNIT_BITS = 17
"""The virtual survivor's weight: the range of a survivor's and 5 bits finer, one operand of an 18-bit multiplier."""


@dataclasses.dataclass(frozen=True)
class Gains:
    """Head-wise gain codes, in steps of ``2**-GAIN_FRAC_BITS``.

    Parameters
    ----------
    denominator
        Of the pruned mass in the denominator.
    mean
        Of the pruned mass on mean(V); at most `denominator`, or the quotient could leave the range of V.
    """

    denominator: int
    mean: int

    def __post_init__(self) -> None:
        if not 0 <= self.mean <= self.denominator <= GAIN_MAX:
            raise LatteError(f"gain codes must satisfy 0 <= mean <= denominator <= {GAIN_MAX}, not mean = {self.mean}, "
                             f"denominator = {self.denominator}")

    @classmethod
    def encode(cls, denominator: float, mean: float) -> "Gains":
        """Encode real gains, rounding half up and saturating at the register."""
        codes = [min(GAIN_MAX, int(np.floor(gain * (1 << GAIN_FRAC_BITS) + 0.5))) for gain in (denominator, mean)]
        return cls(*codes)


NO_COMPENSATION = Gains(0, 0)


def gap_weights(gap: np.ndarray, scale_code: tuple[int, int], config: AttentionConfig) -> np.ndarray:
    """Return the weight of a key whose estimate lies `gap` below the largest, in ``2**-MASS_FRAC_BITS`` weight steps.

    Parameters
    ----------
    gap : int64, any shape, not negative
    scale_code
        The head's softmax scale (mantissa, shift), the same as of the survivors.
    """
    return power_of_two(gap << config.estimate_shift, scale_code, config, more_bits=MASS_FRAC_BITS)


def table_holds(scale_code: tuple[int, int], config: AttentionConfig) -> bool:
    """Return whether the hardware's table has a head's `gap_weights`: the last entry is one step or none.

    A scale that is so small that far gaps still weigh something is one by which a row's best estimate says little. The
    mantissa must be normalised, as `latte.golden.quantizer.softmax_scale_code` leaves it.
    """
    normalised = scale_code[0] >> (SCALE_MANTISSA_BITS - 1) == 1
    return normalised and bool(gap_weights(np.array([GAP_TABLE_SIZE - 1]), scale_code, config)[0] <= 1)


def least_held_scale(config: AttentionConfig) -> float:
    """Return the smallest softmax scale that `table_holds`, in octaves of weight per step of the score."""
    low, high = 2.0 ** -30, 1.0
    while high / low > 1 + 2.0 ** -20:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if table_holds(softmax_scale_code(middle, config), config) else (middle, high)
    return high


def pruned_mass(estimates: np.ndarray, row_max: np.ndarray, pruned: np.ndarray, membership: np.ndarray,
                scale_code: tuple[int, int], config: AttentionConfig) -> np.ndarray:
    """Return each group's sum of the weights of pruned keys, relative to the row's largest estimate.

    In ``2**-MASS_FRAC_BITS`` weight steps, int64 [m, groups].

    Parameters
    ----------
    estimates : int64 [m, n]
    row_max : int64 [m]
    pruned : bool [m, n]
        Visible and not kept.
    membership : bool [n, groups]
    """
    gap = np.where(pruned, row_max[:, None] - estimates, 0)
    return integer_matmul(np.where(pruned, gap_weights(gap, scale_code, config), 0), membership)


def rescale_mass(row_mass: np.ndarray, row_max: np.ndarray, score_max: np.ndarray, scale_code: tuple[int, int],
                 config: AttentionConfig) -> np.ndarray:
    """Return the masses relative to the largest surviving score, which may lie above or below the largest estimate.

    ``row_mass * table[fraction] / 2**(MASS_FRAC_BITS + weight_bits + octaves)``, rounded half up, in weight steps,
    saturating at `sum_bits`; int64 [m, groups].

    Parameters
    ----------
    row_mass : int64 [m, groups]
    row_max, score_max : int64 [m]
    """
    mantissa, shift = scale_code
    exponent = (((score_max - (row_max << config.estimate_shift)) * mantissa + ((1 << shift) >> 1)) >> shift)[:, None]
    entry = exp2_table(config.weight_bits, config.exp_frac_bits)[exponent & ((1 << config.exp_frac_bits) - 1)]
    limit = (1 << config.sum_bits) - 1
    octaves = np.clip(exponent >> config.exp_frac_bits, -config.sum_bits, config.sum_bits)
    right = np.maximum(MASS_FRAC_BITS + config.weight_bits + octaves, 0)
    left = np.maximum(-MASS_FRAC_BITS - config.weight_bits - octaves, 0)
    scaled = (((row_mass * entry) << left) + ((np.int64(1) << right) >> 1)) >> right
    return np.minimum(scaled, limit)


def group_value_sums(v: np.ndarray, visible: np.ndarray, membership: np.ndarray) -> np.ndarray:
    """Return the sums of the visible values of each group, the virtual survivors' value vectors, int64 [m, groups, d].

    Parameters
    ----------
    v : int8 [n, d]
    visible : bool [m, n]
    membership : bool [n, groups]
    """
    return np.stack([integer_matmul(visible[:, of_group], v[of_group]) for of_group in membership.T], 1)


def apply_gain(mass: np.ndarray, gain: int) -> np.ndarray:
    """Return ``mass * gain / 2**GAIN_FRAC_BITS``, rounded half up, int64 of the same shape."""
    return (mass * gain + (1 << (GAIN_FRAC_BITS - 1))) >> GAIN_FRAC_BITS


def unit_weight(mass: np.ndarray, keys: np.ndarray, config: AttentionConfig) -> np.ndarray:
    """Return the mass per visible key with `UNIT_FRAC_BITS` fraction bits, rounded half up, saturating at `UNIT_BITS`.

    The division uses the normaliser's reciprocal. A group without visible key has no mass.

    Parameters
    ----------
    mass : int64 [m, groups]
    keys : int64 [m, groups]
        Visible keys of each group.
    """
    mantissa, exponent = reciprocal(np.maximum(keys, 1), config)
    drop = RECIPROCAL_FRAC_BITS - UNIT_FRAC_BITS + exponent
    return np.minimum((mass * mantissa + (np.int64(1) << (drop - 1))) >> drop, (1 << UNIT_BITS) - 1)


def accumulate_virtual_survivors(accumulated: np.ndarray, unit: np.ndarray, value_sum: np.ndarray) -> np.ndarray:
    """Return ``accumulated + sum_g unit * value_sum / 2**UNIT_FRAC_BITS``, the sum rounded half up once, int64 [m, d].

    Parameters
    ----------
    accumulated : int64 [m, d]
    unit : int64 [m, groups]
    value_sum : int64 [m, groups, d]
    """
    virtual = np.einsum("mg,mgd->md", unit, value_sum)
    return accumulated + ((virtual + (1 << (UNIT_FRAC_BITS - 1))) >> UNIT_FRAC_BITS)
