"""The judge of a head: the golden output passes, one wrong bit or an output beyond the error budget does not."""

import dataclasses

import numpy as np
import pytest

from latte.golden.config import preset
from latte.golden.vectors import VectorSet
from latte.sim.verdict import JudgedHead, list_differences

CONFIG = preset("tiny")


@pytest.fixture
def judged():
    rng = np.random.default_rng(3)
    rows = {name: rng.integers(-100, 100, (1, 9, 64)).astype(np.int8) for name in "qkv"}
    scales = {name: np.full(1, 0.02, np.float32) for name in ("q_scale", "k_scale", "v_scale")}
    return JudgedHead(VectorSet(**rows, **scales, tau=np.full(1, np.inf, np.float32), causal=False,
                                block=np.array([2], np.int32), head=np.array([1], np.int32), model="[made/up]"),
                      0, CONFIG)


def test_the_golden_output_passes(judged):
    trace = judged.trace()
    head = judged.judge(trace, trace.output, [], cycles=7)
    assert head.passed and head.cycles == 7 and 0 < head.relative_rms < 0.005
    assert (head.name, head.model, head.block, head.head, head.keys) == ("[made/up].block2.head1", "[made/up]", 2, 1, 9)


def test_a_difference_or_an_error_beyond_the_budget_fails(judged):
    trace = judged.trace()
    assert judged.judge(trace, trace.output, ["score at row 0: ..."]).problems == ["score at row 0: ..."]
    wrong = trace.output.copy()
    wrong[3, 5] += 2 << CONFIG.fraction_bits
    assert any("largest error 2." in problem or "largest error 1.9" in problem
               for problem in judged.judge(trace, wrong, []).problems)
    problems = judged.judge(trace, trace.output + (1 << CONFIG.fraction_bits - 1), []).problems
    assert len(problems) == 1 and "relative RMS" in problems[0]
    assert judged.failed("no output").problems == ["no output"]


def test_differences_are_spelt_out_and_counted():
    got = np.arange(12).reshape(3, 4)
    assert list_differences("x", got, got, str) == []
    lines = list_differences("x", got, got + (got > 6), str)
    assert lines[0] == "x at (1, 3): expected 8, got 7" and lines[-1] == "x: 2 more differences of 12"
    assert list_differences("x", got, got[:2], str) == ["x: (3, 4) values, expected (2, 4)"]


def test_compensation_is_held_to_the_budget_with_its_gains_and_groups():
    rng = np.random.default_rng(3)
    rows = {name: rng.integers(-119, 128, (1, 40, 64)).astype(np.int8) for name in "qkv"}
    scales = {name: np.full(1, 0.04, np.float32) for name in ("q_scale", "k_scale", "v_scale")}
    vectors = VectorSet(**rows, **scales, tau=np.full(1, 0.5, np.float32), causal=False, block=np.zeros(1, np.int32),
                        head=np.zeros(1, np.int32), model="m", denominator_gain=np.full(1, 1.5, np.float32),
                        mean_gain=np.full(1, 0.75, np.float32), group_elements=np.array([[3, 9]], np.int32),
                        group_cuts=np.zeros((1, 2), np.float32))
    judged = JudgedHead(vectors, 0, CONFIG.replace(key_groups=4))
    trace = judged.trace()
    assert trace.mass.sum() > 0.1 * trace.weight_sum.sum() and judged.judge(trace, trace.output, []).passed
    plain = JudgedHead(dataclasses.replace(vectors, denominator_gain=None, mean_gain=None), 0, CONFIG).trace()
    assert not judged.judge(trace, plain.output, []).passed
