"""A differentiable stand-in for the hardware attention: a soft filter, and all else at hardware precision.

A straight-through hard mask trains worse than none; a sigmoid of the distance to the threshold, whose temperature falls
during training, ends near the hard filter. Quantisation and the missing low x low product enter the values, and
gradients pass them straight through. Two roundings are left out: of the weights and of the output.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from latte.golden.config import AttentionConfig
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.exact import (
    group_sums,
    key_membership,
    row_octaves,
    split_tensor,
    spread_over_groups,
    visible_mask,
)
from latte.golden.models.hardware import group_codes, quantize_tensor, row_chunks, smooth_tensors
from latte.golden.pruned_mass import GAIN_FRAC_BITS, GAIN_MAX
from latte.golden.quantizer import V_MAX
from latte.golden.thresholds import ThresholdKind

__all__ = ["SoftAttention"]

LARGEST_GAIN = GAIN_MAX / (1 << GAIN_FRAC_BITS)
SMALLEST_TAU = 0.02
TIE = 1e-4
"""Estimates that near are equal integers, of which the scaled sums are rounded differently."""


class SoftAttention(nn.Module):
    """Attention handler with trainable thresholds and gains.

    Parameters
    ----------
    thresholds
        Where training starts; gains of ``None`` stay 0 and are not trained. Kind, length term, static scales, key
        groups and smoothing are used, and stay.
    config
        Split of the operands; the width of the estimate is that of the thresholds.

    Attributes
    ----------
    tau, denominator_gain, mean_share : float32 [blocks, heads]
        `mean_share` is the mean gain as a share of the denominator gain, so that it never exceeds it.
    temperature : float
        Width of the soft filter, natural exponent.
    """

    def __init__(self, thresholds: Thresholds, config: AttentionConfig) -> None:
        super().__init__()
        compensated = thresholds.denominator_gain is not None
        nothing = np.zeros_like(thresholds.tau)
        denominator = nothing if thresholds.denominator_gain is None else thresholds.denominator_gain
        mean = nothing if thresholds.mean_gain is None else thresholds.mean_gain
        share = np.divide(mean, denominator, out=np.zeros_like(mean), where=denominator > 0)
        self.tau = nn.Parameter(torch.tensor(thresholds.tau, dtype=torch.float32))
        self.denominator_gain = nn.Parameter(torch.tensor(denominator, dtype=torch.float32), compensated)
        self.mean_share = nn.Parameter(torch.tensor(share, dtype=torch.float32), compensated)
        self.start = thresholds
        self.config = config.replace(estimate_bits=thresholds.estimate_bits)
        self.temperature = 0.3
        self._kept: list[torch.Tensor] = []
        self._visible = 0

    def thresholds(self) -> Thresholds:
        """Return the present values; without compensation both gains are ``None``."""
        tau, gain, share = (parameter.detach().double().cpu().numpy()
                            for parameter in (self.tau, self.denominator_gain, self.mean_share))
        gains = (gain, gain * share) if self.denominator_gain.requires_grad else (None, None)
        return dataclasses.replace(self.start, tau=tau, denominator_gain=gains[0], mean_gain=gains[1])

    def take_pruned(self) -> torch.Tensor:
        """Return the soft share of pruned pairs since the last call, differentiable."""
        pruned = 1 - torch.stack(self._kept).sum() / self._visible
        self._kept, self._visible = [], 0
        return pruned

    @torch.no_grad()
    def project(self) -> None:
        """Move parameters back into what the registers hold."""
        if self.start.kind is not ThresholdKind.ABSOLUTE:
            self.tau.clamp_(min=SMALLEST_TAU)
        self.denominator_gain.clamp_(0, LARGEST_GAIN)
        self.mean_share.clamp_(0, 1)

    def forward(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the output [batch, heads, m, d], differentiable in thresholds, gains and operands."""
        q, k = smooth_tensors(q, k, self.start, block)
        with torch.no_grad():
            scales = [None if scale is None else torch.from_numpy(scale[block])[None].to(q.device)
                      for scale in (self.start.q_scale, self.start.k_scale, self.start.v_scale)]
            q_code, q_scale = quantize_tensor(q, self.config.qk_max, scales[0])
            k_code, k_scale = quantize_tensor(k, self.config.qk_max, scales[1])
            v_code, v_scale = quantize_tensor(v, V_MAX, scales[2])
            step = (q_scale * k_scale / math.sqrt(q.shape[-1]))[..., None, None].to(q.dtype)
            (q_high, q_low), (k_high, k_low) = (split_tensor(code.to(q.dtype), self.config)
                                                for code in (q_code, k_code))
            part = 1 << (8 - self.config.estimate_bits)
            q_steps = torch.cat([part * step * q_high, step * q_low], -1)
            membership = key_membership(k_code, *group_codes(self.start, block, k_scale)).to(q.dtype)
            v_error = v_code * v_scale.to(q.dtype)[..., None, None] - v
        v = v + v_error
        slope = (torch.zeros_like(self.tau[block]) if self.start.tau_per_octave is None else
                 torch.from_numpy(self.start.tau_per_octave[block]).to(self.tau))
        outputs = []
        for rows, keys in row_chunks(q.shape[-2], k.shape[-2], causal):
            codes = q_steps[..., rows, :], part * k_high[..., :keys, :], k_low[..., :keys, :]
            octaves = row_octaves(len(range(*rows.indices(q.shape[-2]))), keys, causal).to(q.device)
            threshold = _SoftThreshold(self.start.kind, slope[:, None] * octaves, self.temperature)
            output, kept = _SoftRows.apply(
                q[..., rows, :], k[..., :keys, :], v[..., :keys, :], self.tau[block], self.denominator_gain[block],
                self.mean_share[block], codes, membership[..., :keys, :], threshold, causal)
            outputs.append(output)
            self._kept.append(kept)
        m, n = q.shape[-2], k.shape[-2]
        self._visible += q.shape[0] * q.shape[1] * (m * (n - m) + m * (m + 1) // 2 if causal else m * n)
        return torch.cat(outputs, -2)


@dataclasses.dataclass(frozen=True)
class _SoftThreshold:
    """The level that an estimate is softly compared with.

    Parameters
    ----------
    kind
    by_length : float32 [heads, m]
        What the row's length adds to the head's threshold.
    temperature
    """

    kind: ThresholdKind
    by_length: torch.Tensor
    temperature: float

    @property
    def sign(self) -> float:
        """Of the level's derivative by the threshold."""
        return 1.0 if self.kind is ThresholdKind.ABSOLUTE else -1.0

    def soft_keep(self, estimate: torch.Tensor, peak: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        """Return ``sigmoid((estimate - level) / temperature)``, and 1 for the row's largest estimates.

        Parameters
        ----------
        estimate : float32 [batch, heads, m, n]
            Scaled, minus infinity where not visible.
        peak : float32 [batch, heads, m, 1]
        tau : float32 [heads]
        """
        tau = (tau[:, None] + self.by_length)[..., None]
        if self.kind is ThresholdKind.ABSOLUTE:
            level = tau
        elif self.kind is ThresholdKind.MASS:
            level = estimate.logsumexp(-1, keepdim=True) - tau.clamp(min=0)
        else:
            level = peak - tau.clamp(min=0)
        return (estimate - level).div_(self.temperature).sigmoid_().masked_fill_(estimate > peak - TIE, 1)


class _SoftRows(torch.autograd.Function):
    """Soft attention of some rows, with its gradient written out: half the passes over memory of the recorded one.

    With the soft filter ``s = sigmoid((estimate - level) / temperature)``, ``p = s * exp(score)``, ``u = (1 - s) *
    exp(estimate)`` and ``M_j`` the sum of ``u`` over key group ``j``, the output is ``(p @ v + g * share * sum_j M_j *
    mean_j) / (sum p + g * sum u)``. Scores and estimates have the gradient of ``q . k / sqrt(d)``; the distance to the
    level only that of ``tau``.
    """

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tau: torch.Tensor, gain: torch.Tensor,
                share: torch.Tensor, codes: tuple[torch.Tensor, ...], membership: torch.Tensor,
                threshold: _SoftThreshold, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
        q_steps, k_high, k_low = codes  # high parts as they count in a score
        d = q.shape[-1]
        estimate = q_steps[..., :d] @ k_high.transpose(-1, -2)
        score = q_steps @ torch.cat([k_high + k_low, k_high], -1).transpose(-1, -2)
        visible = visible_mask(q.shape[-2], k.shape[-2], causal, q.device)
        if visible is not None:
            estimate.masked_fill_(~visible, -torch.inf)
            score.masked_fill_(~visible, -torch.inf)
        peak = estimate.amax(-1, keepdim=True)
        base = torch.maximum(peak, score.amax(-1, keepdim=True))
        soft = threshold.soft_keep(estimate, peak, tau)
        kept = score.sub_(base).exp_().mul_(soft)
        mass = estimate.sub_(base).exp_()
        mass.addcmul_(mass, soft, value=-1)
        keys, sums = group_sums(v, membership, q.shape[-2], causal)
        keys = keys.clamp_(min=1)
        means = sums.div_((keys if causal else keys.squeeze(-2))[..., None])
        gain, share = gain[:, None, None], share[:, None, None]
        masses = mass @ membership
        total = kept.sum(-1, keepdim=True) + gain * masses.sum(-1, keepdim=True)
        output = (kept @ v + gain * share * spread_over_groups(masses, means, causal)) / total
        ctx.save_for_backward(q, k, v, gain, share, soft, kept, mass, masses, membership, keys, means, total, output)
        ctx.threshold, ctx.causal = threshold, causal
        return output, soft.sum()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, grad_kept: torch.Tensor) -> tuple[Any, ...]:
        q, k, v, gain, share, soft, kept, mass, masses, membership, keys, means, total, output = ctx.saved_tensors
        grad = grad / total
        of_total = -(grad * output).sum(-1, keepdim=True)
        of_means = ((means @ grad[..., None]).squeeze(-1) if ctx.causal else grad @ means.transpose(-1, -2))
        of_masses = share * of_means + of_total
        of_score = (grad @ v.transpose(-1, -2)).add_(of_total).mul_(kept)
        both = mass * ((gain * of_masses) @ membership.transpose(-1, -2))
        # By the level, s' = -s (1 - s) / T: kept' = -kept (1 - s) / T and mass' = mass s / T.
        # Where the row's largest estimate is held at s = 1, all of these are 0.
        of_level = (of_score - (of_score + both) * soft + grad_kept * (soft - soft * soft)).sum(
            (0, 2, 3)) / -ctx.threshold.temperature
        both.add_(of_score).mul_(1 / math.sqrt(q.shape[-1]))
        of_v = kept.transpose(-1, -2) @ grad + _of_grouped_values(
            gain * share * masses / keys, grad, membership, ctx.causal)
        return (both @ k, both.transpose(-1, -2) @ q, of_v, ctx.threshold.sign * of_level,
                (masses * of_masses).sum((0, 2, 3)), (gain * masses * of_means).sum((0, 2, 3)), None, None, None, None)


def _of_grouped_values(weights: torch.Tensor, grad: torch.Tensor, membership: torch.Tensor, causal: bool
                       ) -> torch.Tensor:
    """Return the gradient of the values of which each row takes ``sum_g weights[g] * sum of the visible of g``.

    Parameters
    ----------
    weights : [batch, heads, m, groups]
    grad : [batch, heads, m, d]
    membership : [batch, heads, n, groups]
    """
    if not causal:
        return membership @ (weights.transpose(-1, -2) @ grad)
    first = membership.shape[-2] - weights.shape[-2]
    # A value is seen by its own row and all later ones.
    later = (weights[..., None] * grad[..., None, :]).flip(-3).cumsum_(-3).flip(-3)
    before = membership[..., :first, :] @ later[..., 0, :, :]
    return torch.cat([before, spread_over_groups(membership[..., first:, :], later, causal)], -2)
