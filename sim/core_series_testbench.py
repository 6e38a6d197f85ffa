"""Testbench that runs the programs in its folders ``run0``, ``run1`` ... on one core, one after the other.

`latte.sim.core_run.run_cores` prepares the folders and reads the reports.
"""

import pathlib
from typing import Any

import cocotb

from latte.sim.core_testbench import run_in_folder
from latte.sim.testbench import ClockLoop, Testbench

__all__ = ["main", "run_programs"]


@cocotb.test()
async def run_programs(dut: Any) -> None:
    """Run `main` in the simulator's process."""
    await main(Testbench(dut))


async def main(testbench: ClockLoop) -> None:
    """Run each program behind a reset; what one leaves in the core's memories the next one finds there."""
    folders = list(pathlib.Path().glob("run*"))
    for index in range(len(folders)):
        await run_in_folder(testbench, folders[0].parent / f"run{index}")
