"""Dense 8-bit attention as a filter: every visible key survives."""

import numpy as np

from latte.golden.filters.base import FilterInput, KeyFilter, register

__all__ = ["Dense"]


@register()
class Dense(KeyFilter):
    """Dense 8-bit attention: every visible key survives."""

    name = "dense"
    by_row = True

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Keep every visible key, at no cost."""
        return np.broadcast_to(operands.visible, (*operands.q.shape[:-1], operands.k.shape[-2])), 0
