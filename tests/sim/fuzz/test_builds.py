"""Builds to fuzz: what a seed gives, and that every pair of values is in a build, or refused with a sentence."""

import itertools

import numpy as np
import pytest

from latte.golden.config import AttentionConfig, ceil_div
from latte.golden.errors import LatteError
from latte.sim.fuzz.builds import FIELD_VALUES, find_build, pairwise_builds, random_build
from latte.sim.fuzz.campaign import CASES_PER_BUILD, seed_tasks
from latte.sim.fuzz.case import random_case

FIELDS = ("engine", "head_dim", "dim_slices", "bus_bytes", "kv_banks", "key_groups", "heads")


def test_every_pair_of_values_is_in_a_build_or_refused():
    pytest.importorskip("allpairspy")
    fields = {name: FIELD_VALUES[name] for name in FIELDS}
    array = pairwise_builds(fields)
    met = set().union(*array.builds.values())
    every = {((one, a), (other, b)) for one, other in itertools.combinations(fields, 2)
             for a, b in itertools.product(fields[one], fields[other])}
    assert met | array.refused.keys() == every and not met & array.refused.keys()
    assert len(array.builds) < len(every) / 4
    for build, pairs in array.builds.items():
        for name, value in itertools.chain.from_iterable(pairs):
            if name == "dim_slices":
                assert build.dim_lanes == ceil_div(build.head_dim, value)
            else:
                assert getattr(build, name) == value
    assert "kv_banks = 2 must be 1 for engine = 'serial'" in array.refused[("engine", "serial"), ("kv_banks", 2)]
    assert all(sentence and "\n" not in sentence for sentence in array.refused.values())


def test_every_field_is_among_those_that_are_combined():
    lanes = {"dim_slices": "dim_lanes", "cross_slices": "cross_lanes", "value_slices": "value_lanes"}
    fields = {lanes.get(name, name) for name in FIELD_VALUES}
    assert fields == set(AttentionConfig().to_dict()) - {"name"}


@pytest.mark.parametrize("name", FIELD_VALUES)
def test_every_value_is_in_a_build(name):
    assert all(isinstance(find_build({name: value}), AttentionConfig) for value in FIELD_VALUES[name])


def test_what_no_build_has_is_the_first_refusal():
    refusal = find_build({"query_lanes": 6, "query_rows": 4})
    assert isinstance(refusal, LatteError) and "query_rows = 4 must be at least 4 x query_lanes" in str(refusal)


def test_a_seed_gives_the_same_build_and_programs_again():
    assert random_build(np.random.default_rng(5)) == random_build(np.random.default_rng(5))
    seed = CASES_PER_BUILD + 3
    several, alone = (next(seed_tasks(first, None, ["verilator", "icarus"], 100_000, cases))
                      for first, cases in ((CASES_PER_BUILD, None), (seed, 1)))
    assert alone == [several[3]] and len(several) == CASES_PER_BUILD
    arrays, again = ([run.program.to_arrays() for run in task.case().runs] for task in (several[3], *alone))
    assert len(arrays) == len(again) > 1
    for one, other in zip(arrays, again, strict=True):
        assert all((one[name] == other[name]).all() for name in one)


def test_cases_in_all():
    tasks = list(itertools.chain.from_iterable(seed_tasks(CASES_PER_BUILD - 1, AttentionConfig(), ["verilator"], 9_000,
                                                          3)))
    assert [task.seed for task in tasks] == [CASES_PER_BUILD - 1, CASES_PER_BUILD, CASES_PER_BUILD + 1]
    assert {task.cycles for task in tasks} == {9_000}


def test_a_case_on_icarus_is_short():
    tasks = next(seed_tasks(0, AttentionConfig(query_lanes=1, key_lanes=1, dim_lanes=8, cross_lanes=8, value_lanes=8,
                                            pe_structure="multiplier"),
                            ["verilator", "icarus"], 9_000))
    assert {(task.simulator, task.cycles) for task in tasks} == {("verilator", 9_000), ("icarus", 4_000)}


def test_programs_of_a_long_case_are_longer():
    longest = [max(sum(len(job.q) * (len(job.q) + len(job.k)) for job in run.program.jobs)
                   for run in random_case(3, AttentionConfig(), "verilator", cycles).runs)
               for cycles in (10_000, 1_000_000)]
    assert longest[1] > 8 * longest[0]
