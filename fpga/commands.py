"""``latte area``, ``latte timing`` and ``latte bitstream``."""

import pathlib
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from latte.fpga.area import is_preset, measure_area, per_mac, read_baseline, results, total, update_baseline
from latte.fpga.area_plot import plot_sweep
from latte.fpga.bitstream import build_bitstream
from latte.fpga.boards import BOARDS, Board, find_board
from latte.fpga.devices import DEVICES, find_device
from latte.fpga.place import Placement, median
from latte.fpga.synthesis import Usage
from latte.fpga.targets import TARGETS, Target, find_target
from latte.fpga.timing import BLOCKS, measure_timing
from latte.fpga.tools import check_tools
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.results import write_results
from latte.sim.options import config_options
from latte.sim.runner import BUILD_FOLDER

__all__ = ["area_command", "bitstream_command", "timing_command"]

SWEEP_LANES = {"latte": ("query_lanes", (1, 2, 4, 6)), "dense": ("query_lanes", (1, 2, 4, 6)),
               "serial": ("dim_lanes", (2, 4, 8, 16))}
"""The lanes that ``latte area --sweep`` varies, by engine."""
_FPGA_COLUMNS = {"LUT": "lut", "carry": "carry", "LUT RAM": "lutram", "LUT4 eq.": "lut4_equivalents",
                 "flip-flops": "ff", "DSP": "dsp", "block RAM": "bram", "SPRAM": "spram", "RAM bits": "bram_bits"}
_GATE_COLUMNS = {"gates": "gate", "flip-flops": "ff", "transistors": "transistors", "memories": "bram",
                 "memory bits": "bram_bits"}
_build_option = click.option("--build", "folder", default=BUILD_FOLDER, show_default=True,
                             type=click.Path(path_type=pathlib.Path), help="Output folder.")


def _console() -> Console:
    return Console(width=None if Console().is_terminal else 120)


@click.command("area")
@click.option("--target", "target_names", multiple=True, default=["ecp5"], show_default=True, metavar="NAME",
              help=f"Family, repeatable: {', '.join(TARGETS)}.")
@click.option("--sweep", is_flag=True, help="Draw area against lanes as well: query lanes, of the serial engine "
              "lanes of a dot product.")
@click.option("--rebase", is_flag=True, help="Make these figures the baseline, fpga/baselines/area.json.")
@_build_option
@config_options
def area_command(config: AttentionConfig, target_names: tuple[str, ...], sweep: bool, rebase: bool,
                 folder: pathlib.Path) -> None:
    """Count the cells of each hardware block, as Yosys maps them, and compare them with the committed baseline."""
    console = _console()
    targets = [find_target(name) for name in target_names]
    check_tools("yosys")
    baseline = read_baseline() if is_preset(config) else {}
    figures: list[dict[str, Any]] = []
    for target in targets:
        blocks = _synthesise(console, config, target, folder)
        new = results(config, target, blocks)
        figures += new
        _print_area(console, config, target, blocks)
        _print_difference(console, new, baseline)
        if rebase:
            update_baseline(config, target, new)
    if sweep:
        figures += _sweep(console, config, targets, folder)
    write_results(folder / "area.json", "area", config, figures, True)


def _synthesise(console: Console, config: AttentionConfig, target: Target, folder: pathlib.Path) -> dict[str, Usage]:
    with console.status(f"synthesising {config.name!r} for {target.title}, a few minutes ..."):
        return measure_area(config, target, folder / "area" / f"{config.name}-{target.name}")


def _print_area(console: Console, config: AttentionConfig, target: Target, blocks: dict[str, Usage]) -> None:
    columns = dict(_GATE_COLUMNS if target.name == "cmos" else _FPGA_COLUMNS)
    if all(kind.kind != "spram" for kind in target.cells):
        columns.pop("SPRAM", None)
    table = Table("block", *columns, title=f"Area of {config.name!r} ({config.max_seq_len} keys), {target.title}")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, usage in blocks.items():
        table.add_row(name, *(str(getattr(usage, field) or "") for field in columns.values()))
    table.add_section()
    table.add_row("total", *(str(getattr(total(blocks), field)) for field in columns.values()), style="bold")
    console.print(table)
    unit = "transistors" if target.name == "cmos" else "LUT4 equivalents"
    console.print(f"PE array, query tables and adder trees included: {per_mac(config, blocks):.1f} {unit} per 4-bit "
                  "multiply-accumulate")


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


def _sweep(console: Console, config: AttentionConfig, targets: list[Target],
           folder: pathlib.Path) -> list[dict[str, Any]]:
    points: dict[str, list[tuple[int, Usage]]] = {}
    field, all_lanes = SWEEP_LANES[config.engine]
    what = field.replace("_", " ")
    for target in targets:
        for lanes in all_lanes:
            changes = {"name": f"{config.name}-{lanes}lanes", field: lanes}
            if field == "query_lanes":
                changes["query_rows"] = max(config.query_rows, 4 * lanes)
            changed = config.replace(**changes)
            usage = total(_synthesise(console, changed, target, folder))
            points.setdefault(target.title, []).append((lanes, usage))
            console.print(f"{target.title}, {lanes} {what}: {usage.lut4_equivalents or usage.gate}")
    for path in plot_sweep(points, what, folder / "area_sweep"):
        console.print(f"drawn: {path}")
    return [{"name": f"sweep.{title}.lanes{lanes}", "unit": "count", "value": usage.lut4_equivalents or usage.gate}
            for title, series in points.items() for lanes, usage in series]


@click.command("timing")
@click.option("--device", "device_name", default="25k", show_default=True, metavar="NAME",
              help=f"Part: {', '.join(DEVICES)}.")
@click.option("--block", "names", multiple=True, default=["core", "pe_array"], show_default=True, metavar="NAME",
              help=f"What is placed, each alone; repeatable: {', '.join(BLOCKS)}.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Runs per block.")
@click.option("--mhz", type=click.FloatRange(1),
              help="Clock to place for and to reach. Default: the block's own, 120 for the core, 200 for the PE array.")
@_build_option
@config_options
def timing_command(config: AttentionConfig, device_name: str, names: tuple[str, ...], seeds: int, mhz: float | None,
                   folder: pathlib.Path) -> None:
    """Place and route without pins; print the median Fmax over the seeds and where the critical path is."""
    console = _console()
    device = find_device(device_name)
    for name in names:
        if name not in BLOCKS:
            raise LatteError(f"unknown block {name!r}; the blocks are {', '.join(BLOCKS)}")
    check_tools("yosys", device.tool)
    runs = {}
    for name in names:
        with console.status(f"placing {name} on the {device.title}, minutes ..."):
            runs[name] = measure_timing(
                name, config, device, folder / "timing" / f"{config.name}-{device.name}",
                mhz=mhz or BLOCKS[name].goal, seeds=seeds,
                progress=lambda placement, name=name: console.print(
                    f"{name}, seed {placement.seed}: {placement.fmax:.1f} MHz, {' - '.join(placement.path)}"))
    table = Table("block", "median MHz", "seeds", "utilisation", "critical path", title=f"Timing, {device.title}")
    figures: list[dict[str, Any]] = []
    for name, placements in runs.items():
        prefix = f"{config.name}.{device.target}" if name == "core" else f"{name}.{device.target}"
        slowest = min(placements, key=lambda placement: placement.fmax)
        table.add_row(name, f"{median(placements):.1f}", ", ".join(f"{run.fmax:.1f}" for run in placements),
                      _utilisation(slowest), " - ".join(slowest.path))
        figures.append({"name": f"{prefix}.fmax", "unit": "MHz", "value": round(median(placements), 2),
                        "device": device.name, "seeds": {run.seed: round(run.fmax, 2) for run in placements},
                        "utilisation": slowest.utilisation, "critical_path": slowest.path})
    console.print(table)
    passed = all(median(placements) >= (mhz or BLOCKS[name].goal) for name, placements in runs.items())
    write_results(folder / "timing.json", "timing", config, figures, passed)
    raise SystemExit(0 if passed else 1)


@click.command("bitstream")
@click.option("--board", "board_name", required=True, metavar="NAME", help=f"Board: {', '.join(BOARDS)}.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1),
              help="Placements to try until the clock is met.")
@_build_option
def bitstream_command(board_name: str, seeds: int, folder: pathlib.Path) -> None:
    """Build a board's bitstream: the core, its host link over UART, clock and lamps."""
    console = _console()
    board = find_board(board_name)
    (folder / "bitstream.json").unlink(missing_ok=True)
    started = time.monotonic()
    with console.status(f"building the {board.title}, up to 20 minutes ..."):
        built = build_bitstream(board, folder / "bitstream", seeds=seeds)
    size, placement = built.path.stat().st_size, built.placement
    table = Table("board", "configuration", "file", "bytes", "MHz", "clock", "utilisation", title=board.title)
    table.add_row(board.name, _configuration(board), str(built.path), str(size), f"{placement.fmax:.1f}",
                  f"{placement.constraint:g}", _utilisation(placement))
    console.print(table)
    console.print(f"{time.monotonic() - started:.0f} s; critical path {' - '.join(placement.path)}")
    write_results(folder / "bitstream.json", "bitstream", board.config, [
        {"name": f"{board.name}.fmax", "unit": "MHz", "value": round(placement.fmax, 2),
         "constraint": placement.constraint, "seed": placement.seed, "utilisation": placement.utilisation},
        {"name": f"{board.name}.bytes", "unit": "bytes", "value": size, "file": built.path.name}], True)


def _configuration(board: Board) -> str:
    return " ".join([board.preset, *(f"{key}={value}" for key, value in board.changes.items())])


def _utilisation(placement: Placement) -> str:
    return "\n".join(f"{name} {used}/{available}" for name, (used, available) in placement.utilisation.items()
                     if 20 * used >= available)
