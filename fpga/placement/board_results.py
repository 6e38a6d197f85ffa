"""What building a board's bitstream gave: figures of the result file, its baseline."""

from collections.abc import Mapping
from typing import Any

from latte.fpga.baselines import update_baseline
from latte.fpga.boards.board import BOARDS, BoardSpec
from latte.fpga.placement.bitstream import Bitstream
from latte.golden.config import PRESETS
from latte.golden.documents import markdown_table

__all__ = ["TABLES", "describe_build", "figures", "make_baseline"]

_SHOWN = {"LUT cells": ("TRELLIS_COMB", "ICESTORM_LC", "LUT4"), "flip-flops": ("TRELLIS_FF", "DFF"),
          "multipliers": ("MULT18X18D", "ICESTORM_DSP", "MULT18X18"),
          "block RAM": ("DP16KD", "ICESTORM_RAM", "BSRAM"), "single-ported": ("ICESTORM_SPRAM",)}
"""Columns of the table, and the families' names of what they count."""


def figures(board: BoardSpec, built: Bitstream) -> list[dict[str, Any]]:
    """Return the figures of a result file."""
    placement = built.placement
    return [{"name": f"{board.name}.fmax", "unit": "MHz", "value": round(placement.fmax, 2),
             "constraint": placement.constraint, "seed": placement.seed, "utilisation": placement.utilisation},
            {"name": f"{board.name}.bytes", "unit": "bytes", "value": built.path.stat().st_size,
             "file": built.path.name}]


def describe_build(board: BoardSpec) -> str:
    """Return the preset of a board's build, and what differs from it."""
    config = board.config.to_dict()
    plain = next(build.to_dict() for preset in PRESETS.values() for build in (preset, preset.lean())
                 if build.name == board.config.name)
    return " ".join([board.config.name, *(f"{key}={value}" for key, value in config.items() if value != plain[key])])


def make_baseline(board: BoardSpec, built: Bitstream) -> None:
    """Put a board's figures in the place of those that the baseline has."""
    placement, name = built.placement, board.name
    entry = {f"{name}.fmax": round(placement.fmax, 2), f"{name}.clock": placement.constraint,
             f"{name}.seed": placement.seed, f"{name}.bytes": built.path.stat().st_size}
    for cell, (used, available) in placement.utilisation.items():
        entry |= {f"{name}.used.{cell}": used, f"{name}.available.{cell}": available}
    update_baseline("bitstream", entry, TABLES, replaced=f"{name}.")


def _boards_table(figures: Mapping[str, float]) -> str:
    """Return a row for each board of a baseline."""
    rows = []
    for name in BOARDS:
        if f"{name}.fmax" in figures:
            cells = [next((f"{figures[f'{name}.used.{cell}']} of {figures[f'{name}.available.{cell}']}"
                           for cell in cells if f"{name}.used.{cell}" in figures), "") for cells in _SHOWN.values()]
            rows.append([f"`{name}`", f"{figures[f'{name}.fmax']:.1f}", f"{figures[f'{name}.clock']:g}", *cells,
                         figures[f"{name}.bytes"]])
    return markdown_table(["board", "Fmax, MHz", "clock, MHz", *_SHOWN, "bytes"], rows)


TABLES = {"boards": _boards_table}
"""By section of ``fpga/README.md``."""
