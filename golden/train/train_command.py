"""``latte train``: thresholds and gains learned per head."""

import dataclasses
import pathlib
import time

import click

from latte.golden.results import write_text
from latte.golden.thresholds import ThresholdKind
from latte.golden.train.options import (
    PATH,
    check_output,
    check_share,
    estimate_option,
    groups_option,
    length_option,
    model_config,
    model_options,
    parse_gain,
    progress,
    scales_option,
    smoothing_option,
    threshold_option,
)

__all__ = ["train"]


@click.command()
@model_options
@click.option("--target", default=0.85, show_default=True, help="Share of visible pairs to prune.")
@click.option("--steps", default=60, show_default=True, type=click.IntRange(1))
@click.option("--batch", type=click.IntRange(1), help="Items of a step. [default: 16 images, 1 text window]")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--alpha", default=0.1, show_default=True, type=click.FloatRange(0),
              help="Weight of the task's loss.")
@click.option("--beta", default=50.0, show_default=True, type=click.FloatRange(0),
              help="Weight of the pruning loss.")
@click.option("--kappa", default=1.0, show_default=True, type=click.FloatRange(0),
              help="Weight of the distillation loss.")
@click.option("--gain", default="1,1", show_default=True, help="Gains to start from: denominator,mean or 'none'.")
@threshold_option
@estimate_option
@length_option
@groups_option
@smoothing_option
@scales_option
@click.option("--start", metavar="FILE|NAME", help="Thresholds to start from, with their kind, scales and groups. "
              "[default: one for all heads]")
@click.option("--restart", is_flag=True, help="Ignore the checkpoint of a run that was cut off.")
@click.option("--device", default="auto", show_default=True, help="'auto' takes a GPU if there is one.")
@click.option("--output", required=True, type=PATH, help="Trained thresholds (.npz); curves and checkpoint beside it.")
def train(model: str, data: str, part: str, tokens: int | None, items: int | None, skip_unreadable: bool, split: str,
          target: float, steps: int, batch: int | None, seed: int, alpha: float, beta: float, kappa: float, gain: str,
          threshold: str, estimate_bits: str, by_length: bool, groups: str, smooth: bool, scales: str,
          start: str | None, restart: bool, device: str, output: pathlib.Path) -> None:
    """Train one threshold and two gains per head; the model's weights stay as they are."""
    check_share("--target", target)
    check_output(output, ".npz")
    gains = parse_gain(gain)
    from latte.golden.models.extras import require_models

    require_models()
    import torch

    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.train.calibrate import fit_to_target, keep_all, starting_thresholds
    from latte.golden.train.data import load_dataset
    from latte.golden.train.figures import training_curves
    from latte.golden.train.passes import LocalPasses
    from latte.golden.train.report import history_csv
    from latte.golden.train.state import restore_trainer, save_trainer
    from latte.golden.train.threshold_files import load_thresholds, save_thresholds
    from latte.golden.train.trainer import Recipe, Trainer

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = load_checkpoint(model, device)
    dataset = load_dataset(checkpoint, data, part=part, tokens=tokens or 512, skip_unreadable=skip_unreadable)
    dataset = dataset.first(items)
    given = load_thresholds(start, *checkpoint.shape) if start else None
    config = model_config(checkpoint, split, estimate_bits=given.estimate_bits if given else int(estimate_bits))
    recipe = Recipe(target, steps, batch or (1 if checkpoint.causal else 16), alpha, beta, kappa, seed=seed)
    passes = LocalPasses(checkpoint, dataset.first(4 if checkpoint.causal else 64), 1 if checkpoint.causal else 8)
    began = time.monotonic()
    torch.manual_seed(seed)
    resumed = output.with_suffix(".checkpoint.npz")
    with progress("finding scales and starting thresholds") as update:
        if given is None:
            given = keep_all(passes, config, kind=ThresholdKind(threshold), smooth=smooth, static=scales == "static")
            given = starting_thresholds(passes, given, target, config, gain=gains, groups=int(groups),
                                        by_length=by_length)
        trainer = Trainer(checkpoint, dataset, given, recipe, config)
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
        if checkpoint.causal and tokens is None and len(dataset) >= 4:
            # Longer windows prune more at the same thresholds: meet the target where latte eval measures.
            longer = load_dataset(checkpoint, data, part=part, tokens=min(1024, checkpoint.max_tokens))
            passes = dataclasses.replace(passes, data=longer.first(4))
        thresholds = fit_to_target(passes, trainer.attention.thresholds(), target, config, by_length=by_length)
    save_thresholds(output, thresholds, checkpoint.name,
                    {"command": "train", **dataclasses.asdict(recipe), "items": len(dataset), "split": split,
                     "seconds": round(time.monotonic() - began)})
    write_text(output.with_suffix(".csv"), history_csv(trainer.history))
    training_curves(trainer.history, target, output.with_suffix(".png"))
    click.echo(f"{output}: trained on {len(dataset)} items for {steps} steps, last distillation loss "
               f"{trainer.history[-1]['distillation']:.4f}; curves in {output.with_suffix('.png')} and .csv")
