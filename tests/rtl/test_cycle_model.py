"""Cycle model: limits it must obey, and cycles of the RTL under Verilator."""

import numpy as np
import pytest

from latte.golden.attention import attend
from latte.golden.config import THRESHOLD_KINDS, preset
from latte.golden.jobs import Sequence
from latte.golden.quantizer import QK_MAX
from latte.golden.vectors import VectorSet, embedded_vectors
from latte.rtl.common.head_work import HeadWork
from latte.rtl.cycle_prediction import kept_keys, predict_cycles, predict_vectors
from latte.sim import core_programs
from latte.sim.program import Program


def random_keep(rows: int, keys: int, share: float, *, causal: bool, seed: int = 0) -> np.ndarray:
    """Return a mask with about `share` of the visible keys kept, at least one a row."""
    keep = np.random.default_rng(seed).random((rows, keys)) < share
    keep[:, 0] = True
    return np.tril(keep, keys - rows) if causal else keep


def random_vectors(heads: int, keys: int, tau: list[float], *, causal: bool, seed: int = 1) -> VectorSet:
    """Return random activations of a spread that makes `tau` matter."""
    random = np.random.default_rng(seed)
    q, k, v = (random.integers(-QK_MAX, QK_MAX, (heads, keys, 64), np.int8, endpoint=True) for _ in range(3))
    scale = np.full(heads, 0.01, np.float32)
    index = np.arange(heads, dtype=np.int32)
    return VectorSet(q, k, v, scale, scale, scale, np.array(tau, np.float32), causal, index, index, "random")


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
@pytest.mark.parametrize("causal", [False, True])
def test_never_faster_than_any_unit(name, causal):
    config = preset(name)
    work = HeadWork(random_keep(64, 64, 0.3, causal=causal), causal)
    prediction = predict_cycles([work] * 3, config)
    kept = 3 * int(work.keep.sum())
    assert prediction.estimator_beats * config.pairs_per_cycle >= 3 * work.visible * config.dim_slices
    assert prediction.cross_beats == kept * config.cross_slices
    assert prediction.value_beats == kept * config.value_slices
    busiest = max(prediction.estimator_beats, prediction.cross_beats, prediction.value_beats)
    assert busiest < prediction.busy < prediction.total
    assert sum(prediction.heads) < prediction.total
    assert sum(prediction.stalls.values()) <= prediction.total - prediction.estimator_beats


def test_more_survivors_never_take_less_time():
    cycles = [predict_cycles([HeadWork(random_keep(100, 100, share, causal=False), causal=False)],
                             preset("small")).total for share in (0.02, 0.1, 0.2, 0.5, 1.0)]
    assert cycles == sorted(cycles)
    # Everything kept: each survivor takes so many cycles of both units behind the estimator.
    assert cycles[-1] == pytest.approx(preset("small").value_slices * 100 * 100, rel=0.15)


def test_cycles_grow_with_the_square_of_the_length():
    lengths = np.array([64, 128, 256, 512, 1024])
    cycles = [predict_cycles([HeadWork(random_keep(n, n, 0.1, causal=False), causal=False)] * 2,
                             preset("base")).heads[1] for n in lengths]
    exponent = np.polyfit(np.log(lengths), np.log(cycles), 1)[0]
    assert exponent == pytest.approx(2, abs=0.05)


def test_second_bank_hides_loading():
    jobs = [HeadWork(random_keep(64, 64, 0.1, causal=False), causal=False)] * 4
    double, single = (predict_cycles(jobs, preset("small", kv_banks=banks)) for banks in (2, 1))
    load = 64 * 64 // preset("small").bus_bytes
    assert single.total >= double.total + 3 * load * 0.8
    assert single.stalls["key_load"] >= 3 * load * 0.8 > double.stalls["key_load"]


def test_appended_keys_load_only_themselves():
    config = preset("small")
    jobs = [HeadWork(random_keep(32, 32, 0.2, causal=True), causal=True)]
    jobs += [HeadWork(random_keep(1, n, 0.2, causal=True), causal=True, load_rows=1, fresh=False)
             for n in range(33, 41)]
    prediction = predict_cycles(jobs, config)
    assert len(prediction.heads) == 9
    assert max(prediction.heads[1:]) < 250


def test_query_heads_that_share_keys_do_not_load_them():
    config = preset("small")
    keep = random_keep(4, 128, 0.2, causal=True)
    alone, shared = HeadWork(keep, causal=True), HeadWork(keep, causal=True, load_rows=0, fresh=False)
    load = 128 * 64 // config.bus_bytes
    assert predict_cycles([alone] * 3, config).total > 3 * load > predict_cycles([alone, shared, shared], config).total


def test_vectors_and_masks_agree():
    vectors = next(iter(embedded_vectors())).select([0])
    config = preset("base")
    keep = kept_keys(vectors.q[0], vectors.k[0], vectors.parameters(0, config), config, causal=vectors.causal)
    assert predict_vectors(vectors, config) == predict_cycles([HeadWork(keep, vectors.causal)], config)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "latte"])
@pytest.mark.parametrize("causal", [False, True])
def test_within_one_per_cent_of_the_rtl(causal, engine, tmp_path):
    from latte.sim.core_run import build_core, run_core

    config = preset("tiny", max_seq_len=64, query_rows=16, survivor_fifo_depth=32, engine=engine)
    vectors = random_vectors(5, 45, [np.inf, 6.0, 1.0, 2.5, 0.0], causal=causal)
    report = run_core(build_core(config), Program.of_vectors(vectors, config), tmp_path / "run")
    prediction = predict_vectors(vectors, config)
    assert report.problems == []
    assert prediction.heads == pytest.approx([job["cycles"] for job in report.jobs.values()], rel=0.01)
    assert prediction.busy == pytest.approx(report.counters["cycles"], rel=0.01)
    for unit in ("estimator", "cross", "value"):
        assert getattr(prediction, f"{unit}_beats") == report.counters[f"{unit}_beats"]
    if engine == "serial":
        assert prediction.heads == [job["cycles"] for job in report.jobs.values()]
        assert prediction.busy == report.counters["cycles"]


def work_of(program: Program) -> list[HeadWork]:
    """Return the work of the jobs of a program that are not refused."""
    config, sequence, work = program.config, Sequence(program.config, program.parameters), []
    for job in program.jobs:
        if sequence.load(job) is None:
            entry = program.parameters[job.head]
            keep = kept_keys(job.q, sequence.keys, entry, config, causal=job.causal)
            work.append(HeadWork.of_entry(keep, entry, config, causal=job.causal, load_rows=len(job.k),
                                          fresh=job.fresh))
    return work


def test_serial_engine_with_compensation_to_the_cycle(tmp_path):
    from latte.sim.core_run import build_core, run_core

    config = preset("tiny").replace(threshold_kinds=THRESHOLD_KINDS, key_groups=8, name="tiny-pruning")
    for seed, make in enumerate((core_programs.appending_groups, core_programs.pruned_heads)):
        program = make(config, seed, *([[3, 40, 2, 17, 30]] if seed else []))
        report = run_core(build_core(config), program, tmp_path / str(seed))
        prediction = predict_cycles(work_of(program), config)
        assert report.problems == []
        assert prediction.heads == [job["cycles"] for job in report.jobs.values()]
        assert [prediction.cross_beats, prediction.value_beats] == [report.counters[f"{unit}_beats"]
                                                                    for unit in ("cross", "value")]
        # Cycles of refused jobs are not predicted.
        assert "groups_differ" in report.status or prediction.busy == report.counters["cycles"]


def test_wide_engine_with_compensation_within_one_per_cent(tmp_path, build_folder):
    """Real heads as shipped thresholds prune them, at real size: small heads are bound by what they wait for."""
    from latte.sim.core_run import build_core, run_core
    from latte.sim.vector_sets import embedded_that_fit

    config = preset("small")
    model = build_core(config, build_folder=build_folder)
    learned = [vectors for vectors in embedded_that_fit(config)[0] if vectors.denominator_gain is not None]
    assert {vectors.causal for vectors in learned} == {False, True}
    for vectors in learned:
        vectors = vectors.select([0, len(vectors) // 2, len(vectors) - 1])
        report = run_core(model, Program.of_vectors(vectors, config), tmp_path / vectors.model)
        prediction = predict_vectors(vectors, config)
        assert report.problems == []
        assert prediction.heads == pytest.approx([job["cycles"] for job in report.jobs.values()], rel=0.01)
        assert prediction.busy == pytest.approx(report.counters["cycles"], rel=0.01)
        for unit in ("estimator", "cross", "value"):
            assert getattr(prediction, f"{unit}_beats") == report.counters[f"{unit}_beats"]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_kept_keys_are_those_of_the_builds_estimates(bits):
    config = preset("small", estimate_bits=bits)
    vectors = random_vectors(1, 40, [0.3], causal=True)
    entry = vectors.parameters(0, config)
    q, k, v = vectors.q[0], vectors.k[0], vectors.v[0]
    trace = attend(q, k, v, entry, config, causal=True)
    assert np.array_equal(kept_keys(q, k, entry, config, causal=True), trace.keep)
