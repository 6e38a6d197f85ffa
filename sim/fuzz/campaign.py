"""Cases on simulators, several at a time: each is held to the golden model, and made small if it fails."""

import dataclasses
import functools
import itertools
import pathlib
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from latte.golden.config import AttentionConfig
from latte.sim.core_run import Run, build_core, run_cores
from latte.sim.fuzz.builds import REAL_SIZES, products, random_build
from latte.sim.fuzz.case import Case, random_case, save_case
from latte.sim.fuzz.shrink import shrink
from latte.sim.runner import Model

__all__ = ["CASES_PER_BUILD", "Outcome", "Task", "build_tasks", "run_case", "run_tasks", "seed_tasks"]

CASES_PER_BUILD = 16
"""Cases with one build, one after the other: compiling it takes as long as some of them."""
_ICARUS_CYCLES = 4_000
"""Of a case on Icarus at most: it simulates them in some seconds."""
_REAL_SIZE_EVERY = 4
"""One build of so many is one of `REAL_SIZES`, the others are random."""
_ICARUS_EVERY = 8
"""One case of so many runs on the last simulator, Icarus, if the build is small enough for it."""
_ICARUS_PRODUCTS = 48
"""Products a cycle of such a build: Icarus takes a millisecond or more for a cycle of it."""
_SHOWN = 10
"""Problems of a case that are kept."""

Build = Callable[[AttentionConfig, str], Model]
"""Compiles a build for a simulator."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What decides a case.

    Parameters
    ----------
    seed
        Of the programs.
    config
    simulator
    cycles
        That the programs take together, about.
    """

    seed: int
    config: AttentionConfig
    simulator: str
    cycles: int

    def case(self) -> Case:
        """Return the programs."""
        return random_case(self.seed, self.config, self.simulator, self.cycles)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    task
    programs, jobs, scores, cycles : int
        That were compared; a score is a (query, key) pair; cycles were simulated.
    compiling, simulating : float
        Seconds; the golden model's are among the latter.
    problems : list of str
        Empty if every bit, status bit and counter agrees.
    file
        Case of which some problem is left when it is made small; None if there is none.
    """

    task: Task
    programs: int = 0
    jobs: int = 0
    scores: int = 0
    cycles: int = 0
    compiling: float = 0.0
    simulating: float = 0.0
    problems: Sequence[str] = ()
    file: pathlib.Path | None = None


def seed_tasks(seed: int, config: AttentionConfig | None, simulators: Sequence[str], cycles: int,
               cases: int | None = None) -> Iterator[list[Task]]:
    """Yield groups of tasks with one build, from a seed on.

    Parameters
    ----------
    seed
    config
        Of all of them; None: the seed decides.
    simulators
        The first one runs most cases, the last one some of small builds.
    cycles
        Of a case on Verilator.
    cases
        Tasks in all; None: without end.
    """
    end = None if cases is None else seed + cases
    for group in itertools.count(seed // CASES_PER_BUILD):
        first, behind = group * CASES_PER_BUILD, (group + 1) * CASES_PER_BUILD
        if end is not None and first >= end:
            return
        build = config or _build_of(group)
        seeds = range(max(seed, first), behind if end is None else min(behind, end))
        chosen = [_simulator_of(number, build, simulators) for number in seeds]
        yield [Task(number, build, simulator, min(cycles, _ICARUS_CYCLES) if simulator == "icarus" else cycles)
               for number, simulator in zip(seeds, chosen, strict=True)]


def _build_of(group: int) -> AttentionConfig:
    place, rest = divmod(group, _REAL_SIZE_EVERY)
    return random_build(np.random.default_rng(group)) if rest else REAL_SIZES[place % len(REAL_SIZES)]


def _simulator_of(seed: int, config: AttentionConfig, simulators: Sequence[str]) -> str:
    return simulators[-1 if products(config) <= _ICARUS_PRODUCTS and seed % _ICARUS_EVERY == 1 else 0]


def build_tasks(builds: Iterable[AttentionConfig], simulator: str, cycles: int) -> Iterator[list[Task]]:
    """Yield a group of one task for each build, whose number is the seed."""
    return ([Task(number, build, simulator, cycles)] for number, build in enumerate(builds))


def run_tasks(groups: Iterable[list[Task]], build_folder: pathlib.Path, *, processes: int,
              stop: Callable[[], bool], done: Callable[[Outcome], None]) -> None:
    """Run groups of tasks, several groups at a time.

    A group ends with its first case that fails, which is then made small.

    Parameters
    ----------
    groups
        Taken as they are needed.
    build_folder
        Compiled models are in ``sim``, runs and cases that fail in ``fuzz``.
    processes
        Simulators at a time.
    stop
        Whether to begin no further case.
    done
        Called with each outcome, by one thread at a time.
    """
    source, lock = iter(groups), threading.Lock()

    def next_group() -> list[Task]:
        with lock:
            return [] if stop() else next(source, [])

    def work(worker: int) -> None:
        while group := next_group():
            for task in group:
                if stop():
                    return
                outcome = run_case(task, build_folder, build_folder / "fuzz" / f"worker{worker}")
                with lock:
                    done(outcome)
                if outcome.problems:
                    break

    with ThreadPoolExecutor(processes) as pool:
        for worker in [pool.submit(work, number) for number in range(processes)]:
            worker.result()


def run_case(task: Task, build_folder: pathlib.Path, folder: pathlib.Path, build: Build | None = None) -> Outcome:
    """Run a task's case, and if it fails write the smallest that does into ``<build_folder>/fuzz``.

    Parameters
    ----------
    task
    build_folder
    folder
        Of the runs; emptied first.
    build
        What compiles the core; `build_core` unless given.
    """
    build = build or functools.partial(build_core, build_folder=build_folder)
    case, started = task.case(), time.monotonic()
    try:
        model = build(case.config, case.simulator)
    except Exception:  # whatever a generator of hardware may raise: no build that the configuration allows may fail
        return Outcome(task, compiling=time.monotonic() - started, problems=traceback.format_exc().splitlines()[-1:])
    compiled = time.monotonic()
    reports = run_cores(model, case.runs, folder)
    simulated = time.monotonic()
    problems = [f"program {index}, {problem}" for index, report in enumerate(reports) for problem in report.problems]
    file = None
    if problems:
        def trial(runs: Sequence[Run]) -> list[bool]:
            return [bool(report.problems) for report in run_cores(model, runs, folder)]

        file = build_folder / "fuzz" / f"{case.config.name}-{case.simulator}-{task.seed}.npz"
        save_case(file, dataclasses.replace(case, runs=shrink(case.runs, trial)))
    return Outcome(
        task, len(reports), sum(len(run.program.jobs) for run in case.runs),
        sum(job["visible"] for report in reports for job in report.jobs.values()),
        sum(report.cycles for report in reports), compiled - started, simulated - compiled, problems[:_SHOWN], file)
