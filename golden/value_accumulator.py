"""P·V over survivors: the weighted sum of values and the sum of weights of each row."""

import numpy as np

from latte.golden.score_estimator import integer_matmul

__all__ = ["accumulate_values"]


def accumulate_values(weights: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (weighted sums of the values, sums of the weights).

    Parameters
    ----------
    weights : int64 [m, n]
        0 where pruned.
    v : int8 [n, d]

    Returns
    -------
    accumulated : int64 [m, d]
    weight_sum : int64 [m]
    """
    return integer_matmul(weights, v), weights.sum(axis=1)
