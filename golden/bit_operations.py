"""Work in bit operations: an a-bit by b-bit product counts a·b (the paper's measure)."""

import dataclasses
from collections.abc import Iterable

__all__ = ["ESTIMATE_BITOPS", "CROSS_BITOPS", "VALUE_BITOPS", "DENSE_BITOPS", "PairCount", "bit_operations_saved",
           "macro_saving", "micro_saving"]

ESTIMATE_BITOPS = 4 * 4
CROSS_BITOPS = 2 * 4 * 4
VALUE_BITOPS = 8 * 8
DENSE_BITOPS = 8 * 8 + VALUE_BITOPS
"""Per pair and element: 8 x 8 for the score and 8 x 8 for P·V."""


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

    def latte(self, head_dim: int) -> int:
        """Return the bit operations of LATTE: an estimate for each visible pair, the rest for survivors."""
        return head_dim * (ESTIMATE_BITOPS * self.visible + (CROSS_BITOPS + VALUE_BITOPS) * self.kept)

    def dense(self, head_dim: int, convention: str = "valid") -> int:
        """Return the bit operations of dense 8-bit attention.

        ``"valid"`` counts visible pairs (the headline); ``"n2"`` the whole rows x keys square, as a dense engine
        that computes and masks would, which is the only reading that gives the paper's language-model figures.
        """
        if convention not in ("valid", "n2"):
            raise ValueError(f"convention must be 'valid' or 'n2', not {convention!r}")
        return head_dim * DENSE_BITOPS * (self.visible if convention == "valid" else self.rows * self.keys)


def bit_operations_saved(keep: float) -> float:
    """Return the share of bit operations saved at a keep ratio, ``1 - (16 + 96 * keep) / 128`` (valid pairs)."""
    return 1 - (ESTIMATE_BITOPS + (CROSS_BITOPS + VALUE_BITOPS) * keep) / DENSE_BITOPS


def micro_saving(counts: Iterable[PairCount], convention: str = "valid") -> float:
    """Return the saving of all heads together: every pair weighs the same."""
    counts = list(counts)
    return 1 - sum(c.latte(1) for c in counts) / sum(c.dense(1, convention) for c in counts)


def macro_saving(counts: Iterable[PairCount], convention: str = "valid") -> float:
    """Return the mean of the heads' savings: every head weighs the same."""
    savings = [micro_saving([c], convention) for c in counts]
    return sum(savings) / len(savings)
