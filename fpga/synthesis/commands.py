"""``latte area``."""

import pathlib
from typing import Any

import click
from rich.console import Console

from latte.fpga.baselines import read_baseline
from latte.fpga.boards.board import find_board
from latte.fpga.synthesis.area import make_baseline, measure_area, per_mac, results, total
from latte.fpga.synthesis.builds import Build, arithmetic_of, core_options, is_preset, name_of
from latte.fpga.synthesis.targets import TARGETS, Target, find_target
from latte.fpga.synthesis.tools import check_tools
from latte.fpga.synthesis.yosys import Usage
from latte.golden.config import AttentionConfig
from latte.golden.console import create_console, create_table, show_status
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.results import write_results
from latte.rtl.engines import engine_of
from latte.sim.options import build_option

__all__ = ["area_command"]

_DEFAULT_TARGET = "ecp5"
SWEPT_LANES = {"query_lanes": (1, 2, 4, 6), "dim_lanes": (2, 4, 8, 16)}
"""What ``latte area --sweep`` goes through, by the field that an engine names."""
_FPGA_COLUMNS = {"LUT": "lut", "carry": "carry", "LUT RAM": "lutram", "LUT4 eq.": "lut4_equivalents",
                 "flip-flops": "ff", "DSP": "dsp", "block RAM": "bram", "SPRAM": "spram", "RAM bits": "bram_bits"}
_GATE_COLUMNS = {"gates": "gate", "flip-flops": "ff", "transistors": "transistors", "memories": "bram",
                 "memory bits": "bram_bits"}


@click.command("area")
@click.option("--target", "target_names", multiple=True, metavar="NAME",
              help=f"Family, repeatable: {', '.join(TARGETS)}. [default: the board's, else {_DEFAULT_TARGET}]")
@click.option("--sweep", is_flag=True, help="Draw area against lanes as well: query lanes, of the serial engine "
              "lanes of a dot product.")
@click.option("--rebase", is_flag=True, help="Make these figures the baseline, fpga/baselines/area.json.")
@build_option
@core_options
def area_command(build: Build, board: str | None, target_names: tuple[str, ...], sweep: bool, rebase: bool,
                 build_folder: pathlib.Path) -> None:
    """Count the cells of each hardware block, as Yosys maps them, and compare them with the committed baseline."""
    console = create_console()
    if sweep and isinstance(build, MemoryBuild):
        raise LatteError("--sweep is of lanes, which the bus decides of a core with keys in memory; leave it out")
    device = find_board(board).part if board else None
    targets = [find_target(name) for name in target_names or [device.target if device else _DEFAULT_TARGET]]
    check_tools("yosys")
    baseline = read_baseline("area") if is_preset(build) else {}
    areas = {target.name: _synthesise(console, build, target, build_folder,
                                      device.bram if device and device.target == target.name else None)
             for target in targets}
    figures = [figure for target in targets for figure in results(build, target, areas[target.name])]
    swept: dict[str, list[tuple[int, Usage]]] = {}
    pictures: list[pathlib.Path] = []
    if sweep:
        # Where it is used: without a home, matplotlib has more to say than the sentence that a missing cache needs.
        from latte.fpga.synthesis.area_plot import plot_sweep

        config = arithmetic_of(build)
        swept = _sweep(console, config, targets, build_folder)
        pictures = plot_sweep(swept, _swept_field(config).replace("_", " "), build_folder / "area_sweep")
    write_results(build_folder / "area.json", "area", arithmetic_of(build), [*figures, *_sweep_figures(swept)], True)
    for target in targets:
        _print_area(console, build, target, areas[target.name])
        new = results(build, target, areas[target.name])
        _print_difference(console, new, baseline)
        if rebase:
            make_baseline(build, target, new)
    for path in pictures:
        console.print(f"drawn: {path}", soft_wrap=True)


def _synthesise(console: Console, build: Build, target: Target, build_folder: pathlib.Path,
                block_rams: int | None = None) -> dict[str, Usage]:
    with show_status(console, f"synthesising {name_of(build)!r} for {target.title}, a few minutes ..."):
        return measure_area(build, target, build_folder / "area", block_rams)


def _print_area(console: Console, build: Build, target: Target, blocks: dict[str, Usage]) -> None:
    columns = dict(_GATE_COLUMNS if target.name == "cmos" else _FPGA_COLUMNS)
    if all(kind.kind != "spram" for kind in target.cells):
        columns.pop("SPRAM", None)
    table = create_table("block", *columns,
                         title=f"Area of {name_of(build)!r} ({arithmetic_of(build).max_seq_len} keys), {target.title}")
    for name, usage in blocks.items():
        table.add_row(name, *(str(getattr(usage, field) or "") for field in columns.values()))
    table.add_section()
    table.add_row("total", *(str(getattr(total(blocks), field)) for field in columns.values()), style="bold")
    console.print(table)
    if isinstance(build, MemoryBuild):
        return
    unit = "transistors" if target.name == "cmos" else "LUT4 equivalents"
    console.print(f"PE array, query tables and adder trees included: {per_mac(build, blocks):.1f} {unit} per "
                  f"{build.estimate_bits}-bit multiply-accumulate")


def _print_difference(console: Console, new: list[dict[str, Any]], baseline: dict[str, float]) -> None:
    known = [figure for figure in new if figure["name"] in baseline]
    changed = [figure for figure in known if figure["value"] != baseline[figure["name"]]]
    for figure in changed:
        old = baseline[figure["name"]]
        share = f" ({100 * (figure['value'] / old - 1):+.1f} %)" if old else ""
        console.print(f"{figure['name']}: {old} -> {figure['value']}{share}")
    if not known:
        console.print("no baseline for this configuration and target")
    elif not changed:
        console.print(f"as the baseline in all {len(known)} figures")


def _swept_field(config: AttentionConfig) -> str:
    return engine_of(config).sweep_lanes


def _sweep(console: Console, config: AttentionConfig, targets: list[Target],
           build_folder: pathlib.Path) -> dict[str, list[tuple[int, Usage]]]:
    """Return (lanes, usage of the whole core) by the target's title."""
    points: dict[str, list[tuple[int, Usage]]] = {}
    field = _swept_field(config)
    for target in targets:
        for lanes in SWEPT_LANES[field]:
            changes = {"name": f"{config.name}-{lanes}lanes", field: lanes}
            if field == "query_lanes":
                changes["query_rows"] = max(config.query_rows, 4 * lanes)
            usage = total(_synthesise(console, config.replace(**changes), target, build_folder))
            points.setdefault(target.title, []).append((lanes, usage))
    return points


def _sweep_figures(points: dict[str, list[tuple[int, Usage]]]) -> list[dict[str, Any]]:
    return [{"name": f"sweep.{title}.lanes{lanes}", "unit": "count", "value": usage.lut4_equivalents or usage.gate}
            for title, series in points.items() for lanes, usage in series]
