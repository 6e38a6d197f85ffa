"""``latte infer --keys-in-memory`` on a tiny model: sequences grow and are never loaded again; every bit is torch's."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from latte.fpga.cli import cli
from latte.fpga.inference.backends import GoldenCacheBackend
from latte.golden.backend import BackendFailure
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cycles import Machine
from latte.golden.memory.jobs import JobKind
from latte.golden.memory.parts import PARTS
from latte.golden.models.cached_inference import CachedAttention, open_sequences
from latte.golden.models.hardware import HardwareAttention
from latte.golden.models.inference import encode_prompt, generate
from latte.golden.register_image import RegisterImage
from tests.fpga.inference.tiny import PROMPT, figures

BUILD = MemoryBuild(core=preset("small"), page_rows=16, slots=4)
"""Two blocks with two heads of keys each."""


class Recorder(GoldenCacheBackend):
    """Keeps the batches."""

    def __init__(self, memory):
        super().__init__(Machine(BUILD, PARTS["arty_ddr3"]), memory)
        self.batches = []

    def run(self, parameters, jobs):
        """Record and carry out."""
        self.batches.append(jobs)
        return super().run(parameters, jobs)


def prepare(checkpoint, thresholds, keys):
    """Return (attention, its backend, the memory, its sequences), with pages for so many keys."""
    memory, sequences = open_sequences(checkpoint, BUILD, keys)
    backend = Recorder(memory)
    image = RegisterImage.encode("m", BUILD.core, thresholds)
    return CachedAttention(checkpoint, thresholds, image, BUILD, sequences, backend), backend, memory, sequences


@pytest.mark.parametrize("backend", ["torch", pytest.param("sim", marks=pytest.mark.slow)])
def test_tokens_are_torch_s(backend, language, infer):
    options, checkpoint, thresholds = language
    output, record = infer(*options, "--keys-in-memory", "--backend", backend)
    found = figures(record)
    assert record["pass"] and record["keys_in_memory"] and not record["differences"]
    tokens = list(generate(checkpoint, encode_prompt(checkpoint, PROMPT, 3), 3,
                           HardwareAttention(thresholds, preset("small"))))
    assert found["tokens"]["tokens"] == tokens and found["tokens"]["text"] in output
    assert found["bits_equal"]["outputs"] == checkpoint.blocks * checkpoint.heads * len(tokens)
    assert found["block0.cycles"]["jobs"] == 2 * len(tokens)
    assert [found[f"pass{n}.bytes"]["tokens"] for n in range(3)] == [6, 1, 1]
    # Tiles of four rows: two positions of the two heads that share keys.
    assert [found[f"pass{n}.bytes"]["dense_values"] for n in range(3)] == [4 * (2 + 4 + 6), 4 * 7, 4 * 8]
    for passed in (found[f"pass{n}.bytes"] for n in range(3)):
        assert 0 < passed["values_fetched"] <= passed["keys_fetched"] <= passed["dense_values"]
        assert passed["value"] == passed["bytes_read"] + passed["bytes_written"] and passed["bytes_written"] > 0
    assert sum(found[f"pass{n}.bytes"]["cycles"] for n in range(3)) == found["cycles"]["value"]
    assert "prompt of 6 tokens: " in output and "each token behind it: " in output


def test_a_prompt_alone_has_no_further_tokens(language, infer):
    options, *_ = language
    output, _ = infer(*options, "--tokens", 1, "--keys-in-memory", "--backend", "torch")
    assert "prompt of 6 tokens: " in output and "each token behind it" not in output


def test_sequences_grow_and_nothing_is_loaded_again(language):
    """One job for each head of keys: the prompt as a prefill, then a token at a time."""
    _, checkpoint, thresholds = language
    attention, backend, memory, sequences = prepare(checkpoint, thresholds, 9)
    list(generate(checkpoint, encode_prompt(checkpoint, PROMPT, 3), 3, attention))
    assert attention.total.differing == 0
    shapes = [[(job.kind, job.head, *job.q.shape[:2], len(job.k)) for job in jobs] for jobs in backend.batches]
    prompt = [(JobKind.PREFILL, head, 2, 6, 6) for head in (0, 2)]
    token = [(JobKind.DECODE, head, 2, 1, 1) for head in (0, 2)]
    assert shapes == [prompt] * 2 + [token] * 4
    assert [job.sequence for jobs in backend.batches for job in jobs] == sequences * 3
    assert [memory.state(sequence).length for sequence in sequences] == [8] * 4


def test_a_job_that_fails_gives_no_answer(language):
    """The host gave pages for the prompt, not for what comes behind the sixteenth key."""
    _, checkpoint, thresholds = language
    attention, *_ = prepare(checkpoint, thresholds, 6)
    with pytest.raises(BackendFailure, match="slot 0 ended with page_unmapped"):
        list(generate(checkpoint, encode_prompt(checkpoint, PROMPT, 12), 12, attention))


def test_a_failure_is_said(language, infer, monkeypatch):
    options, *_ = language

    def run(self, parameters, jobs):
        raise BackendFailure("the core hangs")

    monkeypatch.setattr(GoldenCacheBackend, "run", run)
    output, record = infer(*options, "--keys-in-memory", "--backend", "torch", code=1)
    assert not record["pass"] and "stopped: the core hangs" in output


def test_another_text_is_refused(language):
    """What is in memory is not what the model has before its new tokens."""
    _, checkpoint, thresholds = language
    attention, *_ = prepare(checkpoint, thresholds, 20)
    list(generate(checkpoint, encode_prompt(checkpoint, PROMPT, 2), 2, attention))
    with pytest.raises(LatteError, match="of the 0 tokens before are not the 7 that are in memory"):
        list(generate(checkpoint, encode_prompt(checkpoint, "words", 1), 1, attention))


@pytest.mark.parametrize("name", ["k_scale", "v_scale", "group_cuts"])
def test_heads_that_cannot_share_a_sequence_are_refused(name, language):
    _, checkpoint, thresholds = language
    shape = (checkpoint.blocks, checkpoint.heads, 1)
    thresholds = dataclasses.replace(thresholds, group_elements=np.zeros(shape, np.int64), group_cuts=np.zeros(shape))
    values = getattr(thresholds, name).copy()
    values[0, 3] = values[0, 3] * 1.5 + 0.5
    attention, *_ = prepare(checkpoint, dataclasses.replace(thresholds, **{name: values}), 9)
    with pytest.raises(LatteError, match="block 0: heads 2 and 3 share keys"):
        list(generate(checkpoint, encode_prompt(checkpoint, PROMPT, 1), 1, attention))


def test_what_does_not_fit_is_refused(vit, language, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("latte.fpga.inference.cached.LARGEST_MEMORY", 1 << 19)
    image, words = vit[0], language[0]
    cases = [
        (image, "leave it out with --images"), ([*image[:2], "--prompt", "a"], "is an image model"),
        ([*words, "--port", "sim"], "no board has its keys in memory"),
        ([*words, "--board", "ulx3s_25f"], "no board has its keys in memory"),
        ([*words, "--config", "tiny"], "has no serial engine"),
        ([*words, "--sim", "icarus"], "not simulated by icarus"),
        (words, "4 sequences of 1024 keys take a memory of 1048576 bytes, more than the 524288"),
    ]
    for options, says in cases:
        result = CliRunner().invoke(cli, ["infer", "--keys-in-memory", *map(str, options)])
        assert isinstance(result.exception, LatteError) and says in str(result.exception), (options, result.exception)
    assert not (tmp_path / "build").exists()
