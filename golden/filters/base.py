"""The interface of a filter: operands in, survivors and work out."""

import abc
import dataclasses
from collections.abc import Callable

import numpy as np

from latte.golden.bit_operations import VALUE_BITOPS
from latte.golden.errors import LatteError

__all__ = ["EXACT_BITOPS", "FILTERS", "FilterInput", "KeyFilter", "never_empty", "parse_filter", "register",
           "signed_scores"]

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


@dataclasses.dataclass(frozen=True)
class FilterEntry:
    """How a filter is named on the command line.

    Parameters
    ----------
    build
        Makes the filter from the numbers behind its name; raises `ValueError` if they are not what it takes.
    numbers
        Their names, for messages.
    """

    build: Callable[..., KeyFilter]
    numbers: tuple[str, ...]

    def usage(self, name: str) -> str:
        """Return ``name:NUMBER,NUMBER``."""
        return name + (":" + ",".join(self.numbers) if self.numbers else "")


FILTERS: dict[str, FilterEntry] = {}
"""Every filter that needs no table, by name; a module adds its own with `register`."""


def register(*numbers: str, build: Callable[..., KeyFilter] | None = None
             ) -> Callable[[type[KeyFilter]], type[KeyFilter]]:
    """Return a class decorator that makes a filter known by its ``name``.

    Parameters
    ----------
    *numbers
        Names of the numbers that follow the name.
    build
        Takes the numbers; by default the class itself.
    """
    def add(cls: type[KeyFilter]) -> type[KeyFilter]:
        FILTERS[cls.name] = FilterEntry(build or cls, numbers)
        return cls

    return add


def parse_filter(text: str) -> KeyFilter:
    """Return the filter of ``name`` or ``name:number[,number]``.

    Raises
    ------
    LatteError
        No filter has that name, or it takes other numbers.
    """
    name, _, given = text.partition(":")
    if name not in FILTERS:
        raise LatteError(f"filter {text!r} is not known; the filters are "
                         f"{', '.join(entry.usage(name) for name, entry in FILTERS.items())}")
    entry = FILTERS[name]
    try:
        values = [float(number) for number in given.split(",")] if given else []
        if len(values) != len(entry.numbers):
            raise ValueError
        return entry.build(*values)
    except ValueError:
        raise LatteError(f"filter {text!r} is not understood; it takes {entry.usage(name)}") from None


def signed_scores(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a @ b.T`` over the last two dimensions, exact in float32 for 8-bit operands of up to 1024 elements."""
    return a.astype(np.float32) @ b.astype(np.float32).swapaxes(-1, -2)


def never_empty(keep: np.ndarray, ranking: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return `keep` with, in rows without survivor, the first visible key of largest `ranking`."""
    empty = np.logical_not(keep.any(-1))
    if not empty.any():
        return keep
    best = np.where(visible, ranking, -np.inf).argmax(-1)
    return keep | (empty[..., None] & (np.arange(keep.shape[-1]) == best[..., None]))
