"""cocotb testbench of the core behind AXI: runs the program in its folder from memory, by descriptors.

Runs inside the simulator's process; `latte.sim.axi_run` prepares the folder and reads the report. Output rows come from
memory, and the status word of every job is compared, too.
"""

import pathlib
from typing import Any

import cocotb
import numpy as np

from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptors import STATUS_OFFSET
from latte.sim.axi_memory import AxiMemory
from latte.sim.axi_program import MemoryPlan, expected_status, place_jobs, read_rows, status_names
from latte.sim.bus_testbench import PERIOD, BusTestbench, run_testbench
from latte.sim.program import Program
from latte.sim.stalls import stall_pair

__all__ = ["AxiTestbench", "run_axi_program"]


@cocotb.test()
async def run_axi_program(dut: Any) -> None:
    """Run the program once, or twice with a soft reset in the middle of the first time."""
    await run_testbench(dut, AxiTestbench, BusTestbench.run_through)


class AxiTestbench(BusTestbench):
    """The program's jobs as descriptors, and the bus models.

    Parameters
    ----------
    clock, dut, program, folder, report
        As of `BusTestbench`.
    settings
        ``stall``, ``seed``, ``reset_at``, ``master``, ``latency``, ``ring_log2``, ``scattered``.

    Attributes
    ----------
    plan
        Where everything lies in memory.
    """

    queue_empty = "ring_empty"

    def __init__(self, clock: Any, dut: Any, program: Program, settings: dict[str, Any], folder: pathlib.Path,
                 report: dict[str, Any]) -> None:
        self.master = MasterParameters(**settings["master"])
        super().__init__(clock, dut, program, settings, folder, report, self.master)
        scattered = settings["seed"] if settings["scattered"] else None
        self.plan: MemoryPlan = place_jobs(program.jobs, program.config, self.master, seed=scattered,
                                           ring_log2=settings["ring_log2"])
        source, sink = stall_pair(settings["stall"], settings["seed"])
        self.memory = AxiMemory(dut, PERIOD, latency=settings["latency"], size=-(-self.plan.end // 4096) * 4096,
                                source=source, sink=sink)
        self.memory.written = self._written
        for placed in self.plan.jobs:
            for address, row in placed.operands().items():
                self.memory.ram.write(address, row)
        self.submitted = self.told = 0

    @property
    def moved(self) -> int:
        """Beats on the bus."""
        return self.memory.count

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

    async def end_of(self, index: int, refusal: str | None) -> str | None:
        """Return what is wrong with a status word."""
        word, want = self.words[index], expected_status(refusal)
        if status_names(word) == want and word >> 16 == index:
            return None
        return f"status word {word:#010x} says {sorted(status_names(word))}, expected {sorted(want)}"

    async def output_of(self, index: int) -> np.ndarray:
        """Return rows from memory."""
        placed = self.plan.jobs[index]
        size = min(placed.fields["o_stride"], self.row_bytes)
        return read_rows([self.memory.ram.read(at, size) for at in placed.output_rows()], self.program.config)

    async def check_registers(self) -> list[str]:
        """Look at the ring, the interrupt and the bursts there were."""
        problems = []
        self.report["bus"] = {name: await self.registers.read(f"COUNTER_{name}") for name in
                              ("READ_BEATS", "WRITE_BEATS", "READ_STALLS", "DESCRIPTORS")}
        tail = await self.registers.read("RING_TAIL")
        if tail != len(self.plan.jobs):
            problems.append(f"RING_TAIL {tail} after {len(self.plan.jobs)} jobs")
        if not self.dut.irq.value or not (await self.registers.read_fields("INTERRUPT_STATUS"))["descriptor_done"]:
            problems.append("no interrupt after the last job")
        if self.memory.longest > self.master.burst_beats:
            problems.append(f"a burst of {self.memory.longest} beats")
        return problems
