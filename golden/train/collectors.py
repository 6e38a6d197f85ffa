"""What calibration looks at: sizes of operands, errors of scales, gaps to the largest estimate, scores, pruned mass."""

import abc
import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import estimate_all, split_tensor, visible_mask
from latte.golden.models.hardware import HardwareAttention, Thresholds, quantize_tensor
from latte.golden.models.hook import Handler, float_attention
from latte.golden.quantizer import QK_MAX, V_MAX
from latte.golden.top_theta import Calibration, MassCalibration
from latte.golden.train.gaps import GapHistogram
from latte.golden.train.passes import Arrays

__all__ = ["Gaps", "HardGaps", "KthScores", "LargestElements", "PrunedMass", "SCALE_LIMITS", "ScaleErrors",
           "sum_chunks"]

SCALE_LIMITS = {"q_scale": QK_MAX, "k_scale": QK_MAX, "v_scale": V_MAX}
"""Codes that the largest element of Q, K and V maps to."""


def sum_chunks(chunks: list[Arrays]) -> Arrays:
    """Return the sums, over all chunks, of each of their arrays."""
    return {name: np.sum([chunk[name] for chunk in chunks], axis=0) for name in chunks[0]}


class LargestElements:
    """Largest magnitude of Q, K and V of every sequence, float64 [blocks, heads, items] each, by scale name."""

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        seen: dict[str, list[np.ndarray]] = {name: [] for name in SCALE_LIMITS}

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            for name, x in zip(SCALE_LIMITS, (q, k, v), strict=True):
                seen[name].append(x.abs().amax((-2, -1)).double().cpu().numpy().T)
            return float_attention(q, k, v, causal)

        return record, lambda: {name: np.stack(values) for name, values in seen.items()}

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return all sequences."""
        return {name: np.concatenate([chunk[name] for chunk in chunks], axis=-1) for name in SCALE_LIMITS}


@dataclasses.dataclass(frozen=True)
class ScaleErrors:
    """Squared errors that candidate scales leave, float64 [candidates, blocks, heads], by scale name.

    Of Q and K the errors of the 8-bit value and of its high half, which makes the estimate, are added.

    Parameters
    ----------
    candidates : dict of float64 [candidates, blocks, heads]
    split
    """

    candidates: dict[str, np.ndarray]
    split: str

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        errors = {name: np.zeros(scales.shape) for name, scales in self.candidates.items()}

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            for (name, limit), x in zip(SCALE_LIMITS.items(), (q, k, v), strict=True):
                for error, scale in zip(errors[name], self.candidates[name], strict=True):
                    step = torch.from_numpy(scale[block]).to(x)[:, None, None]
                    codes = torch.round(x / step).clamp_(-limit, limit)
                    parts = [codes] if name == "v_scale" else [codes, 16 * split_tensor(codes, self.split)[0]]
                    for part in parts:
                        error[block] += (part * step - x).square().sum((0, 2, 3)).double().cpu().numpy()
            return float_attention(q, k, v, causal)

        return record, lambda: errors

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the sums."""
        return sum_chunks(chunks)


@dataclasses.dataclass(frozen=True)
class Gaps:
    """Histogram of gaps in the float model's activations, ``counts`` as of `GapHistogram`.

    Parameters
    ----------
    config
    """

    config: AttentionConfig

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        histogram, split = GapHistogram(checkpoint.blocks, checkpoint.heads), self.config.split

        def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
            (q_code, q_scale), (k_code, k_scale) = quantize_tensor(q, QK_MAX), quantize_tensor(k, QK_MAX)
            estimate = estimate_all(split_tensor(q_code, split)[0], split_tensor(k_code, split)[0], causal)
            step = 256 * q_scale * k_scale / math.sqrt(q.shape[-1])
            histogram.observe(block, estimate.isfinite(), estimate, step, causal)
            return float_attention(q, k, v, causal)

        return record, lambda: {"counts": histogram.counts}

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the sums."""
        return sum_chunks(chunks)


@dataclasses.dataclass(frozen=True)
class HardGaps:
    """Histogram of gaps while the hardware's filter prunes, ``counts`` as of `GapHistogram`.

    Parameters
    ----------
    thresholds, config
    """

    thresholds: Thresholds
    config: AttentionConfig

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Begin a chunk."""
        histogram = GapHistogram(checkpoint.blocks, checkpoint.heads)
        return HardwareAttention(self.thresholds, self.config, histogram), lambda: {"counts": histogram.counts}

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
