"""What a pruned mass is multiplied with, four times by one multiplier."""

from amaranth import Array, Const, Value
from amaranth.lib import data

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import RECIPROCAL_FRAC_BITS
from latte.golden.pruned_mass import GAIN_FRAC_BITS, UNIT_BITS, UNIT_FRAC_BITS
from latte.rtl.wide.payloads import denominator_bits, mass_bits
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.rtl.wide.weight_pipeline import mass_shift_range

__all__ = ["GAIN", "MASS", "SUM", "UNIT", "create_mass_product", "mass_factors"]

MASS, GAIN, UNIT, SUM = range(4)
"""Multiplications: of a group's mass, of what each has made of it; of the sum of the rescaled ones.

`rescale_mass`, `apply_gain` and `unit_weight` of `latte.golden.pruned_mass`; `apply_gain` of the denominator.
"""


def create_mass_product(config: AttentionConfig) -> ScaledProduct:
    """Return a multiplier for all of them."""
    places = mass_shift_range(config)
    left = max(0, -places.start)
    return ScaledProduct(mass_bits(config), max(RECIPROCAL_FRAC_BITS, config.weight_bits), left, places[-1] + left,
                         [config.sum_bits, UNIT_BITS, denominator_bits(config)])


def mass_factors(product: ScaledProduct, which: Value, rescale: data.View, reciprocal: data.View, gains: data.View
                 ) -> tuple[Value, ...]:
    """Return factor, shift and limit of a multiplication: inputs `b`, `shift` and `limit` of the product.

    Parameters
    ----------
    product
    which
        Of the four.
    rescale
        Fields of `rescale_layout`.
    reciprocal
        Of `count_layout`: of the group's number of keys.
    gains
        Fields ``mean_gain`` and ``denominator_gain``.
    """
    gain_shift = GAIN_FRAC_BITS + product.left
    unit_shift = RECIPROCAL_FRAC_BITS - UNIT_FRAC_BITS + product.left
    return tuple(Array(values)[which] for values in (
        (rescale.power, gains.mean_gain, reciprocal.mantissa, gains.denominator_gain),
        (rescale.shift + product.left, Const(gain_shift), reciprocal.exponent + unit_shift, Const(gain_shift)),
        (Const(0, 2), Const(2, 2), Const(1, 2), Const(2, 2))))
