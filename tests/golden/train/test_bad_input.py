"""What a person can get wrong with whole models, through ``latte`` itself: one sentence, exit code 2, no output."""

import json
import shutil
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from latte.fpga.cli import main  # noqa: E402
from latte.golden.model_thresholds import Thresholds  # noqa: E402
from latte.golden.train.threshold_files import save_thresholds  # noqa: E402


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    return tmp_path


def latte(monkeypatch, *arguments):
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["latte", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0


@pytest.fixture
def refused(monkeypatch, capsys, folder):
    """Return a check: exit code 2, one sentence with some words on stderr, and no file written."""
    def check(words, *arguments):
        before = sorted(path for path in folder.rglob("*") if path.is_file())
        capsys.readouterr()
        code = latte(monkeypatch, *arguments)
        error = capsys.readouterr().err
        assert code == 2, error
        assert words in error and error.startswith("latte: ") and error.count("\n") == 1
        assert sorted(path for path in folder.rglob("*") if path.is_file()) == before
    return check


def of(command, model, data):
    output = {"eval": "eval.json"}.get(command, "out.npz")
    tau = ["--tau", 2] if command == "eval" else []
    return [command, "--model", model, "--data", data, *tau, "--output", output]


COMMANDS = ["calibrate", "train", "eval"]


@pytest.mark.parametrize("command", COMMANDS)
def test_models_that_cannot_run(command, refused, folder, image_folder):
    bert = folder / "bert"
    transformers.BertForSequenceClassification(transformers.BertConfig(
        hidden_size=32, num_attention_heads=2, num_hidden_layers=1, intermediate_size=32, vocab_size=20)
    ).save_pretrained(bert)
    refused("'bert' is not supported", *of(command, bert, image_folder))
    odd = folder / "odd"
    transformers.ViTForImageClassification(transformers.ViTConfig(
        hidden_size=15, num_attention_heads=3, num_hidden_layers=1, intermediate_size=8, image_size=32, patch_size=8)
    ).save_pretrained(odd)
    refused("heads of 5 elements do not fit the hardware", *of(command, odd, image_folder))
    wide = folder / "wide"
    transformers.ViTForImageClassification(transformers.ViTConfig(
        hidden_size=512, num_attention_heads=1, num_hidden_layers=1, intermediate_size=8, image_size=32, patch_size=8)
    ).save_pretrained(wide)
    refused("heads of 512 elements do not fit the hardware", *of(command, wide, image_folder))
    refused("no checkpoint can be loaded", *of(command, folder / "absent", image_folder))
    (odd / "model.safetensors").write_bytes(b"broken")
    refused("no checkpoint can be loaded", *of(command, odd, image_folder))


@pytest.mark.parametrize("command", COMMANDS)
def test_texts_that_cannot_be_used(command, refused, folder, causal_folder, image_folder):
    tokens = ["--tokens", 64]
    (folder / "empty.txt").write_text("")
    refused("0 tokens are fewer than the 64", *of(command, causal_folder, "empty.txt"), *tokens)
    (folder / "short.txt").write_text("a few words")
    refused("3 tokens are fewer than the 64", *of(command, causal_folder, "short.txt"), *tokens)
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    refused("not a UTF-8 text", *of(command, causal_folder, "binary.txt"), *tokens)
    refused("no such text file", *of(command, causal_folder, "absent.txt"), *tokens)
    refused("needs a text file, not a folder", *of(command, causal_folder, image_folder), *tokens)
    refused("from 2 to the model's 64", *of(command, causal_folder, "short.txt"), "--tokens", 65)


def test_contexts_that_a_model_does_not_have(refused, folder, causal_folder, shared_keys_folder, vit_folder,
                                            image_folder):
    (folder / "text.txt").write_text("a few words to be cut in windows " * 20)
    for model, tokens, words in ((causal_folder, 32, "learned positions"), (shared_keys_folder, 32, "model's 64"),
                                 (shared_keys_folder, 33, "the 33 tokens of a window")):
        context = {"learned positions": 64, "model's 64": 65}.get(words, 32)
        refused(words, *of("calibrate", model, "text.txt"), "--tokens", tokens, "--context", context)
    inputs = of("calibrate", shared_keys_folder, "text.txt")
    refused("a multiple of the 32", *inputs, "--tokens", 32, "--context", 48)
    refused("takes 4 windows of 16 tokens to fill, not 3", *inputs, "--tokens", 16, "--context", 64, "--items", 3)
    refused("classifies images", *of("calibrate", vit_folder, image_folder), "--context", 64)


@pytest.mark.parametrize("command", COMMANDS)
def test_images_that_cannot_be_used(command, refused, folder, vit_folder, image_folder):
    (folder / "none").mkdir()
    refused("holds no image", *of(command, vit_folder, "none"))
    shutil.copytree(image_folder, folder / "some")
    (folder / "some" / "0002_a.png").write_bytes(b"no image")
    refused("1 of", *of(command, vit_folder, "some"))
    refused("0002_a.png", *of(command, vit_folder, "some"))


@pytest.mark.parametrize("target", ["0", "1", "1.2", "-0.1", "nan"])
@pytest.mark.parametrize("command", ["calibrate", "train"])
def test_targets(command, target, refused, vit_folder, image_folder):
    refused("between 0 and 1", *of(command, vit_folder, image_folder), "--target", target)


@pytest.mark.parametrize(("option", "value"), [("--seed", -1), ("--steps", 0), ("--beta", -1), ("--batch", 0),
                                                ("--items", 0), ("--tokens", "many")])
def test_numbers_out_of_range(option, value, refused, vit_folder, image_folder):
    refused(option, *of("train", vit_folder, image_folder), option, value)


def test_thresholds_of_another_model(refused, folder, vit_folder, image_folder):
    save_thresholds(folder / "other.npz", Thresholds.uniform(1, 2, 2), "other", {})
    for command, option in (("train", "--start"), ("calibrate", "--thresholds"), ("eval", "--thresholds")):
        refused("thresholds of other, not of random-vit", *of(command, vit_folder, image_folder), option, "other.npz")
    refused("thresholds of other", "export", "--model", vit_folder, "--thresholds", "other.npz", "--output", "r.json")
    (folder / "other.npz").write_bytes(b"PK")
    refused("not a readable thresholds file", *of("eval", vit_folder, image_folder), "--thresholds", "other.npz")


def test_checkpoint_of_another_model_or_run(monkeypatch, refused, folder, vit_folder, image_folder):
    arguments = [*of("train", vit_folder, image_folder), "--steps", 1, "--target", 0.6]
    assert latte(monkeypatch, *arguments) == 0
    (folder / "out.npz").unlink()
    refused("target = 0.6, not 0.7", *arguments[:-1], 0.7)
    refused("scales = static, not dynamic", *arguments, "--scales", "dynamic")
    other = folder / "other-vit"
    shutil.copytree(vit_folder, other)
    refused("a checkpoint of random-vit, not of other-vit", "train", "--model", other, *arguments[3:])
    assert latte(monkeypatch, *arguments[:-1], 0.7, "--restart") == 0


@pytest.mark.parametrize("command", ["calibrate", "eval"])
def test_unreachable_scheduler(command, refused, vit_folder, image_folder):
    pytest.importorskip("distributed")
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        refused("cannot be reached", *of(command, vit_folder, image_folder), "--scheduler", address)


def test_damaged_top_theta_table(refused, folder, vit_folder, image_folder):
    arguments = [*of("eval", vit_folder, image_folder), "--method", "top-theta-exact:theta.npz"]
    refused("no such top-theta file", *arguments)
    np.savez(folder / "theta.npz", kind=np.str_("top-theta"), model=np.str_("random-vit"), theta=np.ones((2, 2, 17)))
    refused("'share' is missing", *arguments)
    arrays = {"theta": np.ones((2, 2, 17)), "share": np.ones((2, 2)), "ratio": np.ones((2, 2, 17))}
    np.savez(folder / "theta.npz", kind=np.str_("top-theta"), model=np.str_("other"), **arrays)
    refused("thresholds of other", *arguments)


def test_an_interrupted_evaluation_leaves_no_result(monkeypatch, folder, vit_folder, image_folder):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("latte.golden.train.evaluate.summarise", interrupt)
    assert latte(monkeypatch, *of("eval", vit_folder, image_folder)) == 130
    assert not (folder / "eval.json").exists() and not (folder / "eval.csv").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert latte(monkeypatch, *of("eval", vit_folder, image_folder), "--workers", 1) == 0
    assert json.loads((folder / "eval.json").read_text())["pass"]
