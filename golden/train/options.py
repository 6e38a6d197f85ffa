"""Options and checks that the commands on whole models share; imports no torch."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import click

from latte.golden.builds import DEFAULT_PRESET
from latte.golden.config import AttentionConfig, preset
from latte.golden.errors import LatteError
from latte.golden.thresholds import ThresholdKind

__all__ = ["PATH", "check_output", "check_share", "estimate_option", "groups_option", "length_option", "model_config",
           "model_options", "parse_gain", "progress", "scales_option", "smoothing_option", "threshold_option",
           "thresholds_option", "worker_options"]

PATH = click.Path(path_type=pathlib.Path)
CACHE = pathlib.Path("build/chunks")


def model_options(command: Callable) -> Callable:
    """Add what names a model and its data."""
    for option in reversed([
        click.option("--model", required=True, help="Folder, hub name, .gguf file, or 'smollm2'."),
        click.option("--data", required=True, help="Image folder (file names start with the class), or text file."),
        click.option("--part", type=click.Choice(["all", "even", "odd"]), default="all", show_default=True,
                     help="Every second image or window: train on one half, report on the other."),
        click.option("--tokens", type=int, help="Tokens of a window. [default: 512 to train, 1024 otherwise]"),
        click.option("--items", type=click.IntRange(1), help="Use only the first images or windows."),
        click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be decoded."),
        click.option("--split", type=click.Choice(["balanced", "slice"]), default="balanced", show_default=True),
    ]):
        command = option(command)
    return command


def worker_options(command: Callable) -> Callable:
    """Add where chunks are computed and kept."""
    for option in reversed([
        click.option("--workers", type=click.IntRange(1), help="Local Dask processes, 1 for none. [default: one per "
                     "core]"),
        click.option("--scheduler",
                     help="Address of a Dask cluster that sees the same files, such as tcp://host:8786."),
        click.option("--cache", type=PATH, default=CACHE, show_default=True,
                     help="Folder that keeps finished chunks: what was cut off continues there."),
    ]):
        command = option(command)
    return command


threshold_option = click.option(
    "--threshold", type=click.Choice([kind.value for kind in ThresholdKind]), default="mass", show_default=True,
    help="What a key's estimate is compared with: its share of the row's softmax mass, the row's largest estimate, or "
         "a fixed level.")

estimate_option = click.option(
    "--estimate-bits", type=click.Choice(["4", "3", "2"]), default="4", show_default=True,
    help="Width of the high parts that make the estimate.")

length_option = click.option(
    "--by-length/--any-length", default=False, show_default=True,
    help="Fit a term of the threshold that grows with the row's length, so that rows of all lengths prune alike.")

groups_option = click.option(
    "--groups", type=click.Choice(["1", "2", "4", "8"]), default="4", show_default=True,
    help="Groups of keys whose mean values stand for what is pruned; 1 is the mean of all keys.")

smoothing_option = click.option(
    "--smooth/--plain", default=True, show_default=True,
    help="Centre the channels of K and balance those of Q and K before they are quantised.")

scales_option = click.option(
    "--scales", type=click.Choice(["static", "dynamic"]), default="static", show_default=True,
    help="Quantise with scales calibrated on this data, as latte export needs them, or anew for each sequence.")


@contextlib.contextmanager
def progress(text: str) -> Iterator[Callable[..., None]]:
    """Show a bar, and yield what changes its ``description``, ``completed`` and ``total``."""
    from latte.golden.console import create_console, create_progress

    with create_progress(create_console()) as bar:
        task = bar.add_task(text, total=None)
        yield lambda **changes: bar.update(task, **changes)


def parse_gain(text: str) -> tuple[float, float] | None:
    """Return the (denominator, mean) gains of ``--gain``, or ``None`` for ``none``."""
    if text == "none":
        return None
    try:
        denominator, mean = (float(part) for part in text.split(","))
    except ValueError:
        raise LatteError(f"--gain {text!r} must be 'none' or two numbers: denominator,mean") from None
    if not 0 <= mean <= denominator < 4:
        raise LatteError(f"--gain {text!r} must satisfy 0 <= mean <= denominator < 4")
    return denominator, mean


def model_config(checkpoint: Any, split: str, estimate_bits: int = 4) -> AttentionConfig:
    """Return the arithmetic for the heads of a model."""
    return preset(DEFAULT_PRESET, split=split).for_head_dim(checkpoint.head_dim).replace(estimate_bits=estimate_bits)


def thresholds_option(text: str, **settings: Any) -> Callable:
    """Return the option ``--thresholds``, which takes a file or the name of shipped thresholds."""
    return click.option("--thresholds", metavar="FILE|NAME",
                        help=f"{text} A file, or shipped ones such as deit_tiny/best_90.", **settings)


def check_output(path: pathlib.Path, suffix: str) -> None:
    """Raise `LatteError` unless `path` has the suffix and its folder exists: before the work, not after it."""
    if path.suffix != suffix or not path.parent.is_dir():
        raise LatteError(f"{path}: --output must be a {suffix} file in an existing folder")


def check_share(name: str, value: float) -> None:
    """Raise `LatteError` unless `value` lies in (0, 1)."""
    if not 0 < value < 1:
        raise LatteError(f"{name} {value} must lie between 0 and 1")
