"""``latte eval``: accuracy and work of whole models."""

import dataclasses
import math
import pathlib
from typing import TYPE_CHECKING, Any

import click

from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.results import write_results, write_text
from latte.golden.thresholds import ThresholdKind
from latte.golden.train.options import (
    PATH,
    model_config,
    model_options,
    parse_gain,
    progress,
    threshold_option,
    thresholds_option,
    worker_options,
)

if TYPE_CHECKING:
    from latte.golden.train.evaluate import Chunks
    from latte.golden.train.source import Source

__all__ = ["evaluate_command"]


def _sources(source: "Source", lengths: str | None) -> "list[Source]":
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


def _own_thresholds(text: str) -> tuple[str, str | None]:
    """Return a method, and the thresholds that it names in brackets."""
    if not text.endswith("]"):
        return text, None
    from latte.golden.train.methods import takes_thresholds

    method, _, own = text[:-1].partition("[")
    if not own or not takes_thresholds(method):
        raise LatteError(f"--method {text!r}: brackets hold a method's own thresholds, such as "
                         "latte-exact[deit_tiny/best_90]")
    return method, own


@click.command("eval")
@model_options
@click.option("--method", "methods", multiple=True,
              help="Beside float and dense, which are always measured: latte, latte-slice, latte-exact, "
                   "latte-bits:2|3|4, latte-blend:SHARE, latte-value:WEIGHT, top-k:KEEP, "
                   "top-theta[-exact|-exp|-offline]:FILE, energon:A2,A4, elsa:T, a3:M,MARGIN. Repeatable. The latte "
                   "methods are measured with all --thresholds, or as METHOD[THRESHOLDS] with those. [default: latte]")
@thresholds_option("For the latte methods. Repeatable.", multiple=True)
@click.option("--cross", nargs=2, multiple=True, metavar="A B",
              help="Thresholds trained on the even and on the odd half: A is measured on the odd items, B on the even "
                   "ones, and both together. Repeatable.")
@click.option("--tau", type=float, help="One threshold for all heads, instead of a file.")
@threshold_option
@click.option("--gain", default="1,1", show_default=True, help="With --tau: denominator,mean or 'none'.")
@click.option("--dynamic", is_flag=True, help="Ignore the static scales of threshold files.")
@click.option("--lengths", help="Window lengths instead of --tokens, such as 1024,4096: each measures the same text, "
              "--items windows of the longest.")
@click.option("--chunk", type=click.IntRange(1), help="Items of a task. [default: 10 images, 1 text window]")
@click.option("--time", "timed", is_flag=True,
              help="Measure how many times as long as the float model each method takes, by the first chunk.")
@worker_options
@click.option("--output", default="build/eval.json", show_default=True, type=PATH, help="Result file; .csv beside it.")
def evaluate_command(model: str, data: str, part: str, tokens: int | None, items: int | None, skip_unreadable: bool,
                     split: str, methods: tuple[str, ...], thresholds: tuple[str, ...],
                     cross: tuple[tuple[str, str], ...], tau: float | None, threshold: str, gain: str, dynamic: bool,
                     lengths: str | None, chunk: int | None, timed: bool, workers: int | None, scheduler: str | None,
                     cache: pathlib.Path, output: pathlib.Path) -> None:
    """Measure accuracy and work of whole models on hardware arithmetic.

    Images are compared with the float model, text with dense 8-bit attention; KL is the divergence from the float
    model.
    """
    if output.suffix != ".json":
        raise LatteError(f"{output}: --output must be a .json file")
    gains, kind = parse_gain(gain), ThresholdKind(threshold)
    if tau is not None and (math.isnan(tau) or (tau < 0 and kind is not ThresholdKind.ABSOLUTE)):
        raise LatteError(f"--tau {tau} must be zero or positive for thresholds of kind {kind}")
    if cross and (part != "all" or lengths):
        raise LatteError("--cross measures both halves; give it without --part and --lengths")
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.train.evaluate import Job, evaluate, summarise, time_over_float
    from latte.golden.train.methods import build_method, takes_thresholds
    from latte.golden.train.report import COLUMNS, as_csv, print_table
    from latte.golden.train.source import Source
    from latte.golden.train.threshold_files import load_thresholds
    from latte.golden.train.workers import Workers

    with Workers(workers, scheduler) as pool:
        source = Source(model, data, part, tokens or 1024, items, skip_unreadable)
        checkpoint = source.checkpoint()
        chunk = chunk or (1 if checkpoint.causal else 10)

        def load(name: str) -> Thresholds:
            found = load_thresholds(name, *checkpoint.shape)
            return dataclasses.replace(found, q_scale=None, k_scale=None, v_scale=None) if dynamic else found

        rows: list[dict[str, Any]] = []

        def measure(of: "Source", label: str, method: str, entry: Thresholds | None) -> "Chunks":
            with progress(label) as update:
                return evaluate(Job(of, method, entry, split, chunk), workers=pool, cache=cache,
                                progress=lambda done, total: update(completed=done, total=total))

        def time_last(of: "Source", method: str, entry: Thresholds | None) -> None:
            if timed:
                with progress(f"timing {rows[-1]['method']}"):
                    rows[-1]["time_over_float"] = time_over_float(Job(of, method, entry, split, chunk))

        sets = {pathlib.PurePath(name).stem: load(name) for name in thresholds}
        if tau is not None:
            sets[f"tau{tau:g}"] = Thresholds.uniform(tau, checkpoint.blocks, checkpoint.heads, kind=kind, gain=gains)
        pairs = {f"{pathlib.PurePath(a).stem} x {pathlib.PurePath(b).stem}": (load(a), load(b)) for a, b in cross}
        runs: list[tuple[str, str, Thresholds | None]] = []
        for text in methods or ("latte",) * bool(sets or not pairs):
            method, own = _own_thresholds(text)
            chosen = {pathlib.PurePath(own).stem: load(own)} if own else sets
            build_method(method, next(iter(chosen.values()), None), checkpoint, model_config(checkpoint, split))
            if takes_thresholds(method):
                runs += [(f"{method}[{name}]", method, entry) for name, entry in chosen.items()]
            elif method not in ("float", "dense"):
                name, _, argument = method.partition(":")
                runs.append((f"{name}:{pathlib.Path(argument).stem}" if name.startswith("top-theta") else method,
                             method, None))

        def tabulate(label: str, of: "Source", results: "Chunks", reference: "Chunks") -> None:
            length = {"tokens": of.tokens} if checkpoint.causal else {}
            rows.append({"method": label, **length, **summarise(results, reference, checkpoint)})

        base = "dense" if checkpoint.causal else "float"
        for part_source in _sources(source, lengths):
            suffix = f"@{part_source.tokens}" if lengths else ""
            first = {method: measure(part_source, method, method, None) for method in ("float", "dense")}
            for label, results in first.items():
                tabulate(label + suffix, part_source, results, first[base])
            time_last(part_source, "dense", None)
            for label, method, entry in runs:
                tabulate(label + suffix, part_source, measure(part_source, label, method, entry), first[base])
                time_last(part_source, method, entry)
        halves = {half: dataclasses.replace(source, part=half) for half in ("odd", "even")} if pairs else {}
        bases = {half: measure(of, base, base, None) for half, of in halves.items()}
        for label, entries in pairs.items():
            found = {half: measure(halves[half], label, "latte", entry)
                     for half, entry in zip(halves, entries, strict=True)}
            for half, results in found.items():
                tabulate(f"latte[{label}] {half}", source, results, bases[half])
            tabulate(f"latte[{label}]", source, found["odd"] + found["even"], bases["odd"] + bases["even"])
            time_last(halves["odd"], "latte", entries[0])
    write_text(output.with_suffix(".csv"), as_csv(rows))
    results = [{"name": f"{checkpoint.name}.{row['method']}.{column}", "unit": unit, "value": row[column]}
               for row in rows for column, unit in COLUMNS.items() if column in row]
    write_results(output, "eval", model_config(checkpoint, split), results, True, inputs=dataclasses.asdict(source))
    print_table(f"{checkpoint.name}, {rows[0]['items']} items", rows, causal=checkpoint.causal)
    click.echo(f"written to {output} and {output.with_suffix('.csv')}; pruned and bit operations count visible pairs")
