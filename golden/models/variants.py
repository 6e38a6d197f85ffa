"""Filters that were measured against a threshold by mass: how their figures compare, README.md of ``train/`` says.

Both decide in float64 on the integer estimates, with the thresholds' `tau`; all else is the exact arithmetic.
"""

import abc
import dataclasses
import math

import torch

from latte.golden.config import AttentionConfig
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.exact import Filtered, HeadCodes, group_sums, row_octaves
from latte.golden.models.hardware import HardwareAttention, Observer
from latte.golden.quantizer import THETA_FRAC_BITS

__all__ = ["BlendedAttention", "ValueAttention"]


class _Variant(HardwareAttention, abc.ABC):
    """Attention handler whose filter compares another distance with `tau`, which its thresholds hold by mass."""

    @abc.abstractmethod
    def distance(self, scaled: torch.Tensor, v: torch.Tensor, membership: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return what `tau` is compared with, float64 [batch, heads, m, n].

        Parameters
        ----------
        scaled : float64 [batch, heads, m, n]
            Estimates in natural units, minus infinity where not visible.
        v : float32 [batch, heads, n, d]
        membership : float32 [batch, heads, n, groups]
        """

    def filter(self, estimate: torch.Tensor, v: torch.Tensor, membership: torch.Tensor, codes: HeadCodes,
               causal: bool) -> Filtered:
        """Return the survivors by `distance`; the row's largest estimate is always one."""
        rows = super().filter(estimate, v, membership, codes, causal)
        step = codes.mantissa.double() * 2.0 ** (self.config.estimate_shift - self.config.exp_frac_bits) * math.log(2)
        scaled = estimate.double() * (step / 2.0 ** codes.shift)[..., None, None]
        m, n = estimate.shape[-2:]
        code = codes.threshold[..., row_octaves(m, n, causal)].double()
        octave = (code / (1 << THETA_FRAC_BITS)).floor()
        within = code / (1 << THETA_FRAC_BITS) - octave
        tau = math.log(2) * octave - torch.log1p(-within / 2)
        near = self.distance(scaled, v, membership, causal) < tau[..., None]
        keep = (near & estimate.isfinite()) | (estimate == rows.row_max[..., None])
        return dataclasses.replace(rows, keep=keep)


class BlendedAttention(_Variant):
    """The level between the row's sum and its maximum.

    Parameters
    ----------
    share
        Of the gap below the maximum in the distance; the rest is the negative logarithm of the share of the mass.
    thresholds, config, observers
        As for `HardwareAttention`.
    """

    def __init__(self, share: float, thresholds: Thresholds, config: AttentionConfig, *observers: Observer) -> None:
        super().__init__(thresholds, config, *observers)
        self.share = share

    def distance(self, scaled: torch.Tensor, v: torch.Tensor, membership: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the blend of both distances."""
        level = self.share * scaled.amax(-1, keepdim=True) + (1 - self.share) * scaled.logsumexp(-1, keepdim=True)
        return level - scaled


class ValueAttention(_Variant):
    """What pruning a key costs also depends on its value: how far it is from its group's mean.

    Parameters
    ----------
    weight
        Of the logarithm of the distance, relative to its mean over the head's keys, that is added to each estimate.
    thresholds, config, observers
        As for `HardwareAttention`.
    """

    def __init__(self, weight: float, thresholds: Thresholds, config: AttentionConfig, *observers: Observer) -> None:
        super().__init__(thresholds, config, *observers)
        self.weight = weight

    def distance(self, scaled: torch.Tensor, v: torch.Tensor, membership: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the negative logarithm of the share, less the key's bias."""
        keys, sums = group_sums(v, membership, v.shape[-2], False)
        mean = membership @ (sums / keys.clamp(min=1).squeeze(-2)[..., None])
        apart = (v - mean).norm(dim=-1).clamp(min=1).log().double()
        bias = self.weight * (apart - apart.mean(-1, keepdim=True))[..., None, :]
        return scaled.logsumexp(-1, keepdim=True) - scaled - bias
