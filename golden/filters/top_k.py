"""Plain top-k: the exact scores of a row, the largest k kept."""

import dataclasses
import math

import numpy as np

from latte.golden.filters.base import EXACT_BITOPS, FilterInput, KeyFilter, register, signed_scores

__all__ = ["TopK"]


@register("KEEP")
@dataclasses.dataclass(frozen=True)
class TopK(KeyFilter):
    """The ``ceil(keep * visible)`` keys of largest exact score of each row; of equal scores the first.

    Parameters
    ----------
    keep
        Share of visible keys, in (0, 1].
    """

    keep: float
    name = "top-k"
    by_row = True

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Sort each row; the comparisons are not counted, only the products."""
        score = np.where(operands.visible, signed_scores(operands.q, operands.k), -np.inf)
        visible = operands.visible.sum(-1)
        count = np.array([math.ceil(self.keep * int(n) - 1e-9) for n in visible])
        order = np.argsort(-score, axis=-1, kind="stable")
        keep = np.zeros(score.shape, bool)
        np.put_along_axis(keep, order, np.broadcast_to(np.arange(score.shape[-1]) < count[:, None], score.shape), -1)
        pairs = int(visible.sum()) * int(np.prod(operands.q.shape[:-2]))
        return keep, EXACT_BITOPS * operands.q.shape[-1] * pairs

    def survivor_bitops(self) -> int:
        """Return the cost of P·V: the score is known."""
        return 64
