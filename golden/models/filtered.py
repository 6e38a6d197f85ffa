"""Any golden filter inside a model: its survivors, then the integer softmax and P·V of the accelerator."""

import math

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.filters import FilterInput, KeyFilter, TopTheta
from latte.golden.models.exact import (
    HeadCodes,
    TensorTrace,
    compensate,
    finish,
    power_tensor,
    score_all,
    split_tensor,
    visible_mask,
)
from latte.golden.models.hardware import PairCounter, quantize_tensor, row_chunks, scale_codes
from latte.golden.pruned_mass import GAIN_FRAC_BITS
from latte.golden.quantizer import QK_MAX, V_MAX
from latte.golden.top_theta import SHARE_FRAC_BITS, ThetaTables, theta_codes

__all__ = ["TOP_THETA_MODES", "FilterAttention", "TopThetaAttention"]

TOP_THETA_MODES = ("exact", "exp", "offline")
"""Ways of Top-Theta to restore the denominator: exact exponentials, exponential of the threshold, calibrated ratio."""


class FilterAttention:
    """Attention handler with a golden `KeyFilter`.

    Parameters
    ----------
    key_filter
    config
    counter
        Receives the pairs.

    Attributes
    ----------
    work : int
        The filter's bit operations so far.
    """

    def __init__(self, key_filter: KeyFilter, config: AttentionConfig, counter: PairCounter) -> None:
        self.key_filter, self.config, self.counter = key_filter, config, counter
        self.work = 0

    def __call__(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the dequantised output [batch, heads, m, d]."""
        (q_code, q_scale), (k_code, k_scale) = quantize_tensor(q, QK_MAX), quantize_tensor(k, QK_MAX)
        v_code, v_scale = quantize_tensor(v, V_MAX)
        step = q_scale * k_scale / math.sqrt(self.config.head_dim)
        m, n = q.shape[-2], k.shape[-2]
        outputs = []
        for rows, keys in row_chunks(m, n, causal and self.key_filter.by_row):
            operands = q_code[..., rows, :], k_code[..., :keys, :], v_code[..., :keys, :]
            outputs.append(self._rows(block, operands, step, causal))
        output_step = (v_scale / (1 << self.config.fraction_bits))[..., None, None]
        return (torch.cat(outputs, -2).double() * output_step).to(q.dtype)

    def _rows(self, block: int, operands: tuple[torch.Tensor, torch.Tensor, torch.Tensor], step: torch.Tensor,
              causal: bool) -> torch.Tensor:
        q, k, v = operands
        mask = visible_mask(q.shape[-2], k.shape[-2], causal, q.device)
        visible = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device) if mask is None else mask
        q_array, k_array = (x.cpu().numpy().astype(np.int8) for x in (q, k))
        keep, work = self.key_filter.select(
            FilterInput(q_array, k_array, visible.cpu().numpy(), step.cpu().numpy(), block))
        keep = torch.from_numpy(np.ascontiguousarray(keep)).to(q.device)
        self.work += work
        if self.key_filter.reuses_estimate:
            score = score_all(split_tensor(q, self.config.split), split_tensor(k, self.config.split))
        else:
            score = q @ k.transpose(-1, -2)
        mantissa, shift = scale_codes(step * math.log2(math.e), self.config)
        codes = HeadCodes(torch.zeros_like(mantissa), mantissa, shift)
        trace = finish(score, keep, v, codes, self.config, causal=causal)
        self.counter.observe(block, keep, score, step, causal)
        return self.restore(trace, score, v, codes, visible, step, block).output

    def restore(self, trace: TensorTrace, score: torch.Tensor, v: torch.Tensor, codes: HeadCodes,
                visible: torch.Tensor, step: torch.Tensor, block: int) -> TensorTrace:
        """Return the trace with what pruned keys give back: here nothing."""
        return trace


class TopThetaAttention(FilterAttention):
    """Attention handler with Top-Theta's thresholds, and its compensation of denominator and mean(V).

    The integer definitions are those of `latte.golden.top_theta`, vectorised.

    Parameters
    ----------
    tables
    mode
        One of `TOP_THETA_MODES`.
    config, counter
        As for `FilterAttention`.
    """

    def __init__(self, tables: ThetaTables, mode: str, config: AttentionConfig, counter: PairCounter) -> None:
        super().__init__(TopTheta(tables.theta), config, counter)
        self.tables, self.mode = tables, mode

    def restore(self, trace: TensorTrace, score: torch.Tensor, v: torch.Tensor, codes: HeadCodes,
                visible: torch.Tensor, step: torch.Tensor, block: int) -> TensorTrace:
        """Return the trace with the mode's mass in the denominator and, on mean(V), in the output."""
        mass = getattr(self, f"_{self.mode}")(trace, score, codes, visible, step, block)
        one = torch.full_like(codes.mantissa, 1 << GAIN_FRAC_BITS)
        gains = HeadCodes(codes.tau, codes.mantissa, codes.shift, one, one)
        causal = not bool(visible.all())
        return compensate(trace, mass, v, gains, self.config, causal=causal)

    def _lengths(self, visible: torch.Tensor) -> np.ndarray:
        return np.minimum(visible.sum(-1).cpu().numpy(), self.tables.theta.shape[-1]) - 1

    def _exact(self, trace: TensorTrace, score: torch.Tensor, codes: HeadCodes, visible: torch.Tensor,
               step: torch.Tensor, block: int) -> torch.Tensor:
        pruned = visible & ~trace.keep
        delta = (trace.score_max[..., None] - score.to(torch.int64)).masked_fill_(~pruned, 0)
        weight = power_tensor(delta, codes.mantissa[..., None, None], codes.shift[..., None, None], self.config)
        return weight.masked_fill_(~pruned, 0).sum(-1)

    def _exp(self, trace: TensorTrace, score: torch.Tensor, codes: HeadCodes, visible: torch.Tensor,
             step: torch.Tensor, block: int) -> torch.Tensor:
        theta = torch.from_numpy(theta_codes(self.tables.theta[block][:, self._lengths(visible)],
                                             step.cpu().numpy()[..., None])).to(score.device)
        weight = power_tensor((trace.score_max - theta).clamp(min=0), codes.mantissa[..., None],
                              codes.shift[..., None], self.config)
        count = (visible & ~trace.keep).sum(-1)
        share = torch.from_numpy(self.tables.share_codes()[block])[:, None].to(score.device)
        return (count * weight * share + (1 << (SHARE_FRAC_BITS - 1))) >> SHARE_FRAC_BITS

    def _offline(self, trace: TensorTrace, score: torch.Tensor, codes: HeadCodes, visible: torch.Tensor,
                 step: torch.Tensor, block: int) -> torch.Tensor:
        ratio = torch.from_numpy(self.tables.ratio_codes()[block][:, self._lengths(visible)]).to(score.device)
        return (trace.weight_sum * ratio + (1 << (SHARE_FRAC_BITS - 1))) >> SHARE_FRAC_BITS
