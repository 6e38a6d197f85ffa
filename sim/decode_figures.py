"""Figures of ``latte decode``: what is committed of them, and the table of golden/memory/README.md."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from latte.golden.documents import markdown_table, replace_section
from latte.golden.memory.tables import DOCUMENT
from latte.golden.results import write_text

__all__ = ["COLUMNS", "SECTION", "cells", "decode_table", "update_figures"]

RESULTS = pathlib.Path(__file__).parent / "decode_results.json"
"""By workload, the figures at each length."""
SECTION = "decoded"
COLUMNS = {
    "keys": ("keys", "{}"), "jobs": ("jobs", "{}"), "kept": ("kept", "{:.1%}"), "cycles": ("cycles", "{:.0f}"),
    "a key": ("cycles_per_key", "{:.2f}"), "bandwidth": ("bandwidth_share", "{:.1%}"),
    "model of time": ("model_cycles", "{:.0f}"), "dense": ("dense_model_cycles", "{:.0f}"),
    "V rows, times fewer": ("dense_values_per_value", "{:.1f}"), "token": ("token_ms", "{:.1f} ms"),
    "dense token": ("dense_token_ms", "{:.1f} ms")}
"""Title: name of a figure, and how it is written."""


def cells(of: Mapping[str, Any]) -> list[str]:
    """Return a length's figures as `COLUMNS` show them."""
    return ["" if of.get(name) is None else text.format(of[name]) for name, text in COLUMNS.values()]


def decode_table() -> str:
    """Return the committed figures, a row for each workload and length."""
    known = json.loads(RESULTS.read_text())
    return markdown_table(["workload", *COLUMNS], [
        [workload, *cells(of)] for workload, lengths in sorted(known.items()) for of in lengths])


def update_figures(workload: str, lengths: Sequence[Mapping[str, Any]]) -> None:
    """Keep a workload's figures, and write the table."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[workload] = list(lengths)
    write_text(RESULTS, json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    replace_section(DOCUMENT, SECTION, decode_table())
