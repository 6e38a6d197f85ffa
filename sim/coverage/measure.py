"""Run a workload on instrumented models and gather what was reached, of programs that agree with the golden model."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from latte.rtl.axi.bus import MasterParameters, StreamParameters
from latte.sim.axi_cache_core_programs import AxiCacheScript
from latte.sim.axi_cache_run import build_axi_cache_core, run_axi_cache
from latte.sim.axi_run import build_axi_core, run_axi_core, run_axi_stream_core
from latte.sim.cache_core_programs import script_pages
from latte.sim.cache_run import build_cache_core, run_cache_jobs, words_needed
from latte.sim.core_run import CoreReport, build_core, run_cores
from latte.sim.coverage.cache_plan import CacheRun, observe_cached
from latte.sim.coverage.cache_workload import CacheLoad
from latte.sim.coverage.groups import Hits, add_hits
from latte.sim.coverage.instrument import Instrument, Reader
from latte.sim.coverage.plan import observe
from latte.sim.coverage.record import Figures, load_figures, save_figures
from latte.sim.coverage.workload import Load, Session
from latte.sim.runner import Model

__all__ = ["Measured", "measure"]

_PATIENCE = 20_000
_LATENCY, _AXI_LATENCY = 40, 12
"""Cycles of the memory of keys."""
_FIGURES = "figures.json"


@dataclasses.dataclass
class Measured:
    """A load, and what it reached; `again` if that was read from a file."""

    load: Load | CacheLoad
    figures: Figures
    again: bool = False


@dataclasses.dataclass(frozen=True)
class _Ran:
    """What a program came to."""

    hits: Hits
    problems: list[str]
    jobs: int
    cycles: int


def measure(loads: Sequence[Load | CacheLoad], build_folder: pathlib.Path, *, seed: int, full: bool, processes: int,
            done: Callable[[Measured], None]) -> list[Measured]:
    """Run all loads, some at a time; `done` is called with each as it ends.

    What a load reached is kept, and read if neither the sources nor its programs have changed.
    """
    def run(load: Load | CacheLoad) -> Measured:
        measured = _measure_load(load, build_folder, seed, full)
        done(measured)
        return measured

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(run, loads))


def _measure_load(load: Load | CacheLoad, build_folder: pathlib.Path, seed: int, full: bool) -> Measured:
    folder, decisive = build_folder / "coverage" / load.name, (load, seed, full)
    if known := load_figures(folder / _FIGURES, decisive):
        return Measured(load, known, again=True)
    figures, started = Figures(), time.monotonic()
    model = _build(load, build_folder)
    reader = Reader(model)
    figures.compiling, started = time.monotonic() - started, time.monotonic()
    sessions: Iterator[Session | CacheRun] = load.sessions(seed, full=full)
    for number, session in enumerate(sessions):
        place = folder / f"session{number}"
        for index, ran in enumerate(_run(load, model, session, place)):
            add_hits(figures.hits, ran.hits)
            figures.problems += [f"{load.name}, session {number}, program {index}: {problem}"
                                 for problem in ran.problems]
            figures.programs += 1
            figures.jobs += ran.jobs
            figures.cycles += ran.cycles
        figures.counts.add(reader.read(place))
    figures.simulating = time.monotonic() - started
    if not figures.problems:
        save_figures(folder / _FIGURES, figures, decisive)
    return Measured(load, figures)


def _build(load: Load | CacheLoad, build_folder: pathlib.Path) -> Model:
    if isinstance(load, CacheLoad):
        if load.behind_axi:
            return build_axi_cache_core(load.build, build_folder=build_folder, instrument=Instrument())
        words = words_needed(load.build, script_pages(load.build))
        return build_cache_core(load.build, words, latency=_LATENCY, pauses=True, build_folder=build_folder,
                                instrument=Instrument())
    if load.bus is None:
        return build_core(load.config, build_folder=build_folder, instrument=Instrument())
    return build_axi_core(load.config, load.bus, register_port=load.register_port, build_folder=build_folder,
                          instrument=Instrument())


def _run(load: Load | CacheLoad, model: Model, session: Session | CacheRun, folder: pathlib.Path) -> list[_Ran]:
    """Run what is run in one simulator."""
    if isinstance(session, CacheRun):
        return [_run_cached(model, session, folder)]
    assert isinstance(load, Load)
    reports = _run_core(load, model, session, folder)
    return [_Ran(observe(run, report, load.interface, faulty=session.faulty), report.problems, len(run.program.jobs),
                 report.cycles) for run, report in zip(session.runs, reports, strict=True)]


def _run_cached(model: Model, run: CacheRun, folder: pathlib.Path) -> _Ran:
    script = run.script
    if isinstance(script, AxiCacheScript):
        behind = run_axi_cache(model, script.program, folder, stall=run.stall, seed=run.seed, reset_at=run.reset_at,
                               latency=_AXI_LATENCY, patience=_PATIENCE)
        outcomes, problems, cycles = [job.outcome for job in script.program.jobs], behind.problems, sum(behind.cycles)
    else:
        bare = run_cache_jobs(model, script.memory, script.entries, script.jobs, folder, stall=run.stall,
                              seed=run.seed, reset_at=run.reset_at, patience=_PATIENCE)
        outcomes, problems = [job.outcome for job in bare.jobs], bare.all_problems
        cycles = sum(job.counters["cycles"] for job in bare.jobs)
    return _Ran(observe_cached(run, outcomes, problems), problems, len(script.jobs), cycles)


def _run_core(load: Load, model: Model, session: Session, folder: pathlib.Path) -> list[CoreReport]:
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
