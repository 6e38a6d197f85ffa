"""Shared pieces of all tests: compiled models in the project's ``build`` folder, random models of real head size."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from latte.golden.errors import LatteError
from latte.golden.vectors import embedded_vectors, save_vectors
from latte.sim.compilation import check_simulator

BUILD = pathlib.Path(__file__).parent.parent / "build"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the stalls of one side to the slow tests: those of both sides together are among the others."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("stall") in ("source", "sink"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def build_folder() -> pathlib.Path:
    """Return the output folder; the same as of ``make sim``, so that nothing is compiled twice."""
    return BUILD


@pytest.fixture
def output(build_folder, tmp_path) -> pathlib.Path:
    """Return an output folder of a test's own that shares the compiled models with all others."""
    (build_folder / "sim").mkdir(parents=True, exist_ok=True)
    (tmp_path / "sim").symlink_to(build_folder.absolute() / "sim")
    return tmp_path


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> str:
    """Return the simulator named by an indirect parameter; skip, visibly, what is not installed."""
    name = getattr(request, "param", "verilator")
    try:
        check_simulator(name)
    except LatteError as error:
        if name == "icarus":
            pytest.skip(str(error))
        raise
    return name


@pytest.fixture
def short_vectors() -> Callable[[pathlib.Path], None]:
    """Return what writes a vector file of one embedded head, cut to 8 keys."""
    def write(path: pathlib.Path) -> None:
        vectors = next(iter(embedded_vectors())).select([0])
        save_vectors(path, dataclasses.replace(vectors, **{name: getattr(vectors, name)[:, :8] for name in "qkv"}))

    return write


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory):
    """Return the folder of a saved checkpoint: 2 blocks of 2 heads of 64, 17 tokens, 10 classes."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(
        hidden_size=128, num_attention_heads=2, num_hidden_layers=2, intermediate_size=128, image_size=32, patch_size=8,
        num_labels=10))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "weight" in name and weight.ndim == 2:
                weight *= 8
    folder = tmp_path_factory.mktemp("vit") / "random-vit"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """Return a folder of 12 random images whose names start with a class."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(8)
    folder = tmp_path_factory.mktemp("images")
    for index in range(12):
        pixels = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        image.fromarray(pixels).save(folder / f"{index % 10:04d}_{index}.png")
    return folder


WORDS = ("?", "a", "few", "words", "to", "be", "cut", "in", "windows")


def save_language_model(model, folder):
    """Sharpen the attention of a random model, and save it with a tokenizer of `WORDS`."""
    import tokenizers
    import torch
    import transformers

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(part in name for part in ("c_attn", "q_proj", "k_proj")) and weight.ndim == 2:
                weight *= 8
    model.save_pretrained(folder)
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="?"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="?").save_pretrained(folder)


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory):
    """Return the folder of a saved GPT-2 with a tokenizer of whole words: 2 blocks of 2 heads of 64, 64 positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    torch.manual_seed(6)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_embd=128, n_head=2, n_layer=2, n_positions=64, vocab_size=len(WORDS), bos_token_id=0, eos_token_id=0))
    folder = tmp_path_factory.mktemp("gpt2") / "random-gpt2"
    save_language_model(model, folder)
    return folder


@pytest.fixture(scope="session")
def shared_keys_folder(tmp_path_factory):
    """Return the folder of a saved Llama with that tokenizer: 2 blocks, 4 query heads of 64 that share 2 of keys."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    torch.manual_seed(7)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=256, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, intermediate_size=128,
        vocab_size=len(WORDS), max_position_embeddings=64, bos_token_id=0, eos_token_id=None))
    folder = tmp_path_factory.mktemp("llama") / "random-llama"
    save_language_model(model, folder)
    return folder
