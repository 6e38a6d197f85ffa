"""A random ViT of real head size, small enough to train in seconds, and images for it."""

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
