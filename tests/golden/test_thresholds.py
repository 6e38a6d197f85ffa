"""The kinds of threshold: their rules pair by pair in Python numbers, their codes, and float64 mathematics."""

import math

import numpy as np
import pytest

from latte.golden.attention import HeadParameters, attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.pruned_mass import gap_weights
from latte.golden.quantizer import MASS_KEEP_ALL, mass_code, softmax_scale
from latte.golden.reference import reference_keep
from latte.golden.row_limit import mass_threshold, row_limits
from latte.golden.threshold_filter import row_maximum, threshold_filter, visible_keys
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind, tau_at_octave
from latte.golden.vectors import embedded_vectors

CONFIG = preset("small").lean()
SCALE = (40000, 20)


def theta(code):
    """Return the real share that a code stands for."""
    return 0.0 if code == MASS_KEEP_ALL else (512 - code % 256) / 512 * 2.0 ** -(code // 256)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", list(ThresholdKind))
def test_survivors_by_the_rule_of_their_kind(kind, causal):
    rng = np.random.default_rng(3)
    estimate = rng.integers(-60, 60, (11, 40))
    estimate[4, :] = 7  # all equal
    visible = visible_keys(11, 40, causal)
    weight = gap_weights(np.arange(300), SCALE, CONFIG)
    for spread in range(6):
        low, high = {"relative": (1, 90), "mass": (0, 2400), "absolute": (-70, 70)}[kind]
        codes = tuple(int(code) for code in rng.integers(low, high, LENGTH_OCTAVES))
        if spread == 5:
            codes = (kind.code_range(CONFIG)[kind is not ThresholdKind.ABSOLUTE],) * LENGTH_OCTAVES  # keeps all
        limit = row_limits(Threshold(kind, codes), estimate, visible, row_maximum(estimate, visible), SCALE, CONFIG)
        keep = threshold_filter(estimate, visible, limit)
        for i, row in enumerate(estimate.tolist()):
            seen = [j for j in range(40) if visible[i, j]]
            best, code = max(row[j] for j in seen), codes[int(math.log2(len(seen)))]
            mass = sum(int(weight[best - row[j]]) for j in seen)
            rule = {"relative": lambda j, best=best, code=code, row=row: best - row[j] < code,
                    "absolute": lambda j, code=code, row=row: row[j] > code,
                    "mass": lambda j, best=best, code=code, row=row, mass=mass:
                    code == MASS_KEEP_ALL or int(weight[best - row[j]]) > theta(code) * mass}[kind]
            assert {j for j in range(40) if keep[i, j]} == {j for j in seen if row[j] == best or rule(j)}
        if spread == 5:
            assert (keep == visible).all()


@pytest.mark.parametrize("config", [CONFIG, preset("tiny"), preset("small", weight_bits=16, exp_frac_bits=12),
                                    preset("small", estimate_bits=2)], ids=lambda config: f"{config.name}")
@pytest.mark.parametrize("scale", [(65535, 0), (50000, 25), (33000, 18), (0, 0)])
def test_weights_fall_with_the_gap(config, scale):
    weight = gap_weights(np.arange(config.tau_keep_all + 1), scale, config)
    assert (np.diff(weight) <= 0).all() and weight[0] == ((1 << config.weight_bits) - 1) << 6 and weight[-1] >= 0


def test_mass_codes():
    assert [mass_code(tau) for tau in (0, math.log(2), math.inf, 1e9)] == [0, 256, MASS_KEEP_ALL, MASS_KEEP_ALL - 1]
    taus = np.random.default_rng(1).uniform(0, 40, 2000)
    for tau in taus:
        assert theta(mass_code(tau)) == pytest.approx(math.exp(-tau), rel=0.002)
    codes = [mass_code(tau) for tau in np.sort(taus)]
    assert codes == sorted(codes)
    for wrong in (-0.1, math.nan):
        with pytest.raises(LatteError, match="tau must be zero, positive"):
            mass_code(wrong)


def test_threshold_of_a_mass_is_exact():
    rng = np.random.default_rng(2)
    mass = rng.integers(1, 1 << 45, 500)
    codes = rng.integers(0, MASS_KEEP_ALL + 1, 500)
    codes[:3] = MASS_KEEP_ALL
    expected = [-1 if code == MASS_KEEP_ALL else m * (512 - code % 256) >> (9 + code // 256)
                for m, code in zip(mass.tolist(), codes.tolist(), strict=True)]
    assert mass_threshold(mass, codes).tolist() == expected


@pytest.mark.parametrize("tau", [2.0, 4.62, 6.0, 8.0])
@pytest.mark.parametrize("vectors", list(embedded_vectors()), ids=lambda vectors: vectors.model)
def test_share_of_the_mass_against_float64(vectors, tau):
    """Only keys within 2 % of the threshold may be judged otherwise than by float64 mathematics."""
    for h in range(0, len(vectors), 3):
        scales = float(vectors.q_scale[h]), float(vectors.k_scale[h])
        parameters = HeadParameters.encode(tau, *scales, CONFIG, kind=ThresholdKind.MASS)
        trace = attend(vectors.q[h], vectors.k[h], vectors.v[h], parameters, CONFIG, causal=vectors.causal)
        step = 256 * scales[0] * scales[1] / 8
        above, below = (reference_keep(ThresholdKind.MASS, tau, trace.estimate, trace.visible, step, slack=slack)
                        for slack in (0.02, -0.02))
        assert (above <= trace.keep).all() and (trace.keep <= below).all()
        assert (trace.keep.sum(axis=1) <= math.exp(tau) * 1.02).all(), "fewer than exp(tau) keys survive"


@pytest.mark.parametrize("kind", [ThresholdKind.RELATIVE, ThresholdKind.ABSOLUTE])
def test_other_kinds_against_float64(kind):
    """The code's rounding is half a step of the estimate, or none."""
    vectors = next(iter(embedded_vectors()))
    for h in range(0, len(vectors), 5):
        scales = float(vectors.q_scale[h]), float(vectors.k_scale[h])
        step, tau = 256 * scales[0] * scales[1] / 8, 1.7
        trace = attend(vectors.q[h], vectors.k[h], vectors.v[h],
                       HeadParameters.encode(tau, *scales, CONFIG, kind=kind), CONFIG, causal=False)
        half = step / 2 if kind is ThresholdKind.RELATIVE else 0
        wide, narrow = (reference_keep(kind, tau + change, trace.estimate, trace.visible, step)
                        for change in ((half, -half) if kind is ThresholdKind.RELATIVE else (-1e-9, 1e-9)))
        assert (narrow <= trace.keep).all() and (trace.keep <= wide).all()


def test_length_term():
    assert tau_at_octave(ThresholdKind.MASS, 4.0, -0.5, 10) == 0
    assert tau_at_octave(ThresholdKind.ABSOLUTE, 1, -1, 3) == -2
    entry = Threshold.encode(ThresholdKind.MASS, 2.0, 0.02, 0.02, CONFIG, 0.5)
    assert entry.codes == tuple(mass_code(2 + 0.5 * octave) for octave in range(LENGTH_OCTAVES))
    vectors = next(v for v in embedded_vectors() if v.causal)
    q, k, v = vectors.q[3], vectors.k[3], vectors.v[3]
    scales = float(vectors.q_scale[3]), float(vectors.k_scale[3])
    long = attend(q, k, v, HeadParameters.encode(2.0, *scales, CONFIG, kind=ThresholdKind.MASS, tau_per_octave=0.5),
                  CONFIG, causal=True)
    for octave in (0, 3, 8):
        rows = slice(2**octave - 1, 2 ** (octave + 1) - 1)
        fixed = attend(q, k, v, HeadParameters.encode(2 + 0.5 * octave, *scales, CONFIG, kind=ThresholdKind.MASS),
                       CONFIG, causal=True)
        np.testing.assert_array_equal(long.output[rows], fixed.output[rows])


@pytest.mark.parametrize(("kind", "tau", "slope", "says"), [
    ("relative", -1.0, 0.0, "zero, positive"), ("mass", -1.0, 0.0, "zero, positive"),
    ("mass", math.nan, 0.0, "not nan"), ("absolute", math.nan, 0.0, "not nan"),
    ("mass", 1.0, math.inf, "finite number")])
def test_impossible_thresholds(kind, tau, slope, says):
    with pytest.raises(LatteError, match=says):
        Threshold.encode(ThresholdKind(kind), tau, 0.02, 0.02, CONFIG, slope)


def test_what_the_rtl_lacks_is_refused():
    by_mass = Threshold.encode(ThresholdKind.MASS, 4.0, 0.02, 0.02, CONFIG)
    by_length = Threshold.encode(ThresholdKind.RELATIVE, 4.0, 0.02, 0.02, CONFIG, 0.3)
    for threshold, says in ((by_mass, "no thresholds of kind mass, only relative;"), (by_length, "tau_per_octave")):
        entry = HeadParameters(threshold, 40000, 17)
        with pytest.raises(LatteError, match=says):
            entry.registers(CONFIG)
        assert entry.registers(CONFIG.replace(threshold_kinds=("relative", "mass")))
        assert entry.registers(CONFIG.dense())
    with pytest.raises(LatteError, match="must be relative, mass, absolute, not 'sum'"):
        ThresholdKind.parse("sum")


SKIPPED = {"deit-tiny": {4: 0.012, 3: 0.058, 2: 0.27}, "smollm2-135m": {4: 0.069, 3: 0.29, 2: 1.06}}
"""Median relative RMS that the docstring of `latte.golden.scores.refine_scores` names."""


@pytest.mark.parametrize("bits", [4, 3, 2])
@pytest.mark.parametrize("model", SKIPPED)
def test_what_skipping_low_by_low_costs(model, bits):
    config = CONFIG.replace(estimate_bits=bits)
    assert (config.qk_max, config.estimate_shift) == {4: (119, 8), 3: (111, 10), 2: (95, 12)}[bits]
    vectors = next(v for v in embedded_vectors() if v.model == model)
    errors = []
    for h in range(0, len(vectors), 6):
        q, k = (np.rint(rows[h] * (config.qk_max / 119)).astype(np.int8) for rows in (vectors.q, vectors.k))
        scales = [float(scale[h]) * 119 / config.qk_max for scale in (vectors.q_scale, vectors.k_scale)]
        trace = attend(q, k, vectors.v[h], HeadParameters.encode(math.inf, *scales, config), config,
                       causal=vectors.causal)
        wide = [rows.astype(np.int64) for rows in (q, k)]
        low = [x - ((x + (1 << (7 - bits))) >> (8 - bits) << (8 - bits)) for x in wide]
        exact = wide[0] @ wide[1].T
        np.testing.assert_array_equal(trace.score, np.where(trace.visible, exact - low[0] @ low[1].T, 0))
        scaled = np.where(trace.visible, exact * softmax_scale(*scales, 64), -np.inf)
        weight = np.exp2(scaled - scaled.max(1, keepdims=True))
        expected = weight / weight.sum(1, keepdims=True) @ vectors.v[h].astype(float)
        errors.append(np.sqrt(np.mean((trace.output / 256 - expected) ** 2) / np.mean(expected**2)))
    assert np.median(errors) == pytest.approx(SKIPPED[model][bits], rel=0.05)
