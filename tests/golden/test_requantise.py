"""Vectors in the units of learned thresholds."""

import dataclasses
import math

import numpy as np
import pytest

from latte.golden.attention import attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.requantise import prune_as_learned
from latte.golden.thresholds import ThresholdKind
from latte.golden.vectors import embedded_vectors, load_vectors, save_vectors

CONFIG = preset("small")


@pytest.fixture(scope="module")
def vectors():
    return next(iter(embedded_vectors())).select([0, 7, 20])


@pytest.fixture(scope="module")
def learned(vectors):
    """Return thresholds by mass of as many blocks and heads as the vectors' model has, smoothed, with static scales."""
    random, shape = np.random.default_rng(1), (12, 3)
    real = {name: np.abs(getattr(vectors, name) * vectors_scale[:, None, None]).max()
            for name, vectors_scale in zip("qkv", (vectors.q_scale, vectors.k_scale, vectors.v_scale), strict=True)}
    return Thresholds(
        random.uniform(3, 5, shape), ThresholdKind.MASS, denominator_gain=np.full(shape, 1.0),
        mean_gain=np.full(shape, 0.75), q_scale=np.full(shape, real["q"] / 80), k_scale=np.full(shape, real["k"] / 80),
        v_scale=np.full(shape, real["v"] / 127), group_elements=random.integers(0, 64, (*shape, 2)),
        group_cuts=random.normal(0, 0.2, (*shape, 2)), key_offset=random.normal(0, 0.1, (*shape, 64)),
        channel_scale=random.uniform(0.7, 1.4, (*shape, 64)))


def test_attention_stays_what_it_was(vectors, learned, tmp_path):
    """Without pruning, requantised heads have the outputs of the given ones but for rounding."""
    everything = dataclasses.replace(learned, tau=np.full((12, 3), np.inf))
    found = prune_as_learned(vectors, "deit-tiny", "all", everything)
    for h in range(len(vectors)):
        outputs = []
        for heads in (vectors, found):
            entry = dataclasses.replace(heads, tau=np.full(3, np.inf, np.float32)).parameters(h, CONFIG)
            trace = attend(heads.q[h], heads.k[h], heads.v[h], entry, CONFIG, causal=False)
            outputs.append(trace.output * float(heads.v_scale[h]) / 2 ** CONFIG.fraction_bits)
        assert np.linalg.norm(outputs[0] - outputs[1]) < 0.1 * np.linalg.norm(outputs[0])


def test_fields_are_those_of_the_heads(vectors, learned, tmp_path):
    found = prune_as_learned(vectors, "deit-tiny", "best", learned)
    save_vectors(tmp_path / "v.npz", found)
    loaded = load_vectors(tmp_path / "v.npz")
    assert loaded.model == "deit-tiny-best" and loaded.threshold is ThresholdKind.MASS and loaded.of_model("deit-tiny")
    for h, place in enumerate(zip(vectors.block, vectors.head, strict=True)):
        entry = loaded.parameters(h, CONFIG)
        assert entry.gains.denominator == 64 and entry.gains.mean == 48
        assert entry.groups.elements == tuple(learned.group_elements[place])
        assert loaded.tau[h] == np.float32(learned.tau[place])
        trace = attend(loaded.q[h], loaded.k[h], loaded.v[h], entry, CONFIG, causal=False)
        assert 0.5 < 1 - trace.keep.mean() < 0.99
    assert math.isclose(loaded.q_scale[0], learned.q_scale[0, 0], rel_tol=1e-6)


def test_other_models_and_dynamic_scales_are_refused(vectors, learned):
    with pytest.raises(LatteError, match="are of gpt2, but the vectors are of deit-tiny"):
        prune_as_learned(vectors, "gpt2", "best", learned)
    with pytest.raises(LatteError, match="no static scales"):
        prune_as_learned(vectors, "deit-tiny", "best", dataclasses.replace(learned, q_scale=None))
