"""Jobs of the core with keys in memory as files for the simulator's process, and what became of them, read back."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.jobs import CacheJob
from latte.golden.results import write_text
from latte.rtl.common.entry_words import pack_entry, parameter_layout
from latte.rtl.common.payloads import output_layout
from latte.rtl.memory.cache_core import cache_counters_layout, cache_status_layout
from latte.rtl.memory.cache_payloads import cache_job_layout, cache_verdict_layout
from latte.rtl.memory.tile_payloads import tile_config
from latte.sim.cache_system import end_layout, setup_layout
from latte.sim.packing import PayloadReader, pack_struct

__all__ = ["COUNTERS", "JobEnds", "read_ends", "read_outputs", "save_jobs", "save_memory"]

COUNTERS = tuple(cache_counters_layout().members)
_VERDICTS = tuple(name for name in cache_verdict_layout().members if name != "valid")


@dataclasses.dataclass(frozen=True)
class JobEnds:
    """What the hardware said at the end of each job.

    Parameters
    ----------
    verdicts : list of set of str
        Of `latte.golden.memory.jobs.REFUSALS` and ``FAILURES``; empty for a job that was carried out.
    status : list of set of str
        Sticky bits.
    counters : int64 [jobs, COUNTERS]
        Since reset, modulo 2**32.
    """

    verdicts: list[set[str]]
    status: list[set[str]]
    counters: np.ndarray

    def spent(self, before: np.ndarray) -> np.ndarray:
        """Return what each job added to the counters, int64 [jobs, COUNTERS]; `before` is their state before all."""
        return np.diff(self.counters, axis=0, prepend=before[None]) & 0xFFFFFFFF


def save_memory(folder: pathlib.Path, image: np.ndarray, bus_bytes: int, first_page: int, writes: int = 0,
                jobs: int = 0, broken: Sequence[int] = ()) -> None:
    """Write what the memory holds before the first job.

    Parameters
    ----------
    image : uint8 [n]
        From address 0.
    bus_bytes
    first_page
        Address of page 0.
    writes, jobs
        As of `latte.sim.cache_system.setup_layout`.
    broken
        Beats, by number, that are read and written with an error.
    """
    setup = pack_struct(setup_layout(), first_page=first_page, writes=writes, jobs=jobs)
    write_text(folder / "memory.json", json.dumps({
        "setup": [setup], "bus_bytes": bus_bytes, "words": ceil_div(len(image), bus_bytes), "broken": list(broken)}))
    np.save(folder / "memory.npy", image)


def save_jobs(folder: pathlib.Path, build: MemoryBuild, entries: Mapping[int, HeadParameters],
              jobs: Sequence[CacheJob]) -> int:
    """Write register entries and the jobs behind them; return how many words the entries are."""
    writes = [pack_struct(parameter_layout(), **write) for head, entry in entries.items()
              for write in pack_entry(head, entry, build.core)]
    items = [pack_struct(cache_job_layout(), slot=job.sequence.slot, generation=job.sequence.generation, head=job.head,
                         heads=job.q.shape[0], rows=len(job.k), queries=job.q.shape[1]) for job in jobs]
    write_text(folder / "jobs.json", json.dumps({"parameter": writes, "job": items, "bus_bytes": build.bus_bytes}))
    d = build.core.head_dim
    np.savez(folder / "jobs.npz", k=np.concatenate([job.k for job in jobs]), v=np.concatenate([job.v for job in jobs]),
             q=np.concatenate([job.q.transpose(1, 0, 2).reshape(-1, d) for job in jobs]))
    return len(writes)


def read_outputs(report: Mapping[str, Any], build: MemoryBuild) -> np.ndarray:
    """Return the output rows of a testbench's report, int64 [rows, d]."""
    d = build.core.head_dim
    outputs = PayloadReader(output_layout(tile_config(build)), [int(item, 16) for item in report["o"]])
    return outputs.ints("data").reshape(-1, d) if len(outputs) else np.zeros((0, d), np.int64)


def read_ends(report: Mapping[str, Any]) -> JobEnds:
    """Return the ends of jobs of a testbench's report."""
    ends = PayloadReader(end_layout(), [int(item, 16) for item in report["end"]])

    def raised(part: str, names: Sequence[str]) -> list[set[str]]:
        bits = {name: ends.ints(part, name) for name in names}
        return [{name for name, of in bits.items() if of[index]} for index in range(len(ends))]

    return JobEnds(raised("verdict", _VERDICTS), raised("status", tuple(cache_status_layout().members)),
                   np.stack([ends.ints("counters", name) for name in COUNTERS], axis=1))
