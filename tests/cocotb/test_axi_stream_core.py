"""The whole core with AXI4-Stream ports: programs by packets under pauses, wrong packets, soft resets; real heads."""

import functools
import pathlib

import pytest

from latte.golden.config import AttentionConfig, preset
from latte.golden.vectors import embedded_vectors
from latte.rtl.axi.bus import StreamParameters
from latte.sim import core_programs as programs
from latte.sim.axi_run import build_axi_core, run_axi_stream_core
from latte.sim.core_run import CoreReport
from latte.sim.program import Program
from latte.sim.stalls import STALLS
from tests.cocotb.test_axi_core import DENSE, SERIAL, TOY, UNEVEN

pytest.importorskip("cocotbext.axi")

pytestmark = pytest.mark.slow
"""Each build is compiled for these tests alone; what the quick ones show of the blocks is in test_packet_blocks.py."""
BUILDS = {"toy": (TOY, StreamParameters()), "uneven": (UNEVEN, StreamParameters(data_bits=128)),
          "serial": (SERIAL, StreamParameters(data_bits=32)), "dense": (DENSE, StreamParameters())}
every_build = pytest.mark.parametrize("build", BUILDS)
PROGRAMS = {"corners": programs.corners, "appending": programs.appending, "refused": programs.refused,
            "mixed": functools.partial(programs.mixed, seed=1, count=60)}
compiled = functools.cache(build_axi_core)


def run(config: AttentionConfig, stream: StreamParameters, program: Program, folder: pathlib.Path, build: pathlib.Path,
        **settings: object) -> CoreReport:
    """Run a program and fail with everything that is wrong, and the settings that repeat it."""
    report = run_axi_stream_core(compiled(config, stream, build_folder=build), program, folder, stream=stream,
                                 patience=5000, **settings)
    assert not report.problems, "\n".join([f"{config.name}, {stream}, {settings}", *report.problems[:20]])
    return report


@every_build
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_by_packets(build, program, stall, tmp_path, build_folder):
    """Packets wait for their jobs, jobs follow as there is room; refused ones give marked packets of zeros."""
    config, stream = BUILDS[build]
    run(config, stream, PROGRAMS[program](config), tmp_path / "run", build_folder, stall=stall, seed=len(program))


@every_build
@pytest.mark.parametrize("reset_at", [60, 211, 502, 1500])
def test_soft_reset_in_the_middle(build, reset_at, tmp_path, build_folder):
    """A packet that was begun ends, and the same program then runs from its beginning."""
    config, stream = BUILDS[build]
    run(config, stream, programs.random_heads(config, 1, [3, 16, 31, 7, 1, 20]), tmp_path / "run", build_folder,
        reset_at=reset_at, stall="both", seed=reset_at)


def run_with_faults(build: str, seed: int, jobs: int, stall: str, folder: pathlib.Path, build_folder: pathlib.Path
                    ) -> dict[str, int]:
    """Run jobs of which every other one fails at random; return how many jobs met what."""
    config, stream = BUILDS[build]
    return run(config, stream, programs.mixed(config, seed, jobs), folder, build_folder, stall=stall, seed=seed,
               testbench="latte.sim.axi_stream_fault_testbench").counters


@every_build
@pytest.mark.parametrize("stall", STALLS)
def test_every_wrong_packet_is_told_and_harms_no_other_job(build, stall, tmp_path, build_folder):
    """Packets that are too short or too long, bytes that are missing, jobs without a place, for every other job."""
    counts = run_with_faults(build, 1, 60, stall, tmp_path / "run", build_folder)
    assert min(counts.values()) > 2, counts


@every_build
def test_thousands_of_packets_with_errors(build, tmp_path, build_folder):
    counts = run_with_faults(build, 2, 2500, "both", tmp_path / "run", build_folder)
    assert min(counts.values()) > 100, counts


def test_real_heads(tmp_path, build_folder):
    config = preset("small")
    for vectors in embedded_vectors():
        run(config, StreamParameters(), Program.of_vectors(vectors.select([1, len(vectors) - 1]), config),
            tmp_path / vectors.model, build_folder)
