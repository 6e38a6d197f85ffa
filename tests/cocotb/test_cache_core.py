"""The core with keys and values in memory, against the golden model, under the stall matrix."""

import dataclasses

import numpy as np
import pytest

from latte.golden.key_groups import ONE_GROUP
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.memory.cache_core import cache_status_layout
from latte.rtl.memory.cache_payloads import cache_verdict_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.cache_system import CacheSystem
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import BUILDS, group_of, master, memory_words, random_entries
from tests.cocotb.test_tile_engine import expected_outputs

stalls = pytest.mark.parametrize("stall", STALLS)
builds = pytest.mark.parametrize("build", [pytest.param(build, marks=pytest.mark.slow) if n > 0 else build
                                           for n, build in enumerate(BUILDS)], ids=lambda build: build.core.name)

@dataclasses.dataclass
class Program:
    """Jobs, what the core is offered, and what it has to give.

    Parameters
    ----------
    memory
    entries
        Of the register file.
    """

    memory: CacheMemory
    entries: list

    def __post_init__(self) -> None:
        build = self.memory.build
        self.words = memory_words(self.memory)
        self.statuses: list[str | None] = []
        writes = [word for head, entry in enumerate(self.entries) for word in pack_entry(head, entry, build.core)]
        self.offers: dict[str, list] = {"fill": self.words, "parameter": writes, "job": [], "k": [], "v": [], "q": []}
        self.outputs: list[dict] = []
        self.verdicts: list[dict[str, int]] = []

    def add(self, job: CacheJob) -> None:
        """Carry a job out."""
        build = self.memory.build
        outcome = carry_out(job, self.memory, dict(enumerate(self.entries)))
        self.statuses.append(outcome.status)
        heads, queries = job.q.shape[:2]
        self.offers["job"].append({"slot": job.sequence.slot, "generation": job.sequence.generation, "head": job.head,
                                   "heads": heads, "rows": len(job.k), "queries": queries})
        for name, rows in (("k", job.k), ("v", job.v), ("q", job.q.transpose(1, 0, 2))):
            self.offers[name] += rows.reshape(-1, build.bus_bytes).tolist()
        self.verdicts.append({name: int(name == outcome.status) for name in cache_verdict_layout().members
                              if name != "valid"})
        for tile in outcome.tiles:
            self.outputs += expected_outputs(tile, build.core.normalizer_lanes)

    def run(self, check) -> None:
        """Run all jobs on the core, and compare the memory."""
        build, parameters = self.memory.build, master(self.memory.build)
        component = CacheSystem(build, parameters, len(self.words))
        setup = {"first_page": self.memory.first_page, "writes": len(self.offers["parameter"]),
                 "jobs": len(self.offers["job"])}
        flags = {name: int(name in self.statuses) for name in cache_status_layout().members
                 if name not in ("qk_saturated", "entry_invalid")}
        ends: list[dict] = [{"verdict": verdict} for verdict in self.verdicts]
        ends[-1]["status"] = flags
        wanted = {"o": self.outputs, "end": ends, "shown": [word["data"] for word in memory_words(self.memory)]}
        check(component, f"cache-core-{build.core.name}",
              {"setup": Offer([setup]), **{name: Offer(items) for name, items in self.offers.items()}},
              {name: Expect(items) for name, items in wanted.items()}, quiet=("wrong",), patience=20_000)


def random_rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.clip(rng.normal(0, 50, shape).round(), -128, 127).astype(np.int8)


@stalls
@builds
def test_programs(build, check):
    """Appended, decoded and prefilled sequences in turn, and jobs of all kinds that are refused."""
    rng, d, rows = np.random.default_rng(SEED), build.core.head_dim, build.page_rows
    memory = CacheMemory(build, 12 * 64 // rows)
    groups = group_of(build, random_rows(rng, 99, d))
    entries = random_entries(rng, build, groups, build.core.heads - 1)
    if build.core.group_bits:
        entries[-1] = dataclasses.replace(entries[-1], groups=ONE_GROUP)
    freed = memory.open()
    memory.reserve(freed, 2 * rows)
    memory.free(freed)
    first, second = memory.open(), memory.open()
    for keys in (rows, 2 * rows + 3, 3 * rows + 3):
        memory.reserve(second, keys)
        memory.reserve(first, keys)
    memory.unmap(second, 3)
    program = Program(memory, entries)
    none = np.zeros((0, d), np.int8)

    def job(kind, sequence, head, heads, queries, keys):
        q = random_rows(rng, heads, queries, d)
        k, v = (random_rows(rng, keys, d) if keys else none for _ in range(2))
        program.add(CacheJob(kind, sequence, head, q, k, v))

    job(JobKind.DECODE, first, 0, 2, 1, 0)                            # no keys yet
    job(JobKind.APPEND, first, 1, 0, 0, rows - 2)
    job(JobKind.DECODE, first, 0, build.tile_rows, 1, 1)
    job(JobKind.DECODE, freed, 0, 1, 1, 1)                            # slot has another sequence
    job(JobKind.PREFILL, second, 2, 1, 9, 11)                         # several positions to a tile
    job(JobKind.PREFILL, first, 1, build.tile_rows + 1, 2, 5)         # several tiles to a position
    job(JobKind.DECODE, first, build.core.heads - 1, 2, 1, 1)         # the second head does not exist
    job(JobKind.PREFILL, second, 0, 1, 6, 5)                          # more queries than rows
    job(JobKind.DECODE, first, build.core.heads - 2, 1, 1, 1)         # other groups, where there are any
    job(JobKind.APPEND, first, 0, 0, 0, build.core.max_seq_len)       # too long
    job(JobKind.APPEND, Handle(build.slots, 0), 0, 0, 0, 1)           # no such slot
    job(JobKind.DECODE, second, 3, 2, 1, 0)                           # no key of its own
    job(JobKind.APPEND, second, 0, 0, 0, 3 * rows - 11 + 1)           # a page without entry
    job(JobKind.PREFILL, second, 4, 2, 3, 2 * rows - 11 + 3)
    job(JobKind.DECODE, first, 5, 3, 1, 1)
    assert program.statuses.count(None) == 7 + (not build.core.group_bits)
    program.run(check)
