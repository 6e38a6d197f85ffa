"""What decoded tokens and prompts move and take, by the golden model, beside dense attention on the same memory."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.cycles import Machine, TileWork, dense_tile_cycles, job_cycles, tile_cycles
from latte.golden.memory.dense import dense_job, dense_tile
from latte.golden.memory.jobs import CacheJob, JobKind, Outcome, Tile, carry_out, tile_places
from latte.golden.memory.selection import RowSelector
from latte.golden.memory.traffic import OPERANDS, Traffic
from latte.golden.memory.workloads import Task

__all__ = ["LengthFigures", "add_up", "job_figures", "measure_tasks", "prepare"]


@dataclasses.dataclass
class LengthFigures:
    """Sums over the jobs that were measured at one length.

    Parameters
    ----------
    keys
        The length.
    jobs, rows
        Jobs, and query rows in them.
    pairs, dense_rows
        Keys that the rows see; keys that the tiles' last rows see, which dense attention reads.
    kept
        Survivors of all rows.
    weighty_rows
        Survivors of all rows that weigh something.
    value_rows
        Rows of V that were fetched: unions over each tile.
    key_rows
        The same of K.
    spilled
        Rows whose candidates did not fit.
    most_candidates, compactions
        Of a row, the most.
    traffic, dense : Traffic
    cycles, dense_cycles
        By the model of `latte.golden.memory.cycles`.
    """

    keys: int
    jobs: int = 0
    rows: int = 0
    pairs: int = 0
    dense_rows: int = 0
    kept: int = 0
    weighty_rows: int = 0
    value_rows: int = 0
    key_rows: int = 0
    spilled: int = 0
    most_candidates: int = 0
    compactions: int = 0
    traffic: Traffic = dataclasses.field(default_factory=Traffic)
    dense: Traffic = dataclasses.field(default_factory=Traffic)
    cycles: float = 0.0
    dense_cycles: float = 0.0

    @property
    def bytes_per_dense_byte(self) -> float:
        """K/V bytes over those of dense attention with the same tiles: rows share a stream of keys in both."""
        return self.traffic.total / self.dense.total

    @property
    def bytes_per_dense_byte_of_single_rows(self) -> float:
        """K/V bytes over those of dense attention that reads the keys for each query row alone."""
        return self.traffic.total / (self.dense.total * self.pairs / self.dense_rows)

    @property
    def dense_values_per_value(self) -> float:
        """V rows of dense attention with the same tiles, for each that was fetched."""
        return self.dense_rows / max(1, self.value_rows)

    @property
    def dense_values_per_row(self) -> float:
        """V rows of dense attention for each that a query row used: rows share nothing."""
        return self.pairs / max(1, self.weighty_rows)


def measure_tasks(tasks: Iterable[Task], machine: Machine) -> Iterator[tuple[int, LengthFigures]]:
    """Carry tasks out, and yield the (length, figures) of each when it is done.

    Rows of K and V before the queries' are put into the memory by jobs of kind append; the queries are a job of kind
    decode or prefill. Only that one counts.
    """
    for task in tasks:
        yield len(task.k), _measure(task, machine)


def prepare(task: Task, build: MemoryBuild) -> tuple[CacheMemory, CacheJob]:
    """Return a memory that holds the keys before a task's queries, in its only slot, and the job that asks these."""
    n, queries = len(task.k), task.q.shape[1]
    memory = CacheMemory(dataclasses.replace(build, slots=1), ceil_div(n, build.page_rows))
    sequence = memory.open()
    memory.reserve(sequence, n)
    entries = dict(enumerate(task.entries))
    nothing = np.zeros((0, 0, build.core.head_dim), np.int8)
    for at in range(0, n - queries, 1 << 15):
        rows = slice(at, min(at + (1 << 15), n - queries))
        job = CacheJob(JobKind.APPEND, sequence, 0, nothing, task.k[rows], task.v[rows])
        assert carry_out(job, memory, entries).status is None
    kind = JobKind.DECODE if queries == 1 else JobKind.PREFILL
    return memory, CacheJob(kind, sequence, 0, task.q, task.k[n - queries:], task.v[n - queries:])


def _measure(task: Task, machine: Machine) -> LengthFigures:
    memory, job = prepare(task, machine.build)
    outcome = carry_out(job, memory, dict(enumerate(task.entries)))
    assert outcome.status is None, outcome.status
    return job_figures(outcome, job, task.entries, machine)


def job_figures(outcome: Outcome, job: CacheJob, entries: Iterable[HeadParameters], machine: Machine
                ) -> LengthFigures:
    """Return the figures of a job with queries that was carried out; `entries` are those of its heads."""
    keys = outcome.tiles[-1].keys
    selectors = [RowSelector(entry, keys, machine.build) for entry in entries]
    heads, queries = job.q.shape[:2]
    found = LengthFigures(keys, 1, traffic=outcome.traffic)
    cycles, dense_cycles, dense_tiles = [], [], []
    for tile, places in zip(outcome.tiles, tile_places(heads, queries, machine.build), strict=True):
        # Of several tiles of a position, the first waits for its keys, and is given its sums.
        positions = sum(head == 0 for head, _ in places)
        work = TileWork(len(tile.rows), tile.keys, _weighings(tile), max(of.gaps for of in selectors),
                        positions if len(job.k) else 0, positions,
                        sum(row.selection.compactions for row in tile.rows),
                        max(row.selection.compactions for row in tile.rows), max(of.probed for of in selectors))
        found.rows += work.rows
        found.pairs += tile.pairs
        found.dense_rows += tile.keys
        found.kept += sum(len(row.score) for row in tile.rows)
        found.weighty_rows += sum(int((row.weight > 0).sum()) for row in tile.rows)
        found.spilled += sum(bool(row.selection.spilled) for row in tile.rows)
        found.most_candidates = max(found.most_candidates, *(row.selection.most_candidates for row in tile.rows))
        found.compactions = max(found.compactions, *(row.selection.compactions for row in tile.rows))
        cycles.append(tile_cycles(machine, tile.traffic, work))
        dense_tiles.append(dense_tile(machine.build, tile.keys))
        dense_cycles.append(dense_tile_cycles(machine, dense_tiles[-1], work.rows, work.appends))
    found.value_rows = outcome.traffic.requests["values"]
    found.key_rows = outcome.traffic.requests["key_low"]
    found.dense = dense_job(machine.build, dense_tiles, len(job.k))
    found.dense.add(OPERANDS, outcome.traffic.moved[OPERANDS], outcome.traffic.requests[OPERANDS])
    found.cycles = job_cycles(machine, outcome.traffic, cycles, heads)
    found.dense_cycles = job_cycles(machine, found.dense, dense_cycles, 0)
    return found


def _weighings(tile: Tile) -> int:
    """Return the cycles of a beat of each value: even and odd rows weigh it side by side."""
    banks = np.zeros((2, tile.keys), np.int64)
    for number, row in enumerate(tile.rows):
        banks[number % 2, row.selection.kept[row.weight > 0]] += 1
    return int(banks.max(axis=0).sum())


def add_up(measured: Iterable[LengthFigures]) -> LengthFigures:
    """Return the figures of some jobs at one length together."""
    total: LengthFigures | None = None
    for one in measured:
        if total is None:
            total = LengthFigures(one.keys)
        total.traffic.include(one.traffic)
        total.dense.include(one.dense)
        for name in ("jobs", "rows", "pairs", "dense_rows", "kept", "weighty_rows", "value_rows", "key_rows", "spilled",
                     "cycles", "dense_cycles"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        for name in ("most_candidates", "compactions"):
            setattr(total, name, max(getattr(total, name), getattr(one, name)))
    assert total is not None
    return total
