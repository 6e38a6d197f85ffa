"""The commands from calibration to the register image, Dask against serial, restarts, and bad input."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from latte.fpga.cli import cli
from latte.golden.attention import HeadParameters
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import KeyGroups
from latte.golden.model_thresholds import Thresholds
from latte.golden.pruned_mass import Gains
from latte.golden.register_image import load_register_image
from latte.golden.thresholds import ThresholdKind
from latte.golden.train import passes
from latte.golden.train.evaluate import Job, evaluate
from latte.golden.train.source import Source
from latte.golden.train.threshold_files import load_thresholds, save_thresholds
from latte.golden.train.workers import Workers


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path, monkeypatch):
    """Work in an empty folder, in this process unless a test says otherwise: workers take seconds to start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def run(command, *arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in (command, *arguments)])


def succeed(command, *arguments):
    result = run(command, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture
def inputs(vit_folder, image_folder):
    return ["--model", vit_folder, "--data", image_folder]


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-40], lambda whole: b"[1, 2]"])
def test_damaged_chunks_are_collected_again(damage, tmp_path):
    arrays = {"count": np.arange(1000)}
    passes._keep(tmp_path, (0, 5), arrays)
    np.testing.assert_array_equal(passes._load(tmp_path, (0, 5))["count"], arrays["count"])
    path = tmp_path / "0-5.npz"
    path.write_bytes(damage(path.read_bytes()))
    assert passes._load(tmp_path, (0, 5)) is None and passes._load(tmp_path, (5, 10)) is None


def test_from_training_to_the_register_image(inputs, vit_folder, tmp_path):
    trained, complete, image = tmp_path / "trained.npz", tmp_path / "complete.npz", tmp_path / "registers.json"
    succeed("train", *inputs, "--target", 0.6, "--steps", 3, "--batch", 4, "--output", trained)
    assert trained.with_suffix(".png").exists()
    again = tmp_path / "again.npz"
    succeed("train", *inputs, "--target", 0.6, "--steps", 3, "--batch", 4, "--output", again)
    np.testing.assert_array_equal(np.load(again)["tau"], np.load(trained)["tau"])
    succeed("export", "--model", vit_folder, "--thresholds", trained, "--output", image)
    dynamic = tmp_path / "dynamic.npz"
    succeed("train", *inputs, "--target", 0.6, "--steps", 1, "--scales", "dynamic", "--output", dynamic)
    with pytest.raises(LatteError, match="no static scales"):
        raise run("export", "--model", vit_folder, "--thresholds", dynamic, "--output", image).exception
    succeed("calibrate", *inputs, "--thresholds", trained, "--quantile", 0.5, "--output", complete)
    succeed("export", "--model", vit_folder, "--thresholds", complete, "--output", image)
    loaded, learned = load_register_image(image), load_thresholds(complete, "random-vit", 2, 2, 64)
    assert learned.kind is ThresholdKind.MASS and learned.groups == 4
    config = preset("small", threshold_kinds=("mass",), key_groups=4)
    for entry in loaded.heads:
        place = entry.block, entry.head
        gains = Gains.encode(learned.denominator_gain[place], learned.mean_gain[place])
        groups = KeyGroups.encode(learned.group_elements[place], learned.group_cuts[place], entry.k_scale)
        assert entry.parameters == HeadParameters.encode(
            learned.tau[place], learned.q_scale[place], learned.k_scale[place], config, kind=learned.kind, gains=gains,
            groups=groups)
    loaded.check_fits(config)
    with pytest.raises(LatteError, match="split"):
        loaded.check_fits(config.replace(split="slice"))
    with pytest.raises(LatteError, match="no thresholds of kind mass"):
        loaded.check_fits(preset("small").lean())
    for named in (("--config", "tiny"), ("--board", "icebreaker")):
        succeed("export", "--model", vit_folder, "--thresholds", complete, *named, "--output", tmp_path / "tiny.json")
        load_register_image(tmp_path / "tiny.json").check_fits(
            preset("tiny", threshold_kinds=("mass",), key_groups=4))
    record = json.loads(image.read_text())
    record["heads"][1]["codes"][7] += 1
    image.write_text(json.dumps(record))
    with pytest.raises(LatteError, match="checksum"):
        load_register_image(image)
    image.write_text(image.read_text()[:200])
    with pytest.raises(LatteError, match="not a register image"):
        load_register_image(image)


def test_fit_meets_the_target_and_keeps_the_proportions(inputs, tmp_path):
    for kind in ("relative", "mass"):
        given = dataclasses.replace(Thresholds.uniform(1, 2, 2, kind=ThresholdKind(kind), gain=(1, 0.5)),
                                    tau=np.array([[2.0, 3.0], [1.5, 2.5]]))
        save_thresholds(tmp_path / "given.npz", given, "random-vit", {})
        succeed("calibrate", *inputs, "--thresholds", tmp_path / "given.npz", "--fit", "--target", 0.6, "--output",
                tmp_path / "fitted.npz")
        fitted = load_thresholds(tmp_path / "fitted.npz", "random-vit", 2, 2, 64)
        moved = fitted.tau / given.tau if kind == "relative" else fitted.tau - given.tau
        assert np.ptp(moved) < 1e-9 and fitted.tau[0, 0] != 2
        np.testing.assert_array_equal(fitted.mean_gain, given.mean_gain)
    succeed("eval", *inputs, "--thresholds", tmp_path / "fitted.npz", "--output", tmp_path / "eval.json")
    [pruned] = [result["value"] for result in json.loads((tmp_path / "eval.json").read_text())["results"]
                if result["name"] == "random-vit.latte[fitted].pruned"]
    assert pruned == pytest.approx(0.6, abs=0.03)
    assert "--fit needs" in str(run("calibrate", *inputs, "--fit", "--output", tmp_path / "x.npz").exception)


def test_gpt2_runs_through_the_same_commands(causal_folder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a few words to be cut in windows and more of them " * 40)
    inputs = ["--model", causal_folder, "--data", text, "--tokens", 32]
    succeed("train", *inputs, "--target", 0.6, "--steps", 2, "--output", tmp_path / "t.npz")
    succeed("calibrate", *inputs, "--mode", "top-theta", "--target", 0.6, "--output", tmp_path / "theta.npz")
    succeed("eval", *inputs, "--thresholds", tmp_path / "t.npz", "--method", "latte", "--method",
            f"top-theta-offline:{tmp_path / 'theta.npz'}", "--output", tmp_path / "eval.json")
    values = {result["name"]: result["value"] for result in json.loads((tmp_path / "eval.json").read_text())["results"]}
    assert values["random-gpt2.dense.ppl_increase"] == 0 and values["random-gpt2.float.items"] == 12 * 40 // 32
    assert abs(values["random-gpt2.dense.ppl"] / values["random-gpt2.float.ppl"] - 1) < 0.02
    assert 0.2 < values["random-gpt2.latte[t].pruned"] < 0.9
    succeed("export", "--model", causal_folder, "--thresholds", tmp_path / "t.npz", "--output", tmp_path / "r.json")
    assert len(load_register_image(tmp_path / "r.json").heads) == 4


def test_eval_writes_all_methods(inputs, tmp_path):
    theta = tmp_path / "theta.npz"
    succeed("calibrate", *inputs, "--mode", "top-theta", "--target", 0.7, "--output", theta)
    methods = ["latte", "latte-slice", "latte-exact", "latte-bits:3", "top-k:0.2", "energon:0.1,0.1", "elsa:0.2",
               "a3:0.5,3", *(f"top-theta{mode}:{theta}" for mode in ("", "-exact", "-exp", "-offline"))]
    arguments = [item for method in methods for item in ("--method", method)]
    output = tmp_path / "eval.json"
    text = succeed("eval", *inputs, "--tau", 1.5, "--threshold", "relative", "--gain", "none", *arguments, "--output",
                   output)
    record = json.loads(output.read_text())
    values = {result["name"].removeprefix("random-vit."): result["value"] for result in record["results"]}
    assert record["pass"] and values["dense.pruned"] == 0 and values["float.top1_drop"] == 0
    assert values["dense.bitops_saved"] == 0
    assert values["dense.divergence"] < 0.1 * values["top-k:0.2.divergence"]
    assert values["top-k:0.2.loss_increase"] == pytest.approx(values["top-k:0.2.loss"] - values["float.loss"])
    for label in ("latte[tau1.5]", "latte-exact[tau1.5]", "top-k:0.2", "elsa:0.2", "a3:0.5,3"):
        assert 0 < values[f"{label}.pruned"] < 1
        assert label in text
    kept = 1 - values["latte-exact[tau1.5].pruned"]
    assert values["latte-exact[tau1.5].bitops_saved"] == pytest.approx(1 - (16 + 128 * kept) / 128)
    assert len(output.with_suffix(".csv").read_text().splitlines()) == 1 + 2 + len(methods)


def test_methods_with_thresholds_of_their_own(inputs, tmp_path):
    for name, tau in (("a", 2.0), ("b", 3.0)):
        thresholds = Thresholds.uniform(tau, 2, 2, kind=ThresholdKind.MASS, gain=(1, 1))
        save_thresholds(tmp_path / f"{name}.npz", thresholds, "random-vit", {})
    succeed("eval", *inputs, "--thresholds", "a.npz", "--thresholds", "b.npz", "--output", "all.json")
    succeed("eval", *inputs, "--thresholds", "a.npz", "--method", "latte", "--method", "latte-exact[b.npz]",
            "--method", "latte[b.npz]", "--time", "--output", "own.json")
    together, own = ({result["name"].removeprefix("random-vit."): result["value"]
                      for result in json.loads((tmp_path / f"{name}.json").read_text())["results"]}
                     for name in ("all", "own"))
    assert own["latte[b].divergence"] == together["latte[b].divergence"] != own["latte[a].divergence"]
    assert own["latte-exact[b].pruned"] == pytest.approx(own["latte[b].pruned"], abs=0.01)
    assert "latte-exact[a].pruned" not in own
    timed = {name.removesuffix(".time_over_float") for name in own if name.endswith(".time_over_float")}
    assert timed == {"dense", "latte[a]", "latte[b]", "latte-exact[b]"}
    assert all(own[f"{name}.time_over_float"] > 0.5 for name in timed)


def test_first_blocks_can_be_left_denser(inputs, tmp_path):
    arguments = ["calibrate", *inputs, "--target", 0.6]
    succeed(*arguments, "--output", "alike.npz")
    succeed(*arguments, "--denser", "1,0.5", "--output", "denser.npz")
    alike, denser = (load_thresholds(tmp_path / f"{name}.npz", "random-vit", 2, 2, 64) for name in ("alike", "denser"))
    np.testing.assert_allclose(denser.tau[0] - denser.tau[1], 0.5)
    assert np.ptp(alike.tau) < 1e-9 and (denser.tau[1] < alike.tau[1]).all() and (denser.tau[0] > alike.tau[0]).all()


def test_cross_measures_each_half_with_the_other_half_s_thresholds(inputs, tmp_path):
    for name, tau in (("a", 2.0), ("b", 3.0)):
        thresholds = Thresholds.uniform(tau, 2, 2, kind=ThresholdKind.MASS, gain=(1, 1))
        save_thresholds(tmp_path / f"{name}.npz", thresholds, "random-vit", {})
    succeed("eval", *inputs, "--cross", "a.npz", "b.npz", "--output", "both.json")
    for half, name in (("odd", "a"), ("even", "b")):
        succeed("eval", *inputs, "--part", half, "--thresholds", f"{name}.npz", "--output", f"{half}.json")
    rows = {path: {result["name"].removeprefix("random-vit."): result["value"]
                   for result in json.loads((tmp_path / f"{path}.json").read_text())["results"]}
            for path in ("both", "odd", "even")}
    for column in ("loss", "divergence", "pruned", "top1_drop"):
        odd, even = rows["odd"][f"latte[a].{column}"], rows["even"][f"latte[b].{column}"]
        assert rows["both"][f"latte[a x b] odd.{column}"] == odd
        assert rows["both"][f"latte[a x b].{column}"] == pytest.approx((odd + even) / 2)
    assert rows["both"]["latte[a x b].items"] == 12


def test_dask_equals_serial_and_restart_equals_both(vit_folder, image_folder, tmp_path):
    pytest.importorskip("distributed")
    job = Job(Source(str(vit_folder), str(image_folder)), "top-k:0.3", chunk=5)
    serial = evaluate(job, cache=tmp_path)
    first, *_, last = sorted(tmp_path.rglob("*.json"))
    first.write_text("")
    last.write_text(last.read_text()[:-5])
    assert evaluate(job, cache=tmp_path) == serial
    with Workers(2) as workers:
        assert evaluate(job, workers=workers) == serial
    folder = tmp_path / job.fingerprint()
    assert sorted(path.name for path in folder.iterdir()) == ["0-5.json", "10-12.json", "5-10.json"]
    (folder / "5-10.json").unlink()
    assert evaluate(job, cache=tmp_path) == serial


@pytest.mark.slow
def test_calibration_is_the_same_on_a_cluster_and_after_a_restart(inputs, tmp_path):
    distributed = pytest.importorskip("distributed")
    alone = tmp_path / "alone"
    modes = {"head": ["--mode", "head"], "theta": ["--mode", "top-theta"]}
    for name, mode in modes.items():
        succeed("calibrate", *inputs, *mode, "--target", 0.7, "--workers", 1, "--cache", alone, "--output",
                tmp_path / f"{name}.npz")
    chunks = sorted(path for path in alone.rglob("*.npz"))
    # Of the 12 images, in passes: smoothing, scales, distances, groups (3), fit (2); Top-Theta (2).
    assert len(chunks) == 2 * 10
    kept = chunks[0].stat().st_mtime_ns
    chunks[-1].unlink()
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        for name, mode in modes.items():
            for cache, place in ((tmp_path / "cluster", ["--scheduler", cluster.scheduler_address]),
                                 (alone, ["--workers", 1])):
                succeed("calibrate", *inputs, *mode, "--target", 0.7, *place, "--cache", cache, "--output",
                        tmp_path / "again.npz")
                with np.load(tmp_path / f"{name}.npz") as first, np.load(tmp_path / "again.npz") as again:
                    assert set(first.files) == set(again.files)
                    for array in first.files:
                        np.testing.assert_array_equal(first[array], again[array])
    assert chunks[-1].exists() and chunks[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize("command", ["eval", "calibrate"])
def test_unreachable_scheduler(command, inputs, tmp_path):
    pytest.importorskip("distributed")
    output = tmp_path / ("out.json" if command == "eval" else "out.npz")
    result = run(command, *inputs, "--scheduler", "tcp://127.0.0.1:9", "--cache", tmp_path / "c", "--output", output)
    assert isinstance(result.exception, LatteError) and "cannot be reached" in str(result.exception)
    assert not output.exists() and not (tmp_path / "c").exists()


@pytest.mark.parametrize(("command", "arguments", "words"), [
    ("train", ["--target", "1"], "between 0 and 1"),
    ("calibrate", ["--target", "0"], "between 0 and 1"),
    ("train", ["--gain", "1,2"], "mean <= denominator"),
    ("eval", ["--method", "magic", "--output", "a.json"], "not understood"),
    ("eval", ["--method", "top-k:2", "--output", "a.json"], "it takes top-k:KEEP"),
    ("eval", ["--thresholds", "deit_tiny/best_0", "--output", "a.json"], "shipped thresholds, which are"),
    ("eval", ["--thresholds", "deit_tiny/best_90", "--output", "a.json"], "thresholds of deit-tiny, not of random-vit"),
    ("eval", ["--cross", "a", "b", "--part", "odd", "--output", "a.json"], "--cross measures both halves"),
    ("eval", ["--tau", "-1", "--output", "a.json"], "must be zero or positive for thresholds of kind mass"),
    ("eval", ["--tau", "nan", "--threshold", "absolute", "--output", "a.json"], "--tau nan"),
    ("eval", ["--method", "latte", "--output", "a.json"], "needs thresholds"),
    ("eval", ["--method", "top-k:0.2[deit_tiny/best_90]", "--output", "a.json"], "a method's own thresholds"),
    ("eval", ["--method", "latte-exact[]", "--output", "a.json"], "a method's own thresholds"),
    ("calibrate", ["--denser", "2"], "must be two numbers"),
    ("calibrate", ["--denser", "2,inf"], "a finite number"),
    ("calibrate", ["--denser", "2,0.5"], "none of the model's 2 blocks"),
    ("calibrate", ["--denser", "2,0.5", "--mode", "top-theta"], "--denser is for LATTE's thresholds"),
    ("eval", ["--data", "missing", "--tau", "1", "--output", "a.json"], "no such image"),
])
def test_bad_input_is_one_sentence(inputs, command, arguments, words, tmp_path):
    result = run(command, *inputs, *([] if "--output" in arguments else ["--output", "a.npz"]), *arguments)
    assert isinstance(result.exception, LatteError), result.output
    assert words in str(result.exception)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_unreadable_images_are_counted_and_named(vit_folder, image_folder, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(image_folder, folder)
    (folder / "0003_broken.png").write_bytes(b"no image")
    arguments = ["--model", vit_folder, "--data", folder, "--tau", 2, "--output", tmp_path / "eval.json"]
    result = run("eval", *arguments)
    assert "1 of" in str(result.exception) and "0003_broken.png" in str(result.exception)
    assert not (tmp_path / "eval.json").exists()
    succeed("eval", *arguments, "--skip-unreadable")
    unlabelled = tmp_path / "unlabelled"
    unlabelled.mkdir()
    shutil.copy(folder / "0000_0.png", unlabelled / "cat.png")
    arguments[3] = unlabelled
    assert "cat.png" in str(run("eval", *arguments).exception)


def test_lengths_measure_the_same_text(causal_folder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a few words to be cut in windows " * 60)
    succeed("eval", "--model", causal_folder, "--data", text, "--tau", 2, "--lengths", "16,32",
            "--items", 2, "--output", tmp_path / "eval.json")
    rows = (tmp_path / "eval.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[1:]] == [
        [name + f"@{tokens}", str(64 // tokens), str(tokens)]
        for tokens in (16, 32) for name in ("float", "dense", "latte[tau2]")]
    for lengths, words in (("16,x", "numbers of tokens"), ("16,24", "divide the longest")):
        result = run("eval", "--model", causal_folder, "--data", text, "--tau", 2, "--lengths", lengths)
        assert words in str(result.exception)
