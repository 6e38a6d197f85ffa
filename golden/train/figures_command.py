"""``latte figures``: the plots of the paper's figures from what ``latte eval`` measured and the embedded vectors."""

import csv
import pathlib

import click

from latte.golden.config import preset
from latte.golden.errors import LatteError

__all__ = ["figures"]


@click.command()
@click.option("--results", multiple=True, type=click.Path(path_type=pathlib.Path),
              help="Tables of latte eval (.csv). Repeatable. [default: all eval*.csv in build]")
@click.option("--output", default="build/figures", show_default=True, type=click.Path(path_type=pathlib.Path),
              help="Folder for the plots.")
def figures(results: tuple[pathlib.Path, ...], output: pathlib.Path) -> None:
    """Plot attention maps, and accuracy against pruning and work, as PNG and SVG."""
    tables = results or tuple(sorted(pathlib.Path("build").glob("eval*.csv")))
    rows = {path: _read(path) for path in tables}
    from latte.golden.train.figures import attention_maps, comparison
    from latte.golden.vectors import embedded_vectors

    output.mkdir(parents=True, exist_ok=True)
    written = []
    for vectors in embedded_vectors():
        middle = len(vectors) // 2
        path = output / f"attention_maps_{vectors.model}"
        attention_maps(vectors, [0, middle, len(vectors) - 1], preset("small"), path)
        written.append(path)
    for table, entries in rows.items():
        quality, label = ("ppl", "perplexity") if entries[0].get("ppl") else ("top1", "top-1 (%)")
        for work, text in (("pruned", "pruned share of visible pairs"), ("bitops_saved", "bit operations saved")):
            path = output / f"{table.stem}_{work}"
            comparison(entries, work, quality, (text, label, table.stem), path)
            written.append(path)
    for path in written:
        click.echo(f"{path}.png, .svg")
    if not rows:
        click.echo("no table of latte eval in build/: only the attention maps were drawn")


def _read(path: pathlib.Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(path.read_text().splitlines()))
    except (OSError, UnicodeDecodeError):
        raise LatteError(f"{path}: no readable table; make one with latte eval") from None
    if not rows or not {"method", "loss"} <= rows[0].keys():
        raise LatteError(f"{path}: not a table of latte eval (it needs the columns method and loss)")
    return rows
