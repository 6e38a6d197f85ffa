"""Jobs on keys in memory: the bits of `attend`, pages shared and reused, what is refused, and what a failure leaves."""

import dataclasses

import numpy as np
import pytest

from latte.golden.attention import HeadParameters, attend
from latte.golden.errors import LatteError
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import FAILURES, REFUSALS, CacheJob, JobKind, carry_out
from latte.golden.pruned_mass import Gains
from latte.golden.quantizer import saturate_qk
from latte.golden.requantise import prune_as_learned
from latte.golden.thresholds import Threshold
from latte.golden.train.threshold_files import read_thresholds
from latte.golden.vectors import embedded_vectors
from tests.golden.memory.made_up import KINDS, build, entry, rows

NONE = np.zeros((0, 0, 64), np.int8)
RELATIVE = HeadParameters(Threshold.relative(60), 40000, 14)


def in_pieces(memory, sequence, q, k, v, entries, sizes):
    """Append and ask the rows of a causal head group in pieces of some sizes; return outputs [heads, n, d]."""
    outputs, at = [], 0
    for size in sizes:
        memory.reserve(sequence, at + size)
        kind = JobKind.DECODE if size == 1 else JobKind.PREFILL
        job = CacheJob(kind, sequence, 0, q[:, at:at + size], k[at:at + size], v[at:at + size])
        job.check(memory.build)
        done = carry_out(job, memory, entries)
        assert done.status is None
        outputs.append(done.outputs(len(q)))
        at += size
    return np.concatenate(outputs, axis=1)


def pieces(rng, n):
    """Return random sizes, single rows among them, that add up to `n`."""
    sizes = []
    while sum(sizes) < n:
        sizes.append(int(min(n - sum(sizes), rng.choice([1, 1, int(rng.integers(1, 60))]))))
    return sizes


@pytest.mark.parametrize("key_groups", [0, 1, 2, 4, 8])
@pytest.mark.parametrize(("bits", "split"), [(4, "balanced"), (3, "balanced"), (2, "balanced"), (4, "slice")])
def test_any_pieces_are_the_whole_head(bits, split, key_groups):
    rng = np.random.default_rng((bits, key_groups))
    for page_rows, bus_bytes, candidates in ((16, 8, 16), (32, 16, 64), (64, 16, 1024)):
        of = build(estimate_bits=bits, split=split, key_groups=key_groups, page_rows=page_rows, bus_bytes=bus_bytes,
                   candidates=candidates, tile_rows=int(rng.integers(1, 8)))
        n, heads = int(rng.integers(1, 100)), 3
        q, k, v = rows(rng, heads, n, 64), rows(rng, n, 64), rows(rng, n, 64)
        group_bits = int(rng.integers(0, of.core.group_bits + 1))
        entries = {head: entry(rng, KINDS[head], of, group_bits) for head in range(heads)}
        memory = CacheMemory(of, 7)
        found = in_pieces(memory, memory.open(), q, k, v, entries, pieces(rng, n))
        for head in range(heads):
            whole = attend(q[head], k, v, entries[head], of.core, causal=True)
            np.testing.assert_array_equal(found[head], whole.output)


@pytest.mark.parametrize("bus_bytes", [8, 16])
@pytest.mark.parametrize("key_groups", [4, 8])
def test_keys_appended_one_by_one_leave_the_same_memory(key_groups, bus_bytes):
    """Numbers of three bits lie across beats."""
    rng = np.random.default_rng((key_groups, bus_bytes))
    of = build(key_groups=key_groups, bus_bytes=bus_bytes, page_rows=64)
    k, v = rows(rng, 100, 64), rows(rng, 100, 64)
    entries = {0: entry(rng, KINDS[0], of, of.core.group_bits)}
    images = []
    for size in (100, 1):
        memory = CacheMemory(of, 2)
        sequence = memory.open()
        memory.reserve(sequence, 100)
        for at in range(0, 100, size):
            job = CacheJob(JobKind.APPEND, sequence, 0, NONE, k[at:at + size], v[at:at + size])
            assert carry_out(job, memory, entries).status is None
        images.append(memory.image.data)
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("name", ["best_90", "relative"])
def test_real_heads(name):
    """The last rows of embedded heads, every intermediate."""
    vectors = next(vectors for vectors in embedded_vectors() if vectors.model == "smollm2-135m")
    if name == "best_90":
        vectors = prune_as_learned(vectors, *(lambda of: (of[0], name, of[1]))(read_thresholds("smollm2_135m/best_90")))
    of = build(page_rows=64, bus_bytes=16, key_groups=4)
    for index in range(0, len(vectors), 4):
        parameters = vectors.parameters(index, of.core)
        q, k, v = vectors.q[index], vectors.k[index], vectors.v[index]
        memory = CacheMemory(of, 8)
        sequence = memory.open()
        memory.reserve(sequence, 512)
        first = CacheJob(JobKind.APPEND, sequence, 0, NONE, k[:500], v[:500])
        assert carry_out(first, memory, {0: parameters}).status is None
        done = carry_out(CacheJob(JobKind.PREFILL, sequence, 0, q[None, 500:], k[500:], v[500:]), memory,
                         {0: parameters})
        whole = attend(q[500:], k, v, parameters, of.core, causal=True)
        np.testing.assert_array_equal(done.outputs(1)[0], whole.output)
        for row, trace in enumerate(done.rows):
            keep = whole.keep[row]
            order = np.argsort(trace.selection.kept)
            np.testing.assert_array_equal(trace.selection.kept[order], np.flatnonzero(keep))
            np.testing.assert_array_equal(trace.score[order], whole.score[row, keep])
            np.testing.assert_array_equal(trace.weight[order], whole.weight[row, keep])
            np.testing.assert_array_equal(trace.mass, whole.mass[row])
            if parameters.gains.denominator:
                np.testing.assert_array_equal(trace.selection.mass, whole.row_mass[row])


@pytest.mark.parametrize("kind", KINDS)
def test_long_rows(kind):
    rng = np.random.default_rng(11)
    of = build(page_rows=64, bus_bytes=16, key_groups=4, candidates=256)
    n = 9000
    k, v, q = rng.integers(-60, 61, (n, 64)).astype(np.int8), rows(rng, n, 64), rows(rng, 1, 1, 64)
    parameters = dataclasses.replace(entry(rng, kind, of, 2), scale_shift=17)
    memory = CacheMemory(of, 141)
    sequence = memory.open()
    memory.reserve(sequence, n)
    carry_out(CacheJob(JobKind.APPEND, sequence, 0, NONE, k[:-1], v[:-1]), memory, {0: parameters})
    done = carry_out(CacheJob(JobKind.DECODE, sequence, 0, q, k[-1:], v[-1:]), memory, {0: parameters})
    whole = attend(q[0], k, v, parameters, of.core, causal=True)
    np.testing.assert_array_equal(done.rows[0].output, whole.output[0])


@pytest.mark.slow
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_longest_sequence(bits):
    rng = np.random.default_rng(12)
    of = build(estimate_bits=bits, page_rows=64, bus_bytes=16, key_groups=8)
    k, v, q = rng.integers(-60, 61, (65536, 64)).astype(np.int8), rows(rng, 65536, 64), rows(rng, 3, 1, 64)
    v[:] = -128 + (v > 100)  # sums near their least
    entries = {h: dataclasses.replace(entry(rng, kind, of, 3), scale_shift=17 - 2 * (4 - bits))
               for h, kind in enumerate(KINDS)}
    memory = CacheMemory(of, 1024)
    sequence = memory.open()
    memory.reserve(sequence, 65536)
    for at in (0, 40000):
        stop = 65535 if at else 40000
        carry_out(CacheJob(JobKind.APPEND, sequence, 0, NONE, k[at:stop], v[at:stop]), memory, entries)
    done = carry_out(CacheJob(JobKind.DECODE, sequence, 0, q, k[-1:], v[-1:]), memory, entries)
    for head, trace in enumerate(done.rows):
        whole = attend(q[head], k, v, entries[head], of.core, causal=True)
        np.testing.assert_array_equal(trace.output, whole.output[0])
    more = CacheJob(JobKind.APPEND, sequence, 0, NONE, k[:1], v[:1])
    assert carry_out(more, memory, entries).status == "too_long"


def test_many_sequences_share_a_memory():
    """Sequences that grow, end and begin again in any order have the images of memories of their own."""
    rng = np.random.default_rng(13)
    of = build(key_groups=4, slots=5, max_seq_len=200)
    entries = {0: entry(rng, KINDS[1], of, 2)}
    memory, alive, used = CacheMemory(of, 30), {}, set()
    for _ in range(60):
        if len(alive) < 5 and rng.random() < 0.4:
            sequence = memory.open()
            assert sequence not in used
            used.add(sequence)
            alive[sequence] = rows(rng, 2, 0, 64)
        elif alive and rng.random() < 0.2:
            memory.free(gone := list(alive)[int(rng.integers(len(alive)))])
            del alive[gone]
        elif alive:
            sequence = list(alive)[int(rng.integers(len(alive)))]
            more = rows(rng, 2, int(rng.integers(1, 30)), 64)
            length = alive[sequence].shape[1] + more.shape[1]
            if length > 200 or memory.free_pages < 3:
                continue
            memory.reserve(sequence, length)
            job = CacheJob(JobKind.APPEND, sequence, 0, NONE, *more)
            assert carry_out(job, memory, entries).status is None
            alive[sequence] = np.concatenate([alive[sequence], more], axis=1)
        for sequence, (k, v) in alive.items():
            state = memory.state(sequence)
            assert state.length == len(k)
            k, _ = saturate_qk(k, of.core.qk_max)
            membership = entries[0].groups.membership(k) if len(k) else np.zeros((0, 4), bool)
            np.testing.assert_array_equal(state.group_keys, membership.sum(axis=0))
            np.testing.assert_array_equal(state.group_sums, [v[of_group].sum(axis=0) for of_group in membership.T])
            for index in range(0, len(k), 16):
                at = memory.page_address(memory.page_of(sequence, index // 16))
                page = memory.image.data[at:at + memory.format.page_bytes]
                piece = slice(index, min(len(k), index + 16))
                found = memory.format.decode(page, piece.stop - index)
                for got, expected in zip(found, (k[piece], v[piece], membership[piece].argmax(axis=1)), strict=True):
                    np.testing.assert_array_equal(got, expected)
    assert len(used) > 8
    for sequence in list(alive):
        memory.free(sequence)
    assert memory.free_pages == 30


def decode(sequence, head=0, heads=1, keys=1):
    """Return a job of kind decode."""
    rng = np.random.default_rng(1)
    return CacheJob(JobKind.DECODE, sequence, head, rows(rng, heads, 1, 64), rows(rng, keys, 64), rows(rng, keys, 64))


def test_refusals_in_order():
    of = build(key_groups=4, max_seq_len=40, slots=2)
    rng = np.random.default_rng(2)
    entries = {0: entry(rng, KINDS[0], of, 2), 1: entry(rng, KINDS[1], of, 2), 2: entry(rng, KINDS[0], of, 1)}
    memory = CacheMemory(of, 6)
    sequence, freed = memory.open(), memory.open()
    memory.free(freed)
    memory.reserve(sequence, 40)
    long = rows(rng, 2, 41, 64)
    judged = [
        (decode(Handle(2, 1)), "sequence_invalid"),
        (decode(freed), "sequence_invalid"),
        (decode(Handle(sequence.slot, sequence.generation + 1), head=9), "sequence_invalid"),
        (decode(sequence, head=9, keys=0), "head_invalid"),
        (decode(sequence, heads=4), "head_invalid"),             # entries 0 to 2 are there, 3 is not
        (CacheJob(JobKind.APPEND, sequence, 5, NONE, *long), "head_invalid"),
        (decode(sequence, keys=0), "no_keys"),
        (CacheJob(JobKind.APPEND, sequence, 0, NONE, *long), "too_long"),
        (CacheJob(JobKind.PREFILL, sequence, 0, rows(rng, 1, 3, 64), *long[:, :2]), "too_long"),
        (decode(sequence, heads=3), "groups_differ"),
        (decode(sequence, heads=2), None),
        (decode(sequence, head=2), "groups_differ"),
        (CacheJob(JobKind.APPEND, sequence, 0, NONE, *long[:, :39]), None),
        (decode(sequence), "too_long"),
        (decode(sequence, heads=2, keys=0), None),
        (CacheJob(JobKind.APPEND, sequence, 0, NONE, *long[:, :0]), None),
    ]
    before = memory.image.data.copy()
    for job, expected in judged:
        job.check(of)
        done = carry_out(job, memory, entries)
        assert done.status == expected, job
        if expected is not None:
            np.testing.assert_array_equal(memory.image.data, before)
            assert done.rows == [] and done.traffic.moved["written"] == done.traffic.moved["high"] == 0
        before = memory.image.data.copy()
    assert {expected for _, expected in judged} - {None} == set(REFUSALS)


@pytest.mark.parametrize("where", ["row", "values", "table", "record", "beyond"])
@pytest.mark.parametrize("fault", FAILURES)
def test_a_failure_leaves_the_sequence(fault, where):
    """The next job on a mended memory goes on as if the failed one had not been; other sequences notice nothing."""
    of = build(key_groups=4)
    rng = np.random.default_rng(4)
    keep_all = Threshold.relative(of.core.tau_keep_all)
    entries = {0: dataclasses.replace(entry(rng, KINDS[1], of, 2), threshold=keep_all, scale_shift=18)}
    memory = CacheMemory(of, 12)
    sequence, other = memory.open(), memory.open()
    k, v = rows(rng, 2, 60, 64)
    for one in (sequence, other):
        memory.reserve(one, 61)
        carry_out(CacheJob(JobKind.APPEND, one, 0, NONE, k, v), memory, entries)
    state, job = memory.state(sequence), decode(sequence)
    expected = carry_out(dataclasses.replace(job, sequence=other), memory, entries)
    index = {"row": 3, "beyond": 3}.get(where, 1)
    page = memory.page_of(sequence, index)
    if fault == "page_unmapped":
        memory.unmap(sequence, index)
    elif where == "beyond":
        memory.image.data[state.table_address + 4 * index:][:4] = 255
    else:
        form, at = memory.format, memory.page_address(page)
        first = {"row": at + form.low_offset + 12 * form.low_bytes, "values": at, "table": state.table_address,
                 "record": memory.state_address(sequence.slot)}[where]
        memory.image.break_range(first, 1 if where != "values" else 1024)
    done = carry_out(job, memory, entries)
    assert (done.status, done.rows) == (fault, [])
    assert bool(memory.image.broken_beats) == (fault == "memory_error" and where != "beyond")
    memory.image.mend()
    if fault == "page_unmapped":
        memory.reserve(sequence, 61)
        assert memory.page_of(sequence, index) == page
    elif where == "beyond":
        memory.image.data[state.table_address + 4 * index:][:4] = np.array([page + 1], "<u4").view(np.uint8)
    for name, value in vars(memory.state(sequence)).items():
        np.testing.assert_array_equal(value, getattr(state, name))
    again = carry_out(job, memory, entries)
    assert again.status is None
    np.testing.assert_array_equal(again.outputs(1), expected.outputs(1))


@pytest.mark.parametrize(("job", "words"), [
    (CacheJob(JobKind.APPEND, Handle(0, 1), 0, rows(np.random.default_rng(0), 1, 1, 64), *rows(
        np.random.default_rng(0), 2, 1, 64)), "append asks no query"),
    (decode(Handle(0, 1), keys=2), "appends one row at most"),
    (dataclasses.replace(decode(Handle(0, 1)), kind=JobKind.PREFILL, q=NONE), "prefill asks one or more"),
    (dataclasses.replace(decode(Handle(0, 1)), q=np.zeros((1, 64), np.int8)), "must have shape"),
    (dataclasses.replace(decode(Handle(0, 1)), v=np.zeros((0, 64), np.int8)), "give a value for each key"),
    (dataclasses.replace(decode(Handle(0, 1)), k=np.zeros((1, 64))), "must be an int8 array"),
    (decode(Handle(0, 1), head=-1), "entries up to"),
])
def test_impossible_jobs(job, words):
    with pytest.raises(LatteError, match=words):
        job.check(build())


def test_the_host_runs_out():
    memory = CacheMemory(build(slots=1, max_seq_len=100), 3)
    sequence = memory.open()
    with pytest.raises(LatteError, match="all 1 slots"):
        memory.open()
    with pytest.raises(LatteError, match="take 4 more pages, but 3 are free"):
        memory.reserve(sequence, 49)
    with pytest.raises(LatteError, match="101 keys are more than the 100"):
        memory.reserve(sequence, 101)
    memory.reserve(sequence, 48)
    assert memory.free_pages == 0
    memory.free(sequence)
    with pytest.raises(LatteError, match="was freed"):
        memory.free(sequence)
    again = memory.open()
    assert again.slot == sequence.slot and again.generation == sequence.generation + 1
    with pytest.raises(LatteError, match="was freed"):
        memory.reserve(sequence, 1)


def test_gains_need_a_build_with_groups():
    """As on chip: what an entry must not ask of a build is refused where it is written, not by the core."""
    with pytest.raises(LatteError, match="no compensation"):
        dataclasses.replace(RELATIVE, gains=Gains(64, 64)).registers(build(key_groups=0).core)
