"""Tiny models with thresholds, and the command."""

import json

import pytest
from click.testing import CliRunner

from latte.fpga.cli import cli


@pytest.fixture
def vit(vit_folder, image_folder, tmp_path):
    """Return (options of the command, checkpoint, thresholds) of the image classifier."""
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.models.inputs import find_images, load_image
    from latte.golden.train.threshold_files import save_thresholds
    from tests.fpga.inference.tiny import static_thresholds

    checkpoint = load_checkpoint(str(vit_folder))
    path = find_images(image_folder).paths[0]
    thresholds = static_thresholds(checkpoint, load_image(path, checkpoint.preprocess)[None], 1.5)
    save_thresholds(tmp_path / "vit.npz", thresholds, checkpoint.name, {})
    return ["--model", vit_folder, "--images", path, "--thresholds", tmp_path / "vit.npz"], checkpoint, thresholds


@pytest.fixture
def language(shared_keys_folder, tmp_path):
    """Return (options of the command, checkpoint, thresholds) of the language model whose query heads share keys."""
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.models.inference import encode_prompt
    from latte.golden.train.threshold_files import save_thresholds
    from tests.fpga.inference.tiny import PROMPT, static_thresholds

    checkpoint = load_checkpoint(str(shared_keys_folder))
    thresholds = static_thresholds(checkpoint, encode_prompt(checkpoint, PROMPT, 0)[None], 1.5)
    save_thresholds(tmp_path / "lm.npz", thresholds, checkpoint.name, {})
    return (["--model", shared_keys_folder, "--prompt", PROMPT, "--tokens", 3, "--thresholds", tmp_path / "lm.npz"],
            checkpoint, thresholds)


@pytest.fixture
def infer(output):
    """Return what runs the command with options and gives (exit code, output, result file)."""
    def run(*options, code=0):
        result = CliRunner().invoke(cli, ["infer", *map(str, options), "--build", str(output)])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output, json.loads((output / "infer.json").read_text())
    return run
