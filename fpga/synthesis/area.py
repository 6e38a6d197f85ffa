"""Area per hardware block, from the synthesiser's own figures, against a committed baseline."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from latte.fpga.baselines import DOCUMENT, read_baseline, update_baseline
from latte.fpga.synthesis.builds import MEMORY, Build, create, is_preset, name_of
from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.yosys import Usage, synthesise_once
from latte.golden.config import PRESETS, AttentionConfig
from latte.golden.documents import markdown_table
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.rtl import block_table
from latte.rtl.engines import engine_of

__all__ = ["MEMORY_TABLES", "TABLES", "baseline_usages", "make_baseline", "measure_area", "per_mac", "results", "total"]

_UNITS = {"lut": "count", "carry": "count", "lutram": "count", "ff": "count", "dsp": "count", "bram": "count",
          "spram": "count", "bram_bits": "bit", "lut4_equivalents": "count", "gate": "count", "transistors": "count"}


def measure_area(build: Build, target: Target, folder: pathlib.Path,
                 block_rams: int | None = None) -> dict[str, Usage]:
    """Synthesise the core with its blocks kept apart, unless `folder` has it already; return the usage of each."""
    return synthesise_once(create(build), target, folder, keep_blocks=True, block_rams=block_rams)


def total(blocks: dict[str, Usage]) -> Usage:
    """Return the sum of all blocks."""
    return sum(blocks.values(), Usage())


def per_mac(config: AttentionConfig, blocks: dict[str, Usage]) -> float:
    """Return LUT4 equivalents of the PE array, query tables and adder trees included, per multiply-accumulate.

    For gates, transistors. What is multiplied has `estimate_bits`.
    """
    engine = engine_of(config)
    array = blocks[engine.array_name]
    return (array.lut4_equivalents or array.transistors) / (engine.products * config.pairs_per_cycle * config.dim_lanes)


def results(build: Build, target: Target, blocks: dict[str, Usage]) -> list[dict[str, Any]]:
    """Return the figures of a result file; ``lut4`` counts LUTs, ``lut4_equivalents`` carry cells and LUT RAM too."""
    prefix = f"{name_of(build)}.{target.name}"
    unit = "gate" if target.name == "cmos" else "lut4"
    figures = [] if isinstance(build, MemoryBuild) else [
        {"name": f"{prefix}.{'transistors' if unit == 'gate' else 'lut4'}_per_mac", "unit": "count",
         "value": round(per_mac(build, blocks), 3)}]
    for name, usage in {"": total(blocks), **blocks}.items():
        for field in dataclasses.fields(usage):
            value = getattr(usage, field.name)
            if value or field.name in ("ff", "dsp", "bram", "lut"):
                figure = "lut4" if field.name == "lut" else field.name
                figures.append({"name": ".".join(filter(None, (prefix, name, figure))), "unit": _UNITS[field.name],
                                "value": value})
    return figures


def make_baseline(build: Build, target: Target, figures: list[dict[str, Any]]) -> None:
    """Put the figures of a preset and target in the place of those that the baseline has.

    Raises
    ------
    LatteError
        The build is no preset as it stands.
    """
    if not is_preset(build):
        longest = ", with --max-seq-len 65536 for keys in memory"
        raise LatteError("a baseline is kept of the presets as they stand; leave out the options that change one"
                         f"{longest if isinstance(build, MemoryBuild) else ''}")
    in_memory = isinstance(build, MemoryBuild)
    update_baseline("area", {figure["name"]: figure["value"] for figure in figures},
                    MEMORY_TABLES if in_memory else TABLES, replaced=f"{name_of(build)}.{target.name}.",
                    document=block_table.DOCUMENT if in_memory else DOCUMENT)


def baseline_usages(target: str) -> dict[str, Usage]:
    """Return the total usage of each preset that has a baseline for a target."""
    figures, usages = read_baseline("area"), {}
    for name in PRESETS:
        own = {field.name: figures.get(f"{name}.{target}.{'lut4' if field.name == 'lut' else field.name}", 0)
               for field in dataclasses.fields(Usage)}
        if any(own.values()):
            usages[name] = Usage(**own)
    return usages


_COLUMNS = {"lut4_equivalents": "LUT4 equivalents", "lut4_per_mac": "per MAC of the array", "ff": "flip-flops",
            "dsp": "multipliers", "bram": "block RAMs", "spram": "single-ported"}
_SHOWN_BLOCKS = (("small", "ecp5"), ("tiny", "ice40"))


def _presets_table(figures: Mapping[str, float]) -> str:
    """Return a row for each preset and family of a baseline."""
    cores = dict.fromkeys(".".join(name.split(".")[:2]) for name in figures if MEMORY not in name)
    rows = [[f"`{core.partition('.')[0]}`", core.partition(".")[2], *_cells(figures, core, _COLUMNS)]
            for core in sorted(cores, key=lambda core: (core.partition(".")[2], figures[f"{core}.lut4_equivalents"]))]
    return markdown_table(["preset", "family", *_COLUMNS.values()], rows)


def _blocks_table(figures: Mapping[str, float]) -> str:
    """Return a row for each block of a few cores, the largest first."""
    columns = {name: title for name, title in _COLUMNS.items() if name != "lut4_per_mac"}
    rows = []
    for preset, target in _SHOWN_BLOCKS:
        core = f"{preset}.{target}"
        blocks = {name.split(".")[2] for name in figures if name.startswith(f"{core}.") and name.count(".") == 3}
        for block in sorted(blocks, key=lambda block: (-figures[f"{core}.{block}.lut4_equivalents"], block)):
            rows.append([f"`{preset}`, {target}", block, *_cells(figures, f"{core}.{block}", columns)])
    return markdown_table(["core", "block", *columns.values()], rows)


def _cells(figures: Mapping[str, float], prefix: str, columns: Mapping[str, str]) -> list[str]:
    return [f"{figures[f'{prefix}.{name}']:g}" if figures.get(f"{prefix}.{name}") else "" for name in columns]


def _memory_table(figures: Mapping[str, float]) -> str:
    """Return a row for each build with keys in memory of a baseline, and one for its preset with keys on chip."""
    columns = {name: title for name, title in _COLUMNS.items() if name not in ("lut4_per_mac", "spram")}
    cores = sorted({tuple(name.split(".")[:2]) for name in figures if MEMORY in name})
    rows = []
    for name, target in cores:
        rows_of_tile, candidates, bits = name.partition(MEMORY)[2].replace("x", "-").split("-")
        title = f"{rows_of_tile} row{'s' if rows_of_tile != '1' else ''}, lists of {candidates}, a bus of {bits} bits"
        rows.append([f"`{name.partition(MEMORY)[0]}`, {title}", target, *_cells(figures, f"{name}.{target}", columns)])
    for preset, target in dict.fromkeys((name.partition(MEMORY)[0], target) for name, target in cores):
        rows.append([f"`{preset}`, keys on chip", target, *_cells(figures, f"{preset}.{target}", columns)])
    return markdown_table(["build", "family", *columns.values()], rows)


TABLES = {"areas": _presets_table, "blocks": _blocks_table}
"""By section of ``fpga/README.md``."""
MEMORY_TABLES = {"memory-areas": _memory_table}
"""By section of ``rtl/README.md``."""
