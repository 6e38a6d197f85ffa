"""Points of the plan: which there are, and what of them a program is."""

import collections
import pathlib
import re

import numpy as np
import pytest

from latte.golden.config import preset
from latte.sim.core_programs import appending, corners, refused
from latte.sim.core_run import CoreReport, Run
from latte.sim.coverage import programs
from latte.sim.coverage.groups import add_hits
from latte.sim.coverage.outcome import functional, missed_points
from latte.sim.coverage.plan import PLAN, observe
from latte.sim.coverage.testplan import TESTPOINTS, is_done
from latte.sim.coverage.workload import LOADS, Load
from latte.sim.formal.catalogue import PROOFS

TESTS = pathlib.Path(__file__).parent.parent.parent
CONFIG = preset("tiny", max_seq_len=32, heads=6, head_dim=16)
GROUPS = {group.name: group for group in PLAN}
CORES = [load for load in LOADS if isinstance(load, Load) and not load.full_only and load.bus is None]


def report(failure=None, jobs=None):
    return CoreReport(jobs or {}, failure, {}, [], 0, 0, 0.0, pathlib.Path())


def seen(program, stall="none", interface="core", **settings):
    hits = observe(Run(program, stall), report(), interface, **settings)
    return {name: {point for point, count in points.items() if count} for name, points in hits.items()}


def test_impossible_builds_and_jobs_are_no_points():
    """The dense engine has one split and one kind of threshold; only jobs that go on meet other groups."""
    kinds = GROUPS["kinds"].all_points
    assert {point[:3] for point in kinds if point[0] == "dense"} == {("dense", "balanced", "relative")}
    assert {point[:3] for point in kinds if point[1] == "slice"} == {
        (engine, "slice", kind) for engine in ("latte", "serial") for kind in ("relative", "mass", "absolute")}
    assert len(kinds) == 13 * 4 * 2 * 4
    assert ("latte", "slice", "3") not in GROUPS["builds"].all_points
    assert not [point for point in GROUPS["refusals"].all_points if point[1:3] == ("groups_differ", "begins")]


def test_jobs_of_a_program():
    found = seen(appending(CONFIG), "sink")
    assert found["kinds"] == {("serial", "balanced", "relative", form, causal, "sink") for form, causal in (
        ("head", "yes"), ("decode", "yes"), ("share", "no"), ("append", "yes"), ("share", "yes"), ("head", "no"))}
    assert found["shared keys"] == {("serial", "no")}  # head 1 asks keys of head 0
    assert found["interfaces"] >= {("core", "load", "sink")} and not found["resets"] and not found["refusals"]


def test_refused_jobs_of_a_program():
    found = seen(refused(CONFIG))
    assert {point[1:3] for point in found["refusals"]} >= {
        ("head_invalid", "begins"), ("no_keys", "begins"), ("too_long", "begins"), ("too_long", "goes on")}
    assert ("core", "serial", "too_long") in found["status"]


def test_boundaries():
    found = seen(programs.boundary_lengths(CONFIG))
    assert found["lengths"] == {point for point in GROUPS["lengths"].all_points if point[0] == "serial"}
    assert "qk_saturated" in {bit for _, _, bit in seen(corners(CONFIG))["status"]}


def test_what_differs_is_no_point():
    """A program that the hardware did not compute as the golden model shows nothing; nor does a failing bus."""
    assert not any(observe(Run(corners(CONFIG)), report("hang"), "core")[name] for name in GROUPS)
    assert not seen(corners(CONFIG), faulty=True)["kinds"]


def test_faults_of_a_bus():
    jobs = {0: {"index": 0, "mismatches": [], "fault": "slverr q", "status": []},
            1: {"index": 1, "mismatches": [], "fault": "none", "status": []}}
    hits = observe(Run(corners(CONFIG), "both"), report(jobs=jobs), "axi", faulty=True)
    assert hits["bus faults"][("slverr q", "both")] == 1 and ("none", "both") not in GROUPS["bus faults"].all_points


def test_points_of_several_runs_are_added():
    hits = {}
    for program in (appending, appending, corners):
        add_hits(hits, observe(Run(program(CONFIG)), report(), "core"))
    point = ("serial", "balanced", "relative", "decode", "yes", "none")
    assert hits["kinds"][point] == 8
    share = functional(hits)["shared keys"]
    assert (share.reached, share.of) == (1, 6)
    assert len(missed_points(hits)) == sum(share.of - share.reached for share in functional(hits).values())


@pytest.mark.parametrize("load", CORES,
                         ids=lambda load: load.name)
def test_programs_go_through_their_points(load):
    """Every kind, form and stall of a build comes from its own programs, not from random ones."""
    config = load.config
    found = seen(programs.all_kinds(config))["kinds"]
    wanted = {point for point in GROUPS["kinds"].all_points
              if point[:2] == (config.engine, config.split) and point[2] in config.threshold_kinds}
    assert {point[:5] for point in found} == {point[:5] for point in wanted}
    program = programs.refusals(config)
    assert set(program.refusals()) - {None} >= {"head_invalid", "no_keys", "too_long"}
    assert {"entry_invalid", "head_invalid"} <= program.status()
    assert "groups_differ" in program.status() or config.key_groups < 2
    heads = np.array(list(programs.extreme_entries(config).parameters))
    assert len(heads) == len(set(heads.tolist())) and heads.max() < config.heads


def test_every_bit_of_a_count_changes():
    """Of builds of each engine that take rows quickly."""
    fast = [load.config for load in CORES if {len(job.k) for job in programs.largest_counts(load.config).jobs}
            >= {0x5555, 0xAAAA}]
    assert {config.engine for config in fast} >= {"latte", "serial"}


def test_builds_have_names_of_their_own():
    assert max(collections.Counter(load.name for load in LOADS).values()) == 1


# Testpoints

def test_testpoints_name_what_there_is():
    """Tests, groups and blocks with proofs exist; whoever names nothing says what is missing."""
    blocks = {proof.block for proof in PROOFS}
    for point in TESTPOINTS:
        for test in point.tests:
            file, _, name = test.partition("::")
            assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE), test
        assert set(point.groups) <= set(GROUPS) and set(point.proofs) <= blocks, point
        assert point.gap or point.tests or point.groups or point.proofs or point.commands, point
    assert {group for point in TESTPOINTS for group in point.groups} == set(GROUPS)
    assert len({point.name for point in TESTPOINTS}) == len(TESTPOINTS)


def test_gaps_are_not_done():
    assert any(point.gap for point in TESTPOINTS) and not any(is_done(point) for point in TESTPOINTS if point.gap)
