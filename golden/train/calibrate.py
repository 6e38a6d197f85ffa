"""Static scales, starting thresholds and Top-Theta tables from a few passes over calibration data."""

import dataclasses
import math

import numpy as np

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.model_thresholds import Thresholds
from latte.golden.pruned_mass import least_held_scale
from latte.golden.smoothing import smoothing_constants
from latte.golden.thresholds import ThresholdKind
from latte.golden.top_theta import Calibration, MassCalibration, ThetaTables
from latte.golden.train.collectors import (
    ChannelRanges,
    Distances,
    KthScores,
    LargestElements,
    PrunedMass,
    scale_limits,
)
from latte.golden.train.distances import DistanceHistogram, from_distance, to_distance
from latte.golden.train.groups import choose_groups
from latte.golden.train.passes import Passes

__all__ = ["fit_to_target", "histogram", "keep_all", "smoothing", "starting_thresholds", "static_scales",
           "top_theta_tables"]


def smoothing(passes: Passes) -> dict[str, np.ndarray]:
    """Return ``key_offset`` and ``channel_scale``, each float64 [blocks, heads, head_dim].

    Query heads that share keys get the same, since their keys are quantised once.
    """
    checkpoint = passes.checkpoint
    ranges = passes.run(ChannelRanges())
    queries = ranges["q_largest"].reshape(checkpoint.blocks, -1, checkpoint.heads_per_key, checkpoint.head_dim).max(2)
    queries = queries.repeat(checkpoint.heads_per_key, axis=1)
    constants = smoothing_constants(queries, ranges["k_least"], ranges["k_largest"])
    return dict(zip(("key_offset", "channel_scale"), constants, strict=True))


def static_scales(passes: Passes, thresholds: Thresholds, config: AttentionConfig, quantile: float = 1.0
                  ) -> dict[str, np.ndarray]:
    """Return ``q_scale``, ``k_scale``, ``v_scale``, each float64 [blocks, heads], as a vector file holds them.

    The hardware's tables hold the weights of a head whose scores spread (`latte.golden.pruned_mass.table_holds`). Where
    they hardly do, Q is quantised coarser than its elements ask for.

    Parameters
    ----------
    thresholds
        Their smoothing is applied first.
    quantile
        Of the sequences' largest elements; 1 lets no calibration sequence saturate.
    """
    largest = passes.run(LargestElements(thresholds))
    scales = {}
    for name, limit in scale_limits(config).items():
        element = np.quantile(largest[name], quantile, axis=-1)
        scales[name] = np.where(element > 0, element, limit) / limit
    least = least_held_scale(config) * math.sqrt(config.head_dim) / math.log2(math.e)
    # A margin for what is rounded: the scales, and the powers of two of builds with a smaller table of them.
    scales["q_scale"] *= np.maximum(1, least * (1 + 2.0 ** -10) / (scales["q_scale"] * scales["k_scale"]))
    return {name: scale.astype(np.float32).astype(np.float64) for name, scale in scales.items()}


def histogram(passes: Passes, thresholds: Thresholds, config: AttentionConfig) -> DistanceHistogram:
    """Return the distances of all keys while the hardware's filter prunes."""
    found = DistanceHistogram(thresholds)
    arrays = passes.run(Distances(thresholds, config))
    found.heads, found.octaves = arrays["heads"], arrays["octaves"]
    return found


def fit_to_target(passes: Passes, thresholds: Thresholds, target: float, config: AttentionConfig, *,
                  rounds: int = 2, by_length: bool = False) -> Thresholds:
    """Move all thresholds together so that the hard integer filter prunes `target`.

    Relative thresholds by one factor, others by one summand, which by mass is one factor on all theta. The activations
    of later blocks move a little with it, hence more than one round.

    Parameters
    ----------
    by_length
        Change the length term as well, so that rows of all lengths in the data prune alike, as far as a threshold that
        must not be negative allows; then relative thresholds move by a summand too.
    """
    for _ in range(rounds):
        found = histogram(passes, thresholds, config)
        thresholds = _by_length(found, thresholds, target) if by_length else _alike(found, thresholds, target)
    return thresholds


def _alike(found: DistanceHistogram, thresholds: Thresholds, target: float) -> Thresholds:
    kind = thresholds.kind
    cut = to_distance(kind, thresholds.tau)
    cut = cut * found.factor(cut, target) if kind is ThresholdKind.RELATIVE else cut + found.shift(target)
    return dataclasses.replace(thresholds, tau=from_distance(kind, cut))


def _by_length(found: DistanceHistogram, thresholds: Thresholds, target: float) -> Thresholds:
    """Return thresholds with another length term, about the octave with most pairs.

    Where a threshold may not be negative, the term is the largest that leaves it 0 for a row of one key.
    """
    kind, octave = thresholds.kind, max(1, found.pivot)
    before = np.zeros_like(thresholds.tau) if thresholds.tau_per_octave is None else thresholds.tau_per_octave
    before = to_distance(kind, before)
    cut, slope = to_distance(kind, thresholds.tau) + before * octave, before + found.slope(target)
    largest = np.inf if kind is ThresholdKind.ABSOLUTE else cut / octave
    cut = cut + found.shift(target, float((np.minimum(slope, largest) - before).mean()))
    if kind is not ThresholdKind.ABSOLUTE:
        cut = np.maximum(cut, 0)
        slope = np.minimum(slope, cut / octave)
    tau = cut - slope * octave
    return dataclasses.replace(thresholds, tau=from_distance(kind, tau),
                               tau_per_octave=-slope if kind is ThresholdKind.ABSOLUTE else slope)


def keep_all(passes: Passes, config: AttentionConfig, *, kind: ThresholdKind = ThresholdKind.MASS, smooth: bool = True,
             static: bool = True, quantile: float = 1.0) -> Thresholds:
    """Return thresholds that prune nothing, with all that is done to operands before: smoothing and scales.

    Parameters
    ----------
    kind
    smooth
        Calibrate the smoothing of Q and K.
    static, quantile
        Calibrate static scales, as `static_scales` takes the quantile.
    """
    checkpoint = passes.checkpoint
    everything = float(from_distance(kind, np.array(math.inf)))
    thresholds = Thresholds.uniform(everything, checkpoint.blocks, checkpoint.heads, kind=kind)
    thresholds = dataclasses.replace(thresholds, estimate_bits=config.estimate_bits)
    if smooth:
        thresholds = thresholds.with_arrays(smoothing(passes))
    if static:
        thresholds = thresholds.with_arrays(static_scales(passes, thresholds, config, quantile))
    return thresholds


def starting_thresholds(passes: Passes, start: Thresholds, target: float, config: AttentionConfig, *,
                        mode: str = "global", lead: np.ndarray | float = 0.0,
                        gain: tuple[float, float] | None = (1.0, 1.0), groups: int = 1, by_length: bool = False
                        ) -> Thresholds:
    """Return thresholds that prune `target` without training.

    Parameters
    ----------
    start
        From `keep_all`: kind, smoothing and scales stay.
    mode
        ``"global"``: one for all heads; ``"head"``: fixed head-wise, each head prunes the target.
    lead : float64 [blocks, heads]
        By how much a head's threshold lies beyond the common one, so that it keeps more.
    gain
        (denominator, mean) gains for all heads, or ``None`` for no compensation.
    groups
        Number of key groups, a power of two; without compensation there is none.
    by_length
        As for `fit_to_target`.
    """
    found = histogram(passes, start, config)
    cut = np.full_like(start.tau, found.uniform_cut(target)) if mode == "global" else found.head_cuts(target)
    thresholds = dataclasses.replace(start, tau=from_distance(start.kind, cut + lead))
    if gain is not None:
        denominator, mean = (np.full_like(thresholds.tau, value) for value in gain)
        thresholds = thresholds.with_arrays(choose_groups(passes, thresholds, ceil_log2(groups)))
        thresholds = dataclasses.replace(thresholds, denominator_gain=denominator, mean_gain=mean)
    return fit_to_target(passes, thresholds, target, config, by_length=by_length)


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
