"""Each golden block against plain definitions, one element at a time or in float64."""

import math

import numpy as np
import pytest

from latte.golden import quantizer
from latte.golden.attention import HeadParameters, attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.normalizer import normalize, reciprocal, reciprocal_table
from latte.golden.score_estimator import estimate_scores
from latte.golden.scores import exact_scores, refine_scores
from latte.golden.softmax import exp2_table, softmax_weights
from latte.golden.split import split_halves
from latte.golden.threshold_filter import threshold_filter, visible_keys
from latte.golden.thresholds import Threshold

CONFIG = preset("small")
INT8 = np.arange(-128, 128, dtype=np.int8)


@pytest.mark.parametrize("split", ["balanced", "slice"])
def test_split_is_exact_on_every_code(split):
    codes = INT8 if split == "slice" else INT8[INT8 <= quantizer.QK_MAX]
    high, low = split_halves(codes, split)
    assert (16 * high + low == codes).all()
    assert high.min() >= -8 and high.max() <= 7
    assert (low.min(), low.max()) == ((-8, 7) if split == "balanced" else (0, 15))


def test_saturation_at_119():
    limited, saturated = quantizer.saturate_qk(INT8)
    assert saturated and limited.max() == 119 and (limited[INT8 <= 119] == INT8[INT8 <= 119]).all()
    assert quantizer.saturate_qk(limited)[1] is False


def test_quantiser_rounds_half_to_even_and_reaches_the_limit():
    x = np.zeros((1, 4, 2))
    x[0, :, 0] = [119, 0.5, 1.5, -2.5]
    codes, scale = quantizer.quantize(x)
    assert scale.dtype == np.float32 and scale[0] == 1
    assert codes[0, :, 0].tolist() == [119, 0, 2, -2]
    codes, scale = quantizer.quantize(np.zeros((2, 3, 4)))
    assert not codes.any() and (scale == 1).all()
    with pytest.raises(LatteError, match="NaN"):
        quantizer.quantize(np.full((1, 2, 2), np.nan))


@pytest.mark.parametrize(("tau", "expected"), [
    (0.0, 1), (1e-9, 1), (1.0, math.floor(8 / (0.05 * 0.04 * 256) + 0.5)), (math.inf, 16383), (1e9, 16383)])
def test_tau_code(tau, expected):
    assert quantizer.tau_code(tau, 0.05, 0.04, CONFIG) == expected


@pytest.mark.parametrize("tau", [math.nan, -1.0])
def test_tau_code_refuses(tau):
    with pytest.raises(LatteError, match="tau"):
        quantizer.tau_code(tau, 0.05, 0.04, CONFIG)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 0.00123, 0.7, 1.0, 31.0, 1e3])
def test_softmax_scale_code_is_within_half_a_mantissa_step(scale):
    mantissa, shift = quantizer.softmax_scale_code(scale, CONFIG)
    assert 0 <= mantissa < 1 << 16 and 0 <= shift <= quantizer.SCALE_SHIFT_MAX
    target = scale * (1 << CONFIG.exp_frac_bits)
    if mantissa == 0:
        # Even the largest difference of scores rounds to no change.
        assert target * (1 << (CONFIG.score_bits + 1)) < 0.5
    elif mantissa == (1 << 16) - 1 and shift == 0:
        assert target >= (1 << 16) - 1
    else:
        assert abs(mantissa / (1 << shift) / target - 1) <= 2**-16


def test_scores_element_by_element():
    rng = np.random.default_rng(7)
    q, k = (rng.integers(-119, 120, (n, 16), dtype=np.int8) for n in (3, 5))
    for split in ("balanced", "slice"):
        (qh, ql), (kh, kl) = split_halves(q, split), split_halves(k, split)
        est = estimate_scores(qh, kh)
        score = refine_scores(est, (qh, ql), (kh, kl))
        for i in range(3):
            for j in range(5):
                assert est[i, j] == sum(int(a) * int(b) for a, b in zip(qh[i], kh[j], strict=True))
                skipped = sum(int(a) * int(b) for a, b in zip(ql[i], kl[j], strict=True))
                full = sum(int(a) * int(b) for a, b in zip(q[i], k[j], strict=True))
                assert score[i, j] == full - skipped
                assert exact_scores(q, k)[i, j] == full


def test_filter_by_definition():
    rng = np.random.default_rng(8)
    est = rng.integers(-50, 50, (6, 9))
    for causal in (False, True):
        visible = visible_keys(6, 9, causal)
        for tau in (1, 7, 60, CONFIG.tau_keep_all):
            keep = threshold_filter(est, visible, tau)
            for i in range(6):
                seen = [j for j in range(9) if not causal or j <= 9 - 6 + i]
                best = max(est[i, j] for j in seen)
                assert {j for j in range(9) if keep[i, j]} == {j for j in seen if est[i, j] > best - tau}
                assert keep[i].any()


def test_ties_with_the_maximum_survive_at_tau_1():
    est = np.array([[5, 5, 4, 5]])
    assert threshold_filter(est, np.ones((1, 4), bool), 1).tolist() == [[True, True, False, True]]


@pytest.mark.parametrize(("weight_bits", "frac_bits"), [(8, 8), (12, 10), (16, 12)])
def test_exp2_table_against_mathematics(weight_bits, frac_bits):
    table = exp2_table(weight_bits, frac_bits)
    exact = [((1 << weight_bits) - 1) * 2 ** (-i / (1 << frac_bits)) for i in range(1 << frac_bits)]
    assert np.abs(table - exact).max() <= 0.5
    assert table[0] == (1 << weight_bits) - 1


def test_weights_against_mathematics():
    rng = np.random.default_rng(9)
    scores = rng.integers(-20000, 20000, (4, 300))
    keep = rng.random((4, 300)) < 0.5
    keep[:, 0] = True
    scale = 0.0007
    weights = softmax_weights(scores, keep, quantizer.softmax_scale_code(scale, CONFIG), CONFIG)
    best = np.where(keep, scores, -10**9).max(axis=1, keepdims=True)
    exact = np.where(keep, 4095 * np.exp2((scores - best) * scale), 0)
    # Half a step each from the table and the final rounding, and half a step of the exponent's fraction.
    assert (np.abs(weights - exact) <= 1 + exact * math.log(2) / 2048 * 1.05).all()
    assert (weights.max(axis=1) == 4095).all() and not weights[~keep].any()


def test_reciprocal_against_mathematics():
    sums = np.unique(np.concatenate([np.arange(4095, 9000), 4095 * np.arange(1, 1025), 1 << np.arange(12, 22)]))
    mantissa, exponent = reciprocal(sums, CONFIG)
    assert mantissa.max() < 1 << 17
    assert np.abs(mantissa / 2.0 ** (17 + exponent) * sums - 1).max() < 2**-15


@pytest.mark.parametrize("index_bits", [4, 8, 9, 10])
def test_reciprocal_table_against_mathematics(index_bits):
    base, slope = reciprocal_table(index_bits)
    exact = [2**17 / (1 + i / (1 << index_bits)) for i in range((1 << index_bits) + 1)]
    assert np.abs(base[1:] - exact[1:-1]).max() <= 0.5 and base[0] == 2**17 - 1
    assert np.abs((base - slope)[:-1] - base[1:]).max() == 0 and base[-1] - slope[-1] == 2**16


def test_a_single_survivor_gives_its_value_exactly():
    v = INT8.astype(np.int64)[None, :]
    output = normalize(v * 4095, np.array([4095]), CONFIG)
    assert (output == v << CONFIG.fraction_bits).all()


def test_normaliser_is_within_its_rounding():
    rng = np.random.default_rng(10)
    weight_sum = rng.integers(4095, 4095 * 1024, 200)
    mean = rng.uniform(-128, 127, (200, 64))
    accumulated = np.rint(mean * weight_sum[:, None]).astype(np.int64)
    error = normalize(accumulated, weight_sum, CONFIG) / 256 - accumulated / weight_sum[:, None]
    # Half a step of the result; the numerator's truncation; the reciprocal's error on at most 128.
    assert np.abs(error).max() < 2**-9 + 2**-9 + 2**-10


def test_queries_of_the_last_positions_equal_the_whole_pass():
    rng = np.random.default_rng(11)
    q, k, v = (rng.integers(-119, 120, (20, 64), dtype=np.int8) for _ in range(3))
    parameters = HeadParameters(Threshold.relative(30), 40000, 20)
    whole = attend(q, k, v, parameters, CONFIG, causal=True)
    tail = attend(q[13:], k, v, parameters, CONFIG, causal=True)
    assert (whole.output[13:] == tail.output).all() and (whole.keep[13:] == tail.keep).all()


def test_dense_engine_is_the_exact_product():
    rng = np.random.default_rng(12)
    q, k, v = (rng.integers(-119, 120, (9, 64), dtype=np.int8) for _ in range(3))
    trace = attend(q, k, v, HeadParameters(Threshold.relative(1), 40000, 20), CONFIG.dense(), causal=False)
    assert trace.keep.all() and (trace.score == q.astype(int) @ k.astype(int).T).all()
