"""Energon's mixed-precision multi-round filter, MP-MRF (arXiv 2110.09310): 2-bit scores, then 4-bit scores."""

import dataclasses

import numpy as np

from latte.golden.filters.base import FilterInput, KeyFilter, never_empty, register, signed_scores

__all__ = ["Energon"]


@register("ALPHA2", "ALPHA4", build=lambda *alpha: Energon(alpha))
@dataclasses.dataclass(frozen=True)
class Energon(KeyFilter):
    """Two rounds, each over the survivors of the one before.

    A round keeps scores above ``alpha * max + (1 - alpha) * mean`` for alpha >= 0, and above
    ``-alpha * min + (1 + alpha) * mean`` for alpha < 0, with max, min and mean over the round's candidates.

    Parameters
    ----------
    alpha
        Of the 2-bit and of the 4-bit round, each in (-1, 1).
    """

    alpha: tuple[float, float]
    name = "energon"
    by_row = True

    def __post_init__(self) -> None:
        if not all(-1 < value < 1 for value in self.alpha):
            raise ValueError

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Filter in two rounds; each round's products are counted in full."""
        shape = (*operands.q.shape[:-1], operands.k.shape[-2])
        candidates, work = np.broadcast_to(operands.visible, shape), 0
        for bits, alpha in zip((2, 4), self.alpha, strict=True):
            score = signed_scores(operands.q >> (8 - bits), operands.k >> (8 - bits)).astype(np.float64)
            work += bits**2 * operands.q.shape[-1] * int(candidates.sum())
            mean = np.where(candidates, score, 0).sum(-1) / candidates.sum(-1)
            if alpha >= 0:
                extreme = np.where(candidates, score, -np.inf).max(-1)
                threshold = alpha * extreme + (1 - alpha) * mean
            else:
                extreme = np.where(candidates, score, np.inf).min(-1)
                threshold = -alpha * extreme + (1 + alpha) * mean
            kept = candidates & (score > threshold[..., None])
            candidates = never_empty(kept, np.where(candidates, score, -np.inf), operands.visible)
        return candidates, work
