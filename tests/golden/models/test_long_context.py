"""Decoded tokens of a model: the operands, entries and outputs that the whole model's arithmetic has."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from latte.fpga.cli import cli
from latte.golden.attention import attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.memory.cycles import Machine
from latte.golden.memory.measurement import measure_tasks
from latte.golden.memory.parts import find_part
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import load_checkpoint
from latte.golden.models.hardware import HardwareAttention
from latte.golden.models.hook import float_attention, replaced_attention
from latte.golden.models.long_context import decode_tokens
from latte.golden.thresholds import ThresholdKind
from latte.golden.train.threshold_files import save_thresholds
from tests.golden.memory.made_up import build

TOKENS = np.arange(48) % 9


def thresholds(blocks=2, heads=4, sharing=2):
    """Return thresholds by mass with scales and groups that heads which share keys share."""
    rng = np.random.default_rng(3)

    def shared(low, high):
        return np.repeat(rng.uniform(low, high, (blocks, heads // sharing)), sharing, axis=1)

    q_scale, gain = rng.uniform(0.03, 0.06, (blocks, heads)), np.ones((blocks, heads))
    elements = np.repeat(rng.integers(0, 64, (blocks, heads // sharing, 2)), sharing, axis=1)
    return Thresholds(np.full((blocks, heads), 2.5), ThresholdKind.MASS, q_scale=q_scale, k_scale=shared(0.03, 0.06),
                      v_scale=shared(0.01, 0.02), denominator_gain=gain, mean_gain=gain / 2, group_elements=elements,
                      group_cuts=np.zeros((blocks, heads, 2)))


def test_tokens_have_the_bits_of_the_whole_model(shared_keys_folder):
    checkpoint, learned, config = load_checkpoint(str(shared_keys_folder)), thresholds(), preset("small")
    outputs = []
    exact = HardwareAttention(learned, config)

    def record(block, q, k, v, causal):
        operands, codes, step, _ = exact.operands(block, q, k, v)
        outputs.append(exact.output_codes(block, operands, codes, step, causal)[0].numpy())
        return float_attention(q, k, v, causal)

    with torch.inference_mode(), replaced_attention(checkpoint.model, record):
        checkpoint.model(torch.from_numpy(TOKENS[None]))
    tasks, blocks = [], []
    decode_tokens(checkpoint, learned, TOKENS, [20, 48], config, tasks.append, on_block=lambda: blocks.append(0))
    assert len(blocks) == 2 and [task.name.rpartition("-")[2] for task in tasks[::2]] == [
        "llama.block0.keys0", "llama.block0.keys1", "llama.block1.keys0", "llama.block1.keys1"]
    machine = Machine(build(bus_bytes=16), find_part("arty_ddr3"))
    for index, task in enumerate(tasks):
        block, group = divmod(index // 2, 2)
        n = len(task.k)
        assert n == (20, 48)[index % 2] and task.q.shape == (2, 1, 64)
        for head, entry in enumerate(task.entries):
            trace = attend(task.q[head], task.k, task.v, entry, config, causal=True)
            np.testing.assert_array_equal(trace.output[0], outputs[block][2 * group + head, n - 1])
        assert [keys for keys, _ in measure_tasks([task], machine)] == [n]
    chosen = []
    decode_tokens(checkpoint, learned, TOKENS, [48], config, chosen.append, key_heads="1.0")
    assert [task.name for task in chosen] == [tasks[4].name]
    np.testing.assert_array_equal(chosen[0].k, tasks[5].k)


def test_heads_that_cannot_share_a_cache(shared_keys_folder):
    checkpoint, learned = load_checkpoint(str(shared_keys_folder)), thresholds()
    for name in ("k_scale", "group_cuts"):
        other = np.array(getattr(learned, name))
        other[1, 3] += 0.01 if name == "k_scale" else 1.0
        with pytest.raises(LatteError, match="block 1 that share keys other codes or groups"):
            decode_tokens(checkpoint, dataclasses.replace(learned, **{name: other}), TOKENS, [48], preset("small"),
                          lambda task: None)


def test_command(shared_keys_folder, vit_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = load_checkpoint(str(shared_keys_folder))
    save_thresholds("t.npz", thresholds(), checkpoint.name, {})
    (tmp_path / "words.txt").write_text("a few words to be cut in windows " * 20)

    def run(*options, model=shared_keys_folder):
        return CliRunner().invoke(cli, ["memory", "--model", str(model), "--text", "words.txt", "--thresholds", "t.npz",
                                        *map(str, options)])

    done = run("--tokens", 64, "--lengths", "32,64")
    assert done.exit_code == 0, (done.output, done.exception)
    record = json.loads((tmp_path / "build" / "memory.json").read_text())
    values = {entry["name"]: entry for entry in record["results"]}
    name = f"small.{checkpoint.name}-t-text"
    assert values[f"{name}.n64.dense_token"]["jobs"] == 4 and values[f"{name}.n64.dense_token"]["rows"] == 8
    assert values[f"{name}.n64.token"]["value"] > 0 and f"small.{checkpoint.name}-tenth-text.n32.kept" in values
    for options, says in ((("--tokens", 65), "from 2 to the model's 64"), (("--tokens", 32, "--lengths", 33),
                          "longer than the window"), (("--tokens", 64, "--sample", 5), "heads '5' must be")):
        failed = run(*options)
        assert isinstance(failed.exception, LatteError) and says in str(failed.exception), failed.output
    assert "decodes no tokens" in str(run(model=vit_folder).exception)
