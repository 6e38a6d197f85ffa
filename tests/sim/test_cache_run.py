"""Jobs of the core with keys in memory on the compiled clock loop, as `latte decode` runs them."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from latte.fpga.cli import cli
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.cycles import Machine
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.golden.memory.measurement import job_figures
from latte.golden.memory.parts import PARTS, ideal_part
from latte.golden.thresholds import Threshold
from latte.sim.cache_core_programs import group_of, random_entries
from latte.sim.cache_run import build_cache_core, run_cache_jobs
from latte.sim.decode_figures import RESULTS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import EVERY_KIND

LATENCY = 20


def random_rows(rng, *shape):
    return np.clip(rng.normal(0, 50, shape).round(), -128, 127).astype(np.int8)


@pytest.fixture(scope="module")
def model(build_folder):
    return build_cache_core(EVERY_KIND, 4096, latency=LATENCY, build_folder=build_folder)


@pytest.fixture
def program():
    """Return a memory, entries, and a function that makes jobs."""
    rng, d = np.random.default_rng(SEED), EVERY_KIND.core.head_dim
    entries = dict(enumerate(random_entries(rng, EVERY_KIND, group_of(EVERY_KIND, random_rows(rng, 99, d)), 8)))

    def job(kind, sequence, heads, queries, keys):
        return CacheJob(kind, sequence, 0, random_rows(rng, heads, queries, d), random_rows(rng, keys, d),
                        random_rows(rng, keys, d))

    return CacheMemory(EVERY_KIND, 12), entries, job


def test_pages_are_used_again(model, program, tmp_path):
    """A sequence is freed, and another one lies on its pages, in another order, and in its slot."""
    memory, entries, job = program
    first, other = memory.open(), memory.open()
    for keys in (40, 70):
        memory.reserve(first, keys)
        memory.reserve(other, keys)
    jobs = [job(JobKind.PREFILL, first, 3, 40, 60), job(JobKind.PREFILL, other, 1, 20, 20),
            job(JobKind.DECODE, first, 5, 1, 1)]
    report = run_cache_jobs(model, memory, entries, jobs, tmp_path / "first")
    assert report.all_problems == [] and [found.outcome.status for found in report.jobs] == [None] * 3
    # Of another build than the model's constants were found with, and of short rows: what stands around streams.
    for found, of in zip(report.jobs, jobs, strict=True):
        assert modelled(found.outcome, of, entries) == pytest.approx(found.counters["cycles"], rel=0.12)
    memory.free(first)
    again = memory.open()
    assert again.slot == first.slot
    memory.reserve(again, 50)
    memory.reserve(other, 90)
    jobs = [job(JobKind.DECODE, first, 2, 1, 1), job(JobKind.PREFILL, again, 2, 3, 45),
            job(JobKind.PREFILL, other, 4, 5, 60), job(JobKind.DECODE, again, 8, 1, 1)]
    report = run_cache_jobs(model, memory, entries, jobs, tmp_path / "again", stall="both")
    assert report.all_problems == []
    assert [found.outcome.status for found in report.jobs] == ["sequence_invalid", None, None, None]
    tokens = [found.counters["cycles"] for found in report.jobs if found.outcome.status is None]
    assert min(tokens) > 100


def modelled(outcome, job, entries):
    """Return the cycles of a job by the model of time."""
    machine = Machine(EVERY_KIND, ideal_part(EVERY_KIND.bus_bytes), LATENCY)
    return job_figures(outcome, job, [entries[head] for head in range(job.q.shape[0])], machine).cycles


@pytest.mark.parametrize("keys", [36, 48])
def test_rows_that_spill_all_but_a_few_scores(model, program, tmp_path, keys):
    """Three rows keep all keys, of which a list holds 32: scores come faster than they are spilled."""
    memory, entries, job = program
    sequence = memory.open()
    memory.reserve(sequence, keys)
    wide = {0: dataclasses.replace(entries[0], threshold=Threshold.relative(EVERY_KIND.core.tau_keep_all))}
    jobs = [job(JobKind.APPEND, sequence, 0, 0, keys - 3), job(JobKind.PREFILL, sequence, 1, 3, 3)]
    report = run_cache_jobs(model, memory, wide, jobs, tmp_path / "run")
    assert report.all_problems == []
    assert all(row.selection.spilled == (32,) for row in report.jobs[1].outcome.rows)


def test_a_reset_in_the_middle(model, program, tmp_path):
    """The memory is filled again, and all jobs come again."""
    memory, entries, job = program
    sequence = memory.open()
    memory.reserve(sequence, 70)
    words = len(memory.image.data) // EVERY_KIND.bus_bytes
    jobs = [job(JobKind.PREFILL, sequence, 3, 5, 60), job(JobKind.DECODE, sequence, 2, 1, 1)]
    report = run_cache_jobs(model, memory, entries, jobs, tmp_path / "run", stall="both", reset_at=words + 1500)
    assert report.all_problems == [] and len(report.jobs) == 2


def test_values_that_cannot_be_read(model, program, tmp_path):
    """Jobs fail; whether they give rows or not, those of the job behind them are found."""
    memory, entries, job = program
    whole, torn = memory.open(), memory.open()
    for sequence in (whole, torn):
        memory.reserve(sequence, 40)
        carry_out(job(JobKind.APPEND, sequence, 0, 0, 20), memory, entries)
    page = int(memory.page_address(memory.page_of(torn, 0)))
    memory.image.break_range(page, EVERY_KIND.page_rows * EVERY_KIND.core.head_dim)
    jobs = [job(JobKind.DECODE, torn, 5, 1, 0), job(JobKind.DECODE, torn, 1, 1, 0), job(JobKind.DECODE, whole, 2, 1, 1)]
    report = run_cache_jobs(model, memory, entries, jobs, tmp_path / "run")
    assert report.all_problems == []
    assert [found.outcome.status for found in report.jobs] == ["memory_error", "memory_error", None]


def test_what_differs_is_said(model, program, tmp_path, monkeypatch):
    """Hardware with another threshold and scale than the golden model keeps fewer keys, which weigh more."""
    memory, entries, job = program
    sequence = memory.open()
    memory.reserve(sequence, 64)
    other = dict(entries)
    other[0] = dataclasses.replace(entries[0], threshold=Threshold.relative(1),
                                   scale_shift=entries[0].scale_shift + 2)
    from latte.sim import cache_program

    pack = cache_program.pack_entry
    monkeypatch.setattr(cache_program, "pack_entry", lambda head, entry, core: pack(head, other[head], core))
    report = run_cache_jobs(model, memory, entries, [job(JobKind.PREFILL, sequence, 1, 1, 60)], tmp_path / "run")
    assert any("output rows differ" in text for text in report.all_problems)
    assert any("keys_fetched" in text for text in report.all_problems)


@pytest.mark.parametrize(("options", "said"), [
    (["--lengths", "1"], "must be numbers of keys from 2"), (["--lengths", "99999"], "to 65536"),
    (["--lengths", "many"], "such as 1024"), (["--text", "some.txt"], "give both"),
    (["--thresholds", "nobody"], "nobody"), (["--prompt", "8", "--lengths", "8"], "from 9"),
    (["--candidates", "3"], "candidates must be"), (["--stall", "both"], "behind AXI"),
    (["--interface", "axi", "--part", "arty_ddr3"], "--part is of the bare core")])
def test_bad_options_are_refused(options, said, tmp_path):
    result = CliRunner().invoke(cli, ["decode", "--build", str(tmp_path), *options])
    text = f"{result.output} {result.exception}"
    assert result.exit_code != 0 and said in text
    assert not (tmp_path / "decode.json").exists()


@pytest.mark.parametrize(("hardware", "model"), [
    pytest.param(of["cycles"], of["model_cycles"], id=f"{workload}, {of['keys']}")
    for workload, lengths in json.loads(RESULTS.read_text()).items() for of in lengths if not workload.endswith(
        tuple(PARTS))])
def test_the_model_of_time_says_what_was_measured(hardware, model):
    """Of the memory that gives a beat in each cycle; of others it knows no banks, but means."""
    assert model == pytest.approx(hardware, rel=0.03)


@pytest.mark.slow
def test_tokens_of_resampled_heads(output):
    """The build that figures are of, on three heads that share the keys of a longer cache."""
    result = CliRunner().invoke(cli, ["decode", "--build", str(output), "--lengths", "300,2000", "--sample", "1"])
    assert result.exit_code == 0, result.output
    assert "every bit and beat is the golden model's" in result.output
    for of in json.loads((output / "decode.json").read_text())["results"]:
        assert of["model_cycles"] == pytest.approx(of["cycles"], rel=0.03)


@pytest.mark.slow
def test_tokens_by_descriptors(output):
    """The same by descriptors, with pauses of the memory."""
    pytest.importorskip("cocotbext.axi")
    result = CliRunner().invoke(cli, ["decode", "--build", str(output), "--lengths", "300", "--sample", "1",
                                      "--interface", "axi", "--stall", "both"])
    assert result.exit_code == 0, result.output
    assert "300 keys behind AXI" in result.output
