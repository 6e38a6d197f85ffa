"""Vector files: the embedded ones, round trips, and every way to break one."""

import zipfile

import numpy as np
import pytest

from latte.golden.attention import HeadParameters, attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.pruned_mass import NO_COMPENSATION, Gains
from latte.golden.quantizer import softmax_scale
from latte.golden.reference import MAX_ERROR_V_LSB, MAX_RELATIVE_RMS, output_error, reference_output
from latte.golden.thresholds import ThresholdKind
from latte.golden.vectors import embedded_vectors, load_vectors, save_vectors

EMBEDDED = {vectors.model: vectors for vectors in embedded_vectors()}


def arrays(heads=2, n=5, d=64):
    rng = np.random.default_rng(3)
    data = {key: rng.integers(-119, 120, (heads, n, d), dtype=np.int8) for key in "qkv"}
    data |= {key: np.full(heads, 0.05, np.float32) for key in ("q_scale", "k_scale", "v_scale", "tau")}
    data |= {key: np.arange(heads, dtype=np.int32) for key in ("block", "head")}
    return data | {"causal": np.bool_(True), "model": np.str_("random")}


def optional(heads=2):
    """Return every key that a file may leave out."""
    return {"threshold": np.str_("mass"), "tau_per_octave": np.full(heads, 0.25, np.float32),
            "denominator_gain": np.full(heads, 1.5, np.float32), "mean_gain": np.ones(heads, np.float32),
            "group_elements": np.array([[3, 60]] * heads, np.int32),
            "group_cuts": np.array([[0.5, -0.13]] * heads, np.float32)}


def write(path, **changes):
    data = {key: value for key, value in (arrays() | changes).items() if value is not None}
    np.savez(path, **data)
    return path


def test_round_trip_ignores_what_it_does_not_know(tmp_path):
    vectors = load_vectors(write(tmp_path / "a.npz", comment=np.arange(3)))
    save_vectors(tmp_path / "b.npz", vectors)
    again = load_vectors(tmp_path / "b.npz")
    assert (again.q == vectors.q).all() and again.names() == ["random.block0.head0", "random.block1.head1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_thresholds_gains_and_groups_round_trip(tmp_path):
    vectors = load_vectors(write(tmp_path / "a.npz", **optional()))
    save_vectors(tmp_path / "b.npz", vectors.select([1]))
    again, config = load_vectors(tmp_path / "b.npz"), preset("small")
    entry = again.parameters(0, config)
    assert entry == vectors.parameters(1, config)
    assert entry == HeadParameters.encode(
        float(np.float32(0.05)), float(np.float32(0.05)), float(np.float32(0.05)), config, kind=ThresholdKind.MASS,
        tau_per_octave=0.25, gains=Gains(96, 64), groups=KeyGroups((3, 60), (9, -3)))
    bare = load_vectors(write(tmp_path / "c.npz")).parameters(0, config)
    assert bare.threshold.kind is ThresholdKind.RELATIVE and (bare.gains, bare.groups) == (NO_COMPENSATION, ONE_GROUP)
    none = load_vectors(write(tmp_path / "d.npz", group_elements=np.zeros((2, 0), np.int32),
                              group_cuts=np.zeros((2, 0), np.float32))).parameters(0, config)
    assert none.groups == ONE_GROUP


def test_infinite_tau_is_all_ones(tmp_path):
    vectors = load_vectors(write(tmp_path / "a.npz", tau=np.full(2, np.inf, np.float32)))
    assert vectors.parameters(0, preset("small")).threshold.codes[0] == preset("small").tau_keep_all


@pytest.mark.parametrize(("changes", "key"), [
    ({"v": None}, "'v' is missing"), ({"causal": None}, "'causal' is missing"),
    ({"q": np.zeros((2, 5, 64), np.int16)}, "'q' must be int8"), ({"k": np.zeros((2, 64), np.int8)}, "'k'"),
    ({"v": np.zeros((2, 6, 64), np.int8)}, "'v' must have shape"), ({"tau": np.zeros(3, np.float32)}, "'tau'"),
    ({"q_scale": np.array([1, np.nan], np.float32)}, "'q_scale'"),
    ({"k_scale": np.array([1, 0], np.float32)}, "'k_scale'"),
    ({"v_scale": np.ones(2)}, "'v_scale' must be float32"), ({"tau": np.array([1, np.nan], np.float32)}, "'tau'"),
    ({"tau": np.array([1, -1], np.float32)}, "'tau'"), ({"block": np.array([0, -1], np.int32)}, "'block'"),
    ({"causal": np.int64(1)}, "'causal'"), ({"model": np.arange(2)}, "'model'"),
    ({"q": np.array([object()] * 2)}, "'q' cannot be read"),
    ({key: np.zeros((0, 5, 64), np.int8) for key in "qkv"}, "'q' is empty"),
    ({"threshold": np.str_("sum")}, "must be relative, mass, absolute, not 'sum'"),
    ({"threshold": np.int64(1)}, "'threshold' must be one string"),
    ({"threshold": np.str_("mass"), "tau": np.array([1, -1], np.float32)}, "'tau' must be zero, positive or"),
    ({"threshold": np.str_("absolute"), "tau": np.array([1, np.nan], np.float32)}, "'tau' must be a number"),
    ({"tau_per_octave": np.array([1, np.inf], np.float32)}, "'tau_per_octave' must be finite"),
    ({"tau_per_octave": np.zeros(3, np.float32)}, "'tau_per_octave' must have shape"),
    (optional() | {"mean_gain": None}, "'denominator_gain' and 'mean_gain' belong together"),
    (optional() | {"mean_gain": np.full(2, 1.75, np.float32)}, "0 <= mean <= denominator"),
    (optional() | {"denominator_gain": np.full(2, 4, np.float32)}, "<= 3.984"),
    (optional() | {"group_cuts": None}, "'group_elements' and 'group_cuts' belong together"),
    (optional() | {"group_cuts": np.zeros((2, 1), np.float32)}, "'group_cuts' must have shape"),
    (optional() | {"group_elements": np.full((2, 2), 64, np.int32)}, "'group_elements' must lie from 0 to 63"),
    (optional() | {"group_elements": np.full((2, 2), 6)}, "'group_elements' must be int32"),
    (optional() | {"group_cuts": np.full((2, 2), np.nan, np.float32)}, "'group_cuts' must be finite"),
    (optional() | {"group_elements": np.zeros((2, 4), np.int32), "group_cuts": np.zeros((2, 4), np.float32)},
     "at most 3"),
    ({"mask": np.ones((2, 5), np.int64)}, "'mask'"), ({"mask": np.bool_(True)}, "'mask'"),
    ({"mask": np.array([object()])}, "'mask'"),
])
def test_broken_files_name_the_key(tmp_path, changes, key):
    with pytest.raises(LatteError, match=key) as error:
        load_vectors(write(tmp_path / "bad.npz", **changes))
    assert "bad.npz" in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_archives(tmp_path):
    with pytest.raises(LatteError, match="no such"):
        load_vectors(tmp_path / "none.npz")
    whole = write(tmp_path / "whole.npz").read_bytes()
    for name, content in (("cut.npz", whole[:len(whole) // 2]), ("empty.npz", b""), ("text.npz", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LatteError, match=name):
            load_vectors(tmp_path / name)
    np.save(tmp_path / "single.npy", np.arange(3))
    with pytest.raises(LatteError, match="single.npy"):
        load_vectors(tmp_path / "single.npy")
    with zipfile.ZipFile(tmp_path / "crc.npz", "w") as archive:
        archive.writestr("q.npy", b"not an array")
    with pytest.raises(LatteError, match="crc.npz"):
        load_vectors(tmp_path / "crc.npz")


def test_damaged_archives_never_end_in_a_traceback(tmp_path):
    """Bytes flipped anywhere: the file is refused with its name, or the damage was in something that is not read."""
    rng = np.random.default_rng(7)
    data = arrays()
    np.savez_compressed(tmp_path / "whole.npz", **data)
    whole = (tmp_path / "whole.npz").read_bytes()
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 2):
            damaged[at] ^= 1 << rng.integers(8)
        (tmp_path / "bad.npz").write_bytes(damaged)
        try:
            load_vectors(tmp_path / "bad.npz")
        except LatteError as error:
            assert "bad.npz" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 150


def test_what_a_build_cannot_hold():
    vectors = EMBEDDED["deit-tiny"]
    with pytest.raises(LatteError, match="197 keys.*at most 128"):
        vectors.check_fits(preset("small", max_seq_len=128))
    with pytest.raises(LatteError, match="head_dim 64"):
        vectors.check_fits(preset("small", head_dim=32, dim_lanes=32))


def test_embedded_sets_are_what_they_promise():
    assert len(EMBEDDED["deit-tiny"]) == 36 and EMBEDDED["deit-tiny"].keys == 197
    assert not EMBEDDED["deit-tiny"].causal
    for model in ("smollm2-135m", "smollm2-135m-keep10"):
        assert len(EMBEDDED[model]) >= 12 and EMBEDDED[model].keys >= 256 and EMBEDDED[model].causal
        assert len(set(EMBEDDED[model].block.tolist())) >= 12


@pytest.mark.parametrize("split", ["balanced", "slice"])
@pytest.mark.parametrize("model", EMBEDDED)
def test_output_error_budget_on_every_embedded_head(model, split):
    vectors, config = EMBEDDED[model], preset("small", split=split)
    for h in range(len(vectors)):
        trace = attend(vectors.q[h], vectors.k[h], vectors.v[h], vectors.parameters(h, config), config,
                       causal=vectors.causal)
        scale = softmax_scale(vectors.q_scale[h], vectors.k_scale[h], config.head_dim)
        rms, largest = output_error(trace.output, reference_output(trace, vectors.v[h], scale), config)
        assert rms <= MAX_RELATIVE_RMS and largest <= MAX_ERROR_V_LSB, vectors.names()[h]
        if split == "balanced":
            target = 0.10 if model.endswith("keep10") else 0.15
            assert trace.keep.sum() / trace.visible.sum() == pytest.approx(target, abs=0.02)
