"""``latte export``: thresholds as the hardware's registers hold them."""

import pathlib

import click

from latte.golden.builds import BUILDS, DEFAULT_PRESET, choose_config
from latte.golden.config import PRESETS
from latte.golden.train.options import PATH, check_output, thresholds_option

__all__ = ["export"]


@click.command()
@click.option("--model", required=True, help="Folder, hub name, .gguf file, or 'smollm2'.")
@thresholds_option("With static scales, as latte train and latte calibrate write them.", required=True)
@click.option("--config", type=click.Choice(list(PRESETS)),
              help=f"Preset whose arithmetic the image is for. [default: {DEFAULT_PRESET}]")
@click.option("--board", metavar="NAME", help=f"Board whose build the image is for: {', '.join(BUILDS)}.")
@click.option("--split", type=click.Choice(["balanced", "slice"]), default="balanced", show_default=True)
@click.option("--output", required=True, type=PATH, help="Register image (.json).")
def export(model: str, thresholds: str, config: str | None, board: str | None, split: str,
           output: pathlib.Path) -> None:
    """Write thresholds, gains, key groups and softmax scales as the hardware's registers hold them."""
    build = choose_config(config, board, split=split)
    check_output(output, ".json")
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.register_image import RegisterImage, save_register_image
    from latte.golden.train.threshold_files import load_thresholds

    checkpoint = load_checkpoint(model)
    learned = load_thresholds(thresholds, *checkpoint.shape)
    image = RegisterImage.encode(checkpoint.name, build.for_head_dim(checkpoint.head_dim), learned)
    save_register_image(output, image)
    click.echo(f"{output}: registers of {len(image.heads)} heads, CRC-32 {image.checksum:#010x}")
