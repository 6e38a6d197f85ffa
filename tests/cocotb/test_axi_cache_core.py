"""The core with keys in memory behind AXI: jobs by descriptors, pauses, errors on both buses, resets, real heads."""

import dataclasses
import functools

import pytest

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import Handle
from latte.golden.memory.jobs import REFUSALS, JobKind
from latte.golden.memory.measurement import prepare
from latte.golden.memory.workloads import resampled_tasks
from latte.golden.requantise import prune_as_learned
from latte.golden.train.threshold_files import read_thresholds
from latte.golden.vectors import embedded_vectors
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_OFFSET
from latte.sim.axi_cache_core_programs import (
    AxiCacheScript,
    beats_read,
    every_invalid_descriptor,
    host_between_jobs,
)
from latte.sim.axi_cache_program import AxiCacheProgram, Fault
from latte.sim.axi_cache_run import build_axi_cache_core, run_axi_cache
from latte.sim.cache_core_programs import every_refusal
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import BUILDS, EVERY_KIND

pytest.importorskip("cocotbext.axi")

builds = pytest.mark.parametrize("build", [pytest.param(build, marks=pytest.mark.slow) if n > 0 else build
                                           for n, build in enumerate(BUILDS)], ids=lambda build: build.core.name)
stalls = pytest.mark.parametrize("stall", STALLS)

compiled = functools.cache(build_axi_cache_core)


class Bench(AxiCacheScript):
    """A script whose program can be run."""

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
    every_refusal(bench)
    every_invalid_descriptor(bench)
    host_between_jobs(bench)
    found = set(bench.statuses)
    assert found == {None, *REFUSALS, "page_unmapped"} - (set() if bench.build.core.group_bits else {"groups_differ"})


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
