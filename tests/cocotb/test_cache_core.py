"""The core with keys and values in memory, against the golden model, under the stall matrix."""

import dataclasses

import pytest

from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import CacheJob, carry_out
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.memory.cache_core import cache_status_layout
from latte.rtl.memory.cache_payloads import cache_verdict_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.cache_core_programs import CacheScript, every_refusal
from latte.sim.cache_system import CacheSystem
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import BUILDS, master, memory_words
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


@stalls
@builds
def test_programs(build, check):
    """Appended, decoded and prefilled sequences in turn, and jobs of all kinds that are refused."""
    script = CacheScript(build, SEED)
    every_refusal(script)
    program = Program(script.memory, list(script.entries.values()))
    for job in script.jobs:
        program.add(job)
    assert program.statuses.count(None) == 7 + (not build.core.group_bits)
    program.run(check)
