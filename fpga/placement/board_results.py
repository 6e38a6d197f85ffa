"""What building a board's bitstream gave: figures of the result file, the committed baseline, the document's table."""

import json
import pathlib
from typing import Any

from latte.fpga.boards.board import BOARDS, Board
from latte.fpga.placement.bitstream import Bitstream
from latte.golden.config import PRESETS
from latte.golden.documents import markdown_table, replace_section
from latte.golden.results import write_text

__all__ = ["BASELINE", "DOCUMENT", "SECTION", "boards_table", "describe_build", "figures", "read_baseline",
           "update_baseline"]

BASELINE = pathlib.Path(__file__).parent.parent / "baselines" / "bitstream.json"
DOCUMENT, SECTION = pathlib.Path(__file__).parent.parent / "README.md", "boards"
_SHOWN = {"LUT cells": ("TRELLIS_COMB", "ICESTORM_LC", "LUT4"), "flip-flops": ("TRELLIS_FF", "DFF"),
          "multipliers": ("MULT18X18D", "ICESTORM_DSP", "MULT18X18"),
          "block RAM": ("DP16KD", "ICESTORM_RAM", "BSRAM"), "single-ported": ("ICESTORM_SPRAM",)}
"""Columns of the table, and the families' names of what they count."""


def figures(board: Board, built: Bitstream) -> list[dict[str, Any]]:
    """Return the figures of a result file."""
    placement = built.placement
    return [{"name": f"{board.name}.fmax", "unit": "MHz", "value": round(placement.fmax, 2),
             "constraint": placement.constraint, "seed": placement.seed, "utilisation": placement.utilisation},
            {"name": f"{board.name}.bytes", "unit": "bytes", "value": built.path.stat().st_size,
             "file": built.path.name}]


def describe_build(board: Board) -> str:
    """Return the preset of a board's build, and what differs from it."""
    config, plain = board.config.to_dict(), PRESETS[board.config.name].to_dict()
    return " ".join([board.config.name, *(f"{key}={value}" for key, value in config.items() if value != plain[key])])


def read_baseline() -> dict[str, dict[str, Any]]:
    """Return the committed figures by board: ``fmax`` and ``clock`` in MHz, ``seed``, ``bytes``, ``utilisation``."""
    return json.loads(BASELINE.read_text()) if BASELINE.exists() else {}


def update_baseline(board: Board, built: Bitstream) -> None:
    """Put a board's figures in the place of those that the baseline has, and write the document's table anew."""
    placement = built.placement
    entry = {"fmax": round(placement.fmax, 2), "clock": placement.constraint, "seed": placement.seed,
             "bytes": built.path.stat().st_size, "utilisation": placement.utilisation}
    merged = read_baseline() | {board.name: entry}
    write_text(BASELINE, json.dumps({name: merged[name] for name in BOARDS if name in merged}, indent=1) + "\n")
    replace_section(DOCUMENT, SECTION, boards_table())


def boards_table() -> str:
    """Return the baseline as a Markdown table, a row for each board."""
    rows = []
    for name, entry in read_baseline().items():
        used = entry["utilisation"]
        cells = [next((f"{used[cell][0]} of {used[cell][1]}" for cell in cells if cell in used), "")
                 for cells in _SHOWN.values()]
        rows.append([f"`{name}`", f"{entry['fmax']:.1f}", f"{entry['clock']:g}", *cells, entry["bytes"]])
    return markdown_table(["board", "Fmax, MHz", "clock, MHz", *_SHOWN, "bytes"], rows)
