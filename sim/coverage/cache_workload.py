"""What `latte coverage` runs on the core with keys in memory: builds in which every block is, and scripts for each."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.jobs import JobKind
from latte.sim.axi_cache_core_programs import (
    AxiCacheScript,
    every_invalid_descriptor,
    fail_each_operand,
    host_between_jobs,
)
from latte.sim.cache_core_programs import CacheScript, every_refusal
from latte.sim.coverage.cache_plan import CacheRun
from latte.sim.coverage.cache_programs import (
    all_kinds,
    boundary_lengths,
    cache_entries,
    every_status,
    extreme_rows,
    largest_counts,
)
from latte.sim.stalls import STALLS

__all__ = ["CACHE_LOADS", "ENGINE", "CacheLoad"]

ENGINE = "memory"
"""What `latte coverage --engine` calls the core with keys in memory."""
_RESETS = ("none", "both")
"""Stalls of scripts that a reset breaks off."""
_JOBS_BEGIN = 400
"""Cycles behind the filling of memory and registers: the first jobs are under way."""


@dataclasses.dataclass(frozen=True)
class CacheLoad:
    """A build and what it is filled with.

    Parameters
    ----------
    build
        Its core's name is the build's.
    behind_axi
    counts
        Of the bare core: whether `largest_counts` is among its scripts, which takes long unless rows come in a beat.
    seed
        Added to the run's.
    full_only
        Left out unless everything is measured.
    """

    build: MemoryBuild
    behind_axi: bool = False
    counts: bool = False
    seed: int = 0
    full_only: bool = False

    @property
    def name(self) -> str:
        """The build's name, with the bus's."""
        return f"{self.build.core.name}{'-axi' if self.behind_axi else ''}"

    @property
    def engine(self) -> str:
        """`ENGINE`."""
        return ENGINE

    def sessions(self, seed: int, *, full: bool) -> Iterator[CacheRun]:
        """Yield what is run, in one simulator each; five times the random rows if `full`."""
        for more in range(5 if full else 1):
            runs = self._axi_runs if self.behind_axi else self._core_runs
            yield from runs(self.seed + seed + 100 * more)

    def _core_runs(self, seed: int) -> Iterator[CacheRun]:
        """Yield scripts of the bare core."""
        build, entries = self.build, cache_entries(self.build)
        authors: list[Callable[[CacheScript], None]] = [
            all_kinds, functools.partial(every_status, broken=True), boundary_lengths]
        for number, stall in enumerate(STALLS):
            for author in authors:
                script = CacheScript(build, seed + number, entries)
                author(script)
                yield CacheRun(script, stall, seed + number)
        for author in (extreme_rows, *([largest_counts] if self.counts else [])):
            script = CacheScript(build, seed, entries)
            author(script)
            yield CacheRun(script, "none", seed)
        for stall in _RESETS:
            script = CacheScript(build, seed, entries)
            all_kinds(script)
            words = len(script.memory.image.data) // build.bus_bytes
            yield CacheRun(script, stall, seed, words + _JOBS_BEGIN)

    def _axi_runs(self, seed: int) -> Iterator[CacheRun]:
        """Yield scripts of the core behind AXI: those of the core alone, wrong descriptors, errors, resets."""
        build, entries = self.build, cache_entries(self.build)
        for number, stall in enumerate(STALLS):
            at = seed + number
            ends = AxiCacheScript(build, at, ring_log2=1, scattered=at)
            every_refusal(ends)
            every_invalid_descriptor(ends)
            host_between_jobs(ends)
            states = AxiCacheScript(build, at, entries, ring_log2=2, scattered=at)
            every_status(states, broken=False)
            errors = AxiCacheScript(build, at, entries, ring_log2=2, scattered=at)
            errors.memory.reserve(errors.first, build.core.max_seq_len)
            errors.add(JobKind.APPEND, errors.first, 0, 0, build.candidates + 9)
            for response in ("SLVERR", "DECERR"):
                fail_each_operand(errors, response)
            yield from (CacheRun(script, stall, at) for script in (ends, states, errors))
        for number, stall in enumerate(_RESETS):
            script = AxiCacheScript(build, seed, entries, ring_log2=1, scattered=seed + 10 + number)
            script.memory.reserve(script.first, 60)
            script.add(JobKind.PREFILL, script.first, 2, 20, 40)
            script.add(JobKind.DECODE, script.first, build.tile_rows + 1, 1, 1)
            yield CacheRun(script, stall, seed, 1203 + 300 * number)


def _cached(name: str, **changes: Any) -> MemoryBuild:
    """Return a small build; fields of `MemoryBuild` and of its core."""
    sizes = {"slots": 16, "page_rows": 16, "bus_bytes": 16, "window": 1024, "candidates": 24, "tile_rows": 2}
    core: dict[str, Any] = {
        "head_dim": 16, "max_seq_len": 128, "heads": 32, "query_lanes": 1, "key_lanes": 1, "dim_lanes": 16,
        "cross_lanes": 8, "value_lanes": 8, "normalizer_lanes": 2, "bus_bytes": 4, "query_rows": 8,
        "survivor_fifo_depth": 16, "pe_structure": "multiplier", "threshold_kinds": THRESHOLD_KINDS, "key_groups": 4}
    sizes |= {field: changes.pop(field) for field in tuple(changes) if field in sizes}
    return MemoryBuild(core=AttentionConfig(name=f"cached{name}", **core | changes), **sizes)


CACHE_LOADS = (
    CacheLoad(_cached("")),
    CacheLoad(_cached("-slice", split="slice", key_groups=8, tile_rows=4, page_rows=32, bus_bytes=8, weight_bits=8,
                      exp_frac_bits=6)),
    CacheLoad(_cached("-3-bit", estimate_bits=3, key_groups=1, tile_rows=1, candidates=20, head_dim=32, dim_lanes=32,
                      bus_bytes=8)),
    CacheLoad(_cached("-2-bit", estimate_bits=2, key_groups=0, threshold_kinds=("relative", "mass")), counts=True),
    CacheLoad(_cached(""), behind_axi=True),
)
"""Small builds with tiles of one, two and four rows, with several groups, one, and none; one of them behind AXI."""
