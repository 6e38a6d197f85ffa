"""``latte calibrate``: static scales and untrained thresholds from calibration data."""

import dataclasses
import math
import pathlib

import click
import numpy as np

from latte.golden.errors import LatteError
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
    thresholds_option,
    worker_options,
)

__all__ = ["calibrate"]


def _parse_denser(text: str) -> tuple[int, float]:
    """Return (blocks, natural units) of ``--denser``."""
    try:
        blocks, further = text.split(",")
        found = int(blocks), float(further)
    except ValueError:
        raise LatteError(f"--denser {text!r} must be two numbers: blocks,nats, such as 2,0.5") from None
    if found[0] < 0 or not math.isfinite(found[1]):
        raise LatteError(f"--denser {text!r} must be a number of blocks, not negative, and a finite number of nats")
    return found


@click.command()
@model_options
@click.option("--target", default=0.85, show_default=True, help="Share of visible pairs to prune.")
@click.option("--mode", type=click.Choice(["global", "head", "top-theta"]), default="global", show_default=True,
              help="One threshold for all heads; fixed head-wise; or Top-Theta's own, on exact scores.")
@click.option("--denser", default="0,0", show_default=True, metavar="BLOCKS,NATS",
              help="The first blocks keep more: their thresholds lie that far beyond the others'.")
@threshold_option
@estimate_option
@length_option
@click.option("--context", type=click.IntRange(2), metavar="N",
              help="Windows stand one behind the other in a context of N tokens, not each at the beginning of its own: "
              "what is found holds up to there, for the price of short windows. Rotary models only.")
@click.option("--gain", default="1,1", show_default=True, help="Gains of the pruned mass: denominator,mean or 'none'.")
@groups_option
@click.option("--deviations", default=0.0, show_default=True, help="Top-Theta: thresholds at mean + this x std.")
@thresholds_option("Keep these thresholds, gains, groups, smoothing; only add static scales.", default=None)
@click.option("--fit", is_flag=True, help="Move --thresholds together so that they meet the target on this data.")
@smoothing_option
@scales_option
@click.option("--quantile", type=click.FloatRange(0, 1), default=1.0, show_default=True,
              help="Static scales: this quantile of the sequences' largest elements; beyond it elements saturate.")
@worker_options
@click.option("--output", required=True, type=PATH, help="Thresholds (.npz), with the static scales.")
def calibrate(model: str, data: str, part: str, tokens: int | None, items: int | None, skip_unreadable: bool,
              split: str, target: float, mode: str, denser: str, threshold: str, estimate_bits: str, by_length: bool,
              context: int | None, gain: str, groups: str, deviations: float, thresholds: str | None, fit: bool,
              smooth: bool, scales: str, quantile: float, workers: int | None, scheduler: str | None,
              cache: pathlib.Path, output: pathlib.Path) -> None:
    """Find static scales and untrained thresholds on calibration data."""
    check_share("--target", target)
    check_output(output, ".npz")
    gains, (first_blocks, further) = parse_gain(gain), _parse_denser(denser)
    if first_blocks and (thresholds is not None or mode == "top-theta"):
        raise LatteError("--denser is for LATTE's thresholds, found anew: give it without --thresholds and top-theta")
    if fit and thresholds is None:
        raise LatteError("--fit needs thresholds to scale: give --thresholds FILE or NAME")
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.train.calibrate import (
        fit_to_target,
        keep_all,
        starting_thresholds,
        static_scales,
        top_theta_tables,
    )
    from latte.golden.train.passes import SourcePasses
    from latte.golden.train.source import Source
    from latte.golden.train.threshold_files import load_thresholds, save_theta, save_thresholds
    from latte.golden.train.workers import Workers

    with Workers(workers, scheduler) as pool, progress("calibrating") as update:
        source = Source(model, data, part, tokens or 1024, None, skip_unreadable, context)
        checkpoint = source.checkpoint()
        if first_blocks >= checkpoint.blocks:
            raise LatteError(f"--denser {denser!r} leaves none of the model's {checkpoint.blocks} blocks as it is")
        given = None
        if thresholds:
            given = load_thresholds(thresholds, *checkpoint.shape)
        config = model_config(checkpoint, split, estimate_bits=given.estimate_bits if given else int(estimate_bits))
        places = (context or source.tokens) // source.tokens
        source = dataclasses.replace(source, items=items or (max(4, places) if checkpoint.causal else 32))
        if len(source.dataset()) < places:
            raise LatteError(f"--context {context} takes {places} windows of {source.tokens} tokens to fill, not "
                             f"{len(source.dataset())}; give more --items or text, or longer windows with --tokens")
        passes = SourcePasses(source, 1 if checkpoint.causal else 8, pool, cache,
                              lambda done, total: update(completed=done, total=total))
        if mode == "top-theta":
            tables = top_theta_tables(passes, 1 - target, deviations)
            save_theta(output, tables, checkpoint.name)
            click.echo(f"{output}: Top-Theta thresholds of {tables.theta.shape[0]} x {tables.theta.shape[1]} heads")
            return
        static = scales == "static"
        if given is None:
            start = keep_all(passes, config, kind=ThresholdKind(threshold), smooth=smooth, static=static,
                             quantile=quantile)
            lead = np.where(np.arange(checkpoint.blocks) < first_blocks, further, 0.0)[:, None]
            learned = starting_thresholds(passes, start, target, config, mode=mode, lead=lead, gain=gains,
                                          groups=int(groups), by_length=by_length)
        else:
            learned = given.with_arrays(static_scales(passes, given, config, quantile)) if static else given
        if fit:
            learned = fit_to_target(passes, learned, target, config, by_length=by_length)
    save_thresholds(output, learned, checkpoint.name,
                    {"command": "calibrate", "mode": mode, "denser": denser, "target": target,
                     "items": len(source.dataset()), "split": split})
    slope = "" if learned.tau_per_octave is None else f" + {learned.tau_per_octave.mean():.3f} per octave of length"
    click.echo(f"{output}: {learned.kind} thresholds, {scales} scales, of {checkpoint.blocks} x {checkpoint.heads} "
               f"heads, mean tau {learned.tau.mean():.3f}{slope}")
