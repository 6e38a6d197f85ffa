"""Groups of similar keys: pruned mass goes back on the mean value of its group instead of that of all keys.

A key's group is a few comparisons of its own elements, made once when the key arrives: bit ``i`` of the group's number
says whether element ``elements[i]`` lies above ``cuts[i]``. Which elements, and where they are cut, is calibrated per
head so that keys of one group have similar scores and values (`latte.golden.train.groups`).
"""

import dataclasses

import numpy as np

from latte.golden.errors import LatteError

__all__ = ["GROUP_BITS_MAX", "ONE_GROUP", "KeyGroups"]

GROUP_BITS_MAX = 3
"""Comparators of the hardware: up to 8 groups, each with a sum of values and a virtual survivor per row."""
_CUT_RANGE = (-128, 127)


@dataclasses.dataclass(frozen=True)
class KeyGroups:
    """One head's register entry.

    Parameters
    ----------
    elements
        Indices of the elements of K that are compared, one per bit of a group's number.
    cuts
        int8 codes they are compared with.
    """

    elements: tuple[int, ...]
    cuts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.elements) != len(self.cuts) or len(self.cuts) > GROUP_BITS_MAX:
            raise LatteError(f"key groups take as many elements as cuts, at most {GROUP_BITS_MAX}, not "
                             f"{len(self.elements)} and {len(self.cuts)}")
        low, high = _CUT_RANGE
        if any(element < 0 for element in self.elements) or any(not low <= cut <= high for cut in self.cuts):
            raise LatteError(f"key groups {self.elements} cut at {self.cuts}: elements must not be negative and cuts "
                             f"must lie between {low} and {high}")

    @classmethod
    def encode(cls, elements: np.ndarray, cuts: np.ndarray, k_scale: float) -> "KeyGroups":
        """Encode real cuts, ``floor(cut / k_scale)``, saturating at the register: a code above it is a value above."""
        codes = np.clip(np.floor(np.asarray(cuts, np.float64) / k_scale), *_CUT_RANGE)
        return cls(tuple(int(element) for element in elements), tuple(int(code) for code in codes))

    @property
    def count(self) -> int:
        """Number of groups."""
        return 1 << len(self.elements)

    def membership(self, k: np.ndarray) -> np.ndarray:
        """Return which group each key belongs to, bool [n, count].

        Parameters
        ----------
        k : int8 [n, d], saturated at 119
        """
        number = np.zeros(len(k), np.int64)
        for bit, (element, cut) in enumerate(zip(self.elements, self.cuts, strict=True)):
            number |= (k[:, element] > cut).astype(np.int64) << bit
        return number[:, None] == np.arange(self.count)


ONE_GROUP = KeyGroups((), ())
