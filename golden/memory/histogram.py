"""Estimates of a row by their gap below the largest, counted while the largest is not known yet.

For each key group a circular table of `window` words, addressed by the low bits of an estimate. A word holds the
estimate's high bits, its tag, and a count::

    m = max(m, e)                      the running maximum, e itself included
    e > m - window                     counts, else it weighs nothing and is passed over
    word[e % window].tag == e // window   count + 1, else the word restarts with this tag and 1

A tag that differs is always that of a smaller estimate, since an estimate of the same address and a larger tag would
have moved the window past ``e``. So the word that is lost belongs to a gap of `window` or more for good, and when the
stream has ended the words inside the window are exact, whatever the order of keys and however often the maximum rose.
Words are cleared before a row; in hardware a word has its row's number beside the tag, so that none need be.
"""

import numpy as np

from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.pruned_mass import gap_weights

__all__ = ["WindowedHistogram", "window_weights"]

_CLEARED = np.iinfo(np.int64).min


def window_weights(scale_code: tuple[int, int], build: MemoryBuild) -> np.ndarray:
    """Return the weight of each gap below the window, int64 [window], as `pruned_mass.gap_weights` has it.

    Raises
    ------
    LatteError
        Weights do not end within the window, so that the sum over it would not be the row's mass.
    """
    weights = gap_weights(np.arange(build.window + 1), scale_code, build.core)
    if weights[-1]:
        raise LatteError(f"the softmax scale {scale_code[0]} / 2**{scale_code[1]} is too small for a window of "
                         f"{build.window} gaps, which thresholds by mass and gains need; use a relative threshold "
                         "without gains for this head, or a larger window")
    return weights[:-1]


class WindowedHistogram:
    """The tables of one row.

    Parameters
    ----------
    window
        Words, a power of two.
    groups

    Attributes
    ----------
    tag, count : int64 [groups, window]
        The words; a cleared one has the least tag.
    """

    def __init__(self, window: int, groups: int) -> None:
        self.window = window
        self.tag = np.full((groups, window), _CLEARED)
        self.count = np.zeros((groups, window), np.int64)

    def add(self, estimates: np.ndarray, running_max: np.ndarray, numbers: np.ndarray) -> None:
        """Count some keys in their order.

        Parameters
        ----------
        estimates : int64 [n]
        running_max : int64 [n]
            Of the keys up to each, itself included.
        numbers : int [n]
            Of the keys' groups.
        """
        counts = estimates > running_max - self.window
        e, group = estimates[counts], numbers[counts]
        place, tag = (group, e & (self.window - 1)), e // self.window
        before = self.tag.copy()
        np.maximum.at(self.tag, place, tag)
        self.count[self.tag != before] = 0
        # Tags at an address never fall, so the last tag is the largest, and its keys came behind all others.
        np.add.at(self.count, place, (tag == self.tag[place]).astype(np.int64))

    def by_gap(self, row_max: int) -> np.ndarray:
        """Return the keys at each gap below the maximum, int64 [groups, window]."""
        e = row_max - np.arange(self.window)
        address = e & (self.window - 1)
        return np.where(self.tag[:, address] == e // self.window, self.count[:, address], 0)
