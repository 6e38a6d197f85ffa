"""A random ViT and a random GPT-2 of real head size, small enough to train in seconds, with images and words."""

import numpy as np
import pytest


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


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory):
    """Return the folder of a saved GPT-2 with a tokenizer of whole words: 2 blocks of 2 heads of 64, 64 positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(6)
    words = {word: index for index, word in enumerate(["?", "a", "few", "words", "to", "be", "cut", "in", "windows"])}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_embd=128, n_head=2, n_layer=2, n_positions=64, vocab_size=len(words), bos_token_id=0, eos_token_id=0))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "c_attn" in name and weight.ndim == 2:
                weight *= 8
    folder = tmp_path_factory.mktemp("gpt2") / "random-gpt2"
    model.save_pretrained(folder)
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="?").save_pretrained(folder)
    return folder
