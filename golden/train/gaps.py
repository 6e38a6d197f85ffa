"""Thresholds for a wanted pruning ratio, from histograms of the gaps between each estimate and its row's largest."""

import numpy as np
import torch

__all__ = ["GapHistogram"]

BIN = 0.01
BINS = 6000
"""Gaps above 60 share the last bin: no key there has any weight."""


class GapHistogram:
    """Counts of visible pairs by gap, natural exponent, int64 [blocks, heads, bins]."""

    def __init__(self, blocks: int, heads: int) -> None:
        self.counts = np.zeros((blocks, heads, BINS), np.int64)

    def observe(self, block: int, keep: torch.Tensor, estimate: torch.Tensor, step: torch.Tensor, causal: bool) -> None:
        """Add the pairs of one block; the arguments are those of `latte.golden.models.hardware.Observer`."""
        del keep, causal
        gap = (estimate.amax(-1, keepdim=True) - estimate) * (step.to(estimate.dtype) / BIN)[..., None, None]
        for head in range(estimate.shape[1]):
            of_head = gap[:, head].flatten()
            bins = of_head[of_head.isfinite()].clamp_(max=BINS - 1).to(torch.int64)
            self.counts[block, head] += torch.bincount(bins, minlength=BINS).cpu().numpy()

    def pruned(self, tau: np.ndarray) -> float:
        """Return the share of all pairs at or beyond their head's `tau` [blocks, heads]."""
        first = np.clip(np.ceil(tau / BIN - 1e-9), 0, BINS).astype(np.int64)
        beyond = np.concatenate([self.counts[..., ::-1].cumsum(-1)[..., ::-1],
                                 np.zeros((*tau.shape, 1), np.int64)], axis=-1)
        return float(np.take_along_axis(beyond, first[..., None], -1).sum() / self.counts.sum())

    def uniform_tau(self, target: float) -> float:
        """Return the one threshold that prunes the share `target` of all pairs."""
        total = self.counts.sum((0, 1))
        beyond = total[::-1].cumsum()[::-1] / total.sum()
        return float(np.searchsorted(-beyond, -target, side="right") - 1) * BIN

    def head_tau(self, target: float) -> np.ndarray:
        """Return the thresholds that prune the share `target` of each head's pairs: fixed, head-wise, not learned."""
        beyond = self.counts[..., ::-1].cumsum(-1)[..., ::-1] / self.counts.sum(-1, keepdims=True)
        return np.maximum((beyond >= target).sum(-1) - 1, 1) * BIN

    def factor(self, tau: np.ndarray, target: float) -> float:
        """Return the common factor on `tau` with which the share `target` is pruned."""
        low, high = 1e-3, 1e3
        for _ in range(60):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.pruned(tau * middle) >= target else (low, middle)
        return low
