"""Testbench of the whole core: runs the program in its folder and writes what the core produced beside it.

`latte.sim.core_run` prepares the folder and reads the report.
"""

import itertools
import json
import pathlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import cocotb
import numpy as np

from latte.golden.attention import HeadTrace
from latte.golden.results import write_text
from latte.rtl.common.core import COUNTER_BITS, counters_layout
from latte.rtl.common.entry_words import pack_entry, parameter_layout
from latte.rtl.common.payloads import job_layout
from latte.rtl.engines import create_core
from latte.sim.agents import Agent, StreamDriver, StreamMonitor, Tap, TestbenchFailure
from latte.sim.harness import PortBits
from latte.sim.packing import PayloadReader, locate, pack_rows, pack_struct
from latte.sim.program import Program
from latte.sim.scoreboard import JobRecord, RowSplitter, compare_job
from latte.sim.stalls import Stall, stall_pair
from latte.sim.testbench import ClockLoop, Testbench

__all__ = ["CoreTestbench", "main", "run_in_folder", "run_program"]

_QUIET_CYCLES = 200
"""After the last job, in which nothing more may come."""


async def main(testbench: ClockLoop) -> None:
    """Run the program once, or twice with a reset in the middle of the first time."""
    await run_in_folder(testbench, pathlib.Path())


@cocotb.test()
async def run_program(dut: Any) -> None:
    """Run `main` in the simulator's process."""
    await main(Testbench(dut))


async def run_in_folder(testbench: ClockLoop, folder: pathlib.Path) -> None:
    """Reset the core, run the program in `folder` with the settings beside it, and write the report there."""
    settings = json.loads((folder / "settings.json").read_text())
    report: dict[str, Any] = {"jobs": [], "failure": None}
    started, first_cycle = time.monotonic(), testbench.cycle
    testbench.patience = settings["patience"]
    core = CoreTestbench(testbench, Program.load(folder), settings, folder, report)
    try:
        await testbench.reset()
        if settings["reset_at"] is not None:
            await core.run(until=settings["reset_at"])
            await testbench.reset()
        await core.run()
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    report |= {"cycles": testbench.cycle - first_cycle, "seconds": time.monotonic() - started}
    write_text(folder / "report.json", json.dumps(report))


class CoreTestbench:
    """Agents of one core and the bookkeeping of its jobs.

    Parameters
    ----------
    testbench
        Clock and ports.
    program
        What to run.
    settings
        ``stall``, ``seed``.
    folder
        Where the results of each job go.
    report
        Filled with one entry per job, the counters and the status.

    Attributes
    ----------
    layouts
        Payload layouts of the taps and of ``output``.
    """

    def __init__(self, testbench: ClockLoop, program: Program, settings: dict[str, Any], folder: pathlib.Path,
                 report: dict[str, Any]) -> None:
        self.testbench = testbench
        self.program = program
        self.settings = settings
        self.folder = folder
        self.report = report
        signature = create_core(program.config).signature.members
        self._probe = signature["probe"].shape
        self._status = signature["status"].shape
        self._counters = counters_layout()
        self._taps = tuple(self._probe.members)
        self.layouts = {tap: self._probe[tap].shape for tap in self._taps}
        self._previous_end = 0
        self._expected_counters = dict.fromkeys(("pairs_estimated", "survivors", "pruned_mass"), 0)
        self.layouts["output"] = signature["o"].signature.members["payload"].shape

    async def run(self, until: int | None = None) -> None:
        """Run the program from its beginning, to its end or for `until` cycles, if it takes so many."""
        testbench = self.testbench
        splitters = {name: self.splitter(name) for name in (*self._taps, "output")}
        await self.write_parameters()
        agents, drivers = self._agents(splitters)
        outputs = splitters["output"].segments
        if until is not None:
            jobs = len(self.program.row_counts())
            await testbench.run(agents, lambda: len(outputs) >= jobs, testbench.cycle + until)
            return
        self._previous_end = started = testbench.cycle
        for done, (index, trace) in enumerate(self.program.expected()):
            def finished(jobs: int = done) -> bool:
                return len(outputs) > jobs

            await testbench.run(agents, finished)
            missing = [name for name in self._taps if len(splitters[name].segments) <= done]
            if missing:
                raise TestbenchFailure(f"job {index} ended its output before its rows of {' and '.join(missing)}")
            record = JobRecord(**{name: splitters[name].segments[done] for name in (*self._taps, "output")})
            self._judge(index, record, trace)
            record.clear()
        self.report["elapsed"] = self._previous_end - started
        await testbench.run(agents, lambda: all(driver.finished for driver in drivers))
        await self.finish(agents, splitters)
        for name, total in self._expected_counters.items():
            counted, expected = self.report["counters"][name], total % (1 << COUNTER_BITS)
            if counted != expected:
                raise TestbenchFailure(f"{name}: counted {counted}, expected {expected}")

    async def write_parameters(self) -> None:
        """Write what the register file refuses, then the program's entries."""
        writer = self._driver("parameter", self._parameters(), None)
        await self.testbench.run([writer], lambda: writer.finished)

    def splitter(self, name: str) -> RowSplitter:
        """Return what cuts a tap's payloads, or those of ``output``, into the program's jobs."""
        return RowSplitter(locate(self.layouts[name], "row_last")[0], self.program.row_counts())

    def _judge(self, index: int, record: JobRecord, trace: HeadTrace) -> None:
        """Compare one job, and write what the core produced for it."""
        result = compare_job(record, trace, self.program.config, self.layouts)
        np.savez(self.folder / f"job{index}.npz", keep=result.keep, score=result.score, output=result.output)
        end = record.output.last_cycle
        begin = max(self._previous_end, record.group.first_cycle)
        self._previous_end = end
        for name, values in (("pairs_estimated", trace.visible), ("survivors", trace.keep),
                             ("pruned_mass", trace.mass)):
            self._expected_counters[name] += int(values.sum())
        self.report["jobs"].append({
            "index": index, "mismatches": result.mismatches, "cycles": end - begin,
            "kept": int(result.keep.sum()), "visible": int(trace.visible.sum())})
        with (self.folder / "progress").open("ab") as file:
            file.write(b".")

    def _parameters(self) -> Iterator[int]:
        for head, index, value in self.program.faulty_writes:
            yield pack_struct(parameter_layout(), head=head, word=index, data=value)
        for head, entry in self.program.parameters.items():
            for word in pack_entry(head, entry, self.program.config):
                yield pack_struct(parameter_layout(), **word)

    def _driver(self, name: str, payloads: Iterable[int], stall: Stall | None) -> StreamDriver:
        return StreamDriver(self.testbench.ports, name, payloads, stall.fork(name) if stall else None)

    def _agents(self, splitters: dict[str, RowSplitter]) -> tuple[list[Agent], list[StreamDriver]]:
        """Return (all agents, those of them that are sources)."""
        source, sink = stall_pair(self.settings["stall"], self.settings["seed"])
        drivers = self.sources(source)
        output = StreamMonitor(self.testbench.ports, "o", splitters["output"].receive, sink)
        return [*drivers, output, *(self._tap(name, splitters[name]) for name in self._taps)], drivers

    def sources(self, stall: Stall | None) -> list[StreamDriver]:
        """Return the drivers of the program's jobs and rows."""
        jobs, bus = self.program.jobs, self.program.config.bus_bytes
        commands = (pack_struct(job_layout(), head=job.head, load_rows=len(job.k), fresh=job.fresh,
                                query_rows=len(job.q), causal=job.causal) for job in jobs)
        drivers = [self._driver("job", commands, stall)]
        for name in ("q", "k", "v"):
            rows = [getattr(job, name) for job in jobs]
            beats = itertools.chain.from_iterable(pack_rows(array, bus) for array in rows)
            drivers.append(self._driver(name, beats, stall))
        return drivers

    def _tap(self, name: str, splitter: RowSplitter) -> Tap:
        base = self.testbench.ports[1]["probe"].offset
        offset, shape = locate(self._probe, name)
        valid, _ = locate(shape, "valid")
        return Tap(name, PortBits(base + offset, shape.size), base + offset + valid, splitter.receive)

    async def finish(self, agents: list[Agent], splitters: dict[str, RowSplitter]) -> None:
        """Wait, read counters and status, and check that nothing came after the last job."""
        await self.testbench.run(agents, lambda: False, self.testbench.cycle + _QUIET_CYCLES)
        counters = PayloadReader(self._counters, [self.testbench.output("counters")])
        status = PayloadReader(self._status, [self.testbench.output("status")])
        raised = {name for name, _ in self._status if status.ints(name)[0]}
        self.report["counters"] = {name: int(counters.ints(name)[0]) for name, _ in self._counters}
        self.report["status"] = sorted(raised)
        for name, splitter in splitters.items():
            if splitter.surplus:
                raise TestbenchFailure(f"{name}: {splitter.surplus} payloads after the last job")
        expected = self.program.status()
        if raised != expected:
            raise TestbenchFailure(f"status bits {sorted(raised)}, expected {sorted(expected)}")
