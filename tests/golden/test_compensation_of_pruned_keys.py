"""Pruned-mass compensation and Top-Theta's denominators against float mathematics, and their corner cases."""

import dataclasses

import numpy as np
import pytest

from latte.golden.attention import HeadParameters, attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.pruned_mass import Gains
from latte.golden.quantizer import softmax_scale
from latte.golden.reference import MAX_ERROR_V_LSB, MAX_RELATIVE_RMS, output_error, reference_output
from latte.golden.thresholds import Threshold, ThresholdKind
from latte.golden.top_theta import (
    Calibration,
    denominator_exact,
    denominator_exp_threshold,
    denominator_offline,
    theta_codes,
)
from latte.golden.vectors import embedded_vectors

CONFIG = preset("small")


@pytest.mark.parametrize("groups", [ONE_GROUP, KeyGroups((5, 40), (-3, 10))], ids=["one-group", "four-groups"])
@pytest.mark.parametrize("gains", [(1.0, 1.0), (2.5, 0.5), (0.75, 0.0)])
@pytest.mark.parametrize("kind", [ThresholdKind.RELATIVE, ThresholdKind.MASS])
@pytest.mark.parametrize("vectors", list(embedded_vectors()), ids=lambda vectors: vectors.model)
def test_compensated_output_against_float64(vectors, kind, gains, groups):
    for index in range(0, len(vectors), 5):
        q, k, v = vectors.q[index], vectors.k[index], vectors.v[index]
        scales = vectors.q_scale[index], vectors.k_scale[index]
        tau = float(vectors.tau[index]) if kind is ThresholdKind.RELATIVE else 4.6
        parameters = HeadParameters.encode(tau, *scales, CONFIG, kind=kind, gains=Gains.encode(*gains), groups=groups)
        trace = attend(q, k, v, parameters, CONFIG, causal=vectors.causal)
        expected = reference_output(trace, v, softmax_scale(*scales, 64), gains=gains, membership=groups.membership(k))
        relative_rms, largest = output_error(trace.output, expected, CONFIG)
        assert relative_rms <= MAX_RELATIVE_RMS and largest <= MAX_ERROR_V_LSB, vectors.names()[index]


def test_reference_gives_pruned_mass_back_by_its_definition():
    rng = np.random.default_rng(4)
    q, k, v = rng.integers(-119, 120, (3, 7, 64)).astype(np.int8)
    groups, scale = KeyGroups((3,), (5,)), softmax_scale(0.01, 0.01, 64)
    trace = attend(q, k, v, HeadParameters(Threshold.relative(150), 40000, 22), CONFIG, causal=True)
    got = reference_output(trace, v, scale, gains=(1.5, 0.5), membership=groups.membership(k))
    for row in range(7):
        seen = range(row + 1)
        kept = [j for j in seen if trace.keep[row, j]]
        weight = {j: 2 ** (scale * int(trace.score[row, j] if j in kept else 256 * trace.estimate[row, j]))
                  for j in seen}
        numerator = sum(weight[j] * v[j].astype(float) for j in kept)
        denominator = sum(weight[j] for j in kept) + 1.5 * sum(weight[j] for j in seen if j not in kept)
        for above in (False, True):
            members = [j for j in seen if (k[j, 3] > 5) == above]
            mass = sum(weight[j] for j in members if j not in kept)
            if members:
                numerator = numerator + 0.5 * mass * v[members].astype(float).mean(axis=0)
        np.testing.assert_allclose(got[row], numerator / denominator, rtol=1e-9)


def test_nothing_pruned_gives_no_mass():
    rng = np.random.default_rng(1)
    q, k, v = rng.integers(-119, 120, (3, 9, 64)).astype(np.int8)
    plain = HeadParameters(Threshold.relative(CONFIG.tau_keep_all), 40000, 22)
    trace = attend(q, k, v, dataclasses.replace(plain, gains=Gains(255, 255)), CONFIG, causal=True)
    assert not trace.mass.any() and not trace.unit.any()
    np.testing.assert_array_equal(trace.output, attend(q, k, v, plain, CONFIG, causal=True).output)


@pytest.mark.parametrize(("elements", "cuts"),
                         [((1,), ()), ((1, 2, 3, 4), (0, 0, 0, 0)), ((-1,), (0,)), ((1,), (128,))])
def test_impossible_key_groups(elements, cuts):
    with pytest.raises(LatteError, match="key groups"):
        KeyGroups(elements, cuts)


@pytest.mark.parametrize(("denominator", "mean"), [(-1, -1), (256, 0), (10, 11)])
def test_impossible_gains(denominator, mean):
    with pytest.raises(LatteError, match="gain codes"):
        Gains(denominator, mean)


def test_top_theta_calibration_is_mean_and_spread_of_the_kth_largest():
    rng = np.random.default_rng(2)
    visible = np.tri(6, dtype=bool)
    batches = rng.normal(size=(4, 3, 2, 6, 6))
    calibration = Calibration(0.4, 2, 8)
    for batch in batches:
        calibration.add(batch, visible)
    theta = calibration.theta(1.5)
    for head in range(2):
        for length in range(1, 7):
            kth = [sorted(row[:length], reverse=True)[int(np.ceil(0.4 * length)) - 1]
                   for row in batches[:, :, head, length - 1].reshape(-1, 6)]
            assert theta[head, length - 1] == pytest.approx(np.mean(kth) + 1.5 * np.std(kth))
    assert (theta[:, 6:] == theta[:, 5:6]).all()
    with pytest.raises(LatteError, match="at least one sequence"):
        Calibration(0.4, 2, 8).theta()
    assert theta_codes(np.array([0.5, -0.5]), np.array([0.2])).tolist() == [2, -3]


def test_denominators():
    scale_code, scale = (40000, 20), 40000 / 2**20 / 2**CONFIG.exp_frac_bits
    rng = np.random.default_rng(3)
    score = rng.integers(-40000, 40000, (5, 20))
    pruned = rng.random((5, 20)) < 0.8
    pruned[:, 0] = False
    top = np.where(pruned, -50000, score).max(1)
    score = np.minimum(score, top[:, None])
    exact = denominator_exact(score, top, pruned, scale_code, CONFIG)
    np.testing.assert_allclose(exact, (4095 * np.exp2((score - top[:, None]) * scale) * pruned).sum(1), atol=12)
    codes = top - 20000
    approximate = denominator_exp_threshold(pruned.sum(1), codes, top, 128, scale_code, CONFIG)
    np.testing.assert_allclose(approximate, pruned.sum(1) * 4095 * np.exp2(-20000 * scale) / 2, rtol=2e-3, atol=1)
    assert denominator_offline(np.array([1000, 7]), np.array([64, 256])).tolist() == [250, 7]
