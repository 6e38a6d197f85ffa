"""Tables that travel with the package, as README.md of this folder shows them."""

import csv
import functools
import pathlib
from collections.abc import Callable, Mapping

from latte.golden.documents import markdown_table

__all__ = ["DOCUMENT", "RESULTS", "results_table", "sections"]

RESULTS = pathlib.Path(__file__).parent / "results"
"""Folder of the tables, as ``latte eval`` and ``latte train`` write them."""
DOCUMENT = pathlib.Path(__file__).parent / "README.md"
"""Shows every table of an evaluation in a section of its name."""


def sections() -> dict[str, Callable[[], str]]:
    """Return what makes the text of each section of `DOCUMENT`."""
    return {path.stem: functools.partial(results_table, path) for path in sorted(RESULTS.glob("*.csv"))
            if not path.stem.endswith("_training")}


def results_table(path: pathlib.Path) -> str:
    """Return a table of ``latte eval`` as Markdown; one of several seeds without its halves."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if path.stem.endswith("_seeds"):
        rows = [row for row in rows if not row["method"].endswith((" odd", " even"))]
    text = any(row["ppl"] for row in rows)
    columns = ["method", "pruned", "bit operations saved"]
    columns += (["perplexity", "over dense 8-bit"] if text else ["top-1", "points lost to float", "loss above float"])
    cells = _text_cells if text else _image_cells
    return markdown_table([*columns, "KL to float"], [
        [row["method"], _share(row["pruned"]), _share(row["bitops_saved"]), *cells(row),
         _with_interval(row, "divergence", "divergence_interval", 4)] for row in rows])


def _text_cells(row: Mapping[str, str]) -> list[str]:
    half = f" ± {100 * float(row['loss_interval']):.2f}" if row["loss_interval"] else ""
    return [f"{float(row['ppl']):.2f}", f"{float(row['ppl_increase_percent']):+.2f} %{half}"]


def _image_cells(row: Mapping[str, str]) -> list[str]:
    return [f"{float(row['top1']):.1f} %", _with_interval(row, "top1_drop", "top1_interval", 1),
            _with_interval(row, "loss_increase", "loss_interval", 4)]


def _share(value: str) -> str:
    return f"{float(value):.2%}" if value else ""


def _with_interval(row: Mapping[str, str], name: str, interval: str, digits: int) -> str:
    if not row[name]:
        return ""
    half = f" ± {float(row[interval]):.{digits}f}" if row[interval] else ""
    return f"{float(row[name]):.{digits}f}{half}"
