"""``latte interface``."""

import pathlib

import click
from rich.console import Console
from rich.text import Text

from latte.fpga.baselines import read_baseline
from latte.fpga.benchmark.interface import (
    InterfaceCycles,
    figures,
    in_sum,
    interface_blocks,
    make_baseline,
    measure_cycles,
    more,
)
from latte.fpga.benchmark.results import Bar, differences
from latte.fpga.synthesis.area import total
from latte.fpga.synthesis.builds import is_preset
from latte.fpga.synthesis.targets import TARGETS, find_target
from latte.fpga.synthesis.tools import check_tools
from latte.fpga.synthesis.yosys import Usage
from latte.golden.config import AttentionConfig
from latte.golden.console import create_console, create_table, show_status
from latte.golden.errors import LatteError
from latte.golden.results import write_results
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.engines import engine_of
from latte.sim.axi_run import READ_LATENCY
from latte.sim.compilation import check_simulator
from latte.sim.locks import claimed
from latte.sim.options import build_option, config_options
from latte.sim.vector_sets import gather_vectors

__all__ = ["interface_command"]

_MOST_CYCLES_MORE = 0.03


@click.command("interface")
@click.option("--data-bits", default=64, show_default=True, type=int, help="Width of the AXI master: 64 or 128.")
@click.option("--target", "target_name", default="ecp5", show_default=True, metavar="NAME",
              help=f"Family that areas are of: {', '.join(TARGETS)}.")
@click.option("--sample", type=click.IntRange(2), metavar="N", help="Only so many heads of each set. Default: all.")
@click.option("--rebase", is_flag=True, help="Make these figures the baseline, fpga/baselines/interface.json, and "
              "those of rtl/README.md.")
@build_option
@config_options
def interface_command(config: AttentionConfig, data_bits: int, target_name: str, sample: int | None, rebase: bool,
                      build_folder: pathlib.Path) -> None:
    """Measure what the AXI interface costs: cycles of the embedded heads beside the bare core's, area around the core.

    Exits with 0 only if every bit agrees with the golden model, and if all heads together take at most 3 % more cycles.
    """
    console = create_console()
    engine_of(config)  # refuses what no engine holds, before minutes of synthesis
    master, target = MasterParameters(data_bits=data_bits), find_target(target_name)
    if rebase and (sample is not None or not is_preset(config)):
        raise LatteError("a baseline is kept of the presets as they stand and of all heads; leave out --sample and the "
                         "options that change a preset")
    check_simulator("verilator")
    check_tools("yosys")
    click.get_current_context().with_resource(claimed(build_folder / "interface"))
    sets, left_out = gather_vectors((), None, config, sample)
    with show_status(console, "synthesising what is around the core ...") as status:
        blocks = interface_blocks(config, master, target, build_folder / "area")
        cycles = measure_cycles(sets, config, master, build_folder, lambda step: status.update(Text(f"{step} ...")))
    measured = figures(config, master, target, cycles, blocks)
    bar = Bar(f"{config.name}.axi{data_bits}.more", in_sum(cycles), _MOST_CYCLES_MORE, least=False)
    write_results(build_folder / "interface.json", "interface", config, measured, bar.met, left_out=left_out,
                  data_bits=data_bits, read_latency=READ_LATENCY, sample=sample)
    _print_cycles(console, cycles)
    _print_areas(console, blocks)
    for name, before, now in differences(measured, read_baseline("interface")) if sample is None else []:
        console.print(f"{name}: {before:g} -> {now:g}")
    for reason in left_out:
        console.print(f"left out: {reason}", soft_wrap=True)
    console.print(str(bar), style=None if bar.met else "bold red", highlight=False)
    if rebase:
        make_baseline(measured)
    raise SystemExit(0 if bar.met else 1)


def _print_cycles(console: Console, cycles: list[InterfaceCycles]) -> None:
    table = create_table("heads", "number", "bare core", "behind AXI", "%", "loses most, %", "one alone", "behind AXI",
                         title="Cycles: first doorbell to last status word; bare: first job to last output")
    for of_set in cycles:
        table.add_row(of_set.name, str(of_set.heads), str(of_set.core), str(of_set.through),
                      f"{100 * more(of_set.through, of_set.core):+.2f}", f"{100 * of_set.slowest:+.2f}",
                      str(of_set.alone_core), str(of_set.alone_through))
    table.add_section()
    table.add_row("all", str(sum(of_set.heads for of_set in cycles)), str(sum(of_set.core for of_set in cycles)),
                  str(sum(of_set.through for of_set in cycles)), f"{100 * in_sum(cycles):+.2f}", style="bold")
    console.print(table)
    console.print("loses most: of the heads behind the first, the one that takes longest compared with the bare core",
                  soft_wrap=True)


def _print_areas(console: Console, blocks: dict[str, Usage]) -> None:
    table = create_table("block", "LUT4 eq.", "flip-flops", "block RAM", title="Area around the core")
    for name, usage in {**blocks, "total": total(blocks)}.items():
        table.add_row(name, str(usage.lut4_equivalents), str(usage.ff), str(usage.bram or ""),
                      style="bold" if name == "total" else None)
    console.print(table)
