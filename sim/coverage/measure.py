"""Run a workload on instrumented models and gather what was reached, of programs that agree with the golden model."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from latte.rtl.axi.bus import MasterParameters, StreamParameters
from latte.sim.axi_run import build_axi_core, run_axi_core, run_axi_stream_core
from latte.sim.core_run import CoreReport, build_core, run_cores
from latte.sim.coverage.instrument import Instrument, Reader
from latte.sim.coverage.plan import add_hits, observe
from latte.sim.coverage.record import Figures, load_figures, save_figures
from latte.sim.coverage.workload import Load, Session
from latte.sim.runner import Model

__all__ = ["Measured", "measure"]

_PATIENCE = 20_000
_FIGURES = "figures.json"


@dataclasses.dataclass
class Measured:
    """A load, and what it reached; `again` if that was read from a file."""

    load: Load
    figures: Figures
    again: bool = False


def measure(loads: Sequence[Load], build_folder: pathlib.Path, *, seed: int, full: bool, processes: int,
            done: Callable[[Measured], None]) -> list[Measured]:
    """Run all loads, some at a time; `done` is called with each as it ends.

    What a load reached is kept, and read if neither the sources nor its programs have changed.
    """
    def run(load: Load) -> Measured:
        measured = _measure_load(load, build_folder, seed, full)
        done(measured)
        return measured

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(run, loads))


def _measure_load(load: Load, build_folder: pathlib.Path, seed: int, full: bool) -> Measured:
    folder, decisive = build_folder / "coverage" / load.name, (load, seed, full)
    if known := load_figures(folder / _FIGURES, decisive):
        return Measured(load, known, again=True)
    figures, started = Figures(), time.monotonic()
    model = _build(load, build_folder)
    reader = Reader(model)
    figures.compiling, started = time.monotonic() - started, time.monotonic()
    for number, session in enumerate(load.sessions(seed, full=full)):
        place = folder / f"session{number}"
        reports = _run(load, model, session, place)
        for index, (run, report) in enumerate(zip(session.runs, reports, strict=True)):
            add_hits(figures.hits, observe(run, report, load.interface, faulty=session.faulty))
            figures.problems += [f"{load.name}, session {number}, program {index}: {problem}"
                                 for problem in report.problems]
        figures.counts.add(reader.read(place))
        figures.programs += len(reports)
        figures.jobs += sum(len(run.program.jobs) for run in session.runs)
        figures.cycles += sum(report.cycles for report in reports)
    figures.simulating = time.monotonic() - started
    if not figures.problems:
        save_figures(folder / _FIGURES, figures, decisive)
    return Measured(load, figures)


def _build(load: Load, build_folder: pathlib.Path) -> Model:
    if load.bus is None:
        return build_core(load.config, build_folder=build_folder, instrument=Instrument())
    return build_axi_core(load.config, load.bus, register_port=load.register_port, build_folder=build_folder,
                          instrument=Instrument())


def _run(load: Load, model: Model, session: Session, folder: pathlib.Path) -> list[CoreReport]:
    if load.bus is None:
        return run_cores(model, session.runs, folder, patience=_PATIENCE)
    run, = session.runs
    settings = session.settings | {"stall": run.stall, "seed": run.seed, "reset_at": run.reset_at,
                                   "patience": _PATIENCE}
    if isinstance(load.bus, MasterParameters):
        bench = "latte.sim.axi_fault_testbench" if session.faulty else "latte.sim.axi_testbench"
        return [run_axi_core(model, run.program, folder, master=load.bus, testbench=bench, **settings)]
    assert isinstance(load.bus, StreamParameters)
    bench = "latte.sim.axi_stream_fault_testbench" if session.faulty else "latte.sim.axi_stream_testbench"
    return [run_axi_stream_core(model, run.program, folder, stream=load.bus, testbench=bench, **settings)]
