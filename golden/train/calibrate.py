"""Static scales, starting thresholds and Top-Theta tables from a few passes over calibration data."""

import dataclasses
import math

import numpy as np

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.models.hardware import Thresholds
from latte.golden.top_theta import Calibration, MassCalibration, ThetaTables
from latte.golden.train.collectors import (
    SCALE_LIMITS,
    Gaps,
    HardGaps,
    KthScores,
    LargestElements,
    PrunedMass,
    ScaleErrors,
)
from latte.golden.train.gaps import GapHistogram
from latte.golden.train.groups import choose_groups
from latte.golden.train.passes import Arrays, Passes

__all__ = ["fit_to_target", "starting_thresholds", "static_scales", "top_theta_tables"]

SCALE_SHARES = np.geomspace(1, 0.25, 18)
"""Of the scale that fits the largest element: the candidates for a scale with the least error."""


def static_scales(passes: Passes, config: AttentionConfig, quantile: float | None = None) -> dict[str, np.ndarray]:
    """Return ``q_scale``, ``k_scale``, ``v_scale``, each float64 [blocks, heads].

    Parameters
    ----------
    quantile
        Take the largest element of each sequence, and of these the quantile: 1 lets no calibration sequence saturate.
        ``None`` takes what leaves the least squared error: for Q and K of the 8-bit value and of its high half, which
        alone makes the estimate, together. A few saturated elements then buy a finer estimate for all others.
    """
    largest = passes.run(LargestElements())
    largest = {name: np.quantile(values, 1.0 if quantile is None else quantile, axis=-1)
               for name, values in largest.items()}
    scales = {name: np.where(largest[name] > 0, largest[name], limit) / limit for name, limit in SCALE_LIMITS.items()}
    if quantile is None:
        candidates = {name: _rounded(SCALE_SHARES[:, None, None] * scale) for name, scale in scales.items()}
        errors = passes.run(ScaleErrors(candidates, config.split))
        scales = {name: np.take_along_axis(candidates[name], errors[name].argmin(0)[None], 0)[0] for name in scales}
    return {name: _rounded(scale) for name, scale in scales.items()}


def _rounded(scale: np.ndarray) -> np.ndarray:
    """Round to what a vector file holds."""
    return np.float32(scale).astype(np.float64)


def _histogram(arrays: Arrays) -> GapHistogram:
    histogram = GapHistogram(*arrays["counts"].shape[:2])
    histogram.counts = arrays["counts"]
    return histogram


def fit_to_target(passes: Passes, thresholds: Thresholds, target: float, config: AttentionConfig, *,
                  rounds: int = 2) -> Thresholds:
    """Scale all thresholds by one factor so that the hard integer filter prunes `target`.

    A factor moves the activations of later blocks a little, hence more than one round.
    """
    for _ in range(rounds):
        histogram = _histogram(passes.run(HardGaps(thresholds, config)))
        thresholds = dataclasses.replace(thresholds, tau=thresholds.tau * histogram.factor(thresholds.tau, target))
    return thresholds


def starting_thresholds(passes: Passes, target: float, config: AttentionConfig, *, mode: str = "global",
                        gain: tuple[float, float] | None = (1.0, 1.0),
                        scales: dict[str, np.ndarray] | None = None, groups: int = 1) -> Thresholds:
    """Return thresholds that prune `target` without training.

    Parameters
    ----------
    mode
        ``"global"``: one for all heads; ``"head"``: fixed head-wise, each head prunes the target.
    gain
        (denominator, mean) gains for all heads, or ``None`` for no compensation.
    scales
        Static ones, from `static_scales`; ``None`` for dynamic ones.
    groups
        Number of key groups, a power of two; without compensation there is none.
    """
    checkpoint = passes.checkpoint
    thresholds = Thresholds.uniform(math.inf, checkpoint.blocks, checkpoint.heads, gain=gain)
    histogram = _histogram(passes.run(Gaps(config)))
    tau = (np.full_like(thresholds.tau, histogram.uniform_tau(target)) if mode == "global"
           else histogram.head_tau(target))
    thresholds = fit_to_target(passes, dataclasses.replace(thresholds, tau=tau, **(scales or {})), target, config)
    if gain is None:
        return thresholds
    return dataclasses.replace(thresholds, **choose_groups(passes, thresholds.tau, ceil_log2(groups)))


def top_theta_tables(passes: Passes, keep: float, deviations: float = 0.0) -> ThetaTables:
    """Return Top-Theta's thresholds of the float model's scaled scores, and what they prune, by block and head.

    Two passes over the data: the thresholds, at ``mean + deviations * std`` of the k-th largest scores, then the mass
    below them.
    """
    sums = passes.run(KthScores(keep))
    blocks, heads, lengths = sums["count"].shape
    theta = np.stack([Calibration(keep, heads, lengths, **{name: sums[name][block] for name in Calibration.SUMS})
                      .theta(deviations) for block in range(blocks)])
    sums = passes.run(PrunedMass(theta))
    tables = [MassCalibration(theta[block], **{name: sums[name][block] for name in MassCalibration.SUMS}).tables()
              for block in range(blocks)]
    return ThetaTables(*(np.stack([getattr(table, name) for table in tables]) for name in ("theta", "share", "ratio")))
