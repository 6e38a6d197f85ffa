"""Vector files of real models: capture against transformers, thresholds, and the files that travel with the package."""

import pathlib

import numpy as np
import pytest
from click.testing import CliRunner

from latte.golden.attention import attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.models.thresholds import tau_for_keep
from latte.golden.quantizer import softmax_scale, tau_code
from latte.golden.reference import MAX_ERROR_V_LSB, MAX_RELATIVE_RMS, output_error, reference_output
from latte.golden.vectors import embedded_vectors, load_vectors

CONFIG = preset("small")
SHIPPED = {"deit-tiny": (36, 197, 0.15), "smollm2-135m": (12, 512, 0.15), "smollm2-135m-keep10": (12, 512, 0.10)}


def test_shipped_files_are_complete_and_small():
    found = {vectors.model: (len(vectors), vectors.keys) for vectors in embedded_vectors()}
    assert {name: found.get(name) for name in SHIPPED} == {name: entry[:2] for name, entry in SHIPPED.items()}
    folder = pathlib.Path(load_vectors.__code__.co_filename).parent / "data"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6


@pytest.mark.parametrize("vectors", list(embedded_vectors()), ids=lambda vectors: vectors.model)
def test_shipped_heads_meet_the_error_budget_at_their_keep_ratio(vectors):
    for index, name in enumerate(vectors.names()):
        q, k, v = vectors.q[index], vectors.k[index], vectors.v[index]
        trace = attend(q, k, v, vectors.parameters(index, CONFIG), CONFIG, causal=vectors.causal)
        assert not trace.saturated, name
        scale = softmax_scale(vectors.q_scale[index], vectors.k_scale[index], CONFIG.head_dim)
        rms, largest = output_error(trace.output, reference_output(trace, v, scale), CONFIG)
        assert rms <= MAX_RELATIVE_RMS and largest <= MAX_ERROR_V_LSB, (name, rms, largest)
        kept = trace.keep.sum() / trace.visible.sum()
        assert abs(kept - SHIPPED[vectors.model][2]) < 0.03, (name, kept)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("split", ["balanced", "slice"])
def test_tau_for_keep_is_the_nearest_code(causal, split):
    rng = np.random.default_rng(11)
    config = preset("small", split=split)
    q, k = rng.integers(-119, 120, (2, 61, 64)).astype(np.int8)
    tau = tau_for_keep(q, k, 0.01, 0.02, 0.2, config, causal=causal)
    chosen = tau_code(tau, 0.01, 0.02, config)

    def kept(code):
        high_q, high_k = ((x.astype(int) + (8 if split == "balanced" else 0)) // 16 for x in (q, k))
        pairs = kept_pairs = 0
        for i in range(61):
            row = [int(high_q[i] @ high_k[j]) for j in range(i + 1 if causal else 61)]
            pairs, kept_pairs = pairs + len(row), kept_pairs + sum(e > max(row) - code for e in row)
        return abs(kept_pairs / pairs - 0.2)

    assert all(kept(chosen) <= kept(code) for code in (chosen - 40, chosen - 1, chosen + 1, chosen + 40))


def test_capture_of_random_gpt2_equals_transformers():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from latte.golden.models.checkpoint import wrap_model
    from latte.golden.models.extraction import capture, extract_vectors, model_inputs

    torch.manual_seed(3)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=128, n_head=2, n_layer=3, vocab_size=97,
                                                                 n_positions=64))
    tokens = np.random.default_rng(3).integers(0, 97, (2, 37))
    checkpoint = wrap_model(model, "gpt2-random")
    taken = capture(checkpoint, tokens)
    model.set_attn_implementation("eager")
    outputs, handles = [], []
    for block in model.transformer.h:
        handles.append(block.attn.c_proj.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0])))
    with torch.inference_mode():
        model(**model_inputs(checkpoint, tokens))
    for block, merged in enumerate(outputs):
        own = merged.reshape(2, 37, 2, 64).transpose(1, 2).numpy()
        q, k, v = (taken_[block].astype(np.float64) for taken_ in (taken.q, taken.k, taken.v))
        score = np.where(np.tri(37, dtype=bool), q @ k.swapaxes(-1, -2) / 8, -np.inf)
        weight = np.exp(score - score.max(-1, keepdims=True))
        recomputed = weight / weight.sum(-1, keepdims=True) @ v
        np.testing.assert_allclose(recomputed, own, atol=2e-6)
        np.testing.assert_allclose(taken.output[block], own, atol=2e-6)
    vectors = extract_vectors(checkpoint, tokens, CONFIG, keep=0.25)
    assert vectors.names()[-1] == "gpt2-random.block2.head1"
    assert vectors.causal
    assert model.config._attn_implementation == "eager"


def test_repeated_keys_of_grouped_heads():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from latte.golden.models.checkpoint import wrap_model
    from latte.golden.models.extraction import capture

    torch.manual_seed(4)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=256, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1, intermediate_size=64,
        vocab_size=50, max_position_embeddings=64))
    taken = capture(wrap_model(model, "llama-random"), np.arange(20)[None])
    assert taken.k[0].shape == taken.q[0].shape == (1, 4, 20, 64)
    np.testing.assert_array_equal(taken.k[0][:, 0], taken.k[0][:, 1])
    np.testing.assert_array_equal(taken.v[0][:, 2], taken.v[0][:, 3])
    assert not np.array_equal(taken.k[0][:, 1], taken.k[0][:, 2])


def run_command(*arguments):
    from latte.golden.models.commands import vectors

    return CliRunner().invoke(vectors, [str(argument) for argument in arguments])


def test_command_writes_what_load_vectors_reads(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    image = pytest.importorskip("PIL.Image")
    torch.manual_seed(7)
    transformers.DeiTForImageClassification(transformers.DeiTConfig(
        hidden_size=192, num_attention_heads=2, num_hidden_layers=3, intermediate_size=8, image_size=32, patch_size=8)
    ).save_pretrained(tmp_path / "deit-random-patch16-32")
    pixels = np.random.default_rng(7).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "photo.png")
    result = run_command("--model", tmp_path / "deit-random-patch16-32", "--images", tmp_path, "--heads", "0.1,2.0",
                         "--keep", 0.3, "--output", tmp_path / "deit.npz")
    assert result.exit_code == 0, result.output
    vectors = load_vectors(tmp_path / "deit.npz")
    assert vectors.q.shape == (2, 18, 96) and not vectors.causal
    assert vectors.names() == ["deit-random.block0.head1", "deit-random.block2.head0"]


@pytest.mark.parametrize(("arguments", "words"), [
    (["--model", "missing-folder", "--text", "x.txt", "--output", "a.npz"], "no checkpoint can be loaded"),
    (["--model", "missing-folder", "--output", "a.txt"], "--output"),
    (["--model", "missing-folder", "--keep", "0", "--output", "a.npz"], "--keep"),
])
def test_command_errors_are_one_sentence(arguments, words, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = run_command(*arguments)
    assert isinstance(result.exception, LatteError)
    assert words in str(result.exception)
    assert not list(tmp_path.iterdir())
