"""``latte timing`` and ``latte bitstream``."""

import pathlib
import time
from typing import Any

import click
from rich.text import Text

from latte.fpga.baselines import read_baseline
from latte.fpga.boards.board import BOARDS, find_board
from latte.fpga.boards.devices import DEVICES, find_device
from latte.fpga.placement.bitstream import build_bitstream
from latte.fpga.placement.board_results import describe_build, figures, make_baseline
from latte.fpga.placement.place import Placement, median
from latte.fpga.placement.timing import BLOCKS, measure_timing
from latte.fpga.synthesis.builds import Build, arithmetic_of, core_options, name_of
from latte.fpga.synthesis.tools import check_tools
from latte.golden.console import create_console, create_table, show_status
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.results import write_results
from latte.sim.options import build_option

__all__ = ["bitstream_command", "timing_command"]

_DEFAULT_DEVICE = "25k"


@click.command("timing")
@click.option("--device", "device_name", metavar="NAME",
              help=f"Part: {', '.join(DEVICES)}. [default: the board's, else {_DEFAULT_DEVICE}]")
@click.option("--block", "names", multiple=True, metavar="NAME",
              help=f"What is placed, each alone; repeatable: {', '.join(BLOCKS)}. [default: core and pe_array, with "
                   "--keys-in-memory core]")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Runs per block.")
@click.option("--mhz", type=click.FloatRange(1),
              help="Clock to place for and to reach. Default: the block's own, 120 for the core, 200 for the PE array.")
@build_option
@core_options
def timing_command(build: Build, board: str | None, device_name: str | None, names: tuple[str, ...],
                   seeds: int, mhz: float | None, build_folder: pathlib.Path) -> None:
    """Place and route without pins; print the median Fmax over the seeds and where the critical path is."""
    console = create_console()
    device = find_device(device_name or (find_board(board).device if board else _DEFAULT_DEVICE))
    names = names or (("core",) if isinstance(build, MemoryBuild) else ("core", "pe_array"))
    for name in names:
        if name not in BLOCKS:
            raise LatteError(f"unknown block {name!r}; the blocks are {', '.join(BLOCKS)}")
    check_tools("yosys", device.tool)
    runs = {}
    for name in names:
        with show_status(console, f"placing {name} on the {device.title}, minutes ...") as status:
            runs[name] = measure_timing(
                name, build, device, build_folder / "timing" / f"{name_of(build)}-{device.name}",
                mhz=mhz or BLOCKS[name].goal, seeds=seeds,
                progress=lambda placement, name=name, status=status: status.update(
                    Text(f"placing {name}; seed {placement.seed}: {placement.fmax:.1f} MHz ...")))
    measured: list[dict[str, Any]] = []
    for name, placements in runs.items():
        prefix = f"{name_of(build)}.{device.target}" if name == "core" else f"{name}.{device.target}"
        slowest = _slowest(placements)
        measured.append({"name": f"{prefix}.fmax", "unit": "MHz", "value": round(median(placements), 2),
                        "device": device.name, "seeds": {run.seed: round(run.fmax, 2) for run in placements},
                        "utilisation": slowest.utilisation, "critical_path": slowest.path})
    passed = all(median(placements) >= (mhz or BLOCKS[name].goal) for name, placements in runs.items())
    write_results(build_folder / "timing.json", "timing", arithmetic_of(build), measured, passed)
    table = create_table("block", "median MHz", "seeds", "utilisation", "critical path",
                         title=f"Timing, {device.title}", left=("utilisation", "critical path"))
    for name, placements in runs.items():
        slowest = _slowest(placements)
        table.add_row(name, f"{median(placements):.1f}", ", ".join(f"{run.fmax:.1f}" for run in placements),
                      _utilisation(slowest), " - ".join(slowest.path))
    console.print(table)
    raise SystemExit(0 if passed else 1)


def _slowest(placements: list[Placement]) -> Placement:
    return min(placements, key=lambda placement: placement.fmax)


@click.command("bitstream")
@click.option("--board", "board_name", required=True, metavar="NAME", help=f"Board: {', '.join(BOARDS)}.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1),
              help="Placements to try until the clock is met.")
@click.option("--rebase", is_flag=True, help="Make these figures the baseline, fpga/baselines/bitstream.json, and "
              "those of fpga/README.md.")
@build_option
def bitstream_command(board_name: str, seeds: int, rebase: bool, build_folder: pathlib.Path) -> None:
    """Build a board's bitstream: the core, its host link over UART, clock and lamps."""
    console = create_console()
    board = find_board(board_name)
    (build_folder / "bitstream.json").unlink(missing_ok=True)
    started = time.monotonic()
    with show_status(console, f"building the {board.title}, up to 20 minutes ..."):
        built = build_bitstream(board, build_folder / "bitstream", seeds=seeds)
    measured, placement = figures(board, built), built.placement
    write_results(build_folder / "bitstream.json", "bitstream", board.config, measured, True)
    table = create_table("board", "configuration", "file", "bytes", "MHz", "clock", "utilisation", title=board.title,
                         left=("configuration", "file", "utilisation"))
    table.add_row(board.name, describe_build(board), str(built.path), str(built.path.stat().st_size),
                  f"{placement.fmax:.1f}", f"{placement.constraint:g}", _utilisation(placement))
    console.print(table)
    console.print(f"{time.monotonic() - started:.0f} s; critical path {' - '.join(placement.path)}")
    before = read_baseline("bitstream")
    console.print(f"baseline: {before[f'{board.name}.fmax']:.1f} MHz, {before[f'{board.name}.bytes']} bytes"
                  if f"{board.name}.fmax" in before else "no baseline for this board")
    if rebase:
        make_baseline(board, built)


def _utilisation(placement: Placement) -> str:
    return "\n".join(f"{name} {used}/{available}" for name, (used, available) in placement.utilisation.items()
                     if 20 * used >= available)
