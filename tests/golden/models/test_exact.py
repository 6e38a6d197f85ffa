"""The torch path against the golden model, every intermediate, on the shipped activations and on corners."""

import dataclasses
import operator

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from latte.golden.attention import HeadParameters, attend  # noqa: E402
from latte.golden.config import preset  # noqa: E402
from latte.golden.key_groups import KeyGroups  # noqa: E402
from latte.golden.model_thresholds import Thresholds  # noqa: E402
from latte.golden.models.exact import HeadCodes  # noqa: E402
from latte.golden.models.hardware import (  # noqa: E402
    HardwareAttention,
    group_codes,
    quantize_tensor,
    scale_codes,
    threshold_codes,
)
from latte.golden.pruned_mass import NO_COMPENSATION, Gains  # noqa: E402
from latte.golden.quantizer import quantize, softmax_scale, softmax_scale_code  # noqa: E402
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind  # noqa: E402
from latte.golden.vectors import embedded_vectors  # noqa: E402


def check(q, k, v, parameters, config, causal):
    """Compare one batch element of heads, all of one kind of threshold, with the golden model, head by head."""
    def column(name):
        return torch.tensor([[operator.attrgetter(name)(p) for p in parameters]])

    codes = HeadCodes(
        column("threshold.codes"), column("scale_mantissa"), column("scale_shift"), parameters[0].threshold.kind,
        column("gains.denominator"), column("gains.mean"), column("groups.elements")[0], column("groups.cuts"))
    handler = HardwareAttention(
        dataclasses.replace(Thresholds.uniform(1, 1, len(q)), estimate_bits=config.estimate_bits), config)
    operands = tuple(torch.from_numpy(x[None].astype(np.float32)) for x in (q, k, v))
    trace, estimate, score = handler.trace(operands, codes, causal)
    for head, entry in enumerate(parameters):
        expected = attend(q[head], k[head], v[head], entry, config, causal=causal)
        names = ["keep", "score_max", "weight", "weight_sum", "accumulated", "output"]
        got = {name: getattr(trace, name)[0, head].numpy()
               for name in names + ["row_mass", "mass", "unit"] * (entry.gains != NO_COMPENSATION)}
        got["estimate"] = np.where(expected.visible, estimate[0, head].numpy(), expected.estimate)
        got["score"] = np.where(expected.keep, score[0, head].numpy(), 0)
        for name, value in got.items():
            np.testing.assert_array_equal(value, getattr(expected, name), err_msg=f"{name} of head {head}")


def some_groups(rng, heads, bits):
    return [KeyGroups(tuple(int(e) for e in rng.choice(64, bits, replace=False)),
                      tuple(int(c) for c in rng.integers(-20, 21, bits))) for _ in range(heads)]


# Every kind without and with compensation, every gain with one group and with eight; test_corners crosses them all.
@pytest.mark.parametrize(("kind", "tau", "slope", "gains", "bits"), [
    ("relative", 3.0, 0.2, Gains(0, 0), 0), ("relative", 3.0, 0.2, Gains(64, 64), 3),
    ("mass", 4.6, 0.0, Gains(150, 37), 0), ("mass", 2.0, 0.4, Gains(0, 0), 3), ("mass", 4.6, 0.0, Gains(150, 37), 3),
    ("absolute", 1.5, -0.2, Gains(0, 0), 3), ("absolute", 1.5, -0.2, Gains(64, 64), 0)])
@pytest.mark.parametrize("vectors", list(embedded_vectors()), ids=lambda vectors: vectors.model)
def test_real_activations(vectors, kind, tau, slope, gains, bits):
    config = preset("small")
    chosen = vectors.select(list(range(0, len(vectors), 6)))
    groups = some_groups(np.random.default_rng(len(chosen)), len(chosen), bits)
    parameters = [HeadParameters.encode(tau, chosen.q_scale[i], chosen.k_scale[i], config, kind=ThresholdKind(kind),
                                        tau_per_octave=slope, gains=gains, groups=groups[i])
                  for i in range(len(chosen))]
    check(chosen.q, chosen.k, chosen.v, parameters, config, chosen.causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("split", "estimate_bits"), [("balanced", 4), ("balanced", 3), ("balanced", 2), ("slice", 4)])
@pytest.mark.parametrize("weight_bits", [8, 12])
@pytest.mark.parametrize("kind", list(ThresholdKind))
def test_corners(causal, split, estimate_bits, weight_bits, kind):
    config = preset("small", split=split, estimate_bits=estimate_bits, weight_bits=weight_bits)
    rng = np.random.default_rng(5)
    low, high = kind.code_range(config)
    gains = [Gains(255, 255), Gains(0, 0), Gains(64, 0), Gains(64, 64), Gains(200, 3)]
    cuts = [(118, 119), (-128, -127), (127, 0), (3, -3), (0, 0)]
    scales = [(65535, 0), (40000, 20), (0, 0), (51234, 19), (33000, 12)]
    for n in (1, 2, 33):
        q = np.stack([np.full((n, 64), -128), np.full((n, 64), 127), np.zeros((n, 64)),
                      rng.integers(-128, 128, (n, 64)), rng.integers(-20, 20, (n, 64))]).astype(np.int8)
        k, v = np.roll(q, 1, axis=0), np.roll(q, 2, axis=0)
        for codes in ([low, high, low, 300, 7], rng.integers(low, high + 1, 5)):
            parameters = [HeadParameters(Threshold(kind, (int(code),) * LENGTH_OCTAVES), *scale, gain,
                                         KeyGroups((63, 0), cut))
                          for code, scale, gain, cut in zip(codes, scales, gains, cuts, strict=True)]
            check(q, k, v, parameters, config, causal)


def test_quantiser_and_codes_are_the_golden_ones():
    rng = np.random.default_rng(6)
    config = preset("small")
    x = rng.normal(size=(3, 5, 7, 64)).astype(np.float32) * np.float32(10) ** rng.integers(-6, 6, (3, 5, 1, 1))
    x[1, 2] = 0
    codes, scale = quantize_tensor(torch.from_numpy(x), 119)
    expected_codes, expected_scale = quantize(x)
    np.testing.assert_array_equal(codes.numpy(), expected_codes)
    np.testing.assert_array_equal(scale.numpy(), expected_scale)
    real = 10.0 ** rng.uniform(-14, 6, 400)
    mantissa, shift = scale_codes(torch.from_numpy(real), config)
    assert list(zip(mantissa.tolist(), shift.tolist(), strict=True)) == [softmax_scale_code(s, config) for s in real]
    tau = np.concatenate([10.0 ** rng.uniform(-4, 5, 100), [0, np.inf]])
    q_scale, k_scale = torch.tensor(0.01).item(), torch.tensor(0.02).item()
    for kind in ThresholdKind:
        learned = Thresholds(tau[None], kind, rng.normal(0, 0.3, (1, len(tau))))
        scales = (torch.tensor([[scale]]).double() for scale in (q_scale, k_scale))
        got = threshold_codes(learned, 0, *scales, config)
        for head, slope in enumerate(learned.tau_per_octave[0]):
            expected = Threshold.encode(kind, tau[head], q_scale, k_scale, config, slope)
            assert tuple(got[0, head].tolist()) == expected.codes
    assert softmax_scale(q_scale, k_scale, 64) > 0
    elements = rng.integers(0, 64, (1, 5, 2))
    cuts = 10.0 ** rng.uniform(-6, 6, (1, 5, 2)) * rng.choice([-1, 1], (1, 5, 2))
    thresholds = dataclasses.replace(Thresholds.uniform(1, 1, 5), group_elements=elements, group_cuts=cuts)
    got = group_codes(thresholds, 0, scale)
    for item, head in np.ndindex(3, 5):
        expected = KeyGroups.encode(elements[0, head], cuts[0, head], scale[item, head].item())
        assert expected == KeyGroups(tuple(got[0][head].tolist()), tuple(got[1][item, head].tolist()))
