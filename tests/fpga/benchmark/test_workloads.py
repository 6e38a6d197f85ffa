"""Workloads of the benchmark: what they keep, and that cycle model and simulation see the same work."""

import numpy as np
import pytest

from latte.fpga.benchmark import workloads
from latte.golden.config import preset
from latte.golden.vectors import VectorSet, embedded_vectors
from latte.sim.vector_sets import as_learned

SMALL = preset("small")


def embedded(causal: bool) -> VectorSet:
    return next(vectors for vectors in embedded_vectors() if vectors.causal == causal)


@pytest.mark.parametrize("keep", workloads.KEEP_RATIOS)
def test_kept_share_is_what_the_name_says(keep):
    pairs = workloads.kept_share(keep).pairs(SMALL)
    assert pairs.kept / pairs.visible == pytest.approx(keep, abs=0.005)
    assert pairs.visible == 12 * 197 ** 2


@pytest.mark.parametrize("keys", workloads.LENGTHS)
def test_lengths(keys):
    workload = workloads.of_length(keys)
    assert all(job.q.shape == job.k.shape == (keys, 64) for job in workload.jobs)


@pytest.mark.parametrize("make", [
    lambda: workloads.decode_steps(embedded(True), SMALL, 3), lambda: workloads.of_length(128),
    lambda: workloads.mixed_heads(embedded(False).select(list(range(6))), SMALL, alternate=True)])
def test_the_cycle_model_sees_the_kept_keys_of_the_golden_model(make):
    workload = make()
    traces = [trace for _, trace in workload.program(SMALL).expected()]
    work = workload.head_work(SMALL)
    assert len(traces) == len(work)
    for trace, head in zip(traces, work, strict=True):
        assert np.array_equal(trace.keep, head.keep)
        assert int(trace.visible.sum()) == head.visible


def test_decoding_loads_the_cache_once_for_each_group_of_queries():
    vectors = embedded(True)
    jobs = workloads.decode_steps(vectors, SMALL, 3).jobs
    assert [len(job.k) for job in jobs[:6]] == [512, 0, 0, 512, 0, 0]
    assert all(len(job.q) == 1 for job in jobs)


def test_learned_thresholds_move_to_a_share():
    [learned] = as_learned(embedded(False))
    workload = workloads.pruned_to(0.12, embedded(False).select([0, 20]), learned.select([0, 20]), SMALL)
    pairs = workload.pairs(SMALL)
    assert pairs.kept / pairs.visible == pytest.approx(0.12, abs=0.002)
    assert (workload.name, workload.shaped_like) == ("deit-tiny-best_90-keep12", "deit-tiny")
    assert all(entry.gains.denominator and entry.groups.elements for entry in workload.parameters.values())


def test_mixed_heads_keep_from_little_to_much_in_either_order():
    vectors = embedded(False).select(list(range(0, 36, 4)))
    orders = [workloads.mixed_heads(vectors, SMALL, alternate=alternate) for alternate in (False, True)]
    shares = [[np.mean(work.keep) for work in order.head_work(SMALL)] for order in orders]
    assert sorted(shares[0]) == sorted(shares[1])
    assert min(shares[0]) < 0.03 and max(shares[0]) > 0.55
    in_turn = shares[1]
    assert all(heavy > light for heavy, light in zip(in_turn[::2], in_turn[1::2], strict=False))
