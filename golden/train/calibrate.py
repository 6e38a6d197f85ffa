"""Static scales, starting thresholds and Top-Theta tables from a few passes over calibration data."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import estimate_all, split_tensor, visible_mask
from latte.golden.models.hardware import Thresholds, quantize_tensor
from latte.golden.models.hook import float_attention
from latte.golden.quantizer import QK_MAX, V_MAX
from latte.golden.top_theta import Calibration
from latte.golden.train.data import Dataset
from latte.golden.train.gaps import GapHistogram
from latte.golden.train.trainer import fit_to_target, forward

__all__ = ["measure_gaps", "starting_thresholds", "static_scales", "top_theta_tables"]


def _passes(checkpoint: Checkpoint, data: Dataset, handler: Callable, batch: int, on_batch: Callable[[], None]) -> None:
    with torch.inference_mode():
        for start in range(0, len(data), batch):
            forward(checkpoint, handler, data.batch(np.arange(start, min(start + batch, len(data))))[0])
            on_batch()


def static_scales(checkpoint: Checkpoint, data: Dataset, *, quantile: float = 1.0, batch: int = 8,
                  on_batch: Callable[[], None] = lambda: None) -> dict[str, np.ndarray]:
    """Return ``q_scale``, ``k_scale``, ``v_scale``, each float64 [blocks, heads].

    Parameters
    ----------
    quantile
        Of the largest magnitudes of the sequences: 1 lets no calibration sequence saturate.
    """
    absmax: list[list[np.ndarray]] = [[] for _ in range(checkpoint.blocks)]

    def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        absmax[block].append(np.stack([x.abs().amax((-2, -1)).cpu().numpy() for x in (q, k, v)]))
        return float_attention(q, k, v, causal)

    _passes(checkpoint, data, record, batch, on_batch)
    largest = np.stack([np.quantile(np.concatenate(entries, axis=1), quantile, axis=1) for entries in absmax], axis=1)
    limits = {"q_scale": QK_MAX, "k_scale": QK_MAX, "v_scale": V_MAX}
    return {name: np.float32(np.where(values > 0, values, limit) / limit).astype(np.float64)
            for values, (name, limit) in zip(largest, limits.items(), strict=True)}


def measure_gaps(checkpoint: Checkpoint, data: Dataset, config: AttentionConfig, *, batch: int = 8,
                 on_batch: Callable[[], None] = lambda: None) -> GapHistogram:
    """Return the histogram of gaps that the float model's activations have."""
    histogram = GapHistogram(checkpoint.blocks, checkpoint.heads)

    def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        (q_code, q_scale), (k_code, k_scale) = quantize_tensor(q, QK_MAX), quantize_tensor(k, QK_MAX)
        estimate = estimate_all(split_tensor(q_code, config.split)[0], split_tensor(k_code, config.split)[0], causal)
        step = 256 * q_scale * k_scale / math.sqrt(config.head_dim)
        histogram.observe(block, estimate.isfinite(), estimate, step, causal)
        return float_attention(q, k, v, causal)

    _passes(checkpoint, data, record, batch, on_batch)
    return histogram


def starting_thresholds(checkpoint: Checkpoint, data: Dataset, target: float, config: AttentionConfig, *,
                        mode: str = "global", gain: tuple[float, float] | None = (1.0, 1.0), batch: int = 8,
                        on_batch: Callable[[], None] = lambda: None) -> Thresholds:
    """Return thresholds that prune `target` without training.

    Parameters
    ----------
    mode
        ``"global"``: one for all heads; ``"head"``: fixed head-wise, each head prunes the target.
    gain
        (denominator, mean) gains for all heads, or ``None`` for no compensation.
    """
    thresholds = Thresholds.uniform(math.inf, checkpoint.blocks, checkpoint.heads, gain=gain)
    histogram = measure_gaps(checkpoint, data, config, batch=batch, on_batch=on_batch)
    tau = (np.full_like(thresholds.tau, histogram.uniform_tau(target)) if mode == "global"
           else histogram.head_tau(target))
    return fit_to_target(checkpoint, data, dataclasses.replace(thresholds, tau=tau), target, config, items=len(data),
                         batch=batch)


def top_theta_tables(checkpoint: Checkpoint, data: Dataset, keep: float, *, deviations: float = 0.0, batch: int = 4,
                     on_batch: Callable[[], None] = lambda: None) -> np.ndarray:
    """Return Top-Theta's thresholds of the float model's scaled scores, float64 [blocks, heads, lengths]."""
    tables: list[Calibration | None] = [None] * checkpoint.blocks

    def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        m, n = q.shape[-2], k.shape[-2]
        visible = visible_mask(m, n, causal, q.device)
        if tables[block] is None:
            tables[block] = Calibration(keep, q.shape[1], n)
        score = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        tables[block].add(score.cpu().numpy(), np.ones((m, n), bool) if visible is None else visible.cpu().numpy())
        return float_attention(q, k, v, causal)

    _passes(checkpoint, data, record, batch, on_batch)
    return np.stack([table.theta(deviations) for table in tables])
