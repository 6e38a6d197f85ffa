"""Register images in the simulation and on the board: what latte export writes decides the bits, or is refused."""

import dataclasses
import json

import numpy as np
import pytest

from latte.golden.attention import HeadParameters, attend, dequantize
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import KeyGroups
from latte.golden.model_thresholds import Thresholds
from latte.golden.pruned_mass import Gains
from latte.golden.register_image import (
    RegisteredVectors,
    RegisterImage,
    load_register_image,
    save_register_image,
)
from latte.golden.thresholds import ThresholdKind
from latte.golden.train.threshold_files import read_thresholds, shipped_thresholds
from latte.golden.vectors import VectorSet, save_vectors
from latte.sim.program import Program
from tests.test_cli import latte, refused

TINY = preset("tiny")
BUILD = ["--config", "tiny"]
LEAN = [*BUILD, "--threshold-kinds", "relative", "--key-groups", "0"]


@pytest.fixture
def vectors():
    """Return heads 2 and 0 of block 1 of a model of two heads more."""
    rng = np.random.default_rng(4)
    rows = {name: rng.integers(-100, 100, (2, 9, 64)).astype(np.int8) for name in "qkv"}
    scales = {name: np.full(2, 0.05, np.float32) for name in ("q_scale", "k_scale", "v_scale")}
    return VectorSet(**rows, **scales, tau=np.full(2, np.inf, np.float32), causal=False,
                     block=np.ones(2, np.int32), head=np.array([2, 0], np.int32), model="made-up")


@pytest.fixture
def image():
    """Return an image of 2 x 3 heads for preset tiny."""
    shape = (2, 3)
    return RegisterImage.encode("made-up", TINY, Thresholds(
        np.arange(1, 7).reshape(shape) / 2, denominator_gain=np.full(shape, 1.0), mean_gain=np.full(shape, 0.5),
        q_scale=np.full(shape, 0.05), k_scale=np.full(shape, 0.0625), v_scale=np.full(shape, 0.075),
        group_elements=np.tile([7, 63], (*shape, 1)), group_cuts=np.tile([0.65, -2.5], (*shape, 1))))


def test_entries_of_the_image_serve_in_units_of_its_scales(vectors, image):
    registered = RegisteredVectors.of(vectors, image)
    assert [registered.register(h) for h in range(2)] == [5, 3]
    assert registered.parameters(0, TINY) == HeadParameters.encode(
        3.0, 0.05, 0.0625, TINY, gains=Gains(64, 32), groups=KeyGroups((7, 63), (10, -40)))
    np.testing.assert_array_equal(registered.q, vectors.q)
    np.testing.assert_array_equal(registered.k, np.rint(vectors.k * 0.8))
    np.testing.assert_allclose(registered.v * registered.v_scale[:, None, None],
                               vectors.v * vectors.v_scale[:, None, None], atol=0.0375001)
    narrow = dataclasses.replace(vectors, q_scale=np.full(2, 0.1, np.float32))
    assert RegisteredVectors.of(narrow, image).q.max() == 119
    assert Program.of_vectors(registered, TINY).parameters[1] == image.parameters()[3]


def test_operands_are_smoothed_before_they_are_quantised(vectors, image, tmp_path):
    random = np.random.default_rng(3)
    heads = tuple(dataclasses.replace(entry, key_offset=tuple(random.normal(0, 0.5, 64)),
                                      channel_scale=tuple(random.uniform(0.5, 2, 64))) for entry in image.heads)
    save_register_image(tmp_path / "image.json", dataclasses.replace(image, heads=heads))
    smoothed = load_register_image(tmp_path / "image.json")
    assert smoothed.heads == heads and smoothed.smoothed and not image.smoothed
    registered = RegisteredVectors.of(vectors, smoothed)
    for h, entry in enumerate((heads[5], heads[3])):
        expected = (vectors.k[h] * np.float64(vectors.k_scale[h]) - entry.key_offset) / entry.channel_scale
        expected /= np.float64(np.float32(entry.k_scale))
        np.testing.assert_array_equal(registered.k[h], np.clip(np.rint(expected), -119, 119))
        expected = vectors.q[h] * np.float64(vectors.q_scale[h]) * entry.channel_scale
        expected /= np.float64(np.float32(entry.q_scale))
        np.testing.assert_array_equal(registered.q[h], np.clip(np.rint(expected), -119, 119))


def test_simulation_computes_with_the_image(vectors, image, output):
    save_vectors(output / "v.npz", vectors)
    save_register_image(output / "image.json", image)
    done = latte("sim", *BUILD, "--vectors", "v.npz", "--registers", "image.json", "--dump", "out.npz",
                 "--build", output, folder=output)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 heads agree" in done.stdout
    registered = RegisteredVectors.of(vectors, image)
    with np.load(output / "out.npz") as dump:
        for h in range(2):
            trace = attend(registered.q[h], registered.k[h], registered.v[h], image.parameters()[(5, 3)[h]], TINY,
                           causal=False)
            assert 0 < trace.keep.sum() < trace.keep.size
            assert trace.mass.any()
            np.testing.assert_array_equal(dump["keep"][h], trace.keep)
            np.testing.assert_array_equal(dump["out"][h], dequantize(trace.output, registered.v_scale[h], TINY))


def _damaged(record):
    record["heads"][1]["codes"][3] += 1


def _foreign(record):
    record["format"] = "others-1"


WRONG = {"checksum": _damaged, "format": _foreign, "q_scale": lambda record: record["heads"][0].update(q_scale=-1.0),
         "scale_shift": lambda record: record["heads"][0].update(scale_shift=41),
         "codes of a threshold": lambda record: record["heads"][0]["codes"].__setitem__(2, 0),
         "17 codes": lambda record: record["heads"][0]["codes"].pop(),
         "kind of threshold": lambda record: record["heads"][0].update(threshold="sum"),
         "group_elements": lambda record: record["heads"][0].update(group_elements=[7, 64]),
         "group_cuts": lambda record: record["heads"][0].update(group_cuts=[1, 0.5]),
         "key groups": lambda record: record["heads"][0].update(group_cuts=[1]),
         "channel_scale must be": lambda record: record["heads"][0].update(key_offset=[0.5] * 64,
                                                                           channel_scale=[1.0] * 63),
         "some heads only": lambda record: record["heads"][0].update(key_offset=[0.5] * 64, channel_scale=[1.0] * 64),
         "two entries": lambda record: record["heads"][0].update(head=1),
         "missing": lambda record: record["heads"][0].pop("codes")}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("command", [("sim",), ("run", "--port", "sim")], ids=("sim", "run"))
def test_damaged_images(command, kind, vectors, image, tmp_path):
    save_vectors(tmp_path / "v.npz", vectors)
    save_register_image(tmp_path / "image.json", image)
    record = json.loads((tmp_path / "image.json").read_text())
    WRONG[kind](record)
    (tmp_path / "image.json").write_text(json.dumps(record))
    says = "'codes'" if kind == "missing" else kind
    refused(*command, "--config", "tiny", "--vectors", "v.npz", "--registers", "image.json", folder=tmp_path, says=says)


@pytest.mark.parametrize(("change", "options", "says"), [
    ({}, ["--config", "small"], "exp_frac_bits"),
    ({}, ["--config", "tiny", "--split", "slice"], "split"),
    ({}, ["--config", "tiny", "--heads", "5"], "--heads 6"),
    ({"model": "other"}, BUILD, "other"),
    ({"head": np.array([2, 3], np.int32)}, BUILD, "no head 3 of block 1"),
    ({"block": np.array([1, 2], np.int32)}, BUILD, "no head 0 of block 2"),
    ({}, LEAN, "block 0, head 0: configuration 'tiny' has no compensation of pruned keys"),
    ({}, ["--config", "tiny", "--key-groups", "2"], "build it with --key-groups 4"),
])
@pytest.mark.parametrize("command", [("sim",), ("run", "--port", "sim")], ids=("sim", "run"))
def test_images_that_do_not_fit(command, change, options, says, vectors, image, tmp_path):
    save_vectors(tmp_path / "v.npz", dataclasses.replace(vectors, **change))
    save_register_image(tmp_path / "image.json", image)
    refused(*command, "--vectors", "v.npz", "--registers", "image.json", *options, folder=tmp_path, says=says)


@pytest.mark.parametrize("command", [("sim",), ("run", "--port", "sim")], ids=("sim", "run"))
def test_what_the_hardware_lacks_is_refused_before_anything_is_built(command, vectors, image, tmp_path):
    by_mass = dataclasses.replace(vectors, threshold=ThresholdKind.MASS)
    gains = dataclasses.replace(vectors, denominator_gain=np.ones(2, np.float32), mean_gain=np.ones(2, np.float32))
    for name, changed, says in (("mass", by_mass, "no thresholds of kind mass"),
                                ("gains", gains, "no compensation of pruned keys")):
        save_vectors(tmp_path / f"{name}.npz", changed)
        refused(*command, *LEAN, "--vectors", f"{name}.npz", folder=tmp_path, says=says)
    save_vectors(tmp_path / "v.npz", vectors)
    entry = HeadParameters.encode(4.0, 0.02, 0.025, TINY, kind=ThresholdKind.MASS)
    heads = tuple(dataclasses.replace(head, parameters=entry) for head in image.heads)
    save_register_image(tmp_path / "image.json", dataclasses.replace(image, heads=heads))
    refused(*command, *LEAN, "--vectors", "v.npz", "--registers", "image.json", folder=tmp_path,
            says="no thresholds of kind mass")
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("name", [name for name in shipped_thresholds() if "/best_" in name])
def test_shipped_thresholds_run_on_hardware(name):
    model, thresholds = read_thresholds(name)
    config = preset("small", heads=thresholds.tau.size)
    RegisterImage.encode(model, config, thresholds).check_fits(config)


def test_missing_image_and_model_without_embedded_vectors(image, tmp_path):
    refused("sim", "--registers", "absent.json", folder=tmp_path, says="absent.json")
    save_register_image(tmp_path / "image.json", image)
    refused("sim", *BUILD, "--registers", "image.json", folder=tmp_path,
            says="no embedded vectors of made-up")


def test_files_round_trip(image, tmp_path):
    save_register_image(tmp_path / "image.json", image)
    assert load_register_image(tmp_path / "image.json") == image
    assert image.heads[2].parameters.groups == KeyGroups((7, 63), (10, -40))
    assert image.parameters()[4].gains == Gains(64, 32)
    by_mass = dataclasses.replace(
        image, heads=tuple(dataclasses.replace(head, parameters=HeadParameters.encode(
            4.0, 0.02, 0.025, TINY, kind=ThresholdKind.MASS, tau_per_octave=0.3)) for head in image.heads))
    save_register_image(tmp_path / "mass.json", by_mass)
    assert load_register_image(tmp_path / "mass.json") == by_mass
    assert by_mass.checksum != image.checksum
    for scale, says in ((np.zeros((1, 1)), "positive and finite"), (None, "no static scales")):
        with pytest.raises(LatteError, match=says):
            RegisterImage.encode("made-up", TINY, Thresholds(np.ones((1, 1)), q_scale=scale, k_scale=scale,
                                                             v_scale=scale))
