"""Testbench of the core with keys in memory: carries out the jobs in its folder and writes what came of them there.

`latte.sim.cache_run` prepares the folder and reads it.
"""

import json
import pathlib
from typing import Any

from latte.golden.results import write_text
from latte.sim.agents import Agent, StreamDriver, StreamMonitor, TestbenchFailure
from latte.sim.cache_agents import QUIET_CYCLES, JobAgents, memory_drivers
from latte.sim.stalls import stall_pair
from latte.sim.testbench import ClockLoop

__all__ = ["main"]


async def main(testbench: ClockLoop) -> None:
    """Fill memory and register file, offer all jobs, and take what comes; behind a reset, from the beginning."""
    folder = pathlib.Path()
    settings, memory = (json.loads((folder / f"{name}.json").read_text()) for name in ("settings", "memory"))
    testbench.patience = settings["patience"]
    report: dict[str, Any] = {"failure": None}
    shown: list[int] = []

    def begin() -> tuple[JobAgents, list[StreamDriver], list[Agent]]:
        shown.clear()
        jobs = JobAgents(testbench.ports, folder, *stall_pair(settings["stall"], settings["seed"]))
        drivers = [*memory_drivers(testbench.ports, folder), jobs.parameter, *jobs.drivers]
        return jobs, drivers, [*drivers, *jobs.monitors,
                               StreamMonitor(testbench.ports, "shown", lambda word, _: shown.append(word))]

    jobs, drivers, agents = begin()
    try:
        await testbench.reset()
        if settings["reset_at"] is not None:
            await testbench.run(agents, lambda: False, settings["reset_at"])
            await testbench.reset()
            jobs, drivers, agents = begin()
        await testbench.run(agents, lambda: len(shown) >= memory["words"] and all(of.finished for of in drivers))
        await testbench.run(agents, lambda: False, testbench.cycle + QUIET_CYCLES)
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    (folder / "image.bin").write_bytes(b"".join(word.to_bytes(memory["bus_bytes"], "little") for word in shown))
    write_text(folder / "report.json", json.dumps(report | jobs.report()))
