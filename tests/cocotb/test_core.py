"""The whole core against the golden model, bit for bit, in both simulators."""

import pathlib

import pytest

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig, preset
from latte.golden.vectors import embedded_vectors
from latte.rtl.common.core import COUNTER_BITS
from latte.sim import core_programs as programs
from latte.sim.core_run import CoreReport, build_core, run_core
from latte.sim.program import Program
from latte.sim.stalls import STALLS

TINY, SMALL, BASE = preset("tiny"), preset("small"), preset("base")
SLICE = TINY.replace(split="slice", name="tiny-slice")
# Every kind of threshold, and compensation.
TINY_ALL = TINY.replace(threshold_kinds=THRESHOLD_KINDS, key_groups=8, name="tiny-all")
SLICE_ALL = TINY_ALL.replace(split="slice", key_groups=4, name="tiny-all-slice")
# The wide core, time-multiplexed.
MULTIPLEXED = TINY.replace(engine="latte", max_seq_len=64, query_rows=16, survivor_fifo_depth=32, name="multiplexed")
NARROW = TINY.replace(
    engine="latte", head_dim=32, dim_lanes=32, cross_lanes=6, value_lanes=10, normalizer_lanes=2, query_lanes=3,
    query_rows=16, survivor_fifo_depth=32, max_seq_len=50, kv_banks=2, weight_bits=8, fraction_bits=4,
    pe_structure="table", name="narrow")
CONFIGS = {config.name: config for config in (TINY, SMALL, BASE, SLICE, MULTIPLEXED, NARROW)}


def run(config: AttentionConfig, program: Program, folder: pathlib.Path, build: pathlib.Path,
        simulator: str = "verilator", **settings: object) -> CoreReport:
    """Run a program and fail with every mismatch and the settings that repeat it."""
    report = run_core(build_core(config, simulator, build_folder=build), program, folder, **settings)
    assert not report.problems, "\n".join([f"{config.name}, {simulator}, {settings}", *report.problems[:20]])
    return report


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_corners(name, stall, tmp_path, build_folder):
    config = CONFIGS[name]
    run(config, programs.corners(config), tmp_path / "run", build_folder, stall=stall, seed=len(name))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", ["tiny", "multiplexed", "small"])
def test_random_heads(name, stall, seed, tmp_path, build_folder):
    config = CONFIGS[name]
    program = programs.random_heads(config, seed, [3, 16, 31, 7, 50, 23])
    run(config, program, tmp_path / "run", build_folder, stall=stall, seed=seed)


@pytest.mark.parametrize("stall", ["none", "both"])
@pytest.mark.parametrize("name", CONFIGS)
def test_appended_keys(name, stall, tmp_path, build_folder):
    config = CONFIGS[name]
    run(config, programs.appending(config), tmp_path / "run", build_folder, stall=stall)


WEIGHING = {config.name: config for config in (TINY_ALL, SLICE_ALL)}


def pruned_mass(program: Program) -> int:
    """Return what the counter of pruned mass shows in the end."""
    return sum(int(trace.mass.sum()) for _, trace in program.expected()) % (1 << COUNTER_BITS)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", WEIGHING)
def test_thresholds_of_all_kinds_and_compensation(name, stall, tmp_path, build_folder):
    config = WEIGHING[name]
    program = programs.pruned_heads(config, STALLS.index(stall), [3, 16, 31, 1, 50, 23, 2, 70])
    report = run(config, program, tmp_path / "run", build_folder, stall=stall)
    assert report.counters["pruned_mass"] == pruned_mass(program)


@pytest.mark.parametrize("stall", ["none", "both"])
@pytest.mark.parametrize("name", WEIGHING)
def test_sequences_of_grouped_keys(name, stall, tmp_path, build_folder):
    config = WEIGHING[name]
    program = programs.appending_groups(config, 3)
    report = run(config, program, tmp_path / "run", build_folder, stall=stall)
    assert report.status == ["groups_differ"] and report.counters["pruned_mass"] == pruned_mass(program)


def test_longest_rows_with_compensation(tmp_path, build_folder):
    run(TINY_ALL, programs.pruned_heads(TINY_ALL, 7, [512]), tmp_path / "run", build_folder)


@pytest.mark.parametrize("name", ["tiny", "multiplexed", "narrow", "small"])
def test_refused_jobs_raise_a_sticky_bit_and_harm_no_other(name, tmp_path, build_folder):
    config = CONFIGS[name]
    report = run(config, programs.refused(config), tmp_path / "run", build_folder)
    assert {"head_invalid", "too_long", "no_keys"} <= set(report.status)


@pytest.mark.parametrize("reset_at", [40, 333, 1000, 1777, 2500])
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_reset_in_mid_row(name, reset_at, tmp_path, build_folder):
    config = CONFIGS[name]
    program = programs.random_heads(config, 5, [29, 18, 40])
    run(config, program, tmp_path / "run", build_folder, reset_at=reset_at, stall="both")


@pytest.mark.parametrize("name", ["small", "base"])
def test_real_heads(name, tmp_path, build_folder):
    config = CONFIGS[name]
    for vectors in embedded_vectors():
        run(config, Program.of_vectors(vectors.select([1, len(vectors) - 1]), config), tmp_path / vectors.model,
            build_folder)


def test_real_head_on_the_serial_core(tmp_path, build_folder):
    vectors = next(iter(embedded_vectors())).select([4])
    run(TINY, Program.of_vectors(vectors, TINY), tmp_path / "run", build_folder)


def test_longest_rows(tmp_path, build_folder):
    program = programs.random_heads(SMALL, 9, [1023, 1024])
    run(SMALL, program, tmp_path / "run", build_folder)


def test_counters(tmp_path, build_folder):
    program = programs.random_heads(SMALL, 6, [60, 61, 200])
    report = run(SMALL, program, tmp_path / "run", build_folder)
    pairs, kept = (sum(job[key] for job in report.jobs.values()) for key in ("visible", "kept"))
    assert report.counters["pairs_estimated"] == pairs
    assert report.counters["survivors"] == kept
    assert report.counters["cross_beats"] == kept * SMALL.cross_slices
    assert report.counters["value_beats"] == kept * SMALL.value_slices


@pytest.mark.parametrize("simulator", ["icarus"], indirect=True)
@pytest.mark.parametrize("name", ["tiny", "tiny-slice", "narrow"])
def test_second_simulator(name, simulator, tmp_path, build_folder):
    config = CONFIGS[name]
    run(config, programs.random_heads(config, 7, [9, 14]), tmp_path / "run", build_folder, simulator, stall="both")
