"""``latte infer`` on tiny models: every backend gives torch's bits, and what is wrong is said."""

import dataclasses
import pathlib

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from latte.fpga.cli import cli
from latte.fpga.inference.backends import GoldenBackend
from latte.golden.backend import BackendFailure, BatchResult
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.hardware import HardwareAttention
from latte.golden.models.hook import float_attention
from latte.golden.models.inference import BackendAttention, classify, encode_prompt, generate
from latte.golden.models.inputs import load_image
from latte.golden.register_image import RegisterImage
from latte.golden.train.threshold_files import save_thresholds
from tests.fpga.inference.tiny import PROMPT, figures

BOARD_BUILD = ("--config", "tiny", "--heads", 4, "--max-seq-len", 64)
"""The build that tests/fpga/host simulates as a board."""


@pytest.mark.parametrize("backend", ["torch", "sim"])
def test_classes_are_torch_s(backend, vit, infer):
    options, checkpoint, thresholds = vit
    output, record = infer(*options, "--backend", backend, "--mhz", 50)
    found = figures(record)
    assert record["pass"] and found["bits_equal"]["value"] == found["top1"]["value"] == 1
    assert found["bits_equal"]["outputs"] == checkpoint.blocks * checkpoint.heads
    [image] = found["top1"]["images"]
    handler = HardwareAttention(thresholds, preset("small"))
    wanted = classify(checkpoint, load_image(pathlib.Path(image["image"]), checkpoint.preprocess), handler)
    assert [entry["class"] for entry in image["best"]] == np.argsort(-wanted)[:5].tolist()
    assert 0.1 < found["cycles"]["pruned"] < 0.95
    blocks = [found[f"block{block}.cycles"]["value"] for block in range(checkpoint.blocks)]
    assert all(blocks) and found["cycles"]["value"] == sum(blocks)
    assert found["cycles"]["seconds"] == pytest.approx(sum(blocks) / 50e6)
    assert "4 of 4 attention outputs equal torch's in every bit" in output and "at 50 MHz (--mhz)" in output
    assert ("predicted" in output) == (backend == "torch")


@pytest.mark.parametrize("backend", [
    pytest.param(["--backend", "torch"], id="torch"), pytest.param([], id="sim"),
    pytest.param(["--port", "sim", *BOARD_BUILD], id="board", marks=pytest.mark.slow)])
def test_tokens_are_torch_s(backend, language, infer):
    options, checkpoint, thresholds = language
    output, record = infer(*options, *backend)
    found = figures(record)
    assert record["pass"] and found["bits_equal"]["value"] == found["tokens"]["value"] == 1
    config = preset("tiny" if "--port" in backend else "small")
    tokens = list(generate(checkpoint, encode_prompt(checkpoint, PROMPT, 3), 3, HardwareAttention(thresholds, config)))
    assert found["tokens"]["tokens"] == tokens and found["tokens"]["text"] in output
    assert found["tokens"]["text"].startswith(PROMPT)
    assert found["bits_equal"]["outputs"] == checkpoint.blocks * checkpoint.heads * len(tokens)
    assert found["block0.cycles"]["jobs"] == checkpoint.heads * len(tokens)
    assert ("waiting for the serial line" in output) == ("--port" in backend)


class Recorder(GoldenBackend):
    """Keeps the batches."""

    def __init__(self, config):
        super().__init__(config)
        self.batches = []

    def run(self, parameters, jobs):
        """Record and carry out."""
        self.batches.append(jobs)
        return super().run(parameters, jobs)


def batches_of(checkpoint, thresholds, tokens):
    """Return the batches of jobs of generating `tokens`."""
    config = preset("small")
    backend = Recorder(config)
    handler = BackendAttention(checkpoint, thresholds, RegisterImage.encode("m", config, thresholds), config, backend)
    assert len(list(generate(checkpoint, encode_prompt(checkpoint, PROMPT, tokens), tokens, handler))) == tokens
    assert handler.total.differing == 0 and not handler.differences
    return backend.batches


def test_query_heads_that_share_keys_load_them_once(language):
    """A prefill, then decode jobs of one query; the second head of a pair loads nothing."""
    _, checkpoint, thresholds = language
    batches = batches_of(checkpoint, thresholds, 3)
    shapes = [[(len(job.q), len(job.k), job.fresh) for job in jobs] for jobs in batches[::checkpoint.blocks]]
    assert shapes == [[(queries, keys, True), (queries, 0, False)] * 2 for queries, keys in ((6, 6), (1, 7), (1, 8))]
    assert all(job.causal for job in batches[0])


@pytest.mark.parametrize("many", [False, True])
def test_generation_stops_where_the_model_ends_its_text(many, language):
    _, checkpoint, _ = language
    prompt = encode_prompt(checkpoint, PROMPT, 4)

    def tokens():
        return list(generate(checkpoint, prompt, 4, lambda _, *operands: float_attention(*operands)))

    whole = tokens()
    checkpoint.model.generation_config.eos_token_id = [whole[0]] if many else whole[0]
    assert len(whole) == 4 and tokens() == whole[:1]


@pytest.mark.parametrize("name", ["k_scale", "v_scale", "group_cuts"])
def test_heads_whose_codes_or_groups_differ_load_their_own(name, language):
    """Shared in the model, but not as integers: the second head of the first pair has another scale or another cut."""
    _, checkpoint, thresholds = language
    shape = (checkpoint.blocks, checkpoint.heads, 1)
    thresholds = dataclasses.replace(thresholds, group_elements=np.zeros(shape, np.int64), group_cuts=np.zeros(shape))
    values = getattr(thresholds, name).copy()
    values[0, 1] = values[0, 1] * 1.5 + 0.5
    batches = batches_of(checkpoint, dataclasses.replace(thresholds, **{name: values}), 1)
    assert [[job.fresh for job in jobs] for jobs in batches] == [[True, True, True, False], [True, False] * 2]


def test_a_different_bit_fails(vit, infer, monkeypatch):
    """One output code of one head in one block is off by one."""
    options, *_ = vit
    good, calls = GoldenBackend.run, []

    def bad(self, parameters, jobs):
        result = good(self, parameters, jobs)
        calls.append(jobs)
        if len(calls) == 2:
            result.outputs[1][3, 5] += 1
        return result

    monkeypatch.setattr(GoldenBackend, "run", bad)
    output, record = infer(*options, "--backend", "torch", code=1)
    found = figures(record)
    assert not record["pass"] and found["bits_equal"]["value"] == 0
    assert [found[f"block{block}.cycles"]["differing"] for block in (0, 1)] == [0, 1]
    assert record["differences"] == ["block 1, head 1: 1 of 1088 output codes of 17 queries and 17 keys differ"]
    assert record["differences"][0] in output and "3 of 4 attention outputs equal" in output


def test_other_tokens_fail(language, infer, monkeypatch):
    """Outputs that are far off lead the model elsewhere than torch."""
    options, *_ = language
    good = GoldenBackend.run

    def bad(self, parameters, jobs):
        result = good(self, parameters, jobs)
        return BatchResult([-20 * output for output in result.outputs], result.cycles)

    monkeypatch.setattr(GoldenBackend, "run", bad)
    output, record = infer(*options, "--backend", "torch", code=1)
    assert figures(record)["tokens"]["value"] == 0 and "torch alone decides otherwise" in output


@pytest.mark.parametrize("broken", ["raises", "too few"])
def test_a_backend_without_an_answer_fails(broken, vit, infer, monkeypatch):
    options, *_ = vit

    def run(self, parameters, jobs):
        if broken == "raises":
            raise BackendFailure("the core hangs")
        return BatchResult([], 0)

    monkeypatch.setattr(GoldenBackend, "run", run)
    output, record = infer(*options, "--backend", "torch", code=1)
    found = figures(record)
    assert found["bits_equal"]["value"] == found["top1"]["value"] == 0 and not record["pass"]
    assert "stopped: " in output and record["failure"] in output


def test_a_build_that_was_asked_for_stays_what_it_is(vit, tmp_path, monkeypatch):
    """Thresholds that need more are refused."""
    monkeypatch.chdir(tmp_path)
    gains = dataclasses.replace(vit[2], denominator_gain=np.ones((2, 2)), mean_gain=np.ones((2, 2)))
    save_thresholds(tmp_path / "gains.npz", gains, "random-vit", {})
    kind = str(gains.kind)
    other = "absolute" if kind == "relative" else "relative"
    for options, says in ((["--key-groups", 0], "build it with --key-groups"),
                          (["--threshold-kinds", other], f"no thresholds of kind {kind}")):
        result = CliRunner().invoke(cli, ["infer", *map(str, [*vit[0][:4], "--thresholds", "gains.npz", *options])])
        assert isinstance(result.exception, LatteError) and says in str(result.exception)
    assert not (tmp_path / "build").exists()


def test_what_does_not_fit_is_refused(vit, language, causal_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image, words = vit[0], language[0]
    (tmp_path / "text.jpg").write_text("no image")
    save_thresholds(tmp_path / "dynamic.npz", Thresholds.uniform(1.5, 2, 2), "random-vit", {})
    gains = dataclasses.replace(vit[2], denominator_gain=np.ones((2, 2)), mean_gain=np.ones((2, 2)))
    monkeypatch.setattr("latte.golden.attention.HeadParameters.registers", _no_registers)
    save_thresholds(tmp_path / "gains.npz", gains, "random-vit", {})
    cases = [
        (image[:2], "--images FILE"), ([*image, "--prompt", "a"], "--images FILE"),
        ([*image, "--backend", "sim", "--port", "sim"], "--backend and --port"),
        ([*image[:3], "text.jpg", *image[4:]], "text.jpg: not an image"),
        ([*image[:3], "absent.jpg", *image[4:]], "absent.jpg: no such image"),
        ([*image[:2], "--prompt", "a"], "is an image model"), ([*words[:2], *image[2:4]], "is a language model"),
        (image[:4], "no best_90 thresholds are shipped for random-vit"),
        ([*image[:4], "--thresholds", "dynamic.npz"], "no static scales"),
        ([*image[:4], "--thresholds", "gains.npz"], "gains.npz: nothing of the kind"),
        ([*image[:4], "--thresholds", words[-1]], "thresholds of random-llama"),
        ([*words[:2], "--prompt", "  ", *words[4:]], "the prompt is empty"),
        ([*words, "--max-seq-len", 8], "a sequence of 9 tokens"),
        ([*words[:4], "--tokens", 59, *words[6:]], "longer than the 64 that random-llama knows"),
        ([*image, "--max-seq-len", 16], "--max-seq-len 17"), ([*image, "--heads", 1], "--heads 2"),
        ([*image, "--head-dim", 32], "--head-dim 64"),
        ([*image, "--engine", "dense", "--dim-lanes", 64, "--value-lanes", 64], "engine = 'dense' prunes nothing"),
        ([*image, "--estimate-bits", 3], "--estimate-bits 4"), ([*image, "--sim", "modelsim"], "modelsim"),
        (["--model", tmp_path / "nothing", *image[2:]], "no checkpoint"),
    ]
    for options, says in cases:
        result = CliRunner().invoke(cli, ["infer", *map(str, options)])
        assert isinstance(result.exception, LatteError) and says in str(result.exception), (options, result.exception)
    assert not (tmp_path / "build").exists()


def _no_registers(*arguments):
    raise LatteError("nothing of the kind")


def test_missing_extras_are_named(vit, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    result = CliRunner().invoke(cli, ["infer", *map(str, vit[0])])
    assert "'transformers', which is not installed" in str(result.exception)
