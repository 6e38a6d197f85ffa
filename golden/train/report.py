"""Tables of an evaluation: rows, CSV, and what a person reads in a terminal."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from latte.golden.console import create_console, create_table

__all__ = ["COLUMNS", "as_csv", "history_csv", "print_table"]

COLUMNS = {"items": "count", "tokens": "count", "loss": "nat", "loss_increase": "nat", "loss_interval": "nat",
           "divergence": "nat", "divergence_interval": "nat", "top1": "percent", "top1_drop": "points",
           "top1_interval": "points", "ppl": "perplexity", "ppl_increase": "points", "ppl_increase_percent": "percent",
           "pruned": "ratio", "pruned_macro": "ratio", "bitops_saved": "ratio", "bitops_saved_n2": "ratio",
           "time_over_float": "ratio"}
"""Measured columns and their units. Images are compared with the float model, text with dense 8-bit attention."""


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as CSV with all `COLUMNS`; what does not apply is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["method", *COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def history_csv(history: Iterable[Mapping[str, float]]) -> str:
    """Return a training run's losses and soft pruning ratio by step, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", "loss", "prediction", "distillation", "pruned"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: round(value, 6) for name, value in entry.items()} for entry in history)
    return text.getvalue()


def print_table(title: str, rows: Iterable[Mapping[str, Any]], *, causal: bool) -> None:
    """Print the columns that matter most."""
    headings = ({"ppl": "perplexity", "ppl_increase": "over dense", "ppl_increase_percent": "over dense (%)"} if causal
                else {"top1": "top-1 (%)", "top1_drop": "points below float", "top1_interval": "+-"})
    headings |= {"loss_increase": "loss increase", "loss_interval": "+-", "divergence": "KL to float",
                 "pruned": "pruned", "bitops_saved": "bit operations saved"}
    rows = list(rows)
    if any("time_over_float" in row for row in rows):
        headings["time_over_float"] = "time over float"
    table = create_table("method", *headings.values(), title=title)
    table.columns[0].min_width = max(len(row["method"]) for row in rows)
    for row in rows:
        table.add_row(row["method"], *(_cell(name, row.get(name)) for name in headings))
    create_console().print(table)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("pruned", "bitops_saved"):
        return f"{value:.2%}"
    digits = {"top1": 1, "top1_drop": 1, "top1_interval": 1, "ppl": 2, "ppl_increase": 2, "ppl_increase_percent": 2,
              "time_over_float": 2}
    return f"{value:.{digits.get(name, 4)}f}"
