"""Any golden filter inside a model: its survivors, then the integer softmax and P·V of the accelerator."""

import dataclasses
import math

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.filters import FilterInput, KeyFilter, TopTheta
from latte.golden.models.exact import (
    HeadCodes,
    TensorTrace,
    attend_survivors,
    compensate,
    key_membership,
    normalize_trace,
    power_tensor,
    score_all,
    split_tensor,
    visible_mask,
)
from latte.golden.models.hardware import PairCounter, quantize_tensor, row_chunks, scale_codes
from latte.golden.pruned_mass import GAIN_FRAC_BITS
from latte.golden.quantizer import QK_MAX, V_MAX
from latte.golden.top_theta import SHARE_FRAC_BITS, ThetaTables, theta_codes

__all__ = ["TOP_THETA_MODES", "FilterAttention", "FilteredRows", "TopThetaAttention"]

TOP_THETA_MODES = ("exact", "exp", "offline")
"""Ways of Top-Theta to restore the denominator: exact exponentials, exponential of the threshold, calibrated ratio."""


@dataclasses.dataclass(frozen=True)
class FilteredRows:
    """Some rows of a block after the filter, the softmax and P·V.

    Parameters
    ----------
    block, causal
    trace
        Of the survivors.
    score, v : float32 [batch, heads, m, n], [batch, heads, n, d]
        Integer-valued.
    codes
    visible : bool [m, n]
    step : float64 [batch, heads]
        Scaled score of one integer step.
    """

    block: int
    causal: bool
    trace: TensorTrace
    score: torch.Tensor
    v: torch.Tensor
    codes: HeadCodes
    visible: torch.Tensor
    step: torch.Tensor


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
        survivors, work = self.key_filter.select(
            FilterInput(q_array, k_array, visible.cpu().numpy(), step.cpu().numpy(), block))
        keep = torch.from_numpy(np.ascontiguousarray(survivors)).to(q.device)
        self.work += work
        if self.key_filter.reuses_estimate:
            score = score_all(split_tensor(q, self.config), split_tensor(k, self.config), self.config)
        else:
            score = q @ k.transpose(-1, -2)
        mantissa, shift = scale_codes(step * math.log2(math.e), self.config)
        codes = HeadCodes(torch.zeros_like(mantissa)[..., None], mantissa, shift)
        trace = attend_survivors(score, keep, v, codes, self.config)
        self.counter.observe(block, keep, score, step, causal)
        return self.restore(FilteredRows(block, causal, trace, score, v, codes, visible, step)).output

    def restore(self, rows: FilteredRows) -> TensorTrace:
        """Return the trace with its output, and with what pruned keys give back: here nothing."""
        return normalize_trace(rows.trace, self.config)


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

    def restore(self, rows: FilteredRows) -> TensorTrace:
        """Return the trace with the mode's mass in the denominator and, on mean(V), in the output."""
        mass = {"exact": self._exact, "exp": self._exp, "offline": self._offline}[self.mode](rows)
        one = torch.full_like(rows.codes.mantissa, 1 << GAIN_FRAC_BITS)
        one_group = key_membership(rows.v, None, None)
        return compensate(rows.trace, mass[..., None], rows.v, one_group, (one, one), self.config, causal=rows.causal)

    def _lengths(self, visible: torch.Tensor) -> np.ndarray:
        return np.minimum(visible.sum(-1).cpu().numpy(), self.tables.theta.shape[-1]) - 1

    def _exact(self, rows: FilteredRows) -> torch.Tensor:
        pruned = rows.visible & ~rows.trace.keep
        delta = (rows.trace.score_max[..., None] - rows.score.to(torch.int64)).masked_fill_(~pruned, 0)
        mantissa, shift = (code[..., None, None] for code in (rows.codes.mantissa, rows.codes.shift))
        return power_tensor(delta, mantissa, shift, self.config).masked_fill_(~pruned, 0).sum(-1)

    def _exp(self, rows: FilteredRows) -> torch.Tensor:
        theta = theta_codes(self.tables.theta[rows.block][:, self._lengths(rows.visible)],
                            rows.step.cpu().numpy()[..., None])
        delta = (rows.trace.score_max - torch.from_numpy(theta).to(rows.v.device)).clamp(min=0)
        weight = power_tensor(delta, rows.codes.mantissa[..., None], rows.codes.shift[..., None], self.config)
        count = (rows.visible & ~rows.trace.keep).sum(-1)
        share = torch.from_numpy(self.tables.share_codes()[rows.block])[:, None].to(rows.v.device)
        return (count * weight * share + (1 << (SHARE_FRAC_BITS - 1))) >> SHARE_FRAC_BITS

    def _offline(self, rows: FilteredRows) -> torch.Tensor:
        ratio = torch.from_numpy(self.tables.ratio_codes()[rows.block][:, self._lengths(rows.visible)])
        mass = rows.trace.weight_sum * ratio.to(rows.v.device)
        return (mass + (1 << (SHARE_FRAC_BITS - 1))) >> SHARE_FRAC_BITS
