"""Cases that failed once, made small by ``latte fuzz``, and a share of new ones."""

import itertools
import pathlib

import pytest

from latte.sim.core_run import build_core, run_cores
from latte.sim.fuzz.builds import pairwise_builds
from latte.sim.fuzz.campaign import CASES_PER_BUILD, Task, build_tasks, run_case, seed_tasks
from latte.sim.fuzz.case import load_case
from tests.cocotb.test_core import CONFIGS

CASES = sorted((pathlib.Path(__file__).parent / "cases").glob("*.npz"))
SHARE = ("narrow-pruning", "multiplexed", "tiny")
"""Builds that other tests compile."""


def check(task, output):
    outcome = run_case(task, output, output / "run")
    assert not outcome.problems, "\n".join([str(task), str(outcome.file), *outcome.problems])
    assert outcome.jobs and outcome.scores and outcome.cycles


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_case_that_failed_once(path, tmp_path, build_folder):
    case = load_case(path)
    reports = run_cores(build_core(case.config, case.simulator, build_folder=build_folder), case.runs, tmp_path / "run")
    assert [problem for report in reports for problem in report.problems] == []


@pytest.mark.parametrize("name", SHARE)
def test_new_cases(name, output):
    check(Task(1, CONFIGS[name], "verilator", 10_000), output)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", [*SHARE, "small"])
def test_more_new_cases(name, seed, output):
    check(Task(seed, CONFIGS[name], "verilator", 60_000), output)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(1, 4))
def test_random_builds(group, output):
    [task] = next(seed_tasks(CASES_PER_BUILD * group, None, ["verilator"], 100_000, 1))
    check(task, output)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus"], indirect=True)
def test_second_simulator_fuzzes_too(simulator, output):
    check(Task(1, CONFIGS["multiplexed"], simulator, 2_000), output)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 20, 40])
def test_builds_of_pairs_of_values(index, output):
    pytest.importorskip("allpairspy")
    [task] = next(itertools.islice(build_tasks(pairwise_builds().builds, "verilator", 10_000), index, None))
    check(task, output)
