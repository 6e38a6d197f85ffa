"""Testbench of a core with keys in memory that serves one batch of jobs after the other, as long as its client wants.

`latte.sim.simulated_cache_core` is the client, to which it leaves what came. The memory is filled once; behind each
batch it stays as the jobs left it.
"""

import pathlib
from typing import Any

from latte.sim.agents import Agent
from latte.sim.cache_agents import QUIET_CYCLES, JobAgents, memory_drivers
from latte.sim.simulator_process import serve_batches, simulator_settings
from latte.sim.testbench import ClockLoop

__all__ = ["main"]


async def main(testbench: ClockLoop) -> None:
    """Fill the memory, then carry out the jobs in the folder each time the client asks."""
    settings = simulator_settings()
    folder = pathlib.Path(settings["folder"])
    testbench.patience = settings["patience"]
    await testbench.reset()
    drivers = memory_drivers(testbench.ports, folder)
    await testbench.run(drivers, lambda: all(driver.finished for driver in drivers))

    async def carry_out(report: dict[str, Any]) -> None:
        jobs = JobAgents(testbench.ports, folder)
        await testbench.run([jobs.parameter], lambda: jobs.parameter.finished)
        agents: list[Agent] = [*jobs.drivers, *jobs.monitors]
        await testbench.run(agents, lambda: jobs.ended)
        await testbench.run(agents, lambda: False, testbench.cycle + QUIET_CYCLES)
        report.update(jobs.report())

    await serve_batches(folder, carry_out)
