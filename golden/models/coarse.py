"""LATTE with an estimate of another width, or with exact products for the survivors: what the 4-bit reuse costs."""

import dataclasses
import math

import torch

from latte.golden.config import AttentionConfig
from latte.golden.models.exact import HeadCodes, TensorTrace, finish, key_membership, threshold_keep, visible_mask
from latte.golden.models.hardware import HardwareAttention, Observer, Thresholds
from latte.golden.quantizer import QK_MAX

__all__ = ["CoarseAttention"]


class CoarseAttention(HardwareAttention):
    """Attention handler whose filter is `latte.golden.filters.Latte` of any width, with LATTE's compensation.

    Survivors get the exact 8-bit product: the low halves are too wide to leave their product out, but at 4 bits.

    Parameters
    ----------
    thresholds, config, observers
        As for `HardwareAttention`.
    bits
        Of the operands' high parts that make the estimate.
    """

    def __init__(self, thresholds: Thresholds, config: AttentionConfig, bits: int, *observers: Observer) -> None:
        super().__init__(thresholds, config, *observers)
        self.bits = bits

    def operands(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[
            tuple[torch.Tensor, torch.Tensor, torch.Tensor], HeadCodes, torch.Tensor, torch.Tensor]:
        """Return what `HardwareAttention.operands` returns, with thresholds in steps of this estimate."""
        operands, codes, step, v_scale = super().operands(block, q, k, v)
        shift = 2 * (8 - self.bits)
        step = step * 2.0 ** (shift - 8)
        limit = 1 << (2 * self.bits + 1 + math.ceil(math.log2(self.config.head_dim)))
        tau = (self._row("tau", block, q.device) / step + 0.5).floor().clamp(1, limit).to(torch.int64)
        return operands, dataclasses.replace(codes, tau=tau, estimate_shift=shift), step, v_scale

    def high(self, x: torch.Tensor) -> torch.Tensor:
        """Return the high parts of integer-valued elements, as `latte.golden.filters.Latte` takes them."""
        drop = 8 - self.bits
        rounding = (1 << drop) >> 1 if self.config.split == "balanced" else 0
        return torch.floor((x + rounding) / (1 << drop)).clamp(max=(1 << (self.bits - 1)) - 1)

    def trace(self, operands: tuple[torch.Tensor, torch.Tensor, torch.Tensor], codes: HeadCodes, causal: bool
              ) -> tuple[TensorTrace, torch.Tensor, torch.Tensor]:
        """Return (trace, estimate, score) of integer-valued operands."""
        q, k, v = operands
        estimate = self.high(q) @ self.high(k).transpose(-1, -2)
        visible = visible_mask(*estimate.shape[-2:], causal, estimate.device)
        if visible is not None:
            estimate.masked_fill_(~visible, -torch.inf)
        keep, row_max = threshold_keep(estimate, codes.tau)
        score = q @ k.transpose(-1, -2)
        membership = key_membership(k.clamp(max=QK_MAX), codes.group_elements, codes.group_cuts)
        return (finish(score, keep, v, codes, self.config, estimate=estimate, row_max=row_max, membership=membership,
                       causal=causal), estimate, score)
