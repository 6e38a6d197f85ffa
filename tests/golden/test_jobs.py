"""What jobs mean: refusals, appended keys, invalid operands; the RTL is held to the same code in tests/cocotb."""

import dataclasses

import numpy as np
import pytest

from latte.golden.attention import HeadParameters, attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.jobs import REFUSALS, Job, Sequence, carry_out, final_status, find_refusals
from latte.golden.key_groups import KeyGroups
from latte.golden.pruned_mass import Gains
from latte.golden.thresholds import Threshold

CONFIG = preset("small", head_dim=8, dim_lanes=8, cross_lanes=8, value_lanes=8, max_seq_len=12, heads=3).lean()
ENTRY = HeadParameters(Threshold.relative(40), 40_000, 20)


def rows(count, seed=0, head_dim=8):
    return np.random.default_rng(seed).integers(-119, 120, (count, head_dim)).astype(np.int8)


def job(head, queries, keys, **others):
    return Job(head, rows(queries, 1), rows(keys, 2 + keys), rows(keys, 3 + keys), **others)


JUDGED = [
    (job(0, 2, 5), None),
    (job(1, 2, 5), "head_invalid"),                      # no entry was written
    (job(3, 2, 5), "head_invalid"),                      # no such register
    (job(0, 2, 0, fresh=False), "no_keys"),              # the refused sequence left none behind
    (job(3, 0, 4), None),                                # without queries the head does not matter
    (job(0, 5, 0, fresh=False, causal=True), "too_long"),
    (job(0, 5, 0, fresh=False), None),                   # not causal: any number of queries
    (job(0, 1, 9, fresh=False), "too_long"),             # 13 keys
    (job(0, 4, 8, fresh=False, causal=True), None),      # a refused append leaves the sequence as it was: 12 keys
    (job(0, 12, 0, fresh=False, causal=True), None),
    (job(0, 0, 13), "too_long"),
    (job(0, 1, 0), "no_keys"),
    (job(1, 1, 0), "head_invalid"),                      # the first reason that applies
    (job(0, 4, 3, causal=True), "too_long"),
]


def test_refusals():
    jobs = [entry for entry, _ in JUDGED]
    assert find_refusals(jobs, {0: ENTRY}, CONFIG) == [refusal for _, refusal in JUDGED]
    assert final_status(jobs, {0: ENTRY}, CONFIG) == set(REFUSALS) - {"groups_differ"}


def test_appended_keys_are_one_sequence():
    """A prompt and single steps give the rows of the whole causal head."""
    q, k, v = rows(9, 4), rows(9, 5), rows(9, 6)
    jobs = [Job(0, q[:4], k[:4], v[:4], causal=True)]
    jobs += [Job(0, q[i:i + 1], k[i:i + 1], v[i:i + 1], fresh=False, causal=True) for i in range(4, 9)]
    jobs.append(Job(0, q[3:], k[:0], v[:0], fresh=False, causal=True))  # the same keys, asked again
    outputs = [trace.output for _, trace in carry_out(jobs, {0: ENTRY}, CONFIG)]
    whole = attend(q, k, v, ENTRY, CONFIG, causal=True).output
    np.testing.assert_array_equal(np.concatenate(outputs[:-1]), whole)
    np.testing.assert_array_equal(outputs[-1], whole[3:])


def test_a_fresh_job_forgets():
    sequence = Sequence(CONFIG, {0: ENTRY})
    assert sequence.load(job(0, 0, 7)) is None and sequence.load(job(0, 1, 3)) is None
    np.testing.assert_array_equal(sequence.keys, job(0, 1, 3).k)


def test_register_holds_no_threshold_below_one():
    [(_, trace)] = carry_out([job(0, 3, 6)], {0: HeadParameters(Threshold.relative(0), 40_000, 20)}, CONFIG)
    assert trace.keep.any(axis=1).all()


def test_saturation_counts_in_refused_jobs():
    loud = Job(2, np.full((1, 8), 127, np.int8), rows(2), rows(2))
    assert final_status([loud], {}, CONFIG) == {"head_invalid", "qk_saturated"}
    assert final_status([Job(0, rows(1), rows(2), np.full((2, 8), 127, np.int8))], {0: ENTRY}, CONFIG) == set()


Q, K, V = rows(5), rows(5, 1), rows(5, 2)
NONSENSE = {
    "more queries than keys": ((Q, K[:3], V[:3]), "5 queries and 3 keys"),
    "no queries": ((Q[:0], K, V), "'q' has no rows"),
    "no keys": ((Q[:0], K[:0], V[:0]), "has no rows"),
    "no values": ((Q, K, V[:0]), "'v' has no rows"),
    "unequal": ((Q, K, V[:4]), "'k' has 5 rows, but 'v' has 4"),
    "head_dim": ((rows(5, 0, 6), rows(5, 1, 6), rows(5, 2, 6)), "head_dim = 8"),
    "head_dim of values": ((Q, K, rows(5, 2, 6)), "'v' must have shape"),
    "many heads": ((Q[None], K[None], V[None]), "'q' must have shape"),
    "one vector": ((Q[0], K, V), "'q' must have shape"),
    "wide": ((Q.astype(np.int16), K, V), "int16"),
    "unsigned": ((Q, K.astype(np.uint8), V), "uint8"),
    "real": ((Q, K, V.astype(np.float64)), "float64"),
    "list": ((Q.tolist(), K, V), "list"),
    "too many keys": ((Q, rows(13), rows(13)), "13 rows.*at most 12"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_operands_without_meaning(kind):
    operands, words = NONSENSE[kind]
    compensated = dataclasses.replace(ENTRY, gains=Gains(64, 64))
    for entry, config in ((ENTRY, CONFIG), (compensated, CONFIG), (ENTRY, CONFIG.dense())):
        with pytest.raises(LatteError, match=words) as error:
            attend(*operands, entry, config, causal=True)
        assert "\n" not in str(error.value)


def test_more_queries_than_keys_without_causality():
    assert attend(Q, K[:3], V[:3], ENTRY, CONFIG, causal=False).output.shape == (5, 8)


def test_keys_stay_in_the_groups_they_were_loaded_in():
    config = CONFIG.replace(key_groups=4)
    two, one = KeyGroups((1, 2), (0, 5)), KeyGroups((1,), (0,))
    parameters = {0: dataclasses.replace(ENTRY, groups=two), 1: dataclasses.replace(ENTRY, groups=one),
                  2: dataclasses.replace(ENTRY, gains=Gains(9, 9), groups=two)}
    judged = [
        (job(0, 2, 4), None), (job(2, 2, 1, fresh=False), None), (job(1, 2, 0, fresh=False), "groups_differ"),
        (job(1, 0, 1, fresh=False), "groups_differ"), (job(0, 5, 0, fresh=False, causal=True), None),
        (job(3, 0, 2), "head_invalid"),                       # what is loaded has no groups
        (job(1, 0, 3, fresh=False), None), (job(0, 2, 0, fresh=False), "groups_differ"),
        (job(3, 0, 0, fresh=False), None), (job(0, 9, 0, fresh=False, causal=True), "too_long"),
        (job(1, 2, 0, fresh=False), None), (job(0, 2, 3), None),
    ]
    assert find_refusals([entry for entry, _ in judged], parameters, config) == [refusal for _, refusal in judged]
    # A build without them asks nobody.
    other = find_refusals([entry for entry, _ in judged], parameters, CONFIG)
    assert "groups_differ" not in other and other[5] is None
