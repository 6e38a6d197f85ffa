"""cocotb testbench of the drivers of a core with keys in memory; bus models are those of `driver_testbench`."""

import json
import pathlib
from typing import Any

import cocotb
from cocotb.task import bridge

from latte.rtl.memory.axi_cache_core import rows_master_of
from latte.rtl.memory.cache_registers import cache_register_table
from latte.sim.axi_cache_program import load_build
from tests.fpga.package.cache_c_session import run_c
from tests.fpga.package.cache_python_session import run_linux, run_python
from tests.fpga.package.driver_testbench import System

RUN = {"c": run_c, "python": run_python, "linux": run_linux}


@cocotb.test()
async def run_sessions(dut: Any) -> None:
    """Run each session that ``settings.json`` names; leave answers in the folder."""
    folder = pathlib.Path()
    settings = json.loads((folder / "settings.json").read_text())
    build = load_build(settings["build"])
    system = System(dut, cache_register_table(build, rows_master_of(build)), build.bus_bytes,
                    masters=("m_axi", "m_axi_cache"))
    await system.power_up()
    answers = {}
    for name, session in settings["sessions"].items():
        system.begin()
        answers[name] = await bridge(RUN[session["driver"]])(system, build, pathlib.Path(session["package"]),
                                                             session["interrupt"])
        assert system.failure is None, system.failure
    (folder / "answers.json").write_text(json.dumps(answers))
