"""cocotb testbench of the core behind AXI: runs the program of ``$LATTE_RUN`` from memory, by descriptors.

Runs inside the simulator's process; `latte.sim.axi_run` prepares the folder and reads the report. What is compared is
what `CoreTestbench` compares of the bare core, with output rows from memory, and the status word of every job.
"""

import json
import os
import pathlib
import time
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from latte.golden.results import write_text
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptors import STATUS_OFFSET
from latte.rtl.axi.registers import VERSION, output_element_bytes, register_table
from latte.rtl.common.core import counters_layout, status_layout
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.common.identity import MAGIC
from latte.sim.agents import TestbenchFailure
from latte.sim.axi_memory import AxiMemory
from latte.sim.axi_program import MemoryPlan, expected_status, place_jobs, read_rows, status_names
from latte.sim.axi_registers import RegisterAccess
from latte.sim.core_testbench import CoreTestbench
from latte.sim.packing import pack_struct
from latte.sim.program import Program
from latte.sim.runner import load_ports
from latte.sim.scoreboard import JobRecord, RowSplitter, Segment
from latte.sim.stalls import stall_pair
from latte.sim.testbench import known_bits

__all__ = ["AxiTestbench", "SimulatedClock", "run_axi_program"]

_PERIOD = 2
"""Of the clock, in nanoseconds."""


@cocotb.test()
async def run_axi_program(dut: Any) -> None:
    """Run the program once, or twice with a soft reset in the middle of the first time."""
    folder = pathlib.Path(os.environ["LATTE_RUN"])
    settings = json.loads((folder / "settings.json").read_text())
    report: dict[str, Any] = {"jobs": [], "failure": None}
    started = time.monotonic()
    clock = SimulatedClock(dut, settings["patience"])
    core = AxiTestbench(clock, dut, Program.load(folder), settings, folder, report)
    try:
        await core.power_up()
        if settings["reset_at"] is not None:
            await core.run(until=settings["reset_at"])
            await core.soft_reset()
        await core.run()
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
        Clock(dut.clk, _PERIOD, unit="ns").start()


class AxiTestbench(CoreTestbench):
    """The program's jobs as descriptors, the bus models, and the bookkeeping of `CoreTestbench`.

    Parameters
    ----------
    clock
        A `SimulatedClock`: there is no harness, and so no `Testbench`.
    dut
        Simulated `AxiCore` with its probe.
    program, folder, report
        As of `CoreTestbench`.
    settings
        ``stall``, ``seed``, ``master``, ``latency``, ``ring_log2``, ``scattered``.

    Attributes
    ----------
    plan
        Where everything lies in memory.
    ended, words
        For each descriptor that is done, the cycle of its status word, and the word.
    """

    def __init__(self, clock: Any, dut: Any, program: Program, settings: dict[str, Any], folder: pathlib.Path,
                 report: dict[str, Any]) -> None:
        super().__init__(clock, program, settings, folder, report)
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        self.master = MasterParameters(**settings["master"])
        self.registers = RegisterAccess(dut, register_table(program.config, self.master))
        scattered = settings["seed"] if settings["scattered"] else None
        self.plan: MemoryPlan = place_jobs(program.jobs, program.config, self.master, seed=scattered,
                                           ring_log2=settings["ring_log2"])
        source, sink = stall_pair(settings["stall"], settings["seed"])
        self.memory = AxiMemory(dut, _PERIOD, latency=settings["latency"], size=-(-self.plan.end // 4096) * 4096,
                                source=source, sink=sink)
        self.memory.written = self._written
        for placed in self.plan.jobs:
            for address, row in placed.operands().items():
                self.memory.ram.write(address, row)
        self.ended: list[int] = []
        self.words: list[int] = []
        self.submitted = self.told = self.rung = 0
        self._taps_now: list[Any] = []
        cocotb.start_soon(self._count())

    async def _count(self) -> None:
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

    async def until(self, condition: Any, what: str) -> None:
        """Wait for a condition; nothing on the bus for `patience` cycles is a hang."""
        moved, moved_at = -1, self.testbench.cycle
        while not condition():
            await self.edge
            if self.memory.count != moved:
                moved, moved_at = self.memory.count, self.testbench.cycle
            elif self.testbench.cycle - moved_at > self.testbench.patience:
                status = await self.registers.read_fields("STATUS")
                raise TestbenchFailure(f"nothing moved on the bus for {self.testbench.patience} cycles, waiting for "
                                       f"{what}; STATUS {status}")

    async def until_idle(self) -> None:
        """Wait until no descriptor is under way."""
        begun = self.testbench.cycle
        while (await self.registers.read_fields("STATUS"))["busy"]:
            if self.testbench.cycle - begun > self.testbench.patience:
                raise TestbenchFailure("busy after the last job")

    async def write_parameters(self) -> None:
        """Write the program's register entries."""
        for head, entry in self.program.parameters.items():
            for word in pack_entry(head, entry, self.program.config):
                if word["word"] == 0:
                    await self.registers.write("PARAMETER_SELECT", head=head)
                await self.registers.write("PARAMETER_DATA", data=word["data"])

    def _written(self, address: int, data: bytes) -> None:
        """See a status word."""
        plan = self.plan
        if address == plan.slot(len(self.ended)) + STATUS_OFFSET and len(self.ended) < len(plan.jobs):
            self.ended.append(self.testbench.cycle)
            self.words.append(int.from_bytes(data, "little"))

    async def submit(self) -> None:
        """Write descriptors as far as the ring has room, and ring the doorbell."""
        room = len(self.ended) + (1 << self.plan.ring_log2)
        while self.submitted < min(room, len(self.plan.jobs)):
            placed = self.plan.jobs[self.submitted]
            self.memory.ram.write(self.plan.slot(self.submitted), placed.descriptor())
            self.submitted += 1
        if self.submitted != self.told:
            self.told = self.submitted
            await self.registers.write("RING_HEAD", number=self.submitted % (1 << 16))

    async def begin(self) -> None:
        """Write register file and ring registers, and ring the doorbell for the first descriptors."""
        self.ended, self.words, self.submitted, self.told = [], [], 0, 0
        await self.write_parameters()
        write = self.registers.write
        await write("RING_BASE_LOW", address=self.plan.ring & 0xFFFFFFFF)
        await write("RING_BASE_HIGH", address=self.plan.ring >> 32)
        await write("RING_SIZE", log2=self.plan.ring_log2)
        await write("INTERRUPT_ENABLE", descriptor_done=1, ring_empty=1, error=1)
        await write("CONTROL", enable=1)
        self.rung = self.testbench.cycle
        await self.submit()

    async def run(self, until: int | None = None) -> None:
        """Run the program from its beginning, to its end or for `until` cycles."""
        clock = self.testbench
        splitters = {name: self.splitter(name) for name in self._taps}
        self._taps_now = [self._tap(name, splitters[name]) for name in self._taps]
        await self.begin()
        self._previous_end = started = self.rung
        if until is not None:
            await self.until(lambda: clock.cycle >= started + until or len(self.ended) == len(self.plan.jobs), "a job")
            return
        traces, traced = self.program.expected(), 0
        refusals, upcoming = self.program.refusals(), next(traces, None)
        for index in range(len(self.plan.jobs)):
            await self.until(lambda index=index: len(self.ended) > index, f"the status of job {index}")
            await self.submit()
            status, want = status_names(self.words[index]), expected_status(refusals[index])
            if status != want or self.words[index] >> 16 != index:
                raise TestbenchFailure(f"job {index}: status word {self.words[index]:#010x} says {sorted(status)}, "
                                       f"expected {sorted(want)}")
            if upcoming is not None and upcoming[0] == index:
                await self._compare(index, traced, upcoming[1], splitters)
                traced, upcoming = traced + 1, next(traces, None)
        self.report["elapsed"] = self.ended[-1] - started
        await self.finish_registers(splitters)

    async def _compare(self, index: int, traced: int, trace: Any, splitters: dict[str, RowSplitter]) -> None:
        """Compare one job: what the taps showed, and its rows in memory."""
        missing = [name for name in self._taps if len(splitters[name].segments) <= traced]
        if missing:
            raise TestbenchFailure(f"job {index} ended before its rows of {' and '.join(missing)}")
        placed = self.plan.jobs[index]
        size = placed.fields["o_stride"]
        rows = read_rows([self.memory.ram.read(at, min(size, self.row_bytes)) for at in placed.output_rows()],
                         self.program.config)
        output = Segment(self._beats(rows), self.ended[index], self.ended[index])
        record = JobRecord(output=output, **{name: splitters[name].segments[traced] for name in self._taps})
        self._judge(index, record, trace)
        record.clear()

    @property
    def row_bytes(self) -> int:
        """Bytes of an output row."""
        return self.program.config.head_dim * output_element_bytes(self.program.config)

    def _beats(self, rows: np.ndarray) -> list[int]:
        """Return rows from memory as the core gives them: what the scoreboard compares."""
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
        if not self.dut.irq.value:
            raise TestbenchFailure("the interrupt is low after the last job")
        counters = {name: await self.registers.read(f"COUNTER_{name.upper()}") for name in counters_layout().members}
        status = await read("CORE_STATUS")
        raised = {name for name in status_layout().members if status[name]}
        self.report |= {"counters": {str(name): value for name, value in counters.items()}, "status": sorted(raised)}
        self.report["bus"] = {name: await self.registers.read(f"COUNTER_{name}") for name in
                              ("READ_BEATS", "WRITE_BEATS", "READ_STALLS", "DESCRIPTORS")}
        problems = []
        if raised != self.program.status():
            problems.append(f"status bits {sorted(raised)}, expected {sorted(self.program.status())}")
        refused = any(self.program.refusals())
        errors = {name for name, value in (await read("ERROR")).items() if value}
        if errors != ({"job_refused"} if refused else set()):
            problems.append(f"errors {sorted(errors)}")
        state = await read("STATUS")
        if state != {"busy": 0, "ring_empty": 1, "resetting": 0}:
            problems.append(f"STATUS {state} after the last job")
        tail = await self.registers.read("RING_TAIL")
        if tail != len(self.plan.jobs):
            problems.append(f"RING_TAIL {tail} after {len(self.plan.jobs)} jobs")
        interrupts = await read("INTERRUPT_STATUS")
        if interrupts != {"descriptor_done": 1, "ring_empty": 1, "error": int(refused)}:
            problems.append(f"INTERRUPT_STATUS {interrupts}")
        if self.memory.longest > self.master.burst_beats:
            problems.append(f"a burst of {self.memory.longest} beats")
        problems += [f"{name}: {splitter.surplus} payloads after the last job" for name, splitter in splitters.items()
                     if splitter.surplus]
        if problems:
            raise TestbenchFailure("; ".join(problems))
