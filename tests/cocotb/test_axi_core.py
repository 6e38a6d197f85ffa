"""The whole core behind AXI: programs from memory under pauses, errors on the bus, soft resets; real heads."""

import functools
import pathlib

import pytest

from latte.golden.config import AttentionConfig, preset
from latte.golden.vectors import embedded_vectors
from latte.rtl.axi.bus import MasterParameters
from latte.sim import core_programs as programs
from latte.sim.axi_run import build_axi_core, run_axi_core
from latte.sim.core_run import CoreReport
from latte.sim.program import Program
from latte.sim.stalls import STALLS

pytest.importorskip("cocotbext.axi")

TOY = preset("small", head_dim=16, dim_lanes=16, max_seq_len=32, heads=8, cross_lanes=8, value_lanes=8, bus_bytes=8,
             key_groups=0, threshold_kinds=("relative",), query_rows=16, survivor_fifo_depth=32).replace(name="toy")
# Rows of 24 bytes end in half a beat; three elements, of 17 bits, come at a time.
UNEVEN = TOY.replace(head_dim=24, dim_lanes=24, cross_lanes=6, value_lanes=6, bus_bytes=3, normalizer_lanes=3,
                     fraction_bits=9, query_lanes=1, name="uneven")
SERIAL = preset("tiny", head_dim=20, dim_lanes=4, max_seq_len=32, heads=8, cross_lanes=2, value_lanes=2, bus_bytes=2,
                query_rows=4).replace(name="serial-toy")
DENSE = TOY.replace(value_lanes=16, cross_lanes=16).dense()
NARROW, WIDE = MasterParameters(), MasterParameters(data_bits=128, reads_in_flight=2)
BUILDS = {"toy": (TOY, NARROW), "uneven": (UNEVEN, WIDE), "serial": (SERIAL, NARROW), "dense": (DENSE, NARROW)}
every_build = pytest.mark.parametrize("build", [
    name if name == "toy" else pytest.param(name, marks=pytest.mark.slow) for name in BUILDS])
PROGRAMS = {"corners": programs.corners, "appending": programs.appending, "refused": programs.refused,
            "mixed": functools.partial(programs.mixed, seed=1, count=60)}

compiled = functools.cache(build_axi_core)


def run(config: AttentionConfig, master: MasterParameters, program: Program, folder: pathlib.Path, build: pathlib.Path,
        **settings: object) -> CoreReport:
    """Run a program and fail with everything that is wrong, and the settings that repeat it."""
    report = run_axi_core(compiled(config, master, build_folder=build), program, folder, master=master, patience=5000,
                          **settings)
    assert not report.problems, "\n".join([f"{config.name}, {master}, {settings}", *report.problems[:20]])
    return report


@every_build
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_from_memory(build, program, stall, tmp_path, build_folder):
    """Rows anywhere, a ring that goes round many times; refused jobs say so in their status."""
    config, master = BUILDS[build]
    run(config, master, PROGRAMS[program](config), tmp_path / "run", build_folder, stall=stall, seed=len(program),
        scattered=stall != "none", ring_log2=2, latency=10)


@pytest.mark.parametrize("ring_log2", [0, *(pytest.param(log2, marks=pytest.mark.slow) for log2 in (1, 8))])
def test_rings_of_any_size(ring_log2, tmp_path, build_folder):
    run(TOY, NARROW, programs.mixed(TOY, 3, 40), tmp_path / "run", build_folder, ring_log2=ring_log2)


@every_build
@pytest.mark.parametrize("reset_at", [502, *(pytest.param(at, marks=pytest.mark.slow) for at in (60, 211, 1500))])
def test_soft_reset_in_the_middle(build, reset_at, tmp_path, build_folder):
    """What is under way on the bus is finished, and the same program then runs from its beginning."""
    config, master = BUILDS[build]
    run(config, master, programs.random_heads(config, 1, [3, 16, 31, 7, 1, 20]), tmp_path / "run", build_folder,
        reset_at=reset_at, stall="both", seed=reset_at, scattered=True)


def run_with_faults(build: str, seed: int, jobs: int, stall: str, folder: pathlib.Path, build_folder: pathlib.Path
                    ) -> dict[str, int]:
    """Run jobs of which every other one fails at random; return the register accesses and the bursts there were."""
    config, master = BUILDS[build]
    return run(config, master, programs.mixed(config, seed, jobs), folder, build_folder, stall=stall, seed=seed,
               scattered=True, ring_log2=2, latency=10, testbench="latte.sim.axi_fault_testbench").counters


@every_build
@pytest.mark.parametrize("stall", STALLS)
def test_every_error_is_told_and_harms_no_other_job(build, stall, tmp_path, build_folder):
    """Wrong descriptors, errors on the bus, wrong register accesses, for every other job at random."""
    counts = run_with_faults(build, 1, 60, stall, tmp_path / "run", build_folder)
    assert min(counts.values()) > 200, counts


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_ten_thousand_transactions_with_errors(build, tmp_path, build_folder):
    """As many accesses to registers, and as many bursts."""
    counts = run_with_faults(build, 2, 2500, "both", tmp_path / "run", build_folder)
    assert min(counts.values()) >= 10_000, counts


@pytest.mark.slow
@pytest.mark.parametrize("testbench", ["axi_testbench", "axi_fault_testbench"])
def test_registers_behind_wishbone(testbench, tmp_path, build_folder):
    """The same programs, and the same wrong accesses to registers."""
    model = build_axi_core(SERIAL, NARROW, register_port="wishbone", build_folder=build_folder)
    report = run_axi_core(model, programs.mixed(SERIAL, 1, 60), tmp_path / "run", master=NARROW, patience=5000,
                          stall="both", ring_log2=2, testbench=f"latte.sim.{testbench}")
    assert not report.problems, report.problems[:20]


@pytest.mark.slow
def test_real_heads(tmp_path, build_folder):
    config = preset("small")
    for vectors in embedded_vectors():
        run(config, NARROW, Program.of_vectors(vectors.select([1, len(vectors) - 1]), config), tmp_path / vectors.model,
            build_folder)
