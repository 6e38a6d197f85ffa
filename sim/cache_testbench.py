"""Testbench of the core with keys in memory: carries out the jobs in its folder and writes what came of them there.

`latte.sim.cache_run` prepares the folder and reads it.
"""

import json
import pathlib
from typing import Any

from latte.golden.results import write_text
from latte.sim.agents import Agent, StreamMonitor, TestbenchFailure
from latte.sim.cache_agents import QUIET_CYCLES, JobAgents, memory_drivers
from latte.sim.stalls import stall_pair
from latte.sim.testbench import ClockLoop

__all__ = ["main"]


async def main(testbench: ClockLoop) -> None:
    """Fill memory and register file, offer all jobs, and take outputs, verdicts, and the memory."""
    folder = pathlib.Path()
    settings, memory = (json.loads((folder / f"{name}.json").read_text()) for name in ("settings", "memory"))
    testbench.patience = settings["patience"]
    report: dict[str, Any] = {"failure": None}
    shown: list[int] = []
    jobs = JobAgents(testbench.ports, folder, *stall_pair(settings["stall"], settings["seed"]))
    drivers = [*memory_drivers(testbench.ports, folder), jobs.parameter, *jobs.drivers]
    agents: list[Agent] = [*drivers, *jobs.monitors,
                           StreamMonitor(testbench.ports, "shown", lambda word, _: shown.append(word))]
    try:
        await testbench.reset()
        await testbench.run(agents, lambda: len(shown) >= memory["words"] and all(of.finished for of in drivers))
        await testbench.run(agents, lambda: False, testbench.cycle + QUIET_CYCLES)
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    (folder / "image.bin").write_bytes(b"".join(word.to_bytes(memory["bus_bytes"], "little") for word in shown))
    write_text(folder / "report.json", json.dumps(report | jobs.report()))
