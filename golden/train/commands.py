"""``latte calibrate``, ``train``, ``eval`` and ``export``: learned thresholds from a model to the register image."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from latte.golden.config import PRESETS, AttentionConfig, preset
from latte.golden.errors import LatteError
from latte.golden.results import write_results, write_text

__all__ = ["calibrate", "evaluate_command", "export", "train"]

_PATH = click.Path(path_type=pathlib.Path)
_CACHE = pathlib.Path("build/chunks")


def _model_options(command: Callable) -> Callable:
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


def _worker_options(command: Callable) -> Callable:
    for option in reversed([
        click.option("--workers", type=click.IntRange(1), help="Local Dask processes, 1 for none. [default: one per "
                     "core]"),
        click.option("--scheduler", help="Address of a Dask cluster that sees the same files, such as tcp://host:8786."),
        click.option("--cache", type=_PATH, default=_CACHE, show_default=True,
                     help="Folder that keeps finished chunks: what was cut off continues there."),
    ]):
        command = option(command)
    return command


_scales_option = click.option(
    "--scales", type=click.Choice(["static", "dynamic"]), default="static", show_default=True,
    help="Quantise with scales calibrated on this data, as latte export needs them, or anew for each sequence.")


@contextlib.contextmanager
def _progress(text: str) -> Iterator[Callable[..., None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda **changes: bar.update(task, **changes)


def _pair(text: str) -> tuple[float, float] | None:
    if text == "none":
        return None
    try:
        denominator, mean = (float(part) for part in text.split(","))
    except ValueError:
        raise LatteError(f"--gain {text!r} must be 'none' or two numbers: denominator,mean") from None
    if not 0 <= mean <= denominator < 4:
        raise LatteError(f"--gain {text!r} must satisfy 0 <= mean <= denominator < 4")
    return denominator, mean


def _config(checkpoint: Any, split: str, build: str = "small") -> AttentionConfig:
    return preset(build, split=split).for_head_dim(checkpoint.head_dim)


def _check_output(path: pathlib.Path, suffix: str) -> None:
    if path.suffix != suffix or not path.parent.is_dir():
        raise LatteError(f"{path}: --output must be a {suffix} file in an existing folder")


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise LatteError(f"{name} {value} must lie between 0 and 1")


@click.command()
@_model_options
@click.option("--target", default=0.85, show_default=True, help="Share of visible pairs to prune.")
@click.option("--mode", type=click.Choice(["global", "head", "top-theta"]), default="global", show_default=True,
              help="One threshold for all heads; fixed head-wise; or Top-Theta's absolute thresholds.")
@click.option("--gain", default="1,1", show_default=True, help="Gains of the pruned mass: denominator,mean or 'none'.")
@click.option("--deviations", default=0.0, show_default=True, help="Top-Theta: thresholds at mean + this x std.")
@click.option("--thresholds", "start", type=_PATH, help="Keep these thresholds and gains; only add static scales.")
@_scales_option
@click.option("--quantile", type=click.FloatRange(0, 1), help="Static scales: this quantile of the sequences' largest "
              "elements. [default: least squared error]")
@_worker_options
@click.option("--output", required=True, type=_PATH, help="Thresholds (.npz), with the static scales.")
def calibrate(model: str, data: str, part: str, tokens: int | None, items: int | None, skip_unreadable: bool,
              split: str, target: float, mode: str, gain: str, deviations: float, start: pathlib.Path | None,
              scales: str, quantile: float | None, workers: int | None, scheduler: str | None, cache: pathlib.Path,
              output: pathlib.Path) -> None:
    """Find static scales and untrained thresholds on calibration data."""
    _check_share("--target", target)
    _check_output(output, ".npz")
    gains = _pair(gain)
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.train.calibrate import starting_thresholds, static_scales, top_theta_tables
    from latte.golden.train.passes import SourcePasses
    from latte.golden.train.source import Source
    from latte.golden.train.state import load_thresholds, save_theta, save_thresholds
    from latte.golden.train.workers import Workers

    with Workers(workers, scheduler) as pool, _progress("calibrating") as update:
        source = Source(model, data, part, tokens or 1024, None, skip_unreadable)
        checkpoint, config = source.checkpoint(), _config(source.checkpoint(), split)
        source = dataclasses.replace(source, items=items or (4 if checkpoint.causal else 32))
        passes = SourcePasses(source, 1 if checkpoint.causal else 8, pool, cache,
                              lambda done, total: update(completed=done, total=total))
        if mode == "top-theta":
            tables = top_theta_tables(passes, 1 - target, deviations)
            save_theta(output, tables, checkpoint.name)
            click.echo(f"{output}: Top-Theta thresholds of {tables.theta.shape[0]} x {tables.theta.shape[1]} heads")
            return
        given = load_thresholds(start, checkpoint.name, checkpoint.blocks, checkpoint.heads) if start else None
        found = static_scales(passes, config, quantile) if scales == "static" else None
        thresholds = given or starting_thresholds(passes, target, config, mode=mode, gain=gains, scales=found)
    save_thresholds(output, dataclasses.replace(thresholds, **(found or {})), checkpoint.name,
                    {"command": "calibrate", "mode": mode, "target": target, "items": len(source.dataset()),
                     "split": split})
    click.echo(f"{output}: thresholds, {scales} scales, of {checkpoint.blocks} x {checkpoint.heads} heads, "
               f"mean tau {thresholds.tau.mean():.3f}")


@click.command()
@_model_options
@click.option("--target", default=0.85, show_default=True, help="Share of visible pairs to prune.")
@click.option("--steps", default=120, show_default=True)
@click.option("--batch", type=click.IntRange(1), help="Items of a step. [default: 16 images, 1 text window]")
@click.option("--seed", default=1, show_default=True)
@click.option("--alpha", default=0.1, show_default=True, help="Weight of the task's loss.")
@click.option("--beta", default=50.0, show_default=True, help="Weight of the pruning loss.")
@click.option("--kappa", default=1.0, show_default=True, help="Weight of the distillation loss.")
@click.option("--gain", default="1,1", show_default=True, help="Gains to start from: denominator,mean or 'none'.")
@_scales_option
@click.option("--start", type=_PATH, help="Thresholds to start from, with their scales. [default: one for all heads]")
@click.option("--restart", is_flag=True, help="Ignore the checkpoint of a run that was cut off.")
@click.option("--device", default="auto", show_default=True, help="'auto' takes a GPU if there is one.")
@click.option("--output", required=True, type=_PATH, help="Trained thresholds (.npz); curves and checkpoint beside it.")
def train(model: str, data: str, part: str, tokens: int | None, items: int | None, skip_unreadable: bool, split: str,
          target: float, steps: int, batch: int | None, seed: int, alpha: float, beta: float, kappa: float, gain: str,
          scales: str, start: pathlib.Path | None, restart: bool, device: str, output: pathlib.Path) -> None:
    """Train one threshold and two gains per head; the model's weights stay as they are."""
    _check_share("--target", target)
    _check_output(output, ".npz")
    gains = _pair(gain)
    from latte.golden.models.extras import require_models

    require_models()
    import torch

    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.train.calibrate import fit_to_target, starting_thresholds, static_scales
    from latte.golden.train.data import load_dataset
    from latte.golden.train.figures import training_curves
    from latte.golden.train.passes import LocalPasses
    from latte.golden.train.report import history_csv
    from latte.golden.train.state import load_thresholds, restore_trainer, save_thresholds, save_trainer
    from latte.golden.train.trainer import Recipe, Trainer

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = load_checkpoint(model, device)
    dataset = load_dataset(checkpoint, data, part=part, tokens=tokens or 512, skip_unreadable=skip_unreadable)
    dataset = dataset.first(items)
    config = _config(checkpoint, split)
    recipe = Recipe(target, steps, batch or (1 if checkpoint.causal else 16), alpha, beta, kappa, seed=seed)
    passes = LocalPasses(checkpoint, dataset.first(4 if checkpoint.causal else 64), 1 if checkpoint.causal else 8)
    began = time.monotonic()
    torch.manual_seed(seed)
    resumed = output.with_suffix(".checkpoint.npz")
    with _progress("finding scales and starting thresholds") as update:
        if start:
            first = load_thresholds(start, checkpoint.name, checkpoint.blocks, checkpoint.heads)
        else:
            found = static_scales(passes, config) if scales == "static" else None
            first = starting_thresholds(passes, target, config, gain=gains, scales=found)
        trainer = Trainer(checkpoint, dataset, first, recipe, config)
        if resumed.exists() and not restart:
            restore_trainer(resumed, trainer)
        update(description="training", total=steps, completed=trainer.step)
        while trainer.step < steps:
            entry = trainer.advance()
            update(completed=trainer.step, description=f"training: distillation {entry['distillation']:.4f}, "
                                                       f"pruned {entry['pruned']:.2%}")
            if trainer.step % 10 == 0 or trainer.step == steps:
                save_trainer(resumed, trainer)
        update(description="fitting the hard filter", total=None)
        thresholds = fit_to_target(passes, trainer.attention.thresholds(), target, config)
    save_thresholds(output, thresholds, checkpoint.name,
                    {"command": "train", **dataclasses.asdict(recipe), "items": len(dataset), "split": split,
                     "seconds": round(time.monotonic() - began)})
    write_text(output.with_suffix(".csv"), history_csv(trainer.history))
    training_curves(trainer.history, target, output.with_suffix(".png"))
    click.echo(f"{output}: trained on {len(dataset)} items for {steps} steps, last distillation loss "
               f"{trainer.history[-1]['distillation']:.4f}; curves in {output.with_suffix('.png')} and .csv")


def _sources(source: Any, lengths: str | None) -> list[Any]:
    """Return the source with each of the window lengths, over the same text."""
    if lengths is None:
        return [source]
    try:
        tokens = [int(length) for length in lengths.split(",")]
    except ValueError:
        raise LatteError(f"--lengths {lengths!r} must be numbers of tokens, such as 1024,4096") from None
    if not source.checkpoint().causal or min(tokens) < 2 or any(max(tokens) % length for length in tokens):
        raise LatteError(f"--lengths {lengths!r} are for a language model, at least 2 each, and divide the longest")
    longest = dataclasses.replace(source, tokens=max(tokens))
    items = len(longest.dataset())
    return [dataclasses.replace(source, tokens=length, items=items * max(tokens) // length) for length in tokens]


@click.command("eval")
@_model_options
@click.option("--method", "methods", multiple=True,
              help="Beside float and dense, which are always measured: latte, latte-slice, latte-exact, "
                   "latte-bits:2|3|8, top-k:KEEP, top-theta[-exact|-exp|-offline]:FILE, energon:A2,A4, elsa:T, "
                   "a3:M,MARGIN. Repeatable. [default: latte]")
@click.option("--thresholds", type=_PATH, multiple=True, help="For the latte methods. Repeatable.")
@click.option("--tau", type=float, help="One threshold for all heads, instead of a file.")
@click.option("--gain", default="1,1", show_default=True, help="With --tau: denominator,mean or 'none'.")
@click.option("--dynamic", is_flag=True, help="Ignore the static scales of threshold files.")
@click.option("--lengths", help="Window lengths instead of --tokens, such as 1024,4096: each measures the same text, "
              "--items windows of the longest.")
@click.option("--chunk", type=click.IntRange(1), help="Items of a task. [default: 10 images, 1 text window]")
@_worker_options
@click.option("--output", default="build/eval.json", show_default=True, type=_PATH, help="Result file; .csv beside it.")
def evaluate_command(model: str, data: str, part: str, tokens: int | None, items: int | None, skip_unreadable: bool,
                     split: str, methods: tuple[str, ...], thresholds: tuple[pathlib.Path, ...], tau: float | None,
                     gain: str, dynamic: bool, lengths: str | None, chunk: int | None, workers: int | None,
                     scheduler: str | None, cache: pathlib.Path, output: pathlib.Path) -> None:
    """Measure accuracy and work of whole models on hardware arithmetic."""
    if output.suffix != ".json":
        raise LatteError(f"{output}: --output must be a .json file")
    gains = _pair(gain)
    if tau is not None and not tau >= 0:
        raise LatteError(f"--tau {tau} must be zero or positive")
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.models.hardware import Thresholds
    from latte.golden.train.evaluate import Job, evaluate
    from latte.golden.train.methods import LATTE_METHODS, build_method
    from latte.golden.train.report import COLUMNS, as_csv, print_table, result_rows
    from latte.golden.train.source import Source
    from latte.golden.train.state import load_thresholds
    from latte.golden.train.workers import Workers

    with Workers(workers, scheduler) as pool:
        source = Source(model, data, part, tokens or 1024, items, skip_unreadable)
        checkpoint = source.checkpoint()
        sets: dict[str, Any] = {path.stem: load_thresholds(path, checkpoint.name, checkpoint.blocks, checkpoint.heads)
                                for path in thresholds}
        if tau is not None:
            sets[f"tau{tau:g}"] = Thresholds.uniform(tau, checkpoint.blocks, checkpoint.heads, gain=gains)
        if dynamic:
            sets = {name: dataclasses.replace(entry, q_scale=None, k_scale=None, v_scale=None)
                    for name, entry in sets.items()}
        runs: list[tuple[str, str, Any]] = [("float", "float", None), ("dense", "dense", None)]
        for method in methods or ("latte",):
            build_method(method, next(iter(sets.values()), None), checkpoint, _config(checkpoint, split))
            if method in LATTE_METHODS:
                runs += [(f"{method}[{name}]", method, entry) for name, entry in sets.items()]
            elif method not in ("float", "dense"):
                name, _, argument = method.partition(":")
                runs.append((f"{name}:{pathlib.Path(argument).stem}" if name.startswith("top-theta") else method,
                             method, None))
        chunk = chunk or (1 if checkpoint.causal else 10)
        rows: list[dict[str, Any]] = []
        for part_source in _sources(source, lengths):
            measured: dict[str, dict[str, Any]] = {}
            for label, method, entry in runs:
                with _progress(method) as update:
                    measured[label] = evaluate(
                        Job(part_source, method, entry, split, chunk), workers=pool, cache=cache,
                        progress=lambda done, total, update=update: update(completed=done, total=total))
            rows += result_rows(measured, causal=checkpoint.causal, suffix=f"@{part_source.tokens}" if lengths else "")
    write_text(output.with_suffix(".csv"), as_csv(rows))
    results = [{"name": f"{checkpoint.name}.{row['method']}.{column}", "unit": unit, "value": row[column]}
               for row in rows for column, unit in COLUMNS.items() if column in row]
    write_results(output, "eval", _config(checkpoint, split), results, True, inputs=dataclasses.asdict(source))
    print_table(f"{checkpoint.name}, {rows[0]['items']} items", rows, causal=checkpoint.causal)
    click.echo(f"written to {output} and {output.with_suffix('.csv')}; pruned and bit operations count visible pairs")


@click.command()
@click.option("--model", required=True, help="Folder, hub name, .gguf file, or 'smollm2'.")
@click.option("--thresholds", required=True, type=_PATH, help="With static scales, as latte calibrate writes them.")
@click.option("--config", "build", type=click.Choice(list(PRESETS)), default="small", show_default=True,
              help="Preset whose arithmetic the image is for.")
@click.option("--split", type=click.Choice(["balanced", "slice"]), default="balanced", show_default=True)
@click.option("--output", required=True, type=_PATH, help="Register image (.json).")
def export(model: str, thresholds: pathlib.Path, build: str, split: str, output: pathlib.Path) -> None:
    """Write thresholds, gains and softmax scales as the hardware's registers hold them."""
    _check_output(output, ".json")
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
    image = RegisterImage.encode(checkpoint.name, _config(checkpoint, split, build), learned.tau,
                                 (learned.q_scale, learned.k_scale, learned.v_scale), gains)
    save_register_image(output, image)
    click.echo(f"{output}: registers of {len(image.heads)} heads, CRC-32 {image.checksum:#010x}")
