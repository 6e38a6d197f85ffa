"""What a broken core is to the fuzzer: found, made small and written; what it wrote passes on the whole core."""

import functools

import pytest

from latte.golden.config import AttentionConfig
from latte.rtl.engines import create_core
from latte.rtl.wide import wide_core
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.sim.core_run import build_core, run_cores
from latte.sim.fuzz.builds import find_build
from latte.sim.fuzz.campaign import Task, run_case
from latte.sim.fuzz.case import load_case
from latte.sim.runner import build_model
from tests.sim.formal.broken import break_source

CONFIG = find_build({"engine": "latte", "head_dim": 4, "query_lanes": 2, "max_seq_len": 31}).replace(name="fuzz-toy")


@pytest.mark.slow
def test_broken_core_is_found_and_made_small(output, monkeypatch):
    def build(config: AttentionConfig, simulator: str):
        with monkeypatch.context() as patched:
            patched.setattr(wide_core, "ThresholdFilter", break_source(
                ThresholdFilter, "row.row_max - row.tau", "row.row_max - row.tau - 1"))
            return build_model(create_core(config), f"core-broken-{config.name}", simulator=simulator,
                               build_folder=output)

    outcomes = (run_case(Task(seed, CONFIG, "verilator", 2000), output, output / "run", build) for seed in range(20))
    outcome = next(outcome for outcome in outcomes if outcome.problems)
    case = load_case(outcome.file)
    [run] = case.runs
    assert run.stall == "none" and run.reset_at is None and len(run.program.jobs) <= 2
    assert sum(len(rows) for job in run.program.jobs for rows in (job.q, job.k)) <= 2 + CONFIG.max_seq_len
    problems = functools.partial(run_cores, runs=case.runs, folder=output / "again")
    assert all(report.problems for report in problems(build(CONFIG, "verilator")))
    assert not any(report.problems for report in problems(build_core(CONFIG, build_folder=output)))
