"""The golden model beside a driver of a core with keys in memory.

A `Twin` carries out each job on the golden model's memory as well and compares outputs in every bit.
"""

from typing import Any

import numpy as np

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.rtl.common.entry_words import pack_entry
from latte.sim.cache_core_programs import group_of, random_entries
from tests.cocotb.blocks import SEED

PAGES = 5
"""As many as two sequences of `Twin.interleave` have: a third one must wait for what is freed."""


class Twin:
    """A driver and the golden model side by side.

    Parameters
    ----------
    build
    host
        Has ``open()``, which returns a sequence; ``free(sequence)``; ``submit(sequence, head, q, k, v)``, which returns
        a job; ``result(job)``, which returns its outputs.

    Attributes
    ----------
    rows, wrong : int
        Output rows that were compared, and those of them that differ.
    freed
        The sequence that `interleave` freed; another one has its slot.
    """

    def __init__(self, build: MemoryBuild, host: Any) -> None:
        self.build, self.host = build, host
        self.memory = CacheMemory(build, PAGES)
        self.rng = np.random.default_rng(SEED)
        self.entries = dict(enumerate(random_entries(self.rng, build, group_of(build, self.some(99)),
                                                     build.core.heads - 1)))
        self.handles: dict[int, Handle] = {}
        self.rows = self.wrong = 0

    def words(self, head: int) -> list[int]:
        """Return the words of an entry."""
        return [int(word["data"]) for word in pack_entry(head, self.entries[head], self.build.core)]

    def some(self, *shape: int) -> np.ndarray:
        """Return random rows."""
        rows = self.rng.normal(0, 50, (*shape, self.build.core.head_dim)).round()
        return np.clip(rows, -128, 127).astype(np.int8)

    def open(self) -> Any:
        """Begin a sequence."""
        sequence = self.host.open()
        self.handles[id(sequence)] = self.memory.open()
        return sequence

    def free(self, sequence: Any) -> None:
        """End a sequence."""
        self.host.free(sequence)
        self.memory.free(self.handles.pop(id(sequence)))

    def submit(self, sequence: Any, head: int, q: np.ndarray | None, k: np.ndarray, v: np.ndarray
               ) -> tuple[Any, np.ndarray | None]:
        """Hand a job over; return (job, what must come of it)."""
        job = self.host.submit(sequence, head, q, k, v)
        return job, self.expected(sequence, head, q, k, v)

    def expected(self, sequence: Any, head: int, q: np.ndarray | None, k: np.ndarray, v: np.ndarray
                 ) -> np.ndarray | None:
        """Carry a job out on the golden model; return outputs as the driver gives them."""
        handle = self.handles[id(sequence)]
        self.memory.reserve(handle, self.memory.state(handle).length + len(k))
        kind = JobKind.APPEND if q is None else JobKind.DECODE if q.ndim == 2 else JobKind.PREFILL
        queries = self.some(0, 0) if q is None else q if q.ndim == 3 else q[None]
        outcome = carry_out(CacheJob(kind, handle, head, queries.transpose(1, 0, 2), k, v), self.memory, self.entries)
        assert outcome.status is None, outcome.status
        if q is None:
            return None
        codes = outcome.outputs(queries.shape[1]).transpose(1, 0, 2)
        return codes[0] if q.ndim == 2 else codes

    def finish(self, job: Any, expected: np.ndarray | None) -> None:
        """Take a result and compare it."""
        self.compare(self.host.result(job), expected)

    def compare(self, codes: np.ndarray | None, expected: np.ndarray | None) -> None:
        """Count rows that differ."""
        if expected is None:
            self.wrong += codes is not None
        else:
            assert codes is not None and codes.shape == expected.shape
            self.rows += expected.size // expected.shape[-1]
            self.wrong += int((codes != expected).any(axis=-1).sum())

    def token(self, sequence: Any, heads: int, head: int = 0) -> tuple[Any, np.ndarray | None]:
        """Submit a token."""
        return self.submit(sequence, head, self.some(heads), self.some(1), self.some(1))

    def interleave(self) -> tuple[Any, Any]:
        """Run jobs of all kinds on two sequences in turn, free one, begin another on its pages; return both."""
        page, tile = self.build.page_rows, self.build.tile_rows
        first, second = self.open(), self.open()
        many = 3 * page - 8
        waiting = [self.submit(first, 0, self.some(3, 2), self.some(many), self.some(many)),
                   self.submit(second, 1, None, self.some(page - 2), self.some(page - 2))]
        for number in range(6):
            for sequence in (first, second):
                self.finish(*waiting.pop(0))
                waiting.append(self.token(sequence, 1 + (number + tile) % (tile + 2), head=number))
        for job in waiting:
            self.finish(*job)
        self.free(first)
        self.freed = first
        third = self.open()
        waiting = [self.submit(third, 2, self.some(page + 3, 1), self.some(page + 3), self.some(page + 3))]
        for sequence in (second, third, second):
            waiting.append(self.token(sequence, tile, head=3))
            self.finish(*waiting.pop(0))
        waiting.append(self.submit(second, 1, self.some(2, tile), self.some(3), self.some(3)))
        self.finish(*waiting.pop(0))
        # Queries of keys that are there.
        waiting.append(self.submit(third, 4, self.some(2), self.some(0), self.some(0)))
        for job in waiting:
            self.finish(*job)
        return second, third
