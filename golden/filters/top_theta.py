"""Top-Theta (arXiv 2502.08363) behind the filter interface: calibrated absolute thresholds on the exact scores."""

import dataclasses

import numpy as np

from latte.golden.filters.base import EXACT_BITOPS, FilterInput, KeyFilter, signed_scores
from latte.golden.top_theta import theta_codes, theta_filter

__all__ = ["TopTheta"]


@dataclasses.dataclass(frozen=True)
class TopTheta(KeyFilter):
    """One threshold per block, head and row length.

    Parameters
    ----------
    theta : float64 [blocks, heads, lengths]
        In units of the scaled score; entry ``l - 1`` for rows of ``l`` visible keys, the last one for longer rows.
    """

    theta: np.ndarray
    name = "top-theta"
    by_row = True

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Keep scores strictly above the threshold of the row's length."""
        score = signed_scores(operands.q, operands.k)
        lengths = np.minimum(operands.visible.sum(-1), self.theta.shape[-1]) - 1
        codes = theta_codes(self.theta[operands.block][:, lengths], np.asarray(operands.step)[..., None])
        pairs = int(operands.visible.sum()) * int(np.prod(operands.q.shape[:-2]))
        return theta_filter(score, operands.visible, codes), EXACT_BITOPS * operands.q.shape[-1] * pairs

    def survivor_bitops(self) -> int:
        """Return the cost of P·V: the score is known."""
        return 64
