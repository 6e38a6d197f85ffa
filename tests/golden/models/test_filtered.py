"""Top-Theta and exact products inside a model, against the golden functions head by head."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from latte.golden.config import preset  # noqa: E402
from latte.golden.model_thresholds import Thresholds  # noqa: E402
from latte.golden.models.exact_product import ExactProductAttention  # noqa: E402
from latte.golden.models.filtered import TOP_THETA_MODES, TopThetaAttention  # noqa: E402
from latte.golden.models.hardware import HardwareAttention, PairCounter  # noqa: E402
from latte.golden.models.variants import BlendedAttention, ValueAttention  # noqa: E402
from latte.golden.normalizer import normalize  # noqa: E402
from latte.golden.pruned_mass import accumulate_virtual_survivors, unit_weight  # noqa: E402
from latte.golden.quantizer import quantize, softmax_scale, softmax_scale_code  # noqa: E402
from latte.golden.softmax import score_maximum, softmax_weights  # noqa: E402
from latte.golden.threshold_filter import visible_keys  # noqa: E402
from latte.golden.thresholds import ThresholdKind  # noqa: E402
from latte.golden.top_theta import (  # noqa: E402
    MassCalibration,
    ThetaTables,
    denominator_exact,
    denominator_exp_threshold,
    denominator_offline,
    theta_codes,
    theta_filter,
)

CONFIG = preset("small")
N = 21


def operands(seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, 3, N, 64)).astype(np.float32) * scale for scale in (1, 1, 2)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mode", TOP_THETA_MODES)
def test_top_theta_is_the_golden_one(mode, causal):
    rng = np.random.default_rng(2)
    tables = ThetaTables(rng.normal(0.5, 0.4, (1, 3, N)), rng.uniform(0.1, 0.9, (1, 3)), rng.uniform(0, 2, (1, 3, N)))
    arrays = operands()
    counter = PairCounter(1, 3)
    output = TopThetaAttention(tables, mode, CONFIG, counter)(0, *map(torch.from_numpy, arrays), causal).numpy()
    visible = visible_keys(N, N, causal)
    lengths = visible.sum(-1)
    kept = 0
    for item, head in np.ndindex(2, 3):
        (q, q_scale), (k, k_scale), (v, v_scale) = (quantize(x[item, head], limit) for x, limit in zip(
            arrays, (119, 119, 127), strict=True))
        score = q.astype(np.int64) @ k.astype(np.int64).T
        scale_code = softmax_scale_code(softmax_scale(q_scale, k_scale, 64), CONFIG)
        codes = theta_codes(tables.theta[0, head, lengths - 1], np.float64(q_scale) * np.float64(k_scale) / 8)
        keep = theta_filter(score, visible, codes)
        kept += keep.sum()
        weight = softmax_weights(score, keep, scale_code, CONFIG)
        weight_sum, score_max = weight.sum(1), score_maximum(score, keep)
        pruned = visible & ~keep
        if mode == "exact":
            mass = denominator_exact(score, score_max, pruned, scale_code, CONFIG)
        elif mode == "exp":
            share = int(tables.share_codes()[0, head])
            mass = denominator_exp_threshold(pruned.sum(1), codes, score_max, share, scale_code, CONFIG)
        else:
            mass = denominator_offline(weight_sum, tables.ratio_codes()[0, head, lengths - 1])
        value_sum = visible.astype(np.int64) @ v.astype(np.int64)
        total = accumulate_virtual_survivors(weight @ v.astype(np.int64), unit_weight(mass, lengths, CONFIG)[:, None],
                                             value_sum[:, None])
        expected = normalize(total, weight_sum + mass, CONFIG) * (float(v_scale) / 256)
        np.testing.assert_array_equal(output[item, head], expected.astype(np.float32))
    assert counter.kept.sum() == kept and 0.1 < kept / counter.visible.sum() < 0.9


def test_mass_calibration_is_its_definition():
    rng = np.random.default_rng(3)
    score, theta = rng.normal(size=(2, 1, 6, 6)), rng.normal(0.3, 0.2, (1, 6))
    visible = np.tri(6, dtype=bool)
    calibration = MassCalibration(theta)
    calibration.add(score[:1], visible)
    calibration.add(score[1:], visible)
    shares, ratios = [], np.zeros((2, 6))
    for item, row in np.ndindex(2, 6):
        s = score[item, 0, row, :row + 1]
        keep = s > theta[0, row]
        keep[s.argmax()] |= not keep.any()
        shares += list(np.exp(s[~keep] - (theta[0, row] if s.max() > theta[0, row] else s.max())))
        ratios[item, row] = np.exp(s[~keep]).sum() / np.exp(s[keep]).sum()
    tables = calibration.tables()
    np.testing.assert_allclose(tables.share, [np.mean(shares)])
    np.testing.assert_allclose(tables.ratio, [ratios.mean(0)])


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_exact_products_change_the_score_only(bits, causal):
    q, k, v = (torch.from_numpy(x) for x in operands(4))
    thresholds = dataclasses.replace(Thresholds.uniform(2.5, 1, 3, kind=ThresholdKind.MASS, gain=(1, 1)),
                                     estimate_bits=bits)
    plain, exact = HardwareAttention(thresholds, CONFIG), ExactProductAttention(thresholds, CONFIG)
    codes, registers, _, _ = exact.operands(0, q, k, v)
    trace, _, score = exact.trace(codes, registers, causal)
    assert torch.equal(trace.keep, plain.trace(codes, registers, causal)[0].keep)
    assert torch.equal(score, codes[0] @ codes[1].transpose(-1, -2))
    visible = torch.from_numpy(visible_keys(N, N, causal))
    wanted = torch.softmax((q @ k.transpose(-1, -2) / 8).masked_fill(~visible, -torch.inf), -1) @ v
    everything = dataclasses.replace(thresholds, tau=np.full((1, 3), np.inf))
    assert (ExactProductAttention(everything, CONFIG)(0, q, k, v, causal) - wanted).abs().max() < 0.1


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("make", [BlendedAttention, ValueAttention])
def test_variants_without_their_number_are_the_share_of_the_mass(make, causal):
    """At 0 the distance is that of the hardware, which rounds the weights: few keys, near the threshold, differ."""
    q, k, v = (torch.from_numpy(x) for x in operands(6))
    thresholds = dataclasses.replace(
        Thresholds.uniform(2.0, 1, 3, kind=ThresholdKind.MASS, gain=(1, 1)), tau_per_octave=np.full((1, 3), 0.2),
        group_elements=np.array([[[3], [9], [1]]]), group_cuts=np.zeros((1, 3, 1)))
    keep = {}
    for name, handler in (("mass", HardwareAttention(thresholds, CONFIG)), ("none", make(0.0, thresholds, CONFIG)),
                          ("some", make(1.0, thresholds, CONFIG))):
        codes, registers, _, _ = handler.operands(0, q, k, v)
        keep[name] = handler.trace(codes, registers, causal)[0].keep
        assert keep[name].any(-1).all()
    assert (keep["none"] != keep["mass"]).float().mean() < 0.005 < (keep["some"] != keep["mass"]).float().mean()


def test_blend_of_1_is_the_distance_to_the_maximum():
    q, k, v = (torch.from_numpy(x) for x in operands(7))
    mass = Thresholds.uniform(1.5, 1, 3, kind=ThresholdKind.MASS)
    relative = dataclasses.replace(mass, kind=ThresholdKind.RELATIVE)
    kept = []
    for handler in (BlendedAttention(1.0, mass, CONFIG), HardwareAttention(relative, CONFIG)):
        codes, registers, _, _ = handler.operands(0, q, k, v)
        kept.append(handler.trace(codes, registers, True)[0].keep)
    assert (kept[0] != kept[1]).float().mean() < 0.01


def test_mass_without_a_table_is_the_same():
    """A single row has more gaps than pairs and takes no table of weights, many rows do: the same mass."""
    q, k, v = (torch.from_numpy(x[:1]) for x in operands(5))
    ones = np.ones((1, 3))
    scales = dict.fromkeys(("q_scale", "k_scale", "v_scale"), 0.05 * ones)
    thresholds = dataclasses.replace(Thresholds.uniform(1.5, 1, 3, kind=ThresholdKind.MASS, gain=(1, 1)), **scales)
    handler = HardwareAttention(thresholds, CONFIG)
    results = []
    for repeat in (1, 200):
        codes, registers, _, _ = handler.operands(0, q[..., :1, :].repeat(1, 1, repeat, 1), k, v)
        trace, estimate, _ = handler.trace(codes, registers, False)
        gaps = estimate.amax(-1, keepdim=True) - estimate
        results.append((int(gaps.max()) + 1, estimate.shape[-2:].numel(), trace))
    (gaps, pairs, one), (_, many, repeated) = results
    assert pairs < gaps < many
    assert torch.equal(one.row_mass[..., 0, :], repeated.row_mass[..., 7, :]) and one.row_mass.sum() > 0
