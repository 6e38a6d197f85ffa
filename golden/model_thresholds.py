"""What is learned or calibrated for a whole model: thresholds, gains, static scales and key groups of all heads."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from latte.golden.thresholds import LENGTH_OCTAVES, ThresholdKind

__all__ = ["Thresholds"]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What is learned or calibrated per head; float64 [blocks, heads] unless said otherwise.

    Parameters
    ----------
    tau
        Units of the scaled score, natural exponent, as the kind takes it.
    kind
        Of all heads' thresholds.
    tau_per_octave
        Added for every octave of the row's length, as `latte.golden.thresholds` says; ``None`` is 0.
    estimate_bits
        Width of the estimate that thresholds and scales are made for.
    denominator_gain, mean_gain
        Of the pruned mass; ``None`` for both runs without compensation.
    q_scale, k_scale, v_scale
        Static scales of one int8 step; ``None`` for all three scales every sequence by its own largest element.
    group_elements : int64 [blocks, heads, bits]
    group_cuts : float64 [blocks, heads, bits]
        Key groups of `latte.golden.key_groups`, cuts in the units of K; ``None`` for both is one group.
    key_offset, channel_scale : float64 [blocks, heads, head_dim]
        Of `latte.golden.smoothing`, applied before K is cut and Q and K are quantised; ``None`` for both leaves Q and K
        as they are.
    """

    tau: np.ndarray
    kind: ThresholdKind = ThresholdKind.RELATIVE
    tau_per_octave: np.ndarray | None = None
    estimate_bits: int = 4
    denominator_gain: np.ndarray | None = None
    mean_gain: np.ndarray | None = None
    q_scale: np.ndarray | None = None
    k_scale: np.ndarray | None = None
    v_scale: np.ndarray | None = None
    group_elements: np.ndarray | None = None
    group_cuts: np.ndarray | None = None
    key_offset: np.ndarray | None = None
    channel_scale: np.ndarray | None = None

    @classmethod
    def uniform(cls, tau: float, blocks: int, heads: int, *, kind: ThresholdKind = ThresholdKind.RELATIVE,
                gain: tuple[float, float] | None = None) -> "Thresholds":
        """Return one threshold, and one (denominator, mean) gain, for all heads."""
        denominator, mean = (None if gain is None else np.full((blocks, heads), value) for value in gain or (0, 0))
        return cls(np.full((blocks, heads), float(tau)), kind, denominator_gain=denominator, mean_gain=mean)

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> "Thresholds":
        """Return thresholds of the same kind and width with other arrays, by their names."""
        # What is no array is named, so that the types of the others are known.
        return dataclasses.replace(self, kind=self.kind, estimate_bits=self.estimate_bits, **arrays)

    @property
    def tau_by_octave(self) -> np.ndarray:
        """Threshold of rows of each octave of lengths, float64 [blocks, heads, LENGTH_OCTAVES]."""
        slope = np.zeros_like(self.tau) if self.tau_per_octave is None else self.tau_per_octave
        tau = self.tau[..., None] + slope[..., None] * np.arange(LENGTH_OCTAVES)
        return tau if self.kind is ThresholdKind.ABSOLUTE else np.maximum(tau, 0)

    @property
    def groups(self) -> int:
        """Number of key groups."""
        return 1 if self.group_elements is None else 1 << self.group_elements.shape[-1]
