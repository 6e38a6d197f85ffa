"""``latte export``: thresholds as the hardware's registers hold them."""

import pathlib

import click

from latte.golden.config import PRESETS
from latte.golden.errors import LatteError
from latte.golden.train.options import PATH, check_output, model_config

__all__ = ["export"]


@click.command()
@click.option("--model", required=True, help="Folder, hub name, .gguf file, or 'smollm2'.")
@click.option("--thresholds", required=True, type=PATH, help="With static scales, as latte calibrate writes them.")
@click.option("--config", "build", type=click.Choice(list(PRESETS)), default="small", show_default=True,
              help="Preset whose arithmetic the image is for.")
@click.option("--split", type=click.Choice(["balanced", "slice"]), default="balanced", show_default=True)
@click.option("--output", required=True, type=PATH, help="Register image (.json).")
def export(model: str, thresholds: pathlib.Path, build: str, split: str, output: pathlib.Path) -> None:
    """Write thresholds, gains, key groups and softmax scales as the hardware's registers hold them."""
    check_output(output, ".json")
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.register_image import RegisterImage, save_register_image
    from latte.golden.train.state import load_thresholds

    checkpoint = load_checkpoint(model)
    learned = load_thresholds(thresholds, checkpoint.name, checkpoint.blocks, checkpoint.heads)
    if learned.q_scale is None:
        raise LatteError(f"{thresholds}: no static scales, which registers need; add them with latte calibrate "
                         f"--thresholds {thresholds}")
    gains = None if learned.denominator_gain is None else (learned.denominator_gain, learned.mean_gain)
    groups = None if learned.group_elements is None else (learned.group_elements, learned.group_cuts)
    image = RegisterImage.encode(checkpoint.name, model_config(checkpoint, split, build), learned.tau,
                                 (learned.q_scale, learned.k_scale, learned.v_scale), gains, groups)
    save_register_image(output, image)
    click.echo(f"{output}: registers of {len(image.heads)} heads, CRC-32 {image.checksum:#010x}")
