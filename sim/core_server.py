"""Testbench of a core that serves one program after the other, as long as its client wants.

`latte.sim.simulated_core` is the client. Nothing is compared but what every
program must obey: the status bits, and that each job ends where it should. The outputs are the client's to judge.
"""

import pathlib
from typing import Any

import cocotb
import numpy as np

from latte.sim.agents import Agent, StreamMonitor, TestbenchFailure
from latte.sim.core_testbench import CoreTestbench
from latte.sim.packing import PayloadReader
from latte.sim.program import Program
from latte.sim.scoreboard import Segment
from latte.sim.simulator_process import serve_batches, simulator_settings
from latte.sim.testbench import ClockLoop, Testbench

__all__ = ["main", "serve_programs"]


@cocotb.test()
async def serve_programs(dut: Any) -> None:
    """Run `main` in the simulator's process."""
    await main(Testbench(dut))


async def main(testbench: ClockLoop) -> None:
    """Run the program in the folder each time the client asks."""
    settings = simulator_settings()
    folder = pathlib.Path(settings["folder"])
    testbench.patience = settings["patience"]
    await testbench.reset()

    async def carry_out(report: dict[str, Any]) -> None:
        await _CoreServer(testbench, Program.load(folder), settings, folder, report).serve()

    await serve_batches(folder, carry_out)


class _CoreServer(CoreTestbench):
    """Runs a program on a core that has run others before."""

    async def serve(self) -> None:
        """Run the program and write its outputs; status and counters begin anew."""
        await self.testbench.pulse("clear")
        await self.write_parameters()
        splitter = self.splitter("output")
        drivers = self.sources(None)
        jobs = len(self.program.row_counts())
        agents: list[Agent] = [*drivers, StreamMonitor(self.testbench.ports, "o", splitter.receive)]
        await self.testbench.run(agents, lambda: len(splitter.segments) == jobs and all(d.finished for d in drivers))
        await self.finish(agents, {"output": splitter})
        outputs = [self._read(segment, rows)
                   for segment, rows in zip(splitter.segments, self.program.row_counts(), strict=True)]
        np.savez(self.folder / "outputs.npz", *outputs)

    def _read(self, segment: Segment, rows: int) -> np.ndarray:
        """Return the codes of one job's output, int32 [rows, d]."""
        config = self.program.config
        reader = PayloadReader(self.layouts["output"], segment.payloads)
        beats = rows * (config.head_dim // config.normalizer_lanes)
        ends = np.flatnonzero(reader.ints("job_last"))
        if len(reader) != beats or ends.tolist() != [beats - 1]:
            raise TestbenchFailure(f"a job of {rows} rows has {len(reader)} beats of output, expected {beats}, and "
                                   f"ends at {ends.tolist()}")
        return reader.ints("data").reshape(rows, config.head_dim).astype(np.int32)
