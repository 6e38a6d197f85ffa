"""A checkpoint's own preprocessing decides over the pixels; what is not followed is refused in one sentence."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
tf = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")

from click.testing import CliRunner  # noqa: E402

from latte.golden.errors import LatteError  # noqa: E402
from latte.golden.models.checkpoint import load_checkpoint, wrap_model  # noqa: E402
from latte.golden.models.commands import vectors  # noqa: E402
from latte.golden.models.inputs import find_images, load_images  # noqa: E402
from latte.golden.models.preprocessing import ImagenetProtocol, find_preprocessing  # noqa: E402

VIT = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32},
       "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3,
       "image_std": [0.5] * 3}


def vit(**changes):
    return tf.ViTForImageClassification(tf.ViTConfig(**{
        "hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8, "image_size": 32,
        "patch_size": 8} | changes))


@pytest.fixture
def image():
    """Return an image of odd proportions with structure at every scale."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (61, 90, 3)) // 2 + rng.integers(0, 128, (2, 3, 3)).repeat(31, 0).repeat(30, 1)[:61]
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def preprocess(tmp_path):
    """Return a function from a preprocessor_config.json, or its text, to the preprocessing of its folder."""
    def make(fields):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
        text = fields if isinstance(fields, str) else json.dumps(fields)
        (tmp_path / "preprocessor_config.json").write_text(text)
        return find_preprocessing(str(tmp_path), 32)
    return make


def by_hand(image, size, resample, mean, std, crop=None, factor=1 / 255):
    """Return pixels as the fields of a preprocessor file define them; size is (width, height)."""
    image = image.resize(size, resample) if size else image
    if crop:
        left, top = ((side - crop) // 2 for side in image.size)
        image = image.crop((left, top, left + crop, top + crop))
    return ((np.asarray(image).astype(np.float64) * factor - mean) / std).transpose(2, 0, 1)


IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
FOLLOWED = {
    "mean of one half": (VIT, {"size": (32, 32), "resample": 2, "mean": 0.5, "std": 0.5}),
    "bicubic": (VIT | {"resample": 3}, {"size": (32, 32), "resample": 3, "mean": 0.5, "std": 0.5}),
    "no normalisation": (VIT | {"do_normalize": False}, {"size": (32, 32), "resample": 2, "mean": 0, "std": 1}),
    "to minus one": (VIT | {"do_normalize": False, "rescale_factor": 1 / 127.5},
                     {"size": (32, 32), "resample": 2, "mean": 0, "std": 1, "factor": 1 / 127.5}),
    "own mean": (VIT | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
                 {"size": (32, 32), "resample": 2, "mean": np.array([0.1, 0.2, 0.3]),
                  "std": np.array([0.4, 0.5, 0.6])}),
    "shortest edge and crop": (
        {"image_processor_type": "DeiTImageProcessor", "do_resize": True, "size": {"shortest_edge": 36}, "resample": 3,
         "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "do_normalize": True,
         "image_mean": list(IMAGENET[0]), "image_std": list(IMAGENET[1])},
        {"size": (53, 36), "resample": 3, "crop": 32, "mean": IMAGENET[0], "std": IMAGENET[1]}),
    "older file of numbers": (
        {"feature_extractor_type": "DeiTFeatureExtractor", "do_resize": True, "size": 40, "resample": 3,
         "do_center_crop": True, "crop_size": 32, "do_normalize": True, "image_mean": list(IMAGENET[0]),
         "image_std": list(IMAGENET[1])},
        {"size": (40, 40), "resample": 3, "crop": 32, "mean": IMAGENET[0], "std": IMAGENET[1]}),
}


@pytest.mark.parametrize("kind", FOLLOWED)
def test_the_file_decides(kind, preprocess, image):
    fields, steps = FOLLOWED[kind]
    pixels = preprocess(fields)(image)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, by_hand(image, **steps), atol=1e-5)
    assert not np.allclose(pixels, ImagenetProtocol(32)(image), atol=0.05)


def test_no_file_is_the_imagenet_protocol(tmp_path, image):
    protocol = find_preprocessing(str(tmp_path), 28)
    expected = by_hand(image, (47, 32), 3, *IMAGENET, crop=28)
    np.testing.assert_allclose(protocol(image), expected, atol=1e-5)
    square = image.resize((28, 28))
    np.testing.assert_allclose(protocol(square), by_hand(square, None, None, *IMAGENET), atol=1e-5)


@pytest.mark.parametrize(("fields", "words"), [
    (VIT | {"crop_pct": 0.875}, "crop_pct = 0.875"), (VIT | {"do_flip": True}, "do_flip"),
    ("{", "cannot be read"), ("[1]", "cannot be read"), ("", "cannot be read"),
    (VIT | {"image_processor_type": "NoSuchProcessor"}, "cannot be read"),
    (VIT | {"size": {"height": 48, "width": 48}}, "3 x 32 x 32"), (VIT | {"size": {"height": 32, "width": 16}}, "32"),
    (VIT | {"do_resize": False}, "90 x 61"), (VIT | {"size": {"shortest_edge": 32}}, "do_center_crop"),
    (VIT | {"image_std": [0, 0.5, 0.5]}, "image_std"), (VIT | {"image_mean": [0.5, 0.5]}, "cannot be followed"),
    (VIT | {"resample": 99}, "preprocessor_config.json"), (VIT | {"size": "big"}, "preprocessor_config.json"),
])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_cannot_be_followed_is_one_sentence(fields, words, preprocess, image):
    with pytest.raises(LatteError, match=words) as error:
        preprocess(fields)(image)
    assert "preprocessor_config.json" in str(error.value) and "\n" not in str(error.value)


def test_a_false_field_that_is_not_known_has_no_effect(preprocess, image):
    np.testing.assert_array_equal(preprocess(VIT | {"do_flip": False, "do_pad": None})(image), preprocess(VIT)(image))


def test_command_and_loader_use_the_checkpoint_s_own(tmp_path, image):
    folder, picture = tmp_path / "model", tmp_path / "picture.png"
    vit().save_pretrained(folder)
    image.save(picture)
    outputs = []
    for fields in (None, VIT):
        if fields is not None:
            (folder / "preprocessor_config.json").write_text(json.dumps(fields))
        checkpoint = load_checkpoint(str(folder))
        pixels = load_images(find_images(picture).paths, checkpoint.preprocess)
        assert pixels.shape == (1, 3, 32, 32)
        output = tmp_path / f"{len(outputs)}.npz"
        arguments = ["--model", folder, "--images", picture, "--output", output]
        result = CliRunner().invoke(vectors, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0
        with np.load(output) as archive:
            outputs.append(archive["q"])
    assert (outputs[0] != outputs[1]).mean() > 0.2


def test_inputs_that_do_not_fit(image):
    with pytest.raises(LatteError, match="32 x 64 pixels, but only square"):
        wrap_model(vit(image_size=[32, 64]), "wide")
    with pytest.raises(LatteError, match="1 channels"):
        wrap_model(vit(num_channels=1), "grey")
    assert wrap_model(vit(image_size=[32, 32]), "square").preprocess(image).shape == (3, 32, 32)
