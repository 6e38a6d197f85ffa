"""Static scales, starting thresholds and Top-Theta tables from a few passes over calibration data."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import estimate_all, split_tensor, visible_mask
from latte.golden.models.hardware import Thresholds, quantize_tensor
from latte.golden.models.hook import float_attention
from latte.golden.quantizer import QK_MAX, V_MAX
from latte.golden.top_theta import Calibration, MassCalibration, ThetaTables
from latte.golden.train.data import Dataset
from latte.golden.train.gaps import GapHistogram
from latte.golden.train.trainer import fit_to_target, forward

__all__ = ["measure_gaps", "starting_thresholds", "static_scales", "top_theta_tables"]


SCALE_SHARES = np.geomspace(1, 0.25, 18)
"""Of the scale that fits the largest element: the candidates for a scale with the least error."""
_LIMITS = {"q_scale": QK_MAX, "k_scale": QK_MAX, "v_scale": V_MAX}


def _passes(checkpoint: Checkpoint, data: Dataset, handler: Callable, batch: int, on_batch: Callable[[], None]) -> None:
    with torch.inference_mode():
        for start in range(0, len(data), batch):
            forward(checkpoint, handler, data.batch(np.arange(start, min(start + batch, len(data))))[0])
            on_batch()


def static_scales(checkpoint: Checkpoint, data: Dataset, config: AttentionConfig, *, quantile: float | None = None,
                  batch: int = 8, on_batch: Callable[[], None] = lambda: None) -> dict[str, np.ndarray]:
    """Return ``q_scale``, ``k_scale``, ``v_scale``, each float64 [blocks, heads].

    Parameters
    ----------
    quantile
        Take the largest element of each sequence, and of these the quantile: 1 lets no calibration sequence saturate.
        ``None`` takes what leaves the least squared error: for Q and K of the 8-bit value and of its high half, which
        alone makes the estimate, together. A few saturated elements then buy a finer estimate for all others.
    """
    absmax: list[list[np.ndarray]] = [[] for _ in range(checkpoint.blocks)]

    def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        absmax[block].append(np.stack([x.abs().amax((-2, -1)).cpu().numpy() for x in (q, k, v)]))
        return float_attention(q, k, v, causal)

    _passes(checkpoint, data, record, batch, on_batch)
    largest = np.stack([np.quantile(np.concatenate(entries, axis=1), 1.0 if quantile is None else quantile, axis=1)
                        for entries in absmax], axis=1)
    scales = {name: np.float32(np.where(values > 0, values, limit) / limit).astype(np.float64)
              for values, (name, limit) in zip(largest, _LIMITS.items(), strict=True)}
    return scales if quantile is not None else _least_error(checkpoint, data, config, scales, batch, on_batch)


def _least_error(checkpoint: Checkpoint, data: Dataset, config: AttentionConfig, largest: dict[str, np.ndarray],
                 batch: int, on_batch: Callable[[], None]) -> dict[str, np.ndarray]:
    """Return the share in `SCALE_SHARES` of each of the `largest` scales that leaves the least squared error."""
    errors = {name: np.zeros((len(SCALE_SHARES), *scale.shape)) for name, scale in largest.items()}

    def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        for (name, limit), x in zip(_LIMITS.items(), (q, k, v), strict=True):
            for i, share in enumerate(SCALE_SHARES):
                scale = torch.from_numpy(largest[name][block] * share).to(x)[:, None, None]
                codes = torch.round(x / scale).clamp_(-limit, limit)
                kinds = [codes] if name == "v_scale" else [codes, 16 * split_tensor(codes, config.split)[0]]
                for kind in kinds:
                    errors[name][i, block] += (kind * scale - x).square().sum((0, 2, 3)).double().cpu().numpy()
        return float_attention(q, k, v, causal)

    _passes(checkpoint, data, record, batch, on_batch)
    return {name: np.float32(scale * SCALE_SHARES[errors[name].argmin(0)]).astype(np.float64)
            for name, scale in largest.items()}


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
                        mode: str = "global", gain: tuple[float, float] | None = (1.0, 1.0),
                        scales: dict[str, np.ndarray] | None = None, batch: int = 8,
                        on_batch: Callable[[], None] = lambda: None) -> Thresholds:
    """Return thresholds that prune `target` without training.

    Parameters
    ----------
    mode
        ``"global"``: one for all heads; ``"head"``: fixed head-wise, each head prunes the target.
    gain
        (denominator, mean) gains for all heads, or ``None`` for no compensation.
    scales
        Static ones, from `static_scales`; ``None`` for dynamic ones.
    """
    thresholds = Thresholds.uniform(math.inf, checkpoint.blocks, checkpoint.heads, gain=gain)
    histogram = measure_gaps(checkpoint, data, config, batch=batch, on_batch=on_batch)
    tau = (np.full_like(thresholds.tau, histogram.uniform_tau(target)) if mode == "global"
           else histogram.head_tau(target))
    return fit_to_target(checkpoint, data, dataclasses.replace(thresholds, tau=tau, **(scales or {})), target, config,
                         items=len(data), batch=batch)


def top_theta_tables(checkpoint: Checkpoint, data: Dataset, keep: float, *, deviations: float = 0.0, batch: int = 4,
                     on_batch: Callable[[], None] = lambda: None) -> ThetaTables:
    """Return Top-Theta's thresholds of the float model's scaled scores, and what they prune, by block and head.

    Two passes over the data: the thresholds, then the mass below them.
    """
    calibrations: list[Any] = [None] * checkpoint.blocks

    def observe(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        m, n = q.shape[-2], k.shape[-2]
        visible = visible_mask(m, n, causal, q.device)
        if calibrations[block] is None:
            calibrations[block] = Calibration(keep, q.shape[1], n)
        score = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        calibrations[block].add(score.cpu().numpy(),
                                np.ones((m, n), bool) if visible is None else visible.cpu().numpy())
        return float_attention(q, k, v, causal)

    _passes(checkpoint, data, observe, batch, on_batch)
    calibrations = [MassCalibration(calibration.theta(deviations)) for calibration in calibrations]
    _passes(checkpoint, data, observe, batch, on_batch)
    tables = [calibration.tables() for calibration in calibrations]
    return ThetaTables(*(np.stack([getattr(table, name) for table in tables]) for name in ("theta", "share", "ratio")))
