"""The whole core against the golden model, bit for bit, in both simulators."""

import functools
import pathlib

import pytest

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig, preset
from latte.golden.vectors import embedded_vectors
from latte.sim import core_programs as programs
from latte.sim.core_run import CoreReport, build_core, run_core
from latte.sim.program import Program
from latte.sim.stalls import STALLS

EVERYTHING = {"threshold_kinds": THRESHOLD_KINDS, "key_groups": 8}
TINY, SMALL, BASE = preset("tiny"), preset("small"), preset("base")
TINY_LEAN, SMALL_LEAN = TINY.lean(), SMALL.lean()
SERIAL_SLICE = TINY.replace(head_dim=16, dim_lanes=4, max_seq_len=64, split="slice", key_groups=8, name="serial-slice")
# Lanes that divide nothing, and a row that is shorter than the memories' parts.
NARROW = TINY_LEAN.replace(
    engine="latte", head_dim=32, dim_lanes=32, cross_lanes=6, value_lanes=10, normalizer_lanes=2, query_lanes=3,
    query_rows=16, survivor_fifo_depth=32, max_seq_len=50, kv_banks=2, weight_bits=8, fraction_bits=4,
    pe_structure="table", name="narrow")
NARROW_PRUNING = NARROW.replace(**EVERYTHING | {"key_groups": 4}, name="narrow-pruning")
THREE_BITS = NARROW.replace(estimate_bits=3, name="three-bits")
# Two keys a cycle, one slice, as `base` has them.
TWO_KEYS = SMALL.replace(
    **EVERYTHING, head_dim=16, dim_lanes=16, cross_lanes=16, value_lanes=16, normalizer_lanes=4, query_lanes=3,
    key_lanes=2, bus_bytes=2, max_seq_len=64, heads=16, query_rows=16, survivor_fifo_depth=32, split="slice",
    name="two-keys")
# The wide core, time-multiplexed, with one bank of keys.
MULTIPLEXED = TINY.replace(engine="latte", head_dim=32, max_seq_len=64, query_rows=16, survivor_fifo_depth=32,
                           key_groups=2, name="multiplexed")
CONFIGS = {config.name: config for config in (
    TINY, SMALL, BASE, TINY_LEAN, SMALL_LEAN, SERIAL_SLICE, NARROW, NARROW_PRUNING, THREE_BITS, TWO_KEYS,
    MULTIPLEXED)}


def slow(value: object):
    """Return a parameter for the slow tests: a build that takes minutes, or differs from another in numbers alone."""
    return pytest.param(value, marks=pytest.mark.slow)


PAPER = ("tiny", "small", slow("base"), slow("tiny-lean"), slow("small-lean"), slow("multiplexed"), slow("narrow"),
         slow("three-bits"))
"""Builds that run relative thresholds without compensation, among others or alone."""
PRUNING = ("small", "narrow-pruning", slow("two-keys"), "multiplexed", "tiny", slow("serial-slice"))


MANY_QUERIES = 150
"""More than fit in the memories of rows at once."""

compiled = functools.cache(build_core)
"""Emission alone takes seconds, and most tests run a model that another has compiled."""


def run(config: AttentionConfig, program: Program, folder: pathlib.Path, build: pathlib.Path,
        simulator: str = "verilator", **settings: object) -> CoreReport:
    """Run a program and fail with every mismatch and the settings that repeat it."""
    report = run_core(compiled(config, simulator, build_folder=build), program, folder, **settings)
    assert not report.problems, "\n".join([f"{config.name}, {simulator}, {settings}", *report.problems[:20]])
    return report


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", PAPER)
def test_corners(name, stall, tmp_path, build_folder):
    config = CONFIGS[name]
    run(config, programs.corners(config), tmp_path / "run", build_folder, stall=stall, seed=len(name))


@pytest.mark.parametrize("seed", [1, slow(2)])
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", ["tiny", "multiplexed", "small"])
def test_random_heads(name, stall, seed, tmp_path, build_folder):
    config = CONFIGS[name]
    program = programs.random_heads(config, seed, [3, 16, 31, 7, 50, 23])
    run(config, program, tmp_path / "run", build_folder, stall=stall, seed=seed)


@pytest.mark.parametrize("stall", ["none", "both"])
@pytest.mark.parametrize("name", PAPER)
def test_appended_keys(name, stall, tmp_path, build_folder):
    config = CONFIGS[name]
    run(config, programs.appending(config), tmp_path / "run", build_folder, stall=stall)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", PRUNING)
def test_pruned_heads(name, stall, tmp_path, build_folder):
    config = CONFIGS[name]
    for seed in range(1 if config.engine == "serial" else 2):
        program = programs.pruned_heads(config, seed, [3, 16, 31, 7, 50, 1, 2, 23])
        run(config, program, tmp_path / "run", build_folder, stall=stall, seed=seed)


@pytest.mark.parametrize("stall", ["none", "both"])
@pytest.mark.parametrize("name", PRUNING)
def test_keys_and_groups_that_heads_share(name, stall, tmp_path, build_folder):
    config = CONFIGS[name]
    for seed in (1, 2):
        run(config, programs.appending_groups(config, seed), tmp_path / "run", build_folder, stall=stall, seed=seed)


@pytest.mark.parametrize("reset_at", [slow(333), 1777, slow(2500)])
@pytest.mark.parametrize("name", [slow("two-keys"), "tiny"])
def test_reset_in_mid_row_of_a_pruning_core(name, reset_at, tmp_path, build_folder):
    config = CONFIGS[name]
    run(config, programs.pruned_heads(config, 5, [29, 18, 40]), tmp_path / "run", build_folder, reset_at=reset_at,
        stall="both")


def test_longest_pruned_rows(tmp_path, build_folder):
    program = programs.pruned_heads(SMALL, 9, [1023, 1024], queries=MANY_QUERIES)
    run(SMALL, program, tmp_path / "run", build_folder)


@pytest.mark.slow
def test_longest_pruned_heads(tmp_path, build_folder):
    run(SMALL, programs.pruned_heads(SMALL, 9, [1023, 1024]), tmp_path / "run", build_folder)


def test_longest_pruned_rows_of_the_serial_core(tmp_path, build_folder):
    program = programs.pruned_heads(TINY, 9, [512, 511, 512], queries=3)
    run(TINY, program, tmp_path / "run", build_folder)


@pytest.mark.parametrize("name", ["tiny", "multiplexed", slow("narrow"), "small"])
def test_refused_jobs_raise_a_sticky_bit_and_harm_no_other(name, tmp_path, build_folder):
    config = CONFIGS[name]
    report = run(config, programs.refused(config), tmp_path / "run", build_folder)
    assert {"head_invalid", "too_long", "no_keys"} <= set(report.status)


@pytest.mark.parametrize("seed", [1, slow(2), slow(3)])
@pytest.mark.parametrize("name", ["tiny", "multiplexed", slow("narrow"), "small"])
def test_sequences_that_begin_behind_refused_jobs_leave_those_before_alone(name, seed, tmp_path, build_folder):
    """A job that goes on with nothing begins a sequence: not in the bank from which its predecessors compute."""
    config = CONFIGS[name]
    run(config, programs.mixed(config, seed, 60), tmp_path / "run", build_folder)


@pytest.mark.parametrize("reset_at", [40, slow(333), slow(1000), 1777, slow(2500)])
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_reset_in_mid_row(name, reset_at, tmp_path, build_folder):
    config = CONFIGS[name]
    program = programs.random_heads(config, 5, [29, 18, 40])
    run(config, program, tmp_path / "run", build_folder, reset_at=reset_at, stall="both")


def test_reset_that_is_due_behind_the_end(tmp_path, build_folder):
    """It comes when the program has ended: waiting for it is no hang."""
    run(TINY, programs.random_heads(TINY, 5, [3, 5]), tmp_path / "run", build_folder, reset_at=50_000, patience=5000)


@pytest.mark.parametrize("name", ["small", slow("small-lean"), slow("base")])
def test_real_heads(name, tmp_path, build_folder):
    config = CONFIGS[name]
    for vectors in embedded_vectors():
        run(config, Program.of_vectors(vectors.select([1, len(vectors) - 1]), config), tmp_path / vectors.model,
            build_folder)


def test_real_head_on_the_serial_core(tmp_path, build_folder):
    vectors = next(iter(embedded_vectors())).select([4])
    run(TINY, Program.of_vectors(vectors, TINY), tmp_path / "run", build_folder)


@pytest.mark.slow
def test_longest_rows(tmp_path, build_folder):
    program = programs.random_heads(SMALL, 9, [1023, 1024], queries=MANY_QUERIES)
    run(SMALL, program, tmp_path / "run", build_folder)


@pytest.mark.slow
def test_longest_heads(tmp_path, build_folder):
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
@pytest.mark.parametrize("name", ["tiny", slow("serial-slice"), slow("narrow"), slow("narrow-pruning")])
def test_second_simulator(name, simulator, tmp_path, build_folder):
    config = CONFIGS[name]
    run(config, programs.random_heads(config, 7, [9, 14]), tmp_path / "run", build_folder, simulator, stall="both")
