"""Calibrates key groups: the elements of K, and their cuts, that leave the least error where keys are pruned.

Elements are chosen one after the other. Each candidate splits the groups there are at the element's mean; the one whose
groups' mean values, weighted with the groups' pruned mass, come nearest to the pruned keys' own contribution is taken.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch

from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import key_membership, row_octaves, visible_mask
from latte.golden.models.hardware import smooth_tensors
from latte.golden.models.hook import Handler, float_attention
from latte.golden.train.collectors import sum_chunks
from latte.golden.train.distances import distances, to_distance
from latte.golden.train.passes import Arrays, Passes

__all__ = ["choose_groups"]

_ITEMS = {True: 2, False: 16}
"""Text windows and images that the choice looks at: every item has many rows."""


@dataclasses.dataclass(frozen=True)
class _KeySums:
    """Sums of the elements of K, float64 [blocks, heads, d], and their number ``count``.

    Parameters
    ----------
    thresholds
        Their smoothing is applied first.
    """

    thresholds: Thresholds

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        sums: list[np.ndarray] = []
        count = 0

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            nonlocal count
            smooth = smooth_tensors(q, k, self.thresholds, block)[1]
            sums.append(smooth.double().sum((0, 2)).cpu().numpy())
            count += k.shape[0] * k.shape[2] if block == 0 else 0
            return float_attention(q, k, v, causal)

        return record, lambda: {"sum": np.stack(sums), "count": np.array(count)}

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the sums over all chunks."""
        return sum_chunks(chunks)


@dataclasses.dataclass(frozen=True)
class _SplitErrors:
    """What is left of the pruned keys' contribution when an element splits the groups, ``error`` [blocks, heads, d].

    Squared, summed over rows, relative to the head's output in the chunk. The means of the groups are those of all keys
    of the sequence, also in causal heads.

    Parameters
    ----------
    thresholds
        Decide what is pruned.
    cuts : float64 [blocks, heads, d]
        Of every element.
    elements : int64 [blocks, heads, bits]
        Chosen so far.
    """

    thresholds: Thresholds
    cuts: np.ndarray
    elements: np.ndarray

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        errors: list[np.ndarray] = []

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            output = float_attention(q, k, v, causal)
            errors.append((self._errors(block, *smooth_tensors(q, k, self.thresholds, block), v, causal)
                           / output.square().sum((0, 2, 3))[:, None]).double().cpu().numpy())
            return output

        return record, lambda: {"error": np.stack(errors)}

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the sums over all chunks."""
        return sum_chunks(chunks)

    def _errors(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the squared errors of all candidates, [heads, d]."""
        score = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        m, n = score.shape[-2:]
        visible = visible_mask(m, n, causal, score.device)
        if visible is not None:
            score.masked_fill_(~visible, -torch.inf)
        distance = distances(self.thresholds.kind, score, torch.ones(1, score.shape[1], device=score.device))
        cut = to_distance(self.thresholds.kind, self.thresholds.tau_by_octave[block])
        cut = torch.from_numpy(cut).to(score)[:, row_octaves(m, n, causal)][..., None]
        pruned_share = torch.softmax(score, -1).masked_fill_(distance < cut, 0)
        wanted = pruned_share @ v

        cuts = torch.from_numpy(self.cuts[block]).to(k)
        elements = torch.from_numpy(self.elements[block]).to(k.device)
        groups = key_membership(k, elements, cuts.gather(-1, elements)[None])
        above = (k > cuts[:, None, :]).to(k.dtype)
        halves = []
        for group in groups.unbind(-1):
            for side in (above, 1 - above):
                members = group[..., None] * side  # [batch, heads, n, candidates]
                mean = (members.transpose(-1, -2) @ v) / members.sum(-2).clamp(min=1)[..., None]
                halves.append((pruned_share @ members, mean))
        masses, means = torch.stack([mass for mass, _ in halves], -1), torch.stack([mean for _, mean in halves], -2)
        # |sum_a mass_a mean_a - wanted|^2 summed over rows, by inner products: candidate by candidate it is m x d.
        masses = masses.movedim(-2, -3)  # [batch, heads, candidates, m, halves]
        between = (masses.transpose(-1, -2) @ masses) * (means @ means.transpose(-1, -2))
        across = ((masses.transpose(-1, -2) @ wanted[:, :, None]) * means).sum((-1, -2))
        return (between.sum((-1, -2)) - 2 * across + wanted.square().sum((-1, -2))[..., None]).sum(0)


def choose_groups(passes: Passes, thresholds: Thresholds, bits: int) -> dict[str, np.ndarray]:
    """Return ``group_elements`` and ``group_cuts``, [blocks, heads, bits] each, of ``2**bits`` groups per head.

    Query heads that share keys get the same groups, since a key is put into its group when it is loaded.

    Parameters
    ----------
    passes
        The model and its calibration data.
    thresholds
        Near those that will be used: they decide what is pruned.
    bits
        0: one group, no elements.
    """
    if bits == 0:
        return {}
    checkpoint = passes.checkpoint
    passes = passes.first(_ITEMS[checkpoint.causal])
    sums = passes.run(_KeySums(thresholds))
    cuts = sums["sum"] / sums["count"]
    elements = np.empty((checkpoint.blocks, checkpoint.heads, 0), np.int64)
    for _ in range(bits):
        error = passes.run(_SplitErrors(thresholds, cuts, elements))["error"]
        shared = error.reshape(checkpoint.blocks, -1, checkpoint.heads_per_key, error.shape[-1]).sum(2)
        best = shared.argmin(-1).repeat(checkpoint.heads_per_key, axis=1)
        elements = np.concatenate([elements, best[..., None]], -1)
    return {"group_elements": elements, "group_cuts": np.take_along_axis(cuts, elements, -1)}
