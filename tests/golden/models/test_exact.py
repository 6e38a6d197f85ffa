"""The torch path against the golden model, every intermediate, on the shipped activations and on corners."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from latte.golden.attention import HeadParameters  # noqa: E402
from latte.golden.config import preset  # noqa: E402
from latte.golden.key_groups import ONE_GROUP, KeyGroups  # noqa: E402
from latte.golden.models.exact import HeadCodes  # noqa: E402
from latte.golden.models.hardware import (  # noqa: E402
    HardwareAttention,
    PairCounter,
    Thresholds,
    group_codes,
    quantize_tensor,
    scale_codes,
    tau_codes,
)
from latte.golden.pruned_mass import Gains, attend_compensated  # noqa: E402
from latte.golden.quantizer import quantize, softmax_scale, softmax_scale_code, tau_code  # noqa: E402
from latte.golden.vectors import embedded_vectors  # noqa: E402


def check(q, k, v, parameters, gains, config, causal, groups=None):
    """Compare one batch element of heads with the golden model, head by head."""
    codes = [torch.tensor([[getattr(p, name) for p in parameters]]) for name in ("tau", "scale_mantissa",
                                                                                  "scale_shift")]
    codes += [torch.tensor([[getattr(g, name) for g in gains]]) for name in ("denominator", "mean")]
    handler = HardwareAttention(Thresholds.uniform(1, 1, len(q)), config, PairCounter(1, len(q)))
    operands = tuple(torch.from_numpy(x[None].astype(np.float32)) for x in (q, k, v))
    if groups is None:
        groups, registers = [ONE_GROUP] * len(q), {}
    else:
        registers = {"group_elements": torch.tensor([g.elements for g in groups]),
                     "group_cuts": torch.tensor([[g.cuts for g in groups]])}
    trace, estimate, score = handler.trace(operands, HeadCodes(*codes, **registers), causal)
    for head in range(len(q)):
        golden = attend_compensated(q[head], k[head], v[head], parameters[head], gains[head], config, causal=causal,
                                    groups=groups[head])
        expected = golden.head
        got = {name: getattr(trace, name)[0, head].numpy() for name in (
            "keep", "score_max", "weight", "weight_sum", "accumulated", "output", "row_mass", "mass", "unit")}
        got["estimate"] = np.where(expected.visible, estimate[0, head].numpy(), expected.estimate)
        got["score"] = np.where(expected.keep, score[0, head].numpy(), 0)
        for name, value in got.items():
            reference = getattr(golden if name in ("row_mass", "mass", "unit") else expected, name)
            np.testing.assert_array_equal(value, reference, err_msg=f"{name} of head {head}")


@pytest.mark.parametrize("gains", [Gains(0, 0), Gains(64, 64), Gains(150, 37)], ids=str)
@pytest.mark.parametrize("vectors", list(embedded_vectors()), ids=lambda vectors: vectors.model)
def test_real_activations(vectors, gains):
    config = preset("small")
    chosen = vectors.select(list(range(0, len(vectors), 4)))
    parameters = [chosen.parameters(index, config) for index in range(len(chosen))]
    check(chosen.q, chosen.k, chosen.v, parameters, [gains] * len(chosen), config, chosen.causal)
    rng = np.random.default_rng(len(chosen))
    groups = [KeyGroups(tuple(int(e) for e in rng.choice(64, 3, replace=False)),
                        tuple(int(c) for c in rng.integers(-20, 21, 3))) for _ in range(len(chosen))]
    check(chosen.q, chosen.k, chosen.v, parameters, [gains] * len(chosen), config, chosen.causal, groups)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("split", ["balanced", "slice"])
@pytest.mark.parametrize("weight_bits", [8, 12])
def test_corners(causal, split, weight_bits):
    config = preset("small", split=split, weight_bits=weight_bits)
    rng = np.random.default_rng(5)
    for n in (1, 2, 33):
        q = np.stack([np.full((n, 64), -128), np.full((n, 64), 127), np.zeros((n, 64)),
                      rng.integers(-128, 128, (n, 64)), rng.integers(-20, 20, (n, 64))]).astype(np.int8)
        k, v = np.roll(q, 1, axis=0), np.roll(q, 2, axis=0)
        parameters = [HeadParameters(tau, mantissa, shift) for tau, mantissa, shift in (
            (1, 65535, 0), (16383, 40000, 20), (1, 0, 0), (300, 51234, 19), (7, 33000, 12))]
        check(q, k, v, parameters, [Gains(255, 255), Gains(0, 0), Gains(64, 0), Gains(64, 64), Gains(200, 3)], config,
              causal)
        check(q, k, v, parameters, [Gains(255, 255)] * 5, config, causal,
              [KeyGroups((63, 0), cuts) for cuts in ((118, 119), (-128, -127), (127, 0), (3, -3), (0, 0))])


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
    got = tau_codes(torch.from_numpy(tau), torch.tensor(0.01), torch.tensor(0.02), config)
    q_scale, k_scale = torch.tensor(0.01).item(), torch.tensor(0.02).item()
    got = tau_codes(torch.from_numpy(tau), torch.tensor(q_scale).double(), torch.tensor(k_scale).double(), config)
    assert got.tolist() == [tau_code(t, q_scale, k_scale, config) for t in tau]
    assert softmax_scale(q_scale, k_scale, 64) > 0
    elements = rng.integers(0, 64, (1, 5, 2))
    cuts = 10.0 ** rng.uniform(-6, 6, (1, 5, 2)) * rng.choice([-1, 1], (1, 5, 2))
    thresholds = dataclasses.replace(Thresholds.uniform(1, 1, 5), group_elements=elements, group_cuts=cuts)
    got = group_codes(thresholds, 0, scale)
    for item, head in np.ndindex(3, 5):
        expected = KeyGroups.encode(elements[0, head], cuts[0, head], scale[item, head].item())
        assert expected == KeyGroups(tuple(got[0][head].tolist()), tuple(got[1][item, head].tolist()))
