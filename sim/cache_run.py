"""Carry out jobs on the simulated core with keys in memory, and compare all that comes of them."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Sequence
from importlib import metadata

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import FAILURES, CacheJob, Outcome, carry_out
from latte.golden.memory.parts import Part
from latte.golden.memory.traffic import OPERANDS
from latte.golden.results import write_text
from latte.rtl.memory.cache_core import master_of
from latte.sim.cache_program import COUNTERS, read_ends, read_outputs, save_jobs, save_memory
from latte.sim.cache_system import CacheSystem
from latte.sim.core_run import digest_of_sources
from latte.sim.memory_timing import PartTiming
from latte.sim.runner import BUILD_FOLDER, Instrument, Model, build_model

__all__ = ["CacheReport", "JobReport", "build_cache_core", "words_needed", "run_cache_jobs"]

_SHORT = 3
"""Latency of every other burst of a memory with pauses."""


@dataclasses.dataclass(frozen=True)
class JobReport:
    """What became of one job.

    Parameters
    ----------
    outcome
        The golden model's.
    problems
        One line for each thing that is wrong.
    counters : dict of str to int
        Of the hardware, of this job.
    """

    outcome: Outcome
    problems: list[str]
    counters: dict[str, int]


@dataclasses.dataclass(frozen=True)
class CacheReport:
    """What became of some jobs.

    Parameters
    ----------
    jobs
    problems
        What is wrong with all of them together: the memory behind them, the testbench.
    """

    jobs: list[JobReport]
    problems: list[str]

    @property
    def all_problems(self) -> list[str]:
        """Everything that is wrong, a line each."""
        return self.problems + [f"job {n}: {text}" for n, job in enumerate(self.jobs) for text in job.problems]


def build_cache_core(build: MemoryBuild, words: int, *, latency: int = 60, part: Part | None = None,
                     pauses: bool = False, build_folder: pathlib.Path = BUILD_FOLDER,
                     instrument: Instrument | None = None) -> Model:
    """Compile a `CacheSystem` for Verilator, or return the model that was compiled of the same sources.

    Parameters
    ----------
    build
    words
        Words of a beat that the memory has.
    latency
        Cycles from a read's or a write's address to its answer.
    part
        Whose pins and banks move the words; none: a beat in each cycle.
    pauses
        Addresses and beats wait at random, and latencies are short and `latency` in turn.
    instrument
        Counts what is reached of the core, not of the memory.
    """
    timing = None if part is None else PartTiming.of(part)

    def system() -> CacheSystem:
        return CacheSystem(build, master_of(build), words, latencies=(_SHORT if pauses else latency, latency),
                           pauses=pauses, timing=timing)

    source = repr((build, words, latency, timing, pauses, digest_of_sources(), metadata.version("amaranth")))
    return build_model(system, f"cache-{build.core.name}", build_folder=build_folder, source=source, clock_loop=True,
                       instrument=instrument)


def words_needed(build: MemoryBuild, pages: int) -> int:
    """Return a power of two of words that hold records and page tables of all slots, and some pages."""
    size = CacheMemory(build, pages).image.data.size
    return 1 << (ceil_div(size, build.bus_bytes) - 1).bit_length()


def run_cache_jobs(model: Model, memory: CacheMemory, entries: dict[int, HeadParameters], jobs: Sequence[CacheJob],
                   folder: pathlib.Path, *, stall: str = "none", seed: int = 1, reset_at: int | None = None,
                   patience: int = 100_000) -> CacheReport:
    """Carry out jobs in hardware and by the golden model, and compare outputs, verdicts, bytes moved, and the memory.

    Parameters
    ----------
    model
        From `build_cache_core`, of the memory's build, with room for its image.
    memory
        As the host left it; afterwards as the golden model did. What is broken of it is only read.
    entries
        Of the register file.
    jobs
        None of which is refused for what the host would have to do between them.
    folder
        Emptied first.
    stall, seed
        Entry of the stall matrix, for the streams of the core; the memory answers as it was built to.
    reset_at
        Cycles after which a reset lets memory and jobs begin again; None: there is none.
    patience
        Cycles without any transfer that count as a hang.
    """
    build = memory.build
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_memory(folder, memory.image.data, build.bus_bytes, memory.first_page,
                writes=save_jobs(folder, build, entries, jobs), jobs=len(jobs), broken=memory.image.broken_beats)
    write_text(folder / "settings.json", json.dumps({"stall": stall, "seed": seed, "reset_at": reset_at,
                                                     "patience": patience}))
    outcomes = [carry_out(job, memory, entries) for job in jobs]
    model.run("latte.sim.cache_testbench", folder, seed=seed)
    return _compare(folder, memory, jobs, outcomes)


def _compare(folder: pathlib.Path, memory: CacheMemory, asked: Sequence[CacheJob], outcomes: list[Outcome]
             ) -> CacheReport:
    path = folder / "report.json"
    if not path.exists():
        return CacheReport([], [f"the simulator ended without a report; see {folder / 'sim.log'}"])
    report = json.loads(path.read_text())
    problems = [report["failure"]] if report["failure"] else []
    build = memory.build
    d, codes, ends = build.core.head_dim, read_outputs(report, build), read_ends(report)
    if len(ends.verdicts) != len(outcomes):
        problems.append(f"{len(ends.verdicts)} of {len(outcomes)} jobs ended")
    # Of jobs that failed in course, rows may have come, which mean nothing: at most `spare` before the next ones.
    jobs, row, spare = [], 0, 0
    spent = ends.spent(np.zeros(len(COUNTERS), np.int64)).tolist()
    for job, outcome, found, counts in zip(asked, outcomes, ends.verdicts, spent, strict=False):
        wrong = [] if found == ({outcome.status} if outcome.status else set()) else [
            f"ended with {', '.join(sorted(found)) or 'no error'}, expected {outcome.status or 'none'}"]
        expected = np.array([of.output for of in outcome.rows], np.int64).reshape(-1, d)
        if outcome.status in FAILURES:
            spare += job.q.shape[0] * job.q.shape[1]
        elif len(expected):
            row += next((n for n in range(spare + 1) if np.array_equal(codes[row + n:row + n + len(expected)],
                                                                       expected)), 0)
            spare = 0
        differs = [n for n, want in enumerate(expected) if row + n >= len(codes) or (codes[row + n] != want).any()]
        if differs:
            wrong.append(f"{len(differs)} of {len(expected)} output rows differ, the first is {differs[0]}")
        row += len(expected)
        of_job = dict(zip(COUNTERS, counts, strict=True))
        if outcome.status is None:
            wrong += _compare_traffic(of_job, outcome, build)
        jobs.append(JobReport(outcome, wrong, of_job))
    if not row <= len(codes) <= row + spare:
        problems.append(f"{len(codes)} output rows, expected {row}")
    image = np.frombuffer((folder / "image.bin").read_bytes(), np.uint8)[:len(memory.image.data)]
    if not np.array_equal(image, memory.image.data):
        problems.append("the memory differs" + (f", first at {int(np.flatnonzero(image != memory.image.data)[0]):#x}"
                                                if len(image) == len(memory.image.data) else ": it was not shown"))
    return CacheReport(jobs, problems)


def _compare_traffic(counters: dict[str, int], outcome: Outcome, build: MemoryBuild) -> list[str]:
    """Return what differs of the rows that were fetched, and of the bytes of keys and values."""
    moved, requests = outcome.traffic.moved, outcome.traffic.requests
    spilled = moved["spilled"] // 2
    wanted = {"keys_fetched": requests["key_low"], "values_fetched": requests["values"]}
    problems = [f"{name} {counters[name]}, expected {want}" for name, want in wanted.items() if counters[name] != want]
    # The record is written back whole; it is read in the same beats.
    read = sum(moved[kind] for kind in moved if kind not in (OPERANDS, "written", "spilled")) + spilled
    beats = read // build.bus_bytes
    if counters["beats_read"] != beats:
        problems.append(f"beats_read {counters['beats_read']}, expected {beats}")
    return problems
