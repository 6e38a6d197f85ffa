"""LATTE's filter, with and without reuse of the estimate, at any width of the estimate; and dense attention."""

import dataclasses

import numpy as np

from latte.golden.bit_operations import CROSS_BITOPS, VALUE_BITOPS
from latte.golden.filters.base import FilterInput, KeyFilter, signed_scores

__all__ = ["Dense", "Latte", "LatteExactProduct"]


class Dense(KeyFilter):
    """Dense 8-bit attention: every visible key survives."""

    name = "dense"
    by_row = True

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Keep every visible key, at no cost."""
        return np.broadcast_to(operands.visible, (*operands.q.shape[:-1], operands.k.shape[-2])), 0


@dataclasses.dataclass(frozen=True)
class Latte(KeyFilter):
    """Head-wise threshold below the row's largest estimate.

    Parameters
    ----------
    tau : float64 [blocks, heads]
        Natural exponent.
    bits
        Width of the high part: 4 is LATTE; 2, 3 and 8 answer how much the estimate may be coarsened.
    split
        ``"balanced"`` rounds the high part to nearest, ``"slice"`` down.
    """

    tau: np.ndarray
    bits: int = 4
    split: str = "balanced"
    name = "latte"
    reuses_estimate = True

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Keep ``est > rowmax - T`` with ``T = max(1, floor(tau / estimate step + 0.5))``."""
        drop = 8 - self.bits
        round_up = (1 << drop) >> 1 if self.split == "balanced" else 0
        # The balanced high part of 8 - drop bits would overflow above its range, as at the hardware's port.
        limit = (1 << (self.bits - 1)) - 1
        q, k = (np.minimum((x.astype(np.int16) + round_up) >> drop, limit) for x in (operands.q, operands.k))
        estimate = np.where(operands.visible, signed_scores(q, k), -np.inf)
        code = np.maximum(1, np.floor(self.tau[operands.block] / (operands.step * 4**drop) + 0.5))
        keep = estimate > estimate.max(-1, keepdims=True) - code[..., None, None]
        pairs = int(operands.visible.sum()) * int(np.prod(operands.q.shape[:-2]))
        return keep, self.bits**2 * operands.q.shape[-1] * pairs

    def survivor_bitops(self) -> int:
        """Return the cost of the remaining partial products, and P·V.

        With 4 bits these are the two cross products; with other widths all of the missing 8 x 8 product, but for 8
        bits, where none is missing.
        """
        return (CROSS_BITOPS if self.bits == 4 else 64 - self.bits**2) + VALUE_BITOPS


@dataclasses.dataclass(frozen=True)
class LatteExactProduct(Latte):
    """LATTE's filter, and survivors computed anew with the exact 8-bit product (the paper's Figure 5)."""

    name = "latte-exact"
    reuses_estimate = False

    def survivor_bitops(self) -> int:
        """Return the cost of a full 8 x 8 product and of P·V."""
        return 64 + VALUE_BITOPS
