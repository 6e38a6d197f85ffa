"""Carry out jobs on the simulated core with keys in memory, and compare all that comes of them."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Sequence
from importlib import metadata

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import CacheJob, Outcome, carry_out
from latte.golden.memory.traffic import OPERANDS
from latte.golden.results import write_text
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.common.entry_words import pack_entry, parameter_layout
from latte.rtl.common.payloads import output_layout
from latte.rtl.memory.cache_core import cache_counters_layout
from latte.rtl.memory.cache_payloads import cache_job_layout, cache_verdict_layout
from latte.rtl.memory.tile_payloads import tile_config
from latte.sim.cache_system import CacheSystem, end_layout, setup_layout
from latte.sim.core_run import digest_of_sources
from latte.sim.packing import PayloadReader, pack_struct
from latte.sim.runner import BUILD_FOLDER, Model, build_model

__all__ = ["CacheReport", "JobReport", "build_cache_core", "run_cache_jobs"]

_MASTER = MasterParameters(data_bits=128, burst_beats=16, reads_in_flight=32, writes_in_flight=16)
"""Bursts of 256 bytes; as many in flight as hide a latency of 60 cycles behind rows of two beats."""


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


def build_cache_core(build: MemoryBuild, words: int, *, latency: int = 60, build_folder: pathlib.Path = BUILD_FOLDER
                     ) -> Model:
    """Compile a `CacheSystem` for Verilator, or return the model that was compiled of the same sources.

    Parameters
    ----------
    build
    words
        Words of a beat that the memory has.
    latency
        Cycles from a read's or a write's address to its answer.
    """
    def system() -> CacheSystem:
        return CacheSystem(build, dataclasses.replace(_MASTER, data_bits=8 * build.bus_bytes), words,
                           latencies=(latency, latency), pauses=False)

    source = repr((build, words, latency, digest_of_sources(), metadata.version("amaranth")))
    return build_model(system, f"cache-{build.core.name}", build_folder=build_folder, source=source, clock_loop=True)


def run_cache_jobs(model: Model, memory: CacheMemory, entries: dict[int, HeadParameters], jobs: Sequence[CacheJob],
                   folder: pathlib.Path, *, stall: str = "none", seed: int = 1, patience: int = 100_000) -> CacheReport:
    """Carry out jobs in hardware and by the golden model, and compare outputs, verdicts, bytes moved, and the memory.

    Parameters
    ----------
    model
        From `build_cache_core`, of the memory's build, with room for its image.
    memory
        As the host left it; afterwards as the golden model did.
    entries
        Of the register file.
    jobs
        None of which is refused for what the host would have to do between them.
    folder
        Emptied first.
    stall, seed
        Entry of the stall matrix, for the streams of the core; the memory answers as it was built to.
    patience
        Cycles without any transfer that count as a hang.
    """
    build = memory.build
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    image = memory.image.data.copy()
    outcomes = [carry_out(job, memory, entries) for job in jobs]
    writes = [pack_struct(parameter_layout(), **write) for head, entry in entries.items()
              for write in pack_entry(head, entry, build.core)]
    setup = pack_struct(setup_layout(), first_page=memory.first_page, writes=len(writes), jobs=len(jobs))
    items = [pack_struct(cache_job_layout(), slot=job.sequence.slot, generation=job.sequence.generation, head=job.head,
                         heads=job.q.shape[0], rows=len(job.k), queries=job.q.shape[1]) for job in jobs]
    settings = {"setup": [setup], "parameter": writes, "job": items, "bus_bytes": build.bus_bytes, "stall": stall,
                "seed": seed, "patience": patience}
    write_text(folder / "settings.json", json.dumps(settings))
    d = build.core.head_dim
    k, v = (np.concatenate(rows) for rows in ([job.k for job in jobs], [job.v for job in jobs]))
    q = np.concatenate([job.q.transpose(1, 0, 2).reshape(-1, d) for job in jobs])
    np.savez(folder / "jobs.npz", image=image, k=k, v=v, q=q)
    model.run("latte.sim.cache_testbench", folder, seed=seed, environment={"LATTE_RUN": str(folder.resolve())})
    return _compare(folder, memory, outcomes)


def _compare(folder: pathlib.Path, memory: CacheMemory, outcomes: list[Outcome]) -> CacheReport:
    path = folder / "report.json"
    if not path.exists():
        return CacheReport([], [f"the simulator ended without a report; see {folder / 'sim.log'}"])
    report = json.loads(path.read_text())
    problems = [report["failure"]] if report["failure"] else []
    build = memory.build
    outputs = PayloadReader(output_layout(tile_config(build)), [int(item, 16) for item in report["o"]])
    d = build.core.head_dim
    codes = outputs.ints("data").reshape(-1, d) if len(outputs) else np.zeros((0, d), np.int64)
    ends = PayloadReader(end_layout(), [int(item, 16) for item in report["end"]])
    names = list(cache_counters_layout().members)
    counters = np.stack([ends.ints("counters", name) for name in names], axis=1)
    verdicts = {name: ends.ints("verdict", name) for name in cache_verdict_layout().members if name != "valid"}
    if len(ends) != len(outcomes):
        problems.append(f"{len(ends)} of {len(outcomes)} jobs ended")
    jobs, row = [], 0
    before = np.zeros(len(names), np.int64)
    for index, (outcome, now) in enumerate(zip(outcomes, counters, strict=False)):
        found = {name for name, of in verdicts.items() if of[index]}
        wrong = [] if found == ({outcome.status} if outcome.status else set()) else [
            f"ended with {', '.join(sorted(found)) or 'no error'}, expected {outcome.status or 'none'}"]
        expected = np.array([of.output for of in outcome.rows], np.int64).reshape(-1, d)
        differs = [n for n, want in enumerate(expected) if row + n >= len(codes) or (codes[row + n] != want).any()]
        if differs:
            wrong.append(f"{len(differs)} of {len(expected)} output rows differ, the first is {differs[0]}")
        row += len(expected)
        of_job = dict(zip(names, ((now - before) & 0xFFFFFFFF).tolist(), strict=True))
        if outcome.status is None:
            wrong += _compare_traffic(of_job, outcome, build)
        jobs.append(JobReport(outcome, wrong, of_job))
        before = now
    if row != len(codes):
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
