"""Whole models on hardware arithmetic: the handler that quantises, filters and attends as the accelerator does."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.models.exact import (
    HeadCodes,
    TensorTrace,
    estimate_all,
    finish,
    key_membership,
    score_all,
    split_tensor,
    threshold_keep,
)
from latte.golden.pruned_mass import GAIN_FRAC_BITS, GAIN_MAX
from latte.golden.quantizer import QK_MAX, SCALE_MANTISSA_BITS, SCALE_SHIFT_MAX, V_MAX

__all__ = ["HardwareAttention", "Observer", "PairCounter", "Thresholds", "group_codes", "quantize_tensor", "row_chunks",
           "scale_codes", "tau_codes"]

ROW_CHUNK = 128


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What is learned or calibrated per head; float64 [blocks, heads] unless said otherwise.

    Parameters
    ----------
    tau
        Natural exponent; +inf keeps every key.
    denominator_gain, mean_gain
        Of the pruned mass; ``None`` for both runs without compensation.
    q_scale, k_scale, v_scale
        Static scales of one int8 step; ``None`` for all three scales every sequence by its own largest element.
    group_elements : int64 [blocks, heads, bits]
    group_cuts : float64 [blocks, heads, bits]
        Key groups of `latte.golden.key_groups`, cuts in the units of K; ``None`` for both is one group.
    """

    tau: np.ndarray
    denominator_gain: np.ndarray | None = None
    mean_gain: np.ndarray | None = None
    q_scale: np.ndarray | None = None
    k_scale: np.ndarray | None = None
    v_scale: np.ndarray | None = None
    group_elements: np.ndarray | None = None
    group_cuts: np.ndarray | None = None

    @classmethod
    def uniform(cls, tau: float, blocks: int, heads: int, *, gain: tuple[float, float] | None = None) -> "Thresholds":
        """Return one threshold, and one (denominator, mean) gain, for all heads."""
        full = [None if gain is None else np.full((blocks, heads), value) for value in gain or (0, 0)]
        return cls(np.full((blocks, heads), float(tau)), *full)


class Observer(Protocol):
    """Something that looks at every block's filter."""

    def observe(self, block: int, keep: torch.Tensor, estimate: torch.Tensor, step: torch.Tensor, causal: bool) -> None:
        """See the survivors and estimates of a block.

        Parameters
        ----------
        keep : bool [batch, heads, m, n]
        estimate : float32 [batch, heads, m, n]
            Integer-valued; minus infinity where not visible.
        step : float64 [batch or 1, heads]
            One estimate step in units of the scaled score, natural exponent.
        """


class PairCounter:
    """Visible and kept pairs of every head over the sequences seen, int64 [blocks, heads]."""

    def __init__(self, blocks: int, heads: int) -> None:
        self.visible = np.zeros((blocks, heads), np.int64)
        self.kept = np.zeros((blocks, heads), np.int64)

    def observe(self, block: int, keep: torch.Tensor, estimate: torch.Tensor, step: torch.Tensor, causal: bool) -> None:
        """Count the pairs of one block; the arguments are those of `Observer`."""
        del estimate, step
        batch, _, m, n = keep.shape
        self.visible[block] += batch * (m * (n - m) + m * (m + 1) // 2 if causal else m * n)
        self.kept[block] += keep.sum((0, 2, 3)).cpu().numpy()


def quantize_tensor(x: torch.Tensor, limit: int, scale: torch.Tensor | None = None
                    ) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise [batch, heads, n, d] as `latte.golden.quantizer.quantize` does, integer-valued float32.

    Parameters
    ----------
    scale : float64 [1, heads] or None
        Static scale, beyond which elements saturate; without it each sequence gives its own.

    Returns
    -------
    codes : float32 [batch, heads, n, d]
    scale : float64 [batch or 1, heads]
    """
    if scale is None:
        absmax = x.abs().amax((-2, -1)).double()
        scale = torch.where(absmax > 0, absmax / limit, 1.0).float().double()
    codes = torch.round(x.double() / scale[..., None, None]).clamp_(-limit, limit)
    return codes.float(), scale


def scale_codes(scale: torch.Tensor, config: AttentionConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (mantissa, shift) of softmax scales as `latte.golden.quantizer.softmax_scale_code` does, int64."""
    fraction, exponent = torch.frexp(scale * (1 << config.exp_frac_bits))
    mantissa = torch.floor(fraction * (1 << SCALE_MANTISSA_BITS) + 0.5).to(torch.int64)
    shift = SCALE_MANTISSA_BITS - exponent.to(torch.int64)
    overflow = mantissa == 1 << SCALE_MANTISSA_BITS
    mantissa, shift = torch.where(overflow, mantissa >> 1, mantissa), shift - overflow.to(torch.int64)
    mantissa = torch.where(shift < 0, (1 << SCALE_MANTISSA_BITS) - 1, torch.where(shift > SCALE_SHIFT_MAX, 0, mantissa))
    return mantissa, torch.where((shift < 0) | (shift > SCALE_SHIFT_MAX), 0, shift)


def tau_codes(tau: torch.Tensor, q_scale: torch.Tensor, k_scale: torch.Tensor, config: AttentionConfig) -> torch.Tensor:
    """Return threshold codes as `latte.golden.quantizer.tau_code` does, int64."""
    code = tau * math.sqrt(config.head_dim) / (q_scale * k_scale * 256) + 0.5
    return code.floor().clamp(1, config.tau_keep_all).to(torch.int64)


def group_codes(thresholds: Thresholds, block: int, k_scale: torch.Tensor
                ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return (elements, cut codes) of a block as `latte.golden.key_groups.KeyGroups.encode` does.

    Parameters
    ----------
    k_scale : float64 [batch or 1, heads]

    Returns
    -------
    int64 [heads, bits] and [batch or 1, heads, bits], or ``None`` for both
    """
    if thresholds.group_elements is None:
        return None, None
    elements = torch.from_numpy(thresholds.group_elements[block]).to(k_scale.device)
    cuts = torch.from_numpy(thresholds.group_cuts[block]).to(k_scale.device)
    return elements, (cuts / k_scale[..., None]).floor().clamp(-128, 127).to(torch.int64)


class HardwareAttention:
    """Attention handler with LATTE's exact integer arithmetic.

    Parameters
    ----------
    thresholds
        Per block and head, real units.
    config
        Numeric fields decide the bits.
    observers
        Look at the filter of every call.
    """

    def __init__(self, thresholds: Thresholds, config: AttentionConfig, *observers: Observer) -> None:
        self.thresholds = thresholds
        self.config = config
        self.observers = observers

    def _row(self, name: str, block: int, device: torch.device) -> torch.Tensor | None:
        values = getattr(self.thresholds, name)
        return None if values is None else torch.from_numpy(np.asarray(values[block], np.float64))[None].to(device)

    def operands(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[
            tuple[torch.Tensor, torch.Tensor, torch.Tensor], HeadCodes, torch.Tensor, torch.Tensor]:
        """Return integer-valued (q, k, v), register codes, and estimate step and V scale, each [batch or 1, heads]."""
        q, q_scale = quantize_tensor(q, QK_MAX, self._row("q_scale", block, q.device))
        k, k_scale = quantize_tensor(k, QK_MAX, self._row("k_scale", block, q.device))
        v, v_scale = quantize_tensor(v, V_MAX, self._row("v_scale", block, q.device))
        root = math.sqrt(self.config.head_dim)
        mantissa, shift = scale_codes(q_scale * k_scale * math.log2(math.e) / root, self.config)
        tau = tau_codes(self._row("tau", block, q.device), q_scale, k_scale, self.config)
        gains = [gain if gain is None else
                 (gain * (1 << GAIN_FRAC_BITS) + 0.5).floor().clamp(0, GAIN_MAX).to(torch.int64)
                 for gain in (self._row(name, block, q.device) for name in ("denominator_gain", "mean_gain"))]
        elements, cuts = group_codes(self.thresholds, block, k_scale)
        codes = HeadCodes(tau, mantissa, shift, *gains, group_elements=elements, group_cuts=cuts)
        return (q, k, v), codes, 256 * q_scale * k_scale / root, v_scale

    def trace(self, operands: tuple[torch.Tensor, torch.Tensor, torch.Tensor], codes: HeadCodes, causal: bool
              ) -> tuple[TensorTrace, torch.Tensor, torch.Tensor]:
        """Return (trace, estimate, score) of integer-valued operands."""
        q, k, v = operands
        q_halves, k_halves = split_tensor(q, self.config.split), split_tensor(k, self.config.split)
        estimate = estimate_all(q_halves[0], k_halves[0], causal)
        keep, row_max = threshold_keep(estimate, codes.tau)
        score = score_all(q_halves, k_halves)
        membership = key_membership(k.clamp(max=QK_MAX), codes.group_elements, codes.group_cuts)
        return (finish(score, keep, v, codes, self.config, estimate=estimate, row_max=row_max, membership=membership,
                       causal=causal), estimate, score)

    def __call__(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the dequantised output [batch, heads, m, d]."""
        (q_code, k_code, v_code), codes, step, v_scale = self.operands(block, q, k, v)
        output_step = (v_scale / (1 << self.config.fraction_bits))[..., None, None]
        outputs = []
        for rows, keys in row_chunks(q.shape[-2], k.shape[-2], causal):
            operands = (q_code[..., rows, :], k_code[..., :keys, :], v_code[..., :keys, :])
            trace, estimate, _ = self.trace(operands, codes, causal)
            for observer in self.observers:
                observer.observe(block, trace.keep, estimate, step, causal)
            outputs.append((trace.output.double() * output_step).to(q.dtype))
        return torch.cat(outputs, -2)


def row_chunks(m: int, n: int, causal: bool) -> Iterator[tuple[slice, int]]:
    """Yield (query rows, keys they can see) so that a causal head computes little more than its visible half."""
    size = ROW_CHUNK if causal else m
    for start in range(0, m, size):
        stop = min(start + size, m)
        yield slice(start, stop), n - m + stop if causal else n
