"""A3 (HPCA 2020): greedy candidate search over sorted key columns, then a filter on exact scores."""

import dataclasses
import math

import numpy as np

from latte.golden.filters.base import EXACT_BITOPS, FilterInput, KeyFilter, never_empty, register, signed_scores

__all__ = ["A3"]


@register("ITERATIONS", "MARGIN")
@dataclasses.dataclass(frozen=True)
class A3(KeyFilter):
    """Approximate top candidates without computing scores.

    Each iteration takes the largest product ``q[j] * k[i, j]`` not yet taken (columns are sorted once per head, so it
    is at one of d pointers) and adds it to key i's greedy score if positive; and likewise the smallest if negative.
    Keys with a positive greedy score are candidates; candidates within `margin` of the largest exact score survive.

    Parameters
    ----------
    iterations
        As a share of the keys, A3's M / n.
    margin
        Natural exponent: A3 drops keys whose weight is below ``exp(-margin)`` of the largest.
    """

    iterations: float
    margin: float = math.inf
    name = "a3"

    def __post_init__(self) -> None:
        if not self.iterations > 0:
            raise ValueError

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Search, then compute the candidates' exact scores; two products per iteration, sorting not counted."""
        shape = (*operands.q.shape[:-1], operands.k.shape[-2])
        m, n, d = *shape[-2:], operands.q.shape[-1]
        leading = int(np.prod(shape[:-2]))
        rounds = math.ceil(self.iterations * n)
        q, k = operands.q.reshape(leading, m, d), operands.k.reshape(leading, n, d)
        greedy = np.stack([_greedy_scores(q[i], k[i], operands.visible, rounds) for i in range(leading)]).reshape(shape)
        candidates = never_empty(operands.visible & (greedy > 0), greedy, operands.visible)
        score = np.where(candidates, signed_scores(operands.q, operands.k), -np.inf)
        margin = np.asarray(self.margin / operands.step)[..., None, None]
        keep = candidates & (score >= score.max(-1, keepdims=True) - margin)
        work = 2 * EXACT_BITOPS * rounds * m * leading + EXACT_BITOPS * d * int(candidates.sum())
        return keep, work

    def survivor_bitops(self) -> int:
        """Return the cost of P·V: the score is known."""
        return 64


def _greedy_scores(q: np.ndarray, k: np.ndarray, visible: np.ndarray, rounds: int) -> np.ndarray:
    (m, d), n = q.shape, len(k)
    order = np.argsort(k, axis=0, kind="stable")
    column = np.take_along_axis(k, order, 0).astype(np.int64)
    q = q.astype(np.int64)
    rows, dims = np.arange(m), np.arange(d)
    greedy = np.zeros((m, n), np.int64)
    for sign in (1, -1):
        # Largest products first: from the top of the column where sign * q is positive, else from its bottom.
        upward = sign * q > 0
        pointer = np.zeros((m, d), np.int64)
        value = sign * q * np.where(upward, column[-1], column[0])
        for _ in range(min(rounds, n * d)):
            best = value.argmax(1)
            product, place = value[rows, best], pointer[rows, best]
            index = np.where(upward[rows, best], n - 1 - place, place)
            key = order[index, best]
            counted = (product > 0) & visible[rows, key]
            np.add.at(greedy, (rows, key), np.where(counted, sign * product, 0))
            pointer[rows, best] = place + 1
            following = np.clip(np.where(upward[rows, best], n - 2 - place, place + 1), 0, n - 1)
            exhausted = place + 1 >= n
            value[rows, best] = np.where(exhausted, np.iinfo(np.int64).min,
                                         sign * q[rows, best] * column[following, dims[best]])
    return greedy
