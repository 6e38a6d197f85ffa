"""Whole models on hardware arithmetic: the handler that quantises, filters and attends as the accelerator does."""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.exact import (
    Filtered,
    HeadCodes,
    TensorTrace,
    estimate_all,
    filter_rows,
    finish,
    key_membership,
    score_all,
    split_tensor,
)
from latte.golden.pruned_mass import GAIN_FRAC_BITS, GAIN_MAX
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_MAX, V_MAX, mass_code
from latte.golden.smoothing import smooth_operands
from latte.golden.thresholds import ThresholdKind

__all__ = ["HardwareAttention", "Observer", "PairCounter", "group_codes", "quantize_tensor", "row_chunks",
           "scale_codes", "smooth_tensors", "threshold_codes"]

ROW_CHUNK = 128


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


def smooth_tensors(q: torch.Tensor, k: torch.Tensor, thresholds: Thresholds, block: int
                   ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return q [batch, heads, m, d] and k [batch, heads, n, d] with the smoothing of a block's thresholds, if any."""
    offset, scale = thresholds.key_offset, thresholds.channel_scale
    if offset is None or scale is None:
        return q, k
    return smooth_operands(q, k, *(torch.from_numpy(values[block]).to(q) for values in (offset, scale)))


def scale_codes(scale: torch.Tensor, config: AttentionConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (mantissa, shift) of softmax scales as `latte.golden.quantizer.softmax_scale_code` does, int64."""
    fraction, exponent = torch.frexp(scale * (1 << config.exp_frac_bits))
    mantissa = torch.floor(fraction * (1 << SCALE_MANTISSA_BITS) + 0.5).to(torch.int64)
    shift = SCALE_MANTISSA_BITS - exponent.to(torch.int64)
    overflow = mantissa == 1 << SCALE_MANTISSA_BITS
    mantissa, shift = torch.where(overflow, mantissa >> 1, mantissa), shift - overflow.to(torch.int64)
    mantissa = torch.where(shift < 0, (1 << SCALE_MANTISSA_BITS) - 1, torch.where(shift > SCALE_SHIFT_MAX, 0, mantissa))
    return mantissa, torch.where((shift < 0) | (shift > SCALE_SHIFT_MAX), 0, shift)


def threshold_codes(thresholds: Thresholds, block: int, q_scale: torch.Tensor, k_scale: torch.Tensor,
                    config: AttentionConfig) -> torch.Tensor:
    """Return the codes of a block's thresholds, int64 [batch or 1, heads, LENGTH_OCTAVES].

    As `latte.golden.thresholds.Threshold.encode` does.

    Parameters
    ----------
    q_scale, k_scale : float64 [batch or 1, heads]
    """
    tau = thresholds.tau_by_octave[block]
    if thresholds.kind is ThresholdKind.MASS:
        return torch.from_numpy(np.vectorize(mass_code, otypes=[np.int64])(tau))[None].to(q_scale.device)
    steps = (torch.from_numpy(tau).to(q_scale.device) * math.sqrt(config.head_dim)
             / (q_scale * k_scale * (1 << config.estimate_shift))[..., None])
    low, high = thresholds.kind.code_range(config)
    rounded = steps + 0.5 if thresholds.kind is ThresholdKind.RELATIVE else steps
    return rounded.floor().clamp(low, high).to(torch.int64)


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
    if thresholds.group_elements is None or thresholds.group_cuts is None:
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
        Numeric fields decide the bits; the width of the estimate is that of the thresholds.
    observers
        Look at the filter of every call.
    """

    def __init__(self, thresholds: Thresholds, config: AttentionConfig, *observers: Observer) -> None:
        self.thresholds = thresholds
        self.config = config.replace(estimate_bits=thresholds.estimate_bits)
        self.observers = observers

    def _row(self, name: str, block: int, device: torch.device) -> torch.Tensor | None:
        values = getattr(self.thresholds, name)
        return None if values is None else torch.from_numpy(np.asarray(values[block], np.float64))[None].to(device)

    def operands(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[
            tuple[torch.Tensor, torch.Tensor, torch.Tensor], HeadCodes, torch.Tensor, torch.Tensor]:
        """Return integer-valued (q, k, v), register codes, and estimate step and V scale, each [batch or 1, heads]."""
        config, device = self.config, q.device
        q, k = smooth_tensors(q, k, self.thresholds, block)
        q, q_scale = quantize_tensor(q, config.qk_max, self._row("q_scale", block, device))
        k, k_scale = quantize_tensor(k, config.qk_max, self._row("k_scale", block, device))
        v, v_scale = quantize_tensor(v, V_MAX, self._row("v_scale", block, device))
        root = math.sqrt(config.head_dim)
        mantissa, shift = scale_codes(q_scale * k_scale * math.log2(math.e) / root, config)
        threshold = threshold_codes(self.thresholds, block, q_scale, k_scale, config)
        denominator_gain, mean_gain = (
            gain if gain is None else (gain * (1 << GAIN_FRAC_BITS) + 0.5).floor().clamp(0, GAIN_MAX).to(torch.int64)
            for gain in (self._row(name, block, device) for name in ("denominator_gain", "mean_gain")))
        codes = HeadCodes(threshold, mantissa, shift, self.thresholds.kind, denominator_gain, mean_gain,
                          *group_codes(self.thresholds, block, k_scale))
        return (q, k, v), codes, (1 << config.estimate_shift) * q_scale * k_scale / root, v_scale

    def trace(self, operands: tuple[torch.Tensor, torch.Tensor, torch.Tensor], codes: HeadCodes, causal: bool
              ) -> tuple[TensorTrace, torch.Tensor, torch.Tensor]:
        """Return (trace, estimate, score) of integer-valued operands."""
        q, k, v = operands
        q_parts, k_parts = split_tensor(q, self.config), split_tensor(k, self.config)
        membership = key_membership(k.clamp(max=self.config.qk_max), codes.group_elements, codes.group_cuts)
        rows = self.filter(estimate_all(q_parts[0], k_parts[0], causal), v, membership, codes, causal)
        score = self.score(operands, q_parts, k_parts)
        return (finish(score, rows, v, codes, self.config, membership=membership, causal=causal), rows.estimate, score)

    def filter(self, estimate: torch.Tensor, v: torch.Tensor, membership: torch.Tensor, codes: HeadCodes,
               causal: bool) -> Filtered:
        """Return which keys survive; values and key groups do not decide it here."""
        del v, membership
        return filter_rows(estimate, codes, self.config, causal)

    def score(self, operands: tuple[torch.Tensor, ...], q_parts: tuple[torch.Tensor, torch.Tensor],
              k_parts: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the scores of all pairs, of which survivors' count."""
        del operands
        return score_all(q_parts, k_parts, self.config)

    def output_codes(self, block: int, operands: tuple[torch.Tensor, torch.Tensor, torch.Tensor], codes: HeadCodes,
                     step: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the output codes [batch, heads, m, d] of one attention; the arguments are what `operands` returns."""
        q, k, v = operands
        outputs = []
        for rows, keys in row_chunks(q.shape[-2], k.shape[-2], causal):
            trace, estimate, _ = self.trace((q[..., rows, :], k[..., :keys, :], v[..., :keys, :]), codes, causal)
            for observer in self.observers:
                observer.observe(block, trace.keep, estimate, step, causal)
            outputs.append(trace.output)
        return torch.cat(outputs, -2)

    def __call__(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the dequantised output [batch, heads, m, d]."""
        operands, codes, step, v_scale = self.operands(block, q, k, v)
        output = self.output_codes(block, operands, codes, step, causal)
        return (output.double() * (v_scale / (1 << self.config.fraction_bits))[..., None, None]).to(q.dtype)


def row_chunks(m: int, n: int, causal: bool) -> Iterator[tuple[slice, int]]:
    """Yield (query rows, keys they can see) so that a causal head computes little more than its visible half."""
    size = ROW_CHUNK if causal else m
    for start in range(0, m, size):
        stop = min(start + size, m)
        yield slice(start, stop), n - m + stop if causal else n
