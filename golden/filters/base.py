"""The interface of a filter: operands in, survivors and work out."""

import abc
import dataclasses

import numpy as np

from latte.golden.bit_operations import VALUE_BITOPS

__all__ = ["EXACT_BITOPS", "FilterInput", "KeyFilter", "never_empty", "signed_scores"]

EXACT_BITOPS = 8 * 8
"""Per pair and element of an 8-bit score."""


@dataclasses.dataclass(frozen=True)
class FilterInput:
    """Quantised operands of the heads of one block, with any leading dimensions.

    Parameters
    ----------
    q : int8 [..., m, d]
    k : int8 [..., n, d]
        At most 119.
    visible : bool [m, n]
    step : float64 [...]
        One step of the integer score ``q . k`` in units of the scaled score, natural exponent.
    block
        Index of the block, for filters with parameters per head.
    """

    q: np.ndarray
    k: np.ndarray
    visible: np.ndarray
    step: np.ndarray
    block: int = 0


class KeyFilter(abc.ABC):
    """Chooses survivors.

    Attributes
    ----------
    name : str
        For tables.
    reuses_estimate : bool
        Survivors' scores are the estimate plus cross products; otherwise the exact 8-bit product.
    by_row : bool
        A row's survivors and the work counted do not depend on the other rows, nor on keys that none of them sees.
    """

    name: str
    reuses_estimate = False
    by_row = False

    @abc.abstractmethod
    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Return the survivors and the filter's own work.

        Returns
        -------
        keep : bool [..., m, n]
            At least one visible key in each row.
        work : int
            Bit operations of the selection, over all leading dimensions.
        """

    def survivor_bitops(self) -> int:
        """Return the bit operations a survivor costs after the selection, per element: score and P·V."""
        return EXACT_BITOPS + VALUE_BITOPS


def signed_scores(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a @ b.T`` over the last two dimensions, exact in float32 for 8-bit operands of up to 1024 elements."""
    return a.astype(np.float32) @ b.astype(np.float32).swapaxes(-1, -2)


def never_empty(keep: np.ndarray, ranking: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return `keep` with, in rows without survivor, the first visible key of largest `ranking`."""
    empty = ~keep.any(-1)
    if not empty.any():
        return keep
    best = np.where(visible, ranking, -np.inf).argmax(-1)
    return keep | (empty[..., None] & (np.arange(keep.shape[-1]) == best[..., None]))
