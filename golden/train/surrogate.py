"""A differentiable stand-in for the hardware attention: a soft filter, and all else at hardware precision.

A straight-through hard mask trains worse than none; a sigmoid of the distance to the threshold, whose temperature falls
during training, ends near the hard filter. Quantisation and the missing low x low product enter the values, and
gradients pass them straight through. Two roundings are left out: of the weights and of the output.
"""

import math

import numpy as np
import torch
from torch import nn

from latte.golden.config import AttentionConfig
from latte.golden.models.exact import estimate_all, score_all, split_tensor
from latte.golden.models.hardware import Thresholds, quantize_tensor
from latte.golden.pruned_mass import GAIN_FRAC_BITS, GAIN_MAX
from latte.golden.quantizer import QK_MAX, V_MAX

__all__ = ["SoftAttention"]

LARGEST_GAIN = GAIN_MAX / (1 << GAIN_FRAC_BITS)
SMALLEST_TAU = 0.02


class SoftAttention(nn.Module):
    """Attention handler with trainable thresholds and gains.

    Parameters
    ----------
    thresholds
        Where training starts; gains of ``None`` stay 0 and are not trained.
    config
        Split of the halves.

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
        denominator = thresholds.denominator_gain if compensated else np.zeros_like(thresholds.tau)
        mean = thresholds.mean_gain if compensated else np.zeros_like(thresholds.tau)
        share = np.divide(mean, denominator, out=np.zeros_like(mean), where=denominator > 0)
        self.tau = nn.Parameter(torch.tensor(thresholds.tau, dtype=torch.float32))
        self.denominator_gain = nn.Parameter(torch.tensor(denominator, dtype=torch.float32), compensated)
        self.mean_share = nn.Parameter(torch.tensor(share, dtype=torch.float32), compensated)
        self.config = config
        self.temperature = 0.3
        self._kept: list[torch.Tensor] = []
        self._visible = 0

    def thresholds(self) -> Thresholds:
        """Return the present values; without compensation both gains are ``None``."""
        tau, gain, share = (parameter.detach().double().cpu().numpy()
                            for parameter in (self.tau, self.denominator_gain, self.mean_share))
        return Thresholds(tau, gain, gain * share) if self.denominator_gain.requires_grad else Thresholds(tau)

    def take_pruned(self) -> torch.Tensor:
        """Return the soft share of pruned pairs since the last call, differentiable."""
        pruned = 1 - torch.stack(self._kept).sum() / self._visible
        self._kept, self._visible = [], 0
        return pruned

    @torch.no_grad()
    def project(self) -> None:
        """Move parameters back into what the registers hold."""
        self.tau.clamp_(min=SMALLEST_TAU)
        self.denominator_gain.clamp_(0, LARGEST_GAIN)
        self.mean_share.clamp_(0, 1)

    def forward(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the output [batch, heads, m, d], differentiable in thresholds, gains and operands."""
        unit = 1 / math.sqrt(q.shape[-1])
        with torch.no_grad():
            q_code, q_scale = quantize_tensor(q, QK_MAX)
            k_code, k_scale = quantize_tensor(k, QK_MAX)
            v_code, v_scale = quantize_tensor(v, V_MAX)
            q_halves, k_halves = split_tensor(q_code, self.config.split), split_tensor(k_code, self.config.split)
            step = (q_scale * k_scale * unit).float()[..., None, None]
            estimate = estimate_all(q_halves[0], k_halves[0], causal).mul_(256 * step)
            gap = estimate.amax(-1, keepdim=True) - estimate
            score_code = score_all(q_halves, k_halves).mul_(step)
            visible = torch.isfinite(estimate)
            base = torch.where(visible, torch.maximum(score_code, estimate), -torch.inf).amax(-1, keepdim=True)
            v_error = v_code * v_scale.float()[..., None, None] - v
        exact = (q @ k.transpose(-1, -2)) * unit
        straight = exact - exact.detach()
        soft = torch.sigmoid((self.tau[block][:, None, None] - gap) / self.temperature)
        self._kept.append(soft.sum())
        self._visible += int(visible.sum())
        kept = soft * torch.exp((score_code - base).masked_fill_(~visible, -torch.inf) + straight)
        v = v + v_error
        weighted, total = kept @ v, kept.sum(-1, keepdim=True)
        if self.denominator_gain.requires_grad:
            mass = ((1 - soft) * torch.exp(estimate - base + straight)).sum(-1, keepdim=True)
            mass = mass * self.denominator_gain[block][:, None, None]
            total = total + mass
            weighted = weighted + mass * self.mean_share[block][:, None, None] * _visible_mean(v, q.shape[-2], causal)
        return weighted / total


def _visible_mean(v: torch.Tensor, m: int, causal: bool) -> torch.Tensor:
    if not causal:
        return v.mean(-2, keepdim=True)
    n = v.shape[-2]
    return (v.cumsum(-2) / torch.arange(1, n + 1, device=v.device)[:, None])[..., n - m:, :]
