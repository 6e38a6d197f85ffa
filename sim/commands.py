"""``latte sim``."""

import functools
import os
import pathlib
import time
from collections.abc import Callable

import click

from latte.golden.config import AttentionConfig
from latte.golden.console import create_console, create_progress, show_status
from latte.golden.errors import LatteError
from latte.golden.results import write_results
from latte.golden.vectors import VectorSet
from latte.sim.compilation import SIMULATORS, check_simulator
from latte.sim.head_table import head_result, print_heads, print_problems
from latte.sim.options import INTERFACES, build_option, config_options, data_bits_option, refuse_without_bus
from latte.sim.simulate import simulate, write_dump
from latte.sim.stalls import STALLS
from latte.sim.vector_sets import gather_vectors, open_registers, registers_note, vector_options

__all__ = ["simulate_command"]

@click.command("sim")
@vector_options
@click.option("--dump", type=click.Path(path_type=pathlib.Path),
              help="Write what the RTL produced for the one vector file (.npz).")
@click.option("--interface", default="core", show_default=True, type=click.Choice(INTERFACES),
              help="What the heads come through: the core's own streams, AXI by descriptors in memory, or AXI4-Stream; "
                   "behind AXI the bare core runs them as well, and its cycles stand beside.")
@data_bits_option
@click.option("--sim", "simulator", default="verilator", show_default=True, metavar="NAME",
              help=f"Simulator: {' or '.join(SIMULATORS)}.")
@click.option("--waves", is_flag=True, help="Record waves (slow); the files are listed at the end.")
@click.option("--processes", "--jobs", default=os.cpu_count() or 1, show_default="all cores", type=click.IntRange(1),
              help="Simulations to run at a time.")
@click.option("--stall", default="none", show_default=True, type=click.Choice(STALLS),
              help="Idle sources, slow sink, or both.")
@click.option("--seed", default=1, show_default=True, help="Seed of the stalls.")
@build_option
@config_options
def simulate_command(config: AttentionConfig, files: tuple[pathlib.Path, ...], registers: pathlib.Path | None,
                     sample: int | None, dump: pathlib.Path | None, interface: str, data_bits: int, simulator: str,
                     waves: bool, processes: int, stall: str, seed: int, build_folder: pathlib.Path) -> None:
    """Simulate heads in RTL and compare every bit with the golden model.

    Estimates, kept keys, scores, weights and outputs are compared. Prints a table, writes build/sim.json, and exits
    with 0 only if every bit agrees and the output error is within the budget.
    """
    console = create_console()
    image = open_registers(registers, config)
    sets, left_out = gather_vectors(files, image, config, sample)
    if dump is not None:
        _check_dump(dump, sets)
    refuse_without_bus(interface, "data_bits")
    if interface != "core" and simulator != "verilator":
        raise LatteError(f"--interface {interface} is simulated with verilator alone, not {simulator}; leave --sim out")
    check_simulator(simulator)

    from latte.rtl.axi.bus import MasterParameters  # brings in Amaranth and the RTL
    from latte.rtl.axi.bus_cores import DATA_PORTS
    from latte.sim.axi_run import READ_LATENCY, build_axi_core, run_axi_core, run_axi_stream_core
    from latte.sim.core_run import CoreReport, build_core, run_core

    parameters = None if interface == "core" else DATA_PORTS[interface](data_bits=data_bits)
    run: Callable[..., CoreReport] = run_core
    if isinstance(parameters, MasterParameters):
        run = functools.partial(run_axi_core, master=parameters)
    elif parameters is not None:
        run = functools.partial(run_axi_stream_core, stream=parameters)
    started = time.monotonic()
    with show_status(console, f"compiling the core {config.name!r} for {simulator} (kept for the next time) ..."):
        if parameters is None:
            model = build_core(config, simulator, waves=waves, build_folder=build_folder)
        else:
            model = build_axi_core(config, parameters, waves=waves, build_folder=build_folder)
            bare = build_core(config, simulator, build_folder=build_folder)
    compiled = time.monotonic()
    folder = build_folder / "sim" / "runs" / f"{config.name}-{simulator}-{os.getpid()}"
    with create_progress(console, "heads") as progress:
        task = progress.add_task("simulating", total=sum(len(vectors) for vectors in sets))
        heads, reports = simulate(
            sets, model, config, folder, processes=processes, stall=stall, seed=seed, keep_arrays=dump is not None,
            progress=lambda done: progress.update(task, completed=done), run=run)
        beside = None
        if parameters is not None:
            task = progress.add_task("the same on the bare core", total=len(heads))
            beside = simulate(sets, bare, config, folder / "bare", processes=processes, stall=stall, seed=seed,
                              progress=lambda done: progress.update(task, completed=done))
    simulated = time.monotonic()
    passed = all(head.passed for head in heads)
    if dump is not None and all(head.output is not None for head in heads):
        write_dump(dump, sets[0], heads, config)
    write_results(build_folder / "sim.json", "sim", config,
                  [head_result(head, core) for head, core in zip(heads, beside[0] if beside else [None] * len(heads))],
                  passed, simulator=simulator, stall=stall, seed=seed, left_out=left_out, interface=interface,
                  registers=image and image.checksum)
    print_heads(console, heads, title="RTL against the golden model", beside=beside and beside[0])
    print_problems(console, heads, f"repeat with --stall {stall} --seed {seed}")
    console.print(f"{sum(head.passed for head in heads)} of {len(heads)} heads agree in every bit and keep the error "
                  f"budget ({config.name}, {config.split} split, {simulator}); compiled in {compiled - started:.0f} s, "
                  f"{sum(report.cycles for report in reports)} cycles in {simulated - compiled:.0f} s")
    if beside is not None:
        through, alone = (sum(report.elapsed for report in of) for of in (reports, beside[1]))
        way, end = ((f"AXI, {data_bits} bits, {READ_LATENCY} cycles of read latency", "status word")
                    if interface == "axi" else (f"AXI4-Stream, {data_bits} bits", "interrupt"))
        console.print(f"behind {way}: {through} cycles from the first doorbell to the last {end}, {alone} on the bare "
                      f"core: {through / alone - 1:+.2%}")
    for reason in left_out:
        console.print(f"left out: {reason}", soft_wrap=True)
    if image is not None:
        console.print(registers_note(registers, image), soft_wrap=True)
    for wave in sorted(wave for report in reports for wave in report.folder.glob("*.[fv][sc][td]") if waves):
        console.print(f"waves: {wave}", soft_wrap=True)
    raise SystemExit(0 if passed else 1)


def _check_dump(dump: pathlib.Path, sets: list[VectorSet]) -> None:
    if len(sets) != 1:
        raise LatteError(f"--dump writes the heads of one vector file, not of {len(sets)}; give one --vectors FILE")
    if dump.suffix != ".npz" or not dump.absolute().parent.is_dir() or dump.is_dir():
        raise LatteError(f"--dump {dump} must be an .npz file in an existing folder")
    if not os.access(dump.absolute().parent, os.W_OK):
        raise LatteError(f"--dump {dump} cannot be written: its folder is not writable")
