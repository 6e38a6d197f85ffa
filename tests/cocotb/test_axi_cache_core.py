"""The core with keys in memory behind AXI: jobs by descriptors, pauses, errors on both buses, resets, real heads."""

import copy
import dataclasses
import functools

import numpy as np
import pytest

from latte.golden.key_groups import ONE_GROUP
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import REFUSALS, CacheJob, JobKind, carry_out
from latte.golden.memory.measurement import prepare
from latte.golden.memory.traffic import OPERANDS
from latte.golden.memory.workloads import resampled_tasks
from latte.golden.requantise import prune_as_learned
from latte.golden.train.threshold_files import read_thresholds
from latte.golden.vectors import embedded_vectors
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_OFFSET
from latte.sim.axi_cache_program import AxiCacheProgram, Fault
from latte.sim.axi_cache_run import build_axi_cache_core, run_axi_cache
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import BUILDS, EVERY_KIND, group_of, random_entries

pytest.importorskip("cocotbext.axi")

builds = pytest.mark.parametrize("build", [pytest.param(build, marks=pytest.mark.slow) if n > 0 else build
                                           for n, build in enumerate(BUILDS)], ids=lambda build: build.core.name)
stalls = pytest.mark.parametrize("stall", STALLS)

compiled = functools.cache(build_axi_cache_core)


class Bench:
    """A memory with two sequences, entries, and the program that is made of them.

    Parameters
    ----------
    build
    seed
    ring_log2, scattered
        Of `AxiCacheProgram`, whose seed is the latter.
    """

    def __init__(self, build: MemoryBuild, seed: int, *, ring_log2: int, scattered: int | None = None) -> None:
        self.build = build
        self.rng = np.random.default_rng(seed)
        self.memory = memory = CacheMemory(build, 12 * 64 // build.page_rows)
        groups = group_of(build, self.rows(99))
        self.entries = random_entries(self.rng, build, groups, build.core.heads - 1)
        if build.core.group_bits:
            self.entries[-1] = dataclasses.replace(self.entries[-1], groups=ONE_GROUP)
        self.first, self.second = memory.open(), memory.open()
        self.program = AxiCacheProgram(memory, dict(enumerate(self.entries)), ring_log2=ring_log2, seed=scattered)

    def rows(self, *shape: int) -> np.ndarray:
        shape = *shape, self.build.core.head_dim
        return np.clip(self.rng.normal(0, 50, shape).round(), -128, 127).astype(np.int8)

    def job(self, kind: JobKind, sequence: Handle, heads: int, queries: int, rows: int, head: int = 0) -> CacheJob:
        return CacheJob(kind, sequence, head, self.rows(heads, queries), self.rows(rows), self.rows(rows))

    def add(self, *of_job, head: int = 0, **settings) -> None:
        self.program.add(self.job(*of_job, head=head), **settings)

    @property
    def statuses(self) -> list[str | None]:
        return [job.outcome and job.outcome.status for job in self.program.jobs]

    def run(self, folder, build_folder, **settings):
        """Run the program and fail with everything that is wrong."""
        report = run_axi_cache(compiled(self.build, build_folder=build_folder), self.program, folder,
                               **{"latency": 12, "patience": 5000} | settings)
        assert not report.problems, "\n".join([f"{self.build.core.name}, {settings}", *report.problems[:20]])
        return report


def every_end(bench: Bench) -> None:
    """Describe jobs of all kinds, of which every refusal and a failure comes, and what no descriptor can be."""
    build, memory = bench.build, bench.memory
    page, tile, heads = build.page_rows, build.tile_rows, build.core.heads
    freed, first, second = bench.second, bench.first, None
    memory.reserve(freed, 2 * page)
    memory.free(freed)
    second = memory.open()
    for keys in (page, 2 * page + 3, 3 * page + 3):
        memory.reserve(second, keys)
        memory.reserve(first, keys)
    memory.unmap(second, 3)
    bench.add(JobKind.DECODE, first, 2, 1, 0)                                      # no keys yet
    bench.add(JobKind.APPEND, first, 0, 0, page - 2, head=1)
    bench.add(JobKind.DECODE, first, tile, 1, 1)
    for changes, cause in (({"type": 1}, "unknown_type"), ({"type": 0, "reserved_half": 1}, "unknown_type"),
                           ({"reserved_flags": 64}, "reserved_set"), ({"reserved_half": 1 << 15}, "reserved_set"),
                           ({"k_address": 4}, "unaligned"), ({"o_stride": 1}, "unaligned"),
                           ({"queries": 0}, "shape_invalid"), ({"queries": 2}, "shape_invalid"),
                           ({"heads": 0}, "shape_invalid"), ({"rows": 2}, "shape_invalid"),
                           ({"type": 2}, "shape_invalid"), ({"type": 4, "queries": 0}, "shape_invalid")):
        bench.add(JobKind.DECODE, first, 2, 1, 1, changes=changes, causes={cause})
    bench.add(JobKind.DECODE, first, 1, 1, 1, changes={"queries": 9, "reserved_flags": 1, "q_stride": 2},
              causes={"shape_invalid", "reserved_set", "unaligned"})
    bench.add(JobKind.DECODE, freed, 1, 1, 1)                                      # slot has another sequence
    bench.add(JobKind.PREFILL, second, 1, 9, 11, head=2)                           # several positions to a tile
    bench.add(JobKind.PREFILL, first, tile + 1, 2, 5, head=1)                      # several tiles to a position
    bench.add(JobKind.DECODE, first, 2, 1, 1, head=heads - 1)                      # the second head does not exist
    bench.add(JobKind.PREFILL, second, 1, 6, 5)                                    # more queries than rows
    bench.add(JobKind.DECODE, first, 1, 1, 1, head=heads - 2)                      # other groups, where there are any
    bench.add(JobKind.APPEND, first, 0, 0, build.core.max_seq_len)                 # too long
    bench.add(JobKind.APPEND, Handle(build.slots, 0), 0, 0, 1)                     # no such slot
    bench.add(JobKind.DECODE, second, 2, 1, 0, head=3)                             # no key of its own
    bench.add(JobKind.APPEND, second, 0, 0, 3 * page - 11 + 1)                     # a page without entry
    bench.add(JobKind.PREFILL, second, 2, 3, 2 * page - 11 + 3, head=4)
    bench.add(JobKind.DECODE, first, 3, 1, 1, head=5)
    memory.unmap(second, 0)                                                        # a tile finds no page
    bench.add(JobKind.PREFILL, second, 2, 2, 2)
    memory.reserve(second, 1)                                                      # how far it came is not specified
    bench.add(JobKind.PREFILL, second, 2, 2, 2)
    bench.add(JobKind.DECODE, second, tile + 1, 1, 1)
    memory.free(first)
    again = memory.open()
    memory.reserve(again, page)
    bench.add(JobKind.DECODE, first, 1, 1, 1)                                      # freed
    bench.add(JobKind.PREFILL, again, 2, 4, page)
    bench.add(JobKind.DECODE, again, 2, 1, 0)
    found = set(bench.statuses)
    assert found == {None, *REFUSALS, "page_unmapped"} - (set() if build.core.group_bits else {"groups_differ"})


@builds
@stalls
def test_every_descriptor_ends_as_it_must(build, stall, tmp_path, build_folder):
    """Rows, records and pages anywhere, a ring that goes round many times."""
    bench = Bench(build, SEED, ring_log2=1, scattered=None if stall == "none" else SEED)
    every_end(bench)
    bench.run(tmp_path / "run", build_folder, stall=stall, seed=len(stall))


@pytest.mark.parametrize("ring_log2", [0, *(pytest.param(log2, marks=pytest.mark.slow) for log2 in (3, 8))])
def test_rings_of_any_size(ring_log2, tmp_path, build_folder):
    bench = Bench(EVERY_KIND, SEED, ring_log2=ring_log2)
    every_end(bench)
    bench.run(tmp_path / "run", build_folder)


@pytest.mark.parametrize("reset_at", [1203, *(pytest.param(at, marks=pytest.mark.slow) for at in (
    150, 321, 502, 1999, 3001, 4444, 5007))])
def test_soft_reset_in_the_middle(reset_at, tmp_path, build_folder):
    """What is under way on both buses is finished, and the same program then runs from its beginning."""
    bench = Bench(EVERY_KIND, SEED, ring_log2=1, scattered=reset_at)
    bench.memory.reserve(bench.first, 60)
    bench.add(JobKind.PREFILL, bench.first, 2, 20, 40)
    bench.add(JobKind.DECODE, bench.first, 4, 1, 1)
    bench.add(JobKind.APPEND, bench.first, 0, 0, 9)
    bench.run(tmp_path / "run", build_folder, reset_at=reset_at, stall="both", seed=reset_at)


def beats_read(memory: CacheMemory, job: CacheJob, entries: dict) -> int:
    """Return the beats that the core reads of its memory for a job."""
    moved = carry_out(job, copy.deepcopy(memory), entries).traffic.moved
    whole = sum(moved[kind] for kind in moved if kind not in (OPERANDS, "written", "spilled")) + moved["spilled"] // 2
    return whole // memory.build.bus_bytes


def fail_at_random(bench: Bench, sequence: Handle, count: int) -> None:
    """Describe jobs that meet an error on one of the buses, each followed by the same job without one."""
    build, program, rng = bench.build, bench.program, bench.rng
    d, beat, kinds = build.core.head_dim, build.bus_bytes, list(JobKind)
    for n in range(count):
        kind = kinds[rng.integers(len(kinds))]
        rows = int(rng.integers(1, 5)) if kind != JobKind.DECODE else 1
        queries = {JobKind.APPEND: 0, JobKind.DECODE: 1, JobKind.PREFILL: rows}[kind]
        heads = int(rng.integers(1, 2 + build.tile_rows)) if queries else 0
        job = bench.job(kind, sequence, heads, queries, rows)
        what = ["cache read", "cache write", "k", "v", "descriptor", "status", *(["q", "o"] if queries else [])][
            n % (8 if queries else 6)]
        answer = {"response": ("SLVERR", "DECERR")[rng.integers(2)]}
        slot = program.ring + DESCRIPTOR_BYTES * (len(program.jobs) % (1 << program.ring_log2))
        if what == "cache read":
            most = beats_read(bench.memory, job, program.entries)
            program.add(job, faults=[Fault("m_axi_cache", False, int(rng.integers(most)), **answer)],
                        causes={"failed_memory_error"})
        elif what == "cache write":
            most = rows * 2 * d // beat
            program.add(job, faults=[Fault("m_axi_cache", True, int(rng.integers(most)), **answer)],
                        causes={"failed_memory_error"})
        elif what == "descriptor":
            program.add(job, faults=[Fault("m_axi", False, address=slot + 16, **answer)], causes={"fetch_failed"})
        elif what == "status":
            program.add(job, faults=[Fault("m_axi", True, address=slot + STATUS_OFFSET, **answer)])
        else:
            size = d * (2 if what == "o" else 1)
            at = int(rng.integers(size // beat))
            causes = [] if what in "qo" else ["read_failed", "failed_memory_error"]
            described = program.add(job, alone=True, causes=causes)
            address = described.fields[f"{what}_address"] + at * beat
            told = described.causes | {"write_failed" if what == "o" else "read_failed"}
            program.jobs[-1] = dataclasses.replace(
                described, causes=told, faults=[Fault("m_axi", what == "o", address=address, **answer)])
        if what not in ("status", "q", "o"):
            program.add(job)


@builds
@stalls
def test_every_error_is_told_and_harms_no_other_job(build, stall, tmp_path, build_folder):
    """A beat of either bus fails, at random; the sequence is then as it was, unless the status says otherwise."""
    bench = Bench(build, SEED + 1, ring_log2=2, scattered=SEED)
    for sequence in (bench.first, bench.second):
        bench.memory.reserve(sequence, 6 * build.page_rows)
        bench.add(JobKind.PREFILL, sequence, 1, 2, 2 * build.page_rows - 3)
        fail_at_random(bench, sequence, 16)
    bench.run(tmp_path / "run", build_folder, stall=stall, seed=3)


@pytest.mark.parametrize("beat", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_a_record_that_cannot_be_written(beat, tmp_path, build_folder):
    """The job says so; when the host has written the record again, the job can be done again."""
    bench = Bench(EVERY_KIND, SEED, ring_log2=1)
    bench.memory.reserve(bench.first, 40)
    bench.add(JobKind.APPEND, bench.first, 0, 0, 20)
    job = bench.job(JobKind.PREFILL, bench.first, 2, 2, 5)
    record = bench.program.records + bench.first.slot * bench.memory.records.state_bytes
    bench.program.add(job, causes={"failed_memory_error"},
                      faults=[Fault("m_axi_cache", True, address=record + beat * EVERY_KIND.bus_bytes)])
    bench.program.restore_record(bench.first.slot)
    bench.program.add(job)
    bench.run(tmp_path / "run", build_folder, stall="both")


@pytest.mark.slow
def test_registers_behind_wishbone(tmp_path, build_folder):
    """The same program, and the same addresses that cannot be."""
    bench = Bench(EVERY_KIND, SEED, ring_log2=2)
    every_end(bench)
    model = build_axi_cache_core(EVERY_KIND, register_port="wishbone", build_folder=build_folder)
    report = run_axi_cache(model, bench.program, tmp_path / "run", latency=12, patience=5000, stall="both")
    assert not report.problems, report.problems[:20]


@pytest.mark.slow
def test_real_heads(tmp_path, build_folder):
    """Three heads that share a real head's keys, decoded and as a prompt, on the build that figures are of."""
    build = MemoryBuild(core=MemoryBuild().core.replace(max_seq_len=4096), slots=1)
    of_model, learned = read_thresholds("smollm2_135m/best_90")
    heads = next(vectors for vectors in embedded_vectors() if vectors.model == "smollm2-135m")
    pruned = prune_as_learned(heads, of_model, "best_90", learned)
    entries = [pruned.parameters(0, build.core)]
    for queries in (1, 5):
        for task in resampled_tasks(pruned.select([0]), entries, [600], 3, queries):
            memory, job = prepare(task, build)
            program = AxiCacheProgram(memory, dict(enumerate(task.entries)))
            program.add(job)
            report = run_axi_cache(compiled(build, build_folder=build_folder), program, tmp_path / f"run{queries}",
                                   stall="both" if queries == 1 else "none")
            assert not report.problems, report.problems[:20]
