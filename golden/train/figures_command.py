"""``latte figures``: plots of the paper's figures from tables of ``latte eval``, ``latte train`` and embedded heads."""

import csv
import json
import pathlib

import click

from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.golden.train.tables import RESULTS

__all__ = ["figures"]

_EVAL, _TRAIN = {"method", "loss"}, {"step", "distillation"}
_NUMBERS = _TRAIN | {"loss", "ppl", "top1", "pruned", "bitops_saved", "tokens", "prediction"}
_QUALITIES = {"ppl": "perplexity", "top1": "top-1 (%)", "loss": "cross entropy (nat)"}
_WORK = {"pruned": "pruned share of visible pairs", "bitops_saved": "bit operations saved"}


@click.command()
@click.option("--results", multiple=True, type=click.Path(path_type=pathlib.Path),
              help="Tables of latte eval or latte train (.csv). Repeatable. [default: those that travel with the "
                   "package, and all eval*.csv in build]")
@click.option("--output", default="build/figures", show_default=True, type=click.Path(path_type=pathlib.Path),
              help="Folder for the plots.")
def figures(results: tuple[pathlib.Path, ...], output: pathlib.Path) -> None:
    """Plot attention maps, accuracy against pruning and work, training runs, lengths, as PNG and SVG.

    The tables are copied beside the plots, as CSV and as JSON.
    """
    tables = results or (*sorted(RESULTS.glob("*.csv")), *sorted(pathlib.Path("build").glob("eval*.csv")))
    rows = {path: _read(path) for path in tables}
    from latte.golden.train.figures import attention_maps
    from latte.golden.vectors import embedded_vectors

    output.mkdir(parents=True, exist_ok=True)
    written = []
    for vectors in embedded_vectors():
        middle = len(vectors) // 2
        written.append(output / f"attention_maps_{vectors.model}")
        attention_maps(vectors, [0, middle, len(vectors) - 1], preset("small"), written[-1])
    for table, entries in rows.items():
        written += _plot(table.stem, entries, output)
        write_text(output / f"{table.stem}.csv", table.read_text())
        write_text(output / f"{table.stem}.json", json.dumps(entries, indent=1) + "\n")
    for path in written:
        click.echo(f"{path}.png, .svg")
    click.echo(f"{len(rows)} tables copied to {output} as .csv and .json")


def _plot(stem: str, entries: list[dict[str, str]], output: pathlib.Path) -> list[pathlib.Path]:
    """Draw what a table is for, and return the plots' paths without suffix."""
    from latte.golden.train.figures import comparison, lengths, training_curves

    if entries[0].keys() >= _TRAIN:
        history = [{name: float(value) for name, value in entry.items()} for entry in entries]
        training_curves(history, None, output / stem)
        return [output / stem]
    if len({entry.get("tokens") for entry in entries}) > 1:
        lengths(entries, output / stem)
        return [output / stem]
    quality = "ppl" if entries[0].get("ppl") else "top1"
    title = f"{stem}, {entries[0].get('items', '?')} {'windows' if quality == 'ppl' else 'images'}"
    plots = {output / f"{stem}_{work}": (work, quality) for work in _WORK}
    if quality == "top1":  # a few hundred images resolve the loss better than top-1
        plots[output / f"{stem}_loss"] = ("pruned", "loss")
    for path, (work, value) in plots.items():
        comparison(entries, work, value, (_WORK[work], _QUALITIES[value], title), path)
    return list(plots)


def _read(path: pathlib.Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(path.read_text().splitlines()))
    except (OSError, UnicodeDecodeError):
        raise LatteError(f"{path}: no readable table; make one with latte eval or latte train") from None
    if not rows or not (rows[0].keys() >= _EVAL or rows[0].keys() >= _TRAIN):
        raise LatteError(f"{path}: not a table of latte eval (columns method and loss) or of latte train (step and "
                         "distillation)")
    try:
        for row in rows:
            for name in row.keys() & _NUMBERS:
                float(row[name] or 0)
    except (TypeError, ValueError):
        raise LatteError(f"{path}: {name} = {row[name]!r} of {next(iter(row.values()))} is not a number") from None
    return rows
