"""What calibration looks at: sizes of operands, distances to survival, scores, pruned mass."""

import abc
import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import visible_mask
from latte.golden.models.hardware import HardwareAttention, smooth_tensors
from latte.golden.models.hook import Handler, float_attention
from latte.golden.quantizer import V_MAX
from latte.golden.top_theta import Calibration, MassCalibration
from latte.golden.train.distances import DistanceHistogram
from latte.golden.train.passes import Arrays

__all__ = ["ChannelRanges", "Distances", "KthScores", "LargestElements", "PrunedMass", "scale_limits", "sum_chunks"]


_SCALES = ("q_scale", "k_scale", "v_scale")


def scale_limits(config: AttentionConfig) -> dict[str, int]:
    """Return the codes that the largest element of Q, K and V maps to, by scale name."""
    return {"q_scale": config.qk_max, "k_scale": config.qk_max, "v_scale": V_MAX}


def sum_chunks(chunks: list[Arrays]) -> Arrays:
    """Return the sums, over all chunks, of each of their arrays."""
    return {name: np.sum([chunk[name] for chunk in chunks], axis=0) for name in chunks[0]}


class ChannelRanges:
    """Largest magnitude of Q, and least and largest element of K, by channel.

    ``q_largest``, ``k_least``, ``k_largest``: float64 [blocks, heads, d].
    """

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        seen: dict[str, list[np.ndarray]] = {"q_largest": [], "k_least": [], "k_largest": []}

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            for name, values in zip(seen, (q.abs().amax((0, 2)), k.amin((0, 2)), k.amax((0, 2))), strict=True):
                seen[name].append(values.double().cpu().numpy())
            return float_attention(q, k, v, causal)

        return record, lambda: {name: np.stack(values) for name, values in seen.items()}

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the ranges of all chunks together."""
        return {name: (np.min if name == "k_least" else np.max)([chunk[name] for chunk in chunks], axis=0)
                for name in chunks[0]}


@dataclasses.dataclass(frozen=True)
class LargestElements:
    """Largest magnitude of Q, K and V of every sequence, float64 [blocks, heads, items] each, by scale name.

    Parameters
    ----------
    thresholds
        Their smoothing is applied first.
    """

    thresholds: Thresholds

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        seen: dict[str, list[np.ndarray]] = {name: [] for name in _SCALES}

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            for name, x in zip(_SCALES, (*smooth_tensors(q, k, self.thresholds, block), v), strict=True):
                seen[name].append(x.abs().amax((-2, -1)).double().cpu().numpy().T)
            return float_attention(q, k, v, causal)

        return record, lambda: {name: np.stack(values) for name, values in seen.items()}

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return all sequences."""
        return {name: np.concatenate([chunk[name] for chunk in chunks], axis=-1) for name in _SCALES}


@dataclasses.dataclass(frozen=True)
class Distances:
    """Histograms of distances while the hardware's filter prunes, as `DistanceHistogram.arrays` names them.

    Parameters
    ----------
    thresholds, config
    """

    thresholds: Thresholds
    config: AttentionConfig

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        histogram = DistanceHistogram(self.thresholds)
        return HardwareAttention(self.thresholds, self.config, histogram), histogram.arrays

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the sums."""
        return sum_chunks(chunks)


@dataclasses.dataclass(frozen=True)
class _Scores(abc.ABC):
    """A pass over scaled float scores, with a `latte.golden.top_theta` calibration per block."""

    @abc.abstractmethod
    def calibration(self, block: int, heads: int, keys: int) -> Calibration | MassCalibration:
        """Return the empty calibration of a block."""

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        found: list[Calibration | MassCalibration] = []

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            m, n = q.shape[-2], k.shape[-2]
            mask = visible_mask(m, n, causal, q.device)
            visible = np.ones((m, n), bool) if mask is None else mask.cpu().numpy()
            score = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
            found.append(self.calibration(block, q.shape[1], n))
            found[-1].add(score.cpu().numpy(), visible)
            return float_attention(q, k, v, causal)

        return record, lambda: {name: np.stack([getattr(entry, name) for entry in found]) for name in found[0].SUMS}

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the sums."""
        return sum_chunks(chunks)


@dataclasses.dataclass(frozen=True)
class KthScores(_Scores):
    """Statistics of the k-th largest scores: the sums of `Calibration`, stacked by block.

    Parameters
    ----------
    keep
    """

    keep: float

    def calibration(self, block: int, heads: int, keys: int) -> Calibration:
        """Return the empty calibration of a block."""
        return Calibration(self.keep, heads, keys)


@dataclasses.dataclass(frozen=True)
class PrunedMass(_Scores):
    """Statistics of the pruned mass: the sums of `MassCalibration`, stacked by block.

    Parameters
    ----------
    theta : float64 [blocks, heads, lengths]
    """

    theta: np.ndarray

    def calibration(self, block: int, heads: int, keys: int) -> MassCalibration:
        """Return the empty calibration of a block."""
        return MassCalibration(self.theta[block])
