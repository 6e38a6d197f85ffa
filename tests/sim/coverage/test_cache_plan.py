"""Points of jobs on keys in memory: the scripts go through all of them, if the hardware agrees."""

import pytest

from latte.golden.memory.jobs import carry_out
from latte.sim.axi_cache_core_programs import FAULTS, AxiCacheScript
from latte.sim.coverage.cache_plan import CACHE_GROUPS, CacheRun, observe_cached
from latte.sim.coverage.cache_workload import CACHE_LOADS
from latte.sim.coverage.groups import add_hits, no_hits


def outcomes(run: CacheRun) -> list:
    """Return what the golden model makes of a script."""
    script = run.script
    if isinstance(script, AxiCacheScript):
        return [job.outcome for job in script.program.jobs]
    return [carry_out(job, script.memory, script.entries) for job in script.jobs]


@pytest.fixture(scope="module")
def runs():
    """Return all runs of one share, with their outcomes."""
    return [(run, outcomes(run)) for load in CACHE_LOADS for run in load.sessions(1, full=False)]


def test_scripts_go_through_all_points(runs):
    hits = no_hits(CACHE_GROUPS)
    for run, results in runs:
        add_hits(hits, observe_cached(run, results, []))
    for group in CACHE_GROUPS:
        assert not [point for point in group.all_points if not hits[group.name][point]], group.name


def test_what_differs_is_no_point(runs):
    run, results = runs[0]
    assert not any(observe_cached(run, results, ["job 3 differs"]).values())
    assert any(observe_cached(run, results, []).values())


def test_a_job_that_meets_an_error_is_none_that_was_carried_out(runs):
    """Whatever the golden model says of it: an output row that cannot be written has the right bits."""
    run, results = next((run, results) for run, results in runs if getattr(run.script, "failing", None))
    numbers = list(run.script.failing)
    assert [run.script.failing[number][0] for number in numbers] == 2 * list(FAULTS)
    seen = observe_cached(run, results, [])
    carried_out = sum(bool(result and not result.status) for result in results)
    met = sum(bool(results[number]) for number in numbers)
    assert met and sum(seen["cached interfaces"].values()) == carried_out - met
