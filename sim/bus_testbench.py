"""What testbenches of a core behind a bus share: clock, registers, taps, the bookkeeping of `CoreTestbench`.

Runs inside the simulator's process. What is compared is what `CoreTestbench` compares of the bare core.
"""

import abc
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from latte.golden.results import write_text
from latte.rtl.axi.bus import DataParameters
from latte.rtl.axi.registers import VERSION, output_element_bytes, register_table
from latte.rtl.common.core import counters_layout, status_layout
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.common.identity import MAGIC
from latte.sim.agents import TestbenchFailure
from latte.sim.axi_registers import RegisterAccess
from latte.sim.core_testbench import CoreTestbench
from latte.sim.packing import pack_struct
from latte.sim.program import Program
from latte.sim.runner import load_ports
from latte.sim.scoreboard import JobRecord, RowSplitter, Segment
from latte.sim.testbench import known_bits

__all__ = ["PERIOD", "BusTestbench", "SimulatedClock", "run_testbench"]

PERIOD = 2
"""Of the clock, in nanoseconds."""


async def run_testbench(dut: Any, create: Callable[..., "BusTestbench"], steps: Callable[..., Any]) -> None:
    """Run a testbench once, by its `steps`, and write the report.

    Parameters
    ----------
    dut
    create
        A subclass of `BusTestbench`.
    steps
        Called with the testbench, which is powered up.
    """
    folder = pathlib.Path()
    settings = json.loads((folder / "settings.json").read_text())
    report: dict[str, Any] = {"jobs": [], "failure": None}
    started = time.monotonic()
    clock = SimulatedClock(dut, settings["patience"])
    core = create(clock, dut, Program.load(folder), settings, folder, report)
    try:
        await core.power_up()
        await steps(core)
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    report |= {"cycles": clock.cycle, "seconds": time.monotonic() - started}
    write_text(folder / "report.json", json.dumps(report))


class SimulatedClock:
    """Clock and cycle count, with the part of `Testbench` that `CoreTestbench` looks at."""

    def __init__(self, dut: Any, patience: int) -> None:
        self.ports = load_ports(pathlib.Path(os.environ["LATTE_MODEL"]))
        self.patience = patience
        self.cycle = 0
        dut.rst.value = 1
        Clock(dut.clk, PERIOD, unit="ns").start()


class BusTestbench(CoreTestbench, abc.ABC):
    """Runs a program's jobs, one behind the other; a subclass brings the models of the ports of rows.

    Parameters
    ----------
    clock
        A `SimulatedClock`: there is no harness, and so no `Testbench`.
    dut
        The simulated core with its probe.
    program, settings, folder, report
        As of `CoreTestbench`.
    parameters
        Of the ports of rows.

    Attributes
    ----------
    ended, words
        For each job that is done, the cycle of its end, and its status.
    rung
        The cycle of the first doorbell.
    queue_empty
        Bit of STATUS and INTERRUPT_STATUS: all jobs are done.
    """

    queue_empty: str

    def __init__(self, clock: Any, dut: Any, program: Program, settings: dict[str, Any], folder: pathlib.Path,
                 report: dict[str, Any], parameters: DataParameters) -> None:
        super().__init__(clock, program, settings, folder, report)
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        self.registers = RegisterAccess(dut, register_table(program.config, parameters))
        self.ended: list[int] = []
        self.words: list[int] = []
        self.rung = 0
        self._taps_now: list[Any] = []
        cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        """Count cycles and hand the taps what passes by."""
        probe = self.dut.probe
        while True:
            await self.edge
            self.testbench.cycle += 1
            if self._taps_now:
                observed = known_bits(probe.value)
                for tap in self._taps_now:
                    tap.step(observed, self.testbench.cycle)

    async def power_up(self) -> None:
        """Reset the hardware and check who is there."""
        for _ in range(4):
            await self.edge
        self.dut.rst.value = 0
        await self.edge
        for name, want in (("ID", MAGIC), ("VERSION", VERSION),
                           ("FINGERPRINT", self.registers.registers["FINGERPRINT"].reset)):
            got = await self.registers.read(name)
            if got != want:
                raise TestbenchFailure(f"{name} is {got:#x}, expected {want:#x}")

    async def soft_reset(self) -> None:
        """Reset the core in the middle of its work."""
        self._taps_now = []
        await self.registers.write("CONTROL", soft_reset=1)
        begun = self.testbench.cycle
        while (await self.registers.read_fields("STATUS"))["resetting"]:
            if self.testbench.cycle - begun > self.testbench.patience:
                raise TestbenchFailure("the soft reset does not end")

    @property
    @abc.abstractmethod
    def moved(self) -> int:
        """What has moved on the ports of rows so far: the evidence of life."""

    async def until(self, condition: Any, what: str) -> None:
        """Wait for a condition; nothing that moves for `patience` cycles is a hang."""
        moved, moved_at = -1, self.testbench.cycle
        while not condition():
            await self.edge
            if self.moved != moved:
                moved, moved_at = self.moved, self.testbench.cycle
            elif self.testbench.cycle - moved_at > self.testbench.patience:
                status = await self.registers.read_fields("STATUS")
                raise TestbenchFailure(f"nothing moved on the bus for {self.testbench.patience} cycles, waiting for "
                                       f"{what}; STATUS {status}")

    async def until_idle(self) -> None:
        """Wait until no job is under way."""
        begun = self.testbench.cycle
        while (await self.registers.read_fields("STATUS"))["busy"]:
            if self.testbench.cycle - begun > self.testbench.patience:
                raise TestbenchFailure("busy after the last job")

    async def write_parameters(self) -> None:
        """Write what the register file refuses, whole entries, then the program's."""
        words = list(self.program.faulty_writes)
        for head, entry in self.program.parameters.items():
            words += [(head, word["word"], word["data"]) for word in pack_entry(head, entry, self.program.config)]
        for head, index, data in words:
            if index == 0:
                await self.registers.write("PARAMETER_SELECT", head=head)
            await self.registers.write("PARAMETER_DATA", data=data)

    @abc.abstractmethod
    async def submit(self) -> None:
        """Hand over as many jobs as there is room for."""

    @abc.abstractmethod
    async def begin(self) -> None:
        """Write register file and other registers, and hand over the first jobs."""

    @abc.abstractmethod
    async def end_of(self, index: int, refusal: str | None) -> str | None:
        """Return what is wrong with the end of a job that was refused, or was not; None if nothing is."""

    @abc.abstractmethod
    async def output_of(self, index: int) -> np.ndarray:
        """Return the output rows of a job."""

    @abc.abstractmethod
    async def check_registers(self) -> list[str]:
        """Return what is wrong, in the end, with registers and ports that only this form has."""

    async def run_through(self) -> None:
        """Run the program once, or twice with a soft reset in the middle of the first time."""
        if self.settings["reset_at"] is not None:
            await self.run(until=self.settings["reset_at"])
            await self.soft_reset()
        await self.run()

    async def run(self, until: int | None = None) -> None:
        """Run the program from its beginning, to its end or for `until` cycles."""
        clock = self.testbench
        splitters = {name: self.splitter(name) for name in self._taps}
        self._taps_now = [self._tap(name, splitters[name]) for name in self._taps]
        await self.begin()
        self._previous_end = started = self.rung
        if until is not None:
            await self.until(lambda: clock.cycle >= started + until or len(self.ended) == len(self.program.jobs),
                             "a job")
            return
        traces, traced = self.program.expected(), 0
        refusals, upcoming = self.program.refusals(), next(traces, None)
        for index in range(len(self.program.jobs)):
            await self.until(lambda index=index: len(self.ended) > index, f"the status of job {index}")
            await self.submit()
            wrong = await self.end_of(index, refusals[index])
            if wrong:
                raise TestbenchFailure(f"job {index}: {wrong}")
            if upcoming is not None and upcoming[0] == index:
                await self._compare(index, traced, upcoming[1], splitters)
                traced, upcoming = traced + 1, next(traces, None)
        self.report["elapsed"] = self.ended[-1] - started
        await self.finish_registers(splitters)

    async def _compare(self, index: int, traced: int, trace: Any, splitters: dict[str, RowSplitter]) -> None:
        """Compare one job: what the taps showed, and its rows."""
        missing = [name for name in self._taps if len(splitters[name].segments) <= traced]
        if missing:
            raise TestbenchFailure(f"job {index} ended before its rows of {' and '.join(missing)}")
        rows = await self.output_of(index)
        output = Segment(self._beats(rows), self.ended[index], self.ended[index])
        record = JobRecord(output=output, **{name: splitters[name].segments[traced] for name in self._taps})
        self._judge(index, record, trace)
        record.clear()

    @property
    def row_bytes(self) -> int:
        """Bytes of an output row."""
        return self.program.config.head_dim * output_element_bytes(self.program.config)

    def _beats(self, rows: np.ndarray) -> list[int]:
        """Return rows as the core gives them: what the scoreboard compares."""
        config, layout = self.program.config, self.layouts["output"]
        lanes, bits = config.normalizer_lanes, config.out_bits
        beats, mask = [], (1 << bits) - 1
        for n, row in enumerate(rows.tolist()):
            for start in range(0, config.head_dim, lanes):
                data = sum((element & mask) << bits * lane for lane, element in enumerate(row[start:start + lanes]))
                last = start + lanes == config.head_dim
                beats.append(data | pack_struct(layout, row_last=last, job_last=last and n == len(rows) - 1))
        return beats

    async def finish_registers(self, splitters: dict[str, RowSplitter]) -> None:
        """Read status, errors, interrupts and counters, and check them."""
        read = self.registers.read_fields
        await self.until_idle()
        for _ in range(8):
            await self.edge
        counters = {name: await self.registers.read(f"COUNTER_{name.upper()}") for name in counters_layout().members}
        status = await read("CORE_STATUS")
        raised = {name for name in status_layout().members if status[name]}
        self.report |= {"counters": {str(name): value for name, value in counters.items()}, "status": sorted(raised)}
        problems = []
        if raised != self.program.status():
            problems.append(f"status bits {sorted(raised)}, expected {sorted(self.program.status())}")
        refused = any(self.program.refusals())
        errors = {name for name, value in (await read("ERROR")).items() if value}
        if errors != ({"job_refused"} if refused else set()):
            problems.append(f"errors {sorted(errors)}")
        state = await read("STATUS")
        if state != {"busy": 0, self.queue_empty: 1, "resetting": 0}:
            problems.append(f"STATUS {state} after the last job")
        interrupts = await read("INTERRUPT_STATUS")
        if (interrupts[self.queue_empty], interrupts["error"]) != (1, int(refused)):
            problems.append(f"INTERRUPT_STATUS {interrupts}")
        problems += await self.check_registers()
        problems += [f"{name}: {splitter.surplus} payloads after the last job" for name, splitter in splitters.items()
                     if splitter.surplus]
        if problems:
            raise TestbenchFailure("; ".join(problems))
