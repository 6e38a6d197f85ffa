"""Work in bit operations: an a-bit by b-bit product counts a·b (the paper's measure)."""

import dataclasses
from collections.abc import Iterable

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import RECIPROCAL_FRAC_BITS
from latte.golden.pruned_mass import GAIN_MAX, MASS_FRAC_BITS, UNIT_BITS
from latte.golden.quantizer import THETA_FRAC_BITS
from latte.golden.thresholds import ThresholdKind

__all__ = ["ESTIMATE_BITOPS", "CROSS_BITOPS", "VALUE_BITOPS", "DENSE_BITOPS", "PairCount", "bit_operations_saved",
           "compensation_bitops", "cross_bitops", "estimate_bitops", "macro_saving", "micro_saving",
           "row_threshold_bitops"]


def estimate_bitops(bits: int) -> int:
    """Return the work of one pair and element in the estimate, of `bits` wide high parts."""
    return bits * bits


def cross_bitops(bits: int) -> int:
    """Return the work of one pair and element in the two cross products of high and low parts."""
    return 2 * bits * (8 - bits)


ESTIMATE_BITOPS = estimate_bitops(4)
CROSS_BITOPS = cross_bitops(4)
VALUE_BITOPS = 8 * 8
DENSE_BITOPS = 8 * 8 + VALUE_BITOPS
"""Per pair and element: 8 x 8 for the score and 8 x 8 for P·V."""


def row_threshold_bitops(kind: ThresholdKind, config: AttentionConfig) -> int:
    """Return the work of a row's limit: by mass one product of theta and the sum of weights, else none.

    The weights themselves are looked up.
    """
    return (THETA_FRAC_BITS + 2) * (config.sum_bits + MASS_FRAC_BITS) if kind is ThresholdKind.MASS else 0


def compensation_bitops(groups: int, config: AttentionConfig) -> int:
    """Return the work of giving a row's pruned mass back.

    Per group the mass is rescaled, multiplied with its gain, divided by the number of keys, and the virtual survivor
    multiplied with a sum of values; one more gain is the denominator's.
    """
    gain = config.sum_bits * GAIN_MAX.bit_length()
    rescaled = (config.sum_bits + MASS_FRAC_BITS) * config.weight_bits
    per_key = config.sum_bits * RECIPROCAL_FRAC_BITS
    value_sum_bits = config.sum_bits - config.weight_bits + 8
    return groups * (rescaled + gain + per_key + config.head_dim * UNIT_BITS * value_sum_bits) + gain


@dataclasses.dataclass(frozen=True)
class PairCount:
    """(query, key) pairs of one head.

    Parameters
    ----------
    rows, keys
        Shape of the score matrix.
    visible, kept
        Pairs estimated; pairs that survived the filter.
    """

    rows: int
    keys: int
    visible: int
    kept: int

    def latte(self, head_dim: int, bits: int = 4) -> int:
        """Return the bit operations of LATTE's products: an estimate for each visible pair, the rest for survivors."""
        return head_dim * (estimate_bitops(bits) * self.visible + (cross_bitops(bits) + VALUE_BITOPS) * self.kept)

    def dense(self, head_dim: int, convention: str = "valid") -> int:
        """Return the bit operations of dense 8-bit attention.

        ``"valid"`` counts visible pairs (the headline); ``"n2"`` the whole rows x keys square, as a dense engine
        that computes and masks would, which is the only reading that gives the paper's language-model figures.
        """
        if convention not in ("valid", "n2"):
            raise ValueError(f"convention must be 'valid' or 'n2', not {convention!r}")
        return head_dim * DENSE_BITOPS * (self.visible if convention == "valid" else self.rows * self.keys)


def bit_operations_saved(keep: float, bits: int = 4) -> float:
    """Return the share of bit operations saved at a keep ratio (valid pairs).

    With estimates of 4 bits it is ``1 - (16 + 96 * keep) / 128``.
    """
    return 1 - (estimate_bitops(bits) + (cross_bitops(bits) + VALUE_BITOPS) * keep) / DENSE_BITOPS


def micro_saving(counts: Iterable[PairCount], convention: str = "valid") -> float:
    """Return the saving of all heads together: every pair weighs the same."""
    counts = list(counts)
    return 1 - sum(c.latte(1) for c in counts) / sum(c.dense(1, convention) for c in counts)


def macro_saving(counts: Iterable[PairCount], convention: str = "valid") -> float:
    """Return the mean of the heads' savings: every head weighs the same."""
    savings = [micro_saving([c], convention) for c in counts]
    return sum(savings) / len(savings)
