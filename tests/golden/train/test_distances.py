"""Histograms of distances against the keys themselves: cuts, shifts, factors, and the term of the row's length."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from latte.golden.config import preset  # noqa: E402
from latte.golden.model_thresholds import Thresholds  # noqa: E402
from latte.golden.models.hardware import HardwareAttention  # noqa: E402
from latte.golden.thresholds import ThresholdKind  # noqa: E402
from latte.golden.train.distances import BIN, DistanceHistogram, distances, from_distance, to_distance  # noqa: E402

CONFIG = preset("small")
TAU = {ThresholdKind.RELATIVE: 2.0, ThresholdKind.MASS: 2.5, ThresholdKind.ABSOLUTE: 0.3}


def operands(seed=1, n=200):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 2, n, 64, generator=generator) * 0.7 for _ in range(3)]


def observed(thresholds, causal=True):
    """Return (histogram, share of pairs that the hardware prunes)."""
    histogram, kept = DistanceHistogram(thresholds), []

    class Keep:
        def observe(self, block, keep, estimate, step, causal):
            kept.append((keep.sum().item(), estimate.isfinite().sum().item()))

    HardwareAttention(thresholds, CONFIG, histogram, Keep())(0, *operands(), causal)
    hits, visible = np.sum(kept, axis=0)
    return histogram, 1 - hits / visible


@pytest.mark.parametrize("kind", list(ThresholdKind))
def test_distance_is_what_the_threshold_compares(kind):
    estimate = torch.tensor([[[[3.0, 1.0, -4.0, -torch.inf]]]])
    step = torch.tensor([[0.5]]).double()
    got = distances(kind, estimate, step)[0, 0, 0, :3].numpy()
    scaled = np.array([1.5, 0.5, -2.0])
    expected = {"relative": 1.5 - scaled, "mass": -np.log(np.exp(scaled) / np.exp(scaled).sum()), "absolute": -scaled}
    np.testing.assert_allclose(got, expected[kind], rtol=1e-6)
    assert from_distance(kind, to_distance(kind, np.array(0.7))) == pytest.approx(0.7)


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("kind", list(ThresholdKind))
def test_both_histograms_give_what_the_filter_prunes(kind, slope):
    thresholds = dataclasses.replace(Thresholds.uniform(TAU[kind], 1, 2, kind=kind),
                                     tau_per_octave=np.full((1, 2), slope))
    histogram, pruned = observed(thresholds)
    assert histogram.heads.sum() == histogram.octaves.sum() == 2 * 2 * 200 * 201 / 2
    assert histogram.pruned(to_distance(kind, thresholds.tau)) == pytest.approx(pruned, abs=0.01)
    zero = round(30.0 / BIN)
    assert histogram.octaves[:, zero:].sum() / histogram.octaves.sum() == pytest.approx(pruned, abs=0.01)
    np.testing.assert_array_equal(histogram.octaves.sum(1)[:8], 4 * np.array(
        [sum(range(2**o, min(2 ** (o + 1), 201))) for o in range(8)]))


@pytest.mark.parametrize("kind", list(ThresholdKind))
def test_shift_and_slope_meet_the_target_at_every_length(kind):
    thresholds = dataclasses.replace(Thresholds.uniform(TAU[kind], 1, 2, kind=kind), tau_per_octave=np.zeros((1, 2)))
    histogram, _ = observed(thresholds)
    slope = histogram.slope(0.7)
    assert histogram.pivot == 7
    shift = histogram.shift(0.7, slope)
    cut = to_distance(kind, thresholds.tau) + shift - 7 * slope
    moved = dataclasses.replace(
        thresholds, tau=-cut if kind is ThresholdKind.ABSOLUTE else cut,
        tau_per_octave=to_distance(kind, np.full((1, 2), slope)))
    after, pruned = observed(moved)
    assert pruned == pytest.approx(0.7, abs=0.015)
    assert abs(after.slope(0.7)) < 0.1
    if kind is ThresholdKind.MASS:
        assert slope > 0.5, "shares fall as rows grow"


def test_cuts_of_all_heads_and_of_each():
    histogram, _ = observed(Thresholds.uniform(np.inf, 1, 2), causal=False)
    assert histogram.pruned(np.full((1, 2), histogram.uniform_cut(0.8))) == pytest.approx(0.8, abs=0.01)
    cuts = histogram.head_cuts(0.8)
    for head in range(2):
        beyond = histogram.heads[0, head, round((cuts[0, head] + 30) / BIN):].sum() / histogram.heads[0, head].sum()
        assert beyond == pytest.approx(0.8, abs=0.01)
    factor = histogram.factor(np.full((1, 2), 1.0), 0.8)
    assert factor == pytest.approx(histogram.uniform_cut(0.8), abs=2 * BIN)
