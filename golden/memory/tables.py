"""The tables of README.md in this folder: formats as the code has them, and the committed figures."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from latte.golden.config import preset
from latte.golden.documents import markdown_table, replace_section
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.golden.memory.page_format import PageFormat
from latte.golden.memory.parts import PARTS
from latte.golden.memory.sequence_state import HEADER_BYTES, StateFormat
from latte.golden.results import write_text

__all__ = ["DOCUMENT", "sections", "update_results"]

DOCUMENT = pathlib.Path(__file__).parent / "README.md"
RESULTS = pathlib.Path(__file__).parent / "results.json"
"""Figures that `DOCUMENT` shows, by name."""


def sections() -> dict[str, Callable[[], str]]:
    """Return what makes the text of each section of `DOCUMENT`."""
    return {"pages": _pages, "records": _records, "statuses": _statuses, "parts": _parts,
            "measured": lambda: _measured(json.loads(RESULTS.read_text()))}


def update_results(results: Iterable[Mapping[str, Any]], replaced: Sequence[str]) -> None:
    """Put figures of a result file into `RESULTS`, and write the table that is made of them.

    Parameters
    ----------
    results
        Each with ``name`` and ``value``.
    replaced
        Starts of the names that go, whether they come again or not.
    """
    kept = {} if not RESULTS.exists() else json.loads(RESULTS.read_text())
    kept = {name: value for name, value in kept.items() if not any(name.startswith(f"{start}.") for start in replaced)}
    merged = dict(sorted((kept | {entry["name"]: entry["value"] for entry in results}).items()))
    write_text(RESULTS, json.dumps(merged, indent=0) + "\n")
    replace_section(DOCUMENT, "measured", _measured(merged))


def _build(bits: int, page_rows: int) -> MemoryBuild:
    core = dataclasses.replace(MemoryBuild().core, estimate_bits=bits)
    return MemoryBuild(core=core, page_rows=page_rows)


def _pages() -> str:
    """Return offsets and sizes of the default build's pages, by width of the estimate and rows."""
    rows = []
    for bits in (4, 3, 2):
        for page_rows in (64, 16):
            form = PageFormat(_build(bits, page_rows))
            rows.append([bits, page_rows, form.low_offset, form.groups_offset, form.high_offset, form.page_bytes,
                         form.low_bytes, form.high_bytes, form.groups_bytes])
    return markdown_table(["bits", "keys", "low plane at", "groups at", "high plane at", "page", "low row", "high row",
                           "groups"], rows)


def _records() -> str:
    """Return offsets and sizes of records, by key groups."""
    rows = []
    for groups in (0, 1, 4, 8):
        form = StateFormat(MemoryBuild(core=preset("small", max_seq_len=65536, key_groups=groups)))
        rows.append([groups, HEADER_BYTES if groups else "", form.numbers_offset if groups > 1 else "",
                     form.sums_offset if groups else "", form.state_bytes])
    return markdown_table(["key groups", "keys of groups at", "last page's numbers at", "sums at", "record"], rows)


def _statuses() -> str:
    """Return what a job is refused for, or fails with, in order."""
    return markdown_table(["status", "reason"], [[f"`{name}`", text] for name, text in (REFUSALS | FAILURES).items()])


def _parts() -> str:
    """Return the memories, as the model of time knows them."""
    return markdown_table(
        ["`--part`", "memory", "bytes a core cycle: pins", "stream", "bus", "shortest access", "figures from"],
        [[f"`{part.name}`", part.title, f"{part.bytes_per_second / (1e6 * part.core_mhz):.1f}",
          f"{part.stream_efficiency:.1%}", f"{part.bus_bytes} at {part.core_mhz:g} MHz", part.burst_bytes, part.source]
         for part in PARTS.values()])


def _measured(values: Mapping[str, float]) -> str:
    """Return the committed figures: a row for each workload and length."""
    matches = [re.fullmatch(r"(.+)\.n(\d+)\.kept", name) for name in values]
    # Narrower estimates behind the usual ones.
    found = sorted(((match[1], int(match[2])) for match in matches if match), key=lambda of: ("bit." in of[0], of))

    def cell(start: str, figure: str, text: str) -> str:
        value = values.get(f"{start}.{figure}")
        return "" if value is None else text.format(value)

    columns = {"kept": ("kept", "{:.1%}"), "bytes of dense": ("bytes_per_dense_byte", "{:.3f}"),
               "rows alone": ("bytes_per_dense_byte_of_single_rows", "{:.3f}"),
               "V rows, times fewer": ("dense_values_per_value", "{:.1f}"),
               "rows alone ": ("dense_values_per_row", "{:.1f}"), "bandwidth": ("bandwidth_share", "{:.1%}"),
               "cycles": ("cycles", "{:.0f}"), "dense": ("dense_cycles", "{:.0f}"), "token": ("token", "{:.1f} ms"),
               "dense ": ("dense_token", "{:.1f} ms")}
    return markdown_table(["workload", "keys", *(name.strip() for name in columns)], [
        [name, n, *(cell(f"{name}.n{n}", *column) for column in columns.values())] for name, n in found])
