"""Pruned-mass compensation and Top-Theta's denominators against float mathematics, and their corner cases."""

import numpy as np
import pytest

from latte.golden.attention import HeadParameters, attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.pruned_mass import NO_COMPENSATION, Gains, attend_compensated
from latte.golden.quantizer import softmax_scale
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
@pytest.mark.parametrize("vectors", list(embedded_vectors()), ids=lambda vectors: vectors.model)
def test_compensated_output_against_float64(vectors, gains, groups):
    codes = Gains.encode(*gains)
    for index in range(0, len(vectors), 5):
        q, k, v = vectors.q[index], vectors.k[index], vectors.v[index]
        trace = attend_compensated(q, k, v, vectors.parameters(index, CONFIG), codes, CONFIG, causal=vectors.causal,
                                   groups=groups)
        head, scale = trace.head, softmax_scale(vectors.q_scale[index], vectors.k_scale[index], 64)
        top = head.score_max[:, None]
        weight = np.exp2(np.where(head.keep, head.score - top, -np.inf) * scale)
        mass = np.exp2(np.where(head.visible & ~head.keep, 256 * head.estimate - top, -np.inf) * scale)
        number = sum((k[:, element] > cut) * 2**bit
                     for bit, (element, cut) in enumerate(zip(groups.elements, groups.cuts, strict=True)))
        restored = np.zeros_like(weight @ v)
        for group in range(groups.count):
            seen = head.visible & (number == group)
            mean = seen @ v.astype(float) / np.maximum(seen.sum(1), 1)[:, None]
            restored += (mass * (number == group)).sum(1)[:, None] * mean
        expected = (weight @ v + gains[1] * restored) / (weight.sum(1) + gains[0] * mass.sum(1))[:, None]
        error = head.output / 256 - expected
        assert np.sqrt(np.mean(error**2) / np.mean(expected**2)) <= 0.01, vectors.names()[index]
        assert np.abs(error).max() <= 1


def test_no_compensation_is_plain_attention():
    vectors = next(iter(embedded_vectors()))
    arguments = (vectors.q[3], vectors.k[3], vectors.v[3], vectors.parameters(3, CONFIG))
    plain = attend(*arguments, CONFIG, causal=False)
    np.testing.assert_array_equal(attend_compensated(*arguments, NO_COMPENSATION, CONFIG, causal=False).head.output,
                                  plain.output)


def test_nothing_pruned_gives_no_mass():
    rng = np.random.default_rng(1)
    q, k, v = rng.integers(-119, 120, (3, 9, 64)).astype(np.int8)
    parameters = HeadParameters(CONFIG.tau_keep_all, 40000, 22)
    trace = attend_compensated(q, k, v, parameters, Gains(255, 255), CONFIG, causal=True)
    assert not trace.mass.any() and not trace.unit.any()
    np.testing.assert_array_equal(trace.head.output, attend(q, k, v, parameters, CONFIG, causal=True).output)


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
