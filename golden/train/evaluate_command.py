"""``latte eval``: accuracy and work of whole models."""

import dataclasses
import pathlib
from typing import Any

import click

from latte.golden.errors import LatteError
from latte.golden.results import write_results, write_text
from latte.golden.train.options import PATH, model_config, model_options, parse_gain, progress, worker_options

__all__ = ["evaluate_command"]


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
@model_options
@click.option("--method", "methods", multiple=True,
              help="Beside float and dense, which are always measured: latte, latte-slice, latte-exact, "
                   "latte-bits:2|3|8, top-k:KEEP, top-theta[-exact|-exp|-offline]:FILE, energon:A2,A4, elsa:T, "
                   "a3:M,MARGIN. Repeatable. [default: latte]")
@click.option("--thresholds", type=PATH, multiple=True, help="For the latte methods. Repeatable.")
@click.option("--tau", type=float, help="One threshold for all heads, instead of a file.")
@click.option("--gain", default="1,1", show_default=True, help="With --tau: denominator,mean or 'none'.")
@click.option("--dynamic", is_flag=True, help="Ignore the static scales of threshold files.")
@click.option("--lengths", help="Window lengths instead of --tokens, such as 1024,4096: each measures the same text, "
              "--items windows of the longest.")
@click.option("--chunk", type=click.IntRange(1), help="Items of a task. [default: 10 images, 1 text window]")
@worker_options
@click.option("--output", default="build/eval.json", show_default=True, type=PATH, help="Result file; .csv beside it.")
def evaluate_command(model: str, data: str, part: str, tokens: int | None, items: int | None, skip_unreadable: bool,
                     split: str, methods: tuple[str, ...], thresholds: tuple[pathlib.Path, ...], tau: float | None,
                     gain: str, dynamic: bool, lengths: str | None, chunk: int | None, workers: int | None,
                     scheduler: str | None, cache: pathlib.Path, output: pathlib.Path) -> None:
    """Measure accuracy and work of whole models on hardware arithmetic."""
    if output.suffix != ".json":
        raise LatteError(f"{output}: --output must be a .json file")
    gains = parse_gain(gain)
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
            build_method(method, next(iter(sets.values()), None), checkpoint, model_config(checkpoint, split))
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
                with progress(method) as update:
                    measured[label] = evaluate(
                        Job(part_source, method, entry, split, chunk), workers=pool, cache=cache,
                        progress=lambda done, total, update=update: update(completed=done, total=total))
            rows += result_rows(measured, causal=checkpoint.causal, suffix=f"@{part_source.tokens}" if lengths else "")
    write_text(output.with_suffix(".csv"), as_csv(rows))
    results = [{"name": f"{checkpoint.name}.{row['method']}.{column}", "unit": unit, "value": row[column]}
               for row in rows for column, unit in COLUMNS.items() if column in row]
    write_results(output, "eval", model_config(checkpoint, split), results, True, inputs=dataclasses.asdict(source))
    print_table(f"{checkpoint.name}, {rows[0]['items']} items", rows, causal=checkpoint.causal)
    click.echo(f"written to {output} and {output.with_suffix('.csv')}; pruned and bit operations count visible pairs")
