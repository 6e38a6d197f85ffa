"""``latte vectors``: vector files of any supported checkpoint."""

import dataclasses
import pathlib

import click

from latte.golden.config import preset
from latte.golden.errors import LatteError

__all__ = ["vectors"]


@click.command()
@click.option("--model", required=True, help="Folder, hub name, .gguf file, or 'smollm2'.")
@click.option("--images", type=click.Path(path_type=pathlib.Path), help="Image file or folder (first image is taken).")
@click.option("--text", type=click.Path(path_type=pathlib.Path), help="UTF-8 text file, for language models.")
@click.option("--tokens", default=512, show_default=True, help="Tokens of the text's first window.")
@click.option("--heads", default="all", show_default=True, help="'all', a count spread over depth, or 0.1,3.2.")
@click.option("--keep", default=0.15, show_default=True, help="Share of visible keys each head keeps.")
@click.option("--split", type=click.Choice(["balanced", "slice"]), default="balanced", show_default=True,
              help="Split that the thresholds are chosen for.")
@click.option("--name", help="Model name in tables; by default taken from --model.")
@click.option("--output", required=True, type=click.Path(path_type=pathlib.Path), help="File to write (.npz).")
def vectors(model: str, images: pathlib.Path | None, text: pathlib.Path | None, tokens: int, heads: str, keep: float,
            split: str, name: str | None, output: pathlib.Path) -> None:
    """Write int8 Q, K, V, scales and thresholds of a model's real activations as a vector file."""
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.console import create_console, create_progress
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.models.extraction import extract_vectors
    from latte.golden.models.inputs import find_images, load_image, text_windows
    from latte.golden.vectors import save_vectors

    if output.suffix != ".npz" or not output.parent.is_dir():
        raise LatteError(f"{output}: --output must be a .npz file in an existing folder")
    if not 0 < keep <= 1:
        raise LatteError(f"--keep {keep} must be above 0 and at most 1")
    with create_progress(create_console()) as progress:
        task = progress.add_task("loading the model", total=None)
        checkpoint = load_checkpoint(model)
        if checkpoint.preprocess is None:  # a language model
            if text is None or images is not None:
                raise LatteError(f"{checkpoint.name} is a language model: give its input with --text FILE")
            if not 1 <= tokens <= checkpoint.max_tokens:
                raise LatteError(f"--tokens {tokens} must be from 1 to the model's {checkpoint.max_tokens}")
            batch = text_windows(text, checkpoint.tokenizer, tokens)[:1]
        else:
            if images is None or text is not None:
                raise LatteError(f"{checkpoint.name} is an image model: give its input with --images FILE_OR_FOLDER")
            batch = load_image(find_images(images).paths[0], checkpoint.preprocess)[None]
        progress.update(task, description="attention blocks", total=checkpoint.blocks)
        result = extract_vectors(checkpoint, batch, preset("small", split=split), heads=heads, keep=keep,
                                 on_block=lambda: progress.advance(task))
    save_vectors(output, dataclasses.replace(result, model=name or checkpoint.name))
    click.echo(f"{output}: {len(result)} heads of {result.keys} keys, "
               f"{'causal' if result.causal else 'full'}, {keep:.1%} kept by the {split} split")
