"""Programs for the core with keys in memory: of its own tests, and of `latte coverage`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import CacheJob, JobKind
from latte.golden.pruned_mass import NO_COMPENSATION, Gains
from latte.golden.quantizer import mass_code
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind

__all__ = ["CacheScript", "every_refusal", "group_of", "random_entries", "script_pages"]

_KEYS = 16 * 64
"""That the pages of a script's memory hold, together."""


def group_of(build: MemoryBuild, k: np.ndarray) -> KeyGroups:
    """Return groups of about as many keys each, by as many comparisons as the build has.

    Parameters
    ----------
    build
    k : int8 [n, d]
    """
    elements = tuple(range(1, 1 + 2 * build.core.group_bits, 2))
    return KeyGroups(elements, tuple(int(np.median(k[:, element])) for element in elements))


def random_entries(rng: np.random.Generator, build: MemoryBuild, groups: KeyGroups, count: int) -> list[HeadParameters]:
    """Return entries of all kinds in turn, every other one compensated, of two scales."""
    span, entries = 1 << (build.core.est_bits - 4), []
    for n in range(count):
        kind = ThresholdKind(build.core.threshold_kinds[n % len(build.core.threshold_kinds)])
        code = {"relative": int(rng.integers(1, 2 * span)), "absolute": int(rng.integers(-span, span)),
                "mass": mass_code(float(rng.uniform(1.5, 4)))}[kind]
        gains = Gains(70, 60) if n % 2 == 0 and build.core.key_groups else NO_COMPENSATION
        shift = 19 - build.core.estimate_bits + n // 2 % 2
        entries.append(HeadParameters(Threshold(kind, (code,) * LENGTH_OCTAVES), 40000, shift, gains, groups))
    return entries


def script_pages(build: MemoryBuild) -> int:
    """Return the pages that the memory of a script has."""
    return _KEYS // build.page_rows


class CacheScript:
    """A memory with two sequences, entries of all kinds, and random jobs in their order.

    Parameters
    ----------
    build
    seed
        Of rows and entries.
    entries
        Of the register file, from head 0 on. None: of all kinds, of all heads but the last; the last one of them has
        one group.

    Attributes
    ----------
    memory
        As the host leaves it before the first job.
    entries : dict of int to HeadParameters
    first, second
        Sequences without keys and pages.
    jobs : list of CacheJob
    """

    def __init__(self, build: MemoryBuild, seed: int, entries: Sequence[HeadParameters] | None = None) -> None:
        self.build = build
        self.rng = np.random.default_rng(seed)
        self.memory = CacheMemory(build, script_pages(build))
        if entries is None:
            entries = random_entries(self.rng, build, group_of(build, self.rows(99)), build.core.heads - 1)
            if build.core.group_bits:
                entries[-1] = dataclasses.replace(entries[-1], groups=ONE_GROUP)
        self.entries = dict(enumerate(entries))
        self.first, self.second = self.memory.open(), self.memory.open()
        self.jobs: list[CacheJob] = []

    def rows(self, *shape: int) -> np.ndarray:
        """Return random rows, int8 [*shape, d]."""
        rows = self.rng.normal(0, 50, (*shape, self.build.core.head_dim)).round()
        return np.clip(rows, -128, 127).astype(np.int8)

    def job(self, kind: JobKind, sequence: Handle, heads: int, queries: int, rows: int, head: int = 0) -> CacheJob:
        """Return a job of random rows."""
        return CacheJob(kind, sequence, head, self.rows(heads, queries), self.rows(rows), self.rows(rows))

    def take(self, job: CacheJob, **settings: Any) -> Any:
        """Add a job behind the others; what it takes besides, and returns, is a matter of what the script is for."""
        self.jobs.append(job)

    def add(self, kind: JobKind, sequence: Handle, heads: int, queries: int, rows: int, head: int = 0,
            **settings: Any) -> None:
        """Make a job of random rows and take it."""
        self.take(self.job(kind, sequence, heads, queries, rows, head), **settings)


def every_refusal(script: CacheScript) -> None:
    """Add jobs of all kinds, of which some are refused for each reason there is, and one meets a page without entry.

    The second sequence is freed, and another one has its slot.
    """
    build, memory, freed = script.build, script.memory, script.second
    page, tile, heads = build.page_rows, build.tile_rows, build.core.heads
    memory.reserve(freed, 2 * page)
    memory.free(freed)
    first, second = script.first, memory.open()
    script.second = second
    for keys in (page, 2 * page + 3, 3 * page + 3):
        memory.reserve(second, keys)
        memory.reserve(first, keys)
    memory.unmap(second, 3)
    script.add(JobKind.DECODE, first, 2, 1, 0)                            # no keys yet
    script.add(JobKind.APPEND, first, 0, 0, page - 2, head=1)
    script.add(JobKind.DECODE, first, tile, 1, 1)
    script.add(JobKind.DECODE, freed, 1, 1, 1)                            # slot has another sequence
    script.add(JobKind.PREFILL, second, 1, 9, 11, head=2)                 # several positions to a tile
    script.add(JobKind.PREFILL, first, tile + 1, 2, 5, head=1)            # several tiles to a position
    script.add(JobKind.DECODE, first, 2, 1, 1, head=heads - 1)            # the second head does not exist
    script.add(JobKind.PREFILL, second, 1, 6, 5)                          # more queries than rows
    script.add(JobKind.DECODE, first, 1, 1, 1, head=heads - 2)            # other groups, where there are any
    script.add(JobKind.APPEND, first, 0, 0, build.core.max_seq_len)       # too long
    script.add(JobKind.APPEND, Handle(build.slots, 0), 0, 0, 1)           # no such slot
    script.add(JobKind.DECODE, second, 2, 1, 0, head=3)                   # no key of its own
    script.add(JobKind.APPEND, second, 0, 0, 3 * page - 11 + 1)           # a page without entry
    script.add(JobKind.PREFILL, second, 2, 3, 2 * page - 11 + 3, head=4)
    script.add(JobKind.DECODE, first, 3, 1, 1, head=5)
