"""The limit of each row: the first gap below its largest estimate whose key is pruned, for every kind of threshold.

By mass, the limit follows from the row's estimated softmax mass ``M``, summed over its visible keys before the filter::

    M = sum W(gap)        theta M = M * (512 - f) / 2**(9 + e)        limit = the first gap with W(gap) <= theta M

`W` (`latte.golden.pruned_mass.gap_weights`) falls with the gap, so that comparing with the limit is comparing with
``theta M``; the hardware searches it in a table of `W`, once per row.
"""

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import gap_weights
from latte.golden.quantizer import MASS_KEEP_ALL, THETA_FRAC_BITS
from latte.golden.thresholds import Threshold, ThresholdKind

__all__ = ["mass_threshold", "row_limits"]


def mass_threshold(mass: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return ``floor(theta * mass)``, int64 [m]: an integer weight above it is above ``theta * mass``.

    Parameters
    ----------
    mass : int64 [m]
        Sum of the visible keys' weights, below 2**53.
    codes : int64 [m]
        As of `latte.golden.quantizer.mass_code`; `MASS_KEEP_ALL` gives -1, which every weight exceeds.
    """
    step = codes & ((1 << THETA_FRAC_BITS) - 1)
    # A larger shift than 62 clears the product as 62 does.
    drop = np.minimum(THETA_FRAC_BITS + 1 + (codes >> THETA_FRAC_BITS), 62)
    return np.where(codes == MASS_KEEP_ALL, -1, (mass * ((2 << THETA_FRAC_BITS) - step)) >> drop)


def row_limits(threshold: Threshold, estimates: np.ndarray, visible: np.ndarray, row_max: np.ndarray,
               scale_code: tuple[int, int], config: AttentionConfig) -> np.ndarray:
    """Return the first pruned gap of each row, at least 1, int64 [m].

    Parameters
    ----------
    threshold
        The head's.
    estimates : int64 [m, n]
    visible : bool [m, n]
    row_max : int64 [m]
    scale_code
        (mantissa, shift) of the head's softmax scale; by mass only.
    """
    octave = np.frexp(visible.sum(axis=1))[1] - 1
    codes = np.array(threshold.codes, np.int64)[octave]
    if threshold.kind is ThresholdKind.RELATIVE:
        return np.maximum(codes, 1)
    if threshold.kind is ThresholdKind.ABSOLUTE:
        return np.maximum(row_max - codes, 1)
    weight = gap_weights(np.arange(config.tau_keep_all + 1), scale_code, config)
    gap = np.where(visible, row_max[:, None] - estimates, 0)
    mass = np.where(visible, weight[gap], 0).sum(axis=1)
    least = mass_threshold(mass, codes)
    return np.maximum(np.searchsorted(-weight, -least, side="left"), 1)
