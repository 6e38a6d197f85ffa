"""``latte size``, ``latte sweep`` and ``latte measure-blocks``."""

import json
import pathlib
import re

import click
from rich.console import Console
from rich.table import Table

from latte.fpga.boards.devices import Device
from latte.fpga.sizing.block_area import MEASURED, find_multiplier_price
from latte.fpga.sizing.proposal import (
    FILL,
    Proposal,
    check_workload,
    device_names,
    find_sized_device,
    propose,
    sample_work,
)
from latte.fpga.sizing.sweep import Point, pareto_front, plot_front, sweep, sweep_configs
from latte.fpga.synthesis.targets import TARGETS, find_target
from latte.golden.console import create_console, create_progress, create_table, show_status
from latte.golden.results import write_results, write_text
from latte.sim.locks import claimed
from latte.sim.options import build_option

__all__ = ["measure_blocks_command", "size_command", "sweep_command"]

_MODEL_TOLERANCE = 0.01
_SIZED = ("query_lanes", "key_lanes", "dim_lanes", "pe_structure", "cross_lanes", "value_lanes",
          "normalizer_lanes", "max_seq_len", "bus_bytes", "kv_banks", "query_rows", "survivor_fifo_depth")


@click.command("size")
@click.option("--keep", required=True, type=float, help="Share of (query, key) pairs that survive, such as 0.15.")
@click.option("--device", "device_name", required=True, metavar="NAME", help=f"One of {', '.join(device_names())}.")
@click.option("--n", "keys", default=197, show_default=True, type=int, help="Keys of a sequence.")
@click.option("--causal", is_flag=True, help="Each query sees the keys up to its own.")
@click.option("--fmax", default=100.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="Clock in MHz for the rate in the table; 'latte timing' measures it.")
@click.option("--fill", default=FILL, show_default=True, type=click.FloatRange(0, 1, min_open=True),
              help="Share of the device's LUTs and flip-flops that may be used.")
def size_command(keep: float, device_name: str, keys: int, causal: bool, fmax: float, fill: float) -> None:
    """Propose lanes for a device and a keep ratio, from measured block areas and predicted cycles."""
    device = find_sized_device(device_name)
    proposal = propose(device, keep=keep, keys=keys, causal=causal, fill=fill)
    console = create_console()
    config = proposal.config

    fields = Table("field", "proposed", title=f"{device.title} for {100 * keep:g} % kept of n = {keys}"
                                              f"{', causal' if causal else ''}")
    for field in _SIZED:
        fields.add_row(field, str(getattr(config, field)))
    console.print(fields)
    loads = create_table("unit", "busy", title="share of all cycles, loading included")
    for unit, load in proposal.loads().items():
        loads.add_row(unit, f"{100 * load:.1f} %")
    console.print(loads)
    console.print(_area_table(proposal, device))
    bound = sum(head.visible for head in sample_work(keys, keep, causal)) / proposal.heads
    bound *= config.dim_slices / config.pairs_per_cycle
    cycles = proposal.cycles_per_head
    console.print(f"predicted: {cycles:.0f} cycles per head, {cycles / bound:.3f} x the estimator's bound; "
                  f"{1e6 * fmax / cycles:.0f} heads/s at {fmax:g} MHz with one core, "
                  f"{1e6 * fmax / cycles * proposal.copies:.0f} with the {proposal.copies} that fit")
    changes = " ".join(f"--{field.replace('_', '-')} {getattr(config, field)}" for field in
                       (*_SIZED, "heads", "exp_frac_bits", "reciprocal_bits"))
    console.print(f"build it with: latte emit --config small {changes} --output core.sv", soft_wrap=True)


def _area_table(proposal: Proposal, device: Device) -> Table:
    table = create_table("block", "LUT4", "FF", "DSP", "BRAM", title="area, from measured blocks")
    for name, area in sorted(proposal.areas.items(), key=lambda item: -item[1].lut4):
        table.add_row(name, f"{area.lut4:.0f}", f"{area.ff:.0f}", f"{area.dsp:.0f}", str(area.bram))
    total = proposal.area
    table.add_section()
    table.add_row("total", f"{total.lut4:.0f}", f"{total.ff:.0f}", f"{total.dsp:.0f}", str(total.bram))
    table.add_row(device.title, *(str(getattr(device, kind)) for kind in ("lut4", "ff", "dsp", "bram")))
    table.add_row("used", *(f"{100 * getattr(total, kind) / getattr(device, kind):.0f} %"
                            for kind in ("lut4", "ff", "dsp", "bram")))
    return table


@click.command("sweep")
@click.option("--keep", default=0.15, show_default=True, type=float, help="Share of pairs that survive.")
@click.option("--n", "keys", default=197, show_default=True, type=int, help="Keys of a sequence.")
@click.option("--causal", is_flag=True, help="Each query sees the keys up to its own.")
@click.option("--target", "target_name", default="ecp5", show_default=True, help="Family whose block areas count.")
@click.option("--pairs", "most_pairs", default=12, show_default=True, type=click.IntRange(1, 64),
              help="Most pairs per cycle.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786. Default: this machine.")
@click.option("--confirm", default=0, show_default=True, type=click.IntRange(0),
              help="Simulate this many builds of the front in RTL and compare their cycles.")
@build_option
def sweep_command(keep: float, keys: int, causal: bool, target_name: str, most_pairs: int, scheduler: str | None,
                  confirm: int, build_folder: pathlib.Path) -> None:
    """Explore builds with the cycle model, and plot the Pareto front of throughput against area.

    Writes build/sweep.json, sweep.png and sweep.svg. Exits with 0 only if every confirmed build takes the predicted
    cycles within 1 %.
    """
    check_workload(keep, keys)
    find_target(target_name)
    console = create_console()
    configs = sweep_configs(keep, keys, causal, most_pairs)
    with create_progress(console, "builds") as bar:
        task = bar.add_task("predicting", total=len(configs))
        points = sweep(configs, (keys, keep, causal), target_name, scheduler,
                       lambda done: bar.update(task, completed=done))
    front = pareto_front(points)
    title = f"{100 * keep:g} % kept, n = {keys}{', causal' if causal else ''}, {target_name}"
    click.get_current_context().with_resource(claimed(build_folder / "sweep"))
    pictures = plot_front(points, front, title, build_folder / "sweep")
    measured = _confirm(console, _best(front, confirm), (keys, keep, causal), build_folder)
    passed = all(abs(error) <= _MODEL_TOLERANCE for _, _, error in measured.values())
    on_front = {point.config.name for point in front}
    results = [_result(point, point.config.name in on_front, measured.get(point.config.name)) for point in points]
    write_results(build_folder / "sweep.json", "sweep", points[0].config, results, passed, keep=keep, keys=keys,
                  causal=causal, area_target=target_name, lut4_per_multiplier=find_multiplier_price(target_name))
    table = create_table("build", "LUT4", "DSP", "BRAM", "area", "heads/Mcycle", "x bound", "heads/Mcycle/kLUT4",
                         title=f"Pareto front: {title}")
    for point in front:
        table.add_row(point.config.name, f"{point.lut4:.0f}", f"{point.dsp:.0f}", str(point.bram), f"{point.area:.0f}",
                      f"{point.heads_per_mega_cycle:.2f}", f"{point.cycles / point.bound:.3f}",
                      f"{1000 * point.heads_per_mega_cycle / point.area:.2f}")
    console.print(table)
    console.print(f"one multiplier counts as {find_multiplier_price(target_name):g} LUT4; {len(points)} builds; "
                  f"{' and '.join(str(path) for path in pictures)}", soft_wrap=True)
    if measured:
        confirmed = create_table("build", "predicted", "RTL", "error", title="cycles, confirmed in RTL")
        for name, (predicted, cycles, error) in measured.items():
            confirmed.add_row(name, str(predicted), str(cycles), f"{100 * error:+.3f} %")
        console.print(confirmed)
    raise SystemExit(0 if passed else 1)


def _best(front: list[Point], count: int) -> list[Point]:
    """Return the points of the front with the most throughput per area."""
    return sorted(front, key=lambda point: -point.heads_per_mega_cycle / point.area)[:count]


def _confirm(console: Console, points: list[Point], workload: tuple[int, float, bool],
             build_folder: pathlib.Path) -> dict[str, tuple[int, int, float]]:
    """Simulate builds in RTL; return predicted and measured cycles, and the relative error, by name."""
    if not points:
        return {}
    from latte.fpga.sizing.confirm import confirm_cycles

    measured = {}
    for point in points:
        with show_status(console, f"compiling and simulating {point.config.name} ..."):
            predicted, cycles = confirm_cycles(point.config, workload, build_folder)
        measured[point.config.name] = (predicted, cycles, predicted / cycles - 1)
    return measured


def _result(point: Point, on_front: bool, measured: tuple[int, int, float] | None) -> dict[str, object]:
    result = {"name": f"{point.config.name}.heads_per_mega_cycle", "unit": "1/Mcycle",
              "value": point.heads_per_mega_cycle, "cycles": point.cycles, "cycles_over_bound":
              point.cycles / point.bound, "lut4": point.lut4, "ff": point.ff, "dsp": point.dsp, "bram": point.bram,
              "area": point.area, "pareto": on_front, "config": point.config.to_dict()}
    if measured:
        result |= {"predicted_busy_cycles": measured[0], "rtl_busy_cycles": measured[1], "model_error": measured[2]}
    return result


@click.command("measure-blocks")
@click.option("--target", "targets", multiple=True, default=("ecp5",), show_default=True,
              type=click.Choice(list(TARGETS)), help="Family; repeatable.")
@build_option
def measure_blocks_command(targets: tuple[str, ...], build_folder: pathlib.Path) -> None:
    """Synthesise the blocks at a few lane counts: the measured areas that size and sweep are based on.

    Takes minutes per family, and replaces those families in the package's block_area.json.
    """
    from latte.fpga.sizing.measure_blocks import measure_blocks

    click.get_current_context().with_resource(claimed(build_folder / "blocks"))
    record = json.loads(MEASURED.read_text()) if MEASURED.exists() else {"targets": {}}
    for name in targets:
        click.echo(f"synthesising blocks for {name} ...")
        record["targets"][name] = measure_blocks(find_target(name), build_folder / "blocks" / name)
    # One line per sample.
    text = re.sub(r"\{[^{}]*\}", lambda sample: " ".join(sample.group().split()), json.dumps(record, indent=1))
    write_text(MEASURED, text + "\n")
    click.echo(f"{MEASURED}: {', '.join(targets)}")
