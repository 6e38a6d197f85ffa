"""cocotb testbench of the core with keys in memory behind AXI: carries out the jobs in its folder by descriptors.

Runs inside the simulator's process. It writes what came to the folder; `latte.sim.axi_cache_run` prepares and reads it.
"""

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiResp

from latte.golden.results import write_text
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_OFFSET
from latte.rtl.axi.registers import VERSION
from latte.rtl.common.identity import MAGIC
from latte.rtl.memory.axi_cache_core import rows_master_of
from latte.rtl.memory.cache_registers import AREAS, cache_register_table
from latte.sim.agents import TestbenchFailure
from latte.sim.axi_cache_program import load_build
from latte.sim.axi_memory import AxiMemory
from latte.sim.axi_registers import RegisterAccess
from latte.sim.bus_testbench import PERIOD
from latte.sim.stalls import stall_pair

__all__ = ["AxiCacheTestbench", "run_axi_cache_program"]

_MASTERS = ("m_axi", "m_axi_cache")
_NUMBERS = 1 << 16
"""Of descriptors."""


@cocotb.test()
async def run_axi_cache_program(dut: Any) -> None:
    """Run the program once, or twice with a soft reset in the middle of the first time."""
    folder = pathlib.Path()
    settings, program = (json.loads((folder / f"{name}.json").read_text()) for name in ("settings", "program"))
    core = AxiCacheTestbench(dut, settings, program, np.load(folder / "image.npy"))
    report: dict[str, Any] = {"failure": None}
    try:
        await core.power_up()
        if settings["reset_at"] is not None:
            await core.run(settings["reset_at"])
            await core.soft_reset()
        await core.run()
        report["registers"] = await core.read_registers()
        await core.misplace_areas()
        await core.move_areas()
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    report |= {"words": core.words, "ended": core.ended, "rung": core.rung, "cycles": core.cycle}
    (folder / "image.bin").write_bytes(core.image())
    (folder / "rows.bin").write_bytes(core.output_rows())
    write_text(folder / "report.json", json.dumps(report))


class AxiCacheTestbench:
    """Host, and the memory behind both masters.

    Parameters
    ----------
    dut
        Simulated `AxiCacheCore`.
    settings
        ``stall``, ``seed``, ``latency``, ``patience``, ``reset_at``.
    program
        As `latte.sim.axi_cache_program.AxiCacheProgram` wrote it.
    image
        The golden model's memory before the first job.

    Attributes
    ----------
    cycle
    rung, ended
        For each descriptor, the cycle in which it was rung for, and of its end.
    words
        Their status words; none of one whose write failed.
    """

    def __init__(self, dut: Any, settings: dict[str, Any], program: dict[str, Any], image: np.ndarray) -> None:
        self.dut = dut
        self.program = program
        self.settings = settings
        build = load_build(program["build"])
        self.registers = RegisterAccess(dut, cache_register_table(build, rows_master_of(build)))
        self.edge = RisingEdge(dut.clk)
        self.cycle = 0
        self.rung: list[int] = []
        self.ended: list[int] = []
        self.words: list[int | None] = []
        self._first_image = image
        dut.rst.value = 1
        Clock(dut.clk, PERIOD, unit="ns").start()
        source, sink = stall_pair(settings["stall"], settings["seed"])
        self.memories: dict[str, AxiMemory] = {}
        for name in _MASTERS:
            self.memories[name] = AxiMemory(
                dut, PERIOD, latency=settings["latency"], size=program["end"], prefix=name,
                source=source and source.fork(name), sink=sink and sink.fork(name), beside=self.memories.get("m_axi"))
            self.memories[name].failing = functools.partial(self._response, name)
        self.memories["m_axi"].written = self._written
        self.faults: list[dict[str, Any]] = []
        self._seen = dict.fromkeys(((name, write) for name in _MASTERS for write in (False, True)), 0)
        cocotb.start_soon(self._count())

    async def _count(self) -> None:
        while True:
            await self.edge
            self.cycle += 1

    def _write(self, address: int, data: bytes) -> None:
        """Write as the host does."""
        self.memories["m_axi"].ram.write(address, data)

    def _slot(self, number: int) -> int:
        return self.program["ring"] + DESCRIPTOR_BYTES * (number % (1 << self.program["ring_log2"]))

    def _written(self, address: int, data: bytes) -> None:
        """See a status word."""
        if address == self._slot(len(self.ended)) + STATUS_OFFSET:
            self._end(int.from_bytes(data, "little"))

    def _end(self, word: int | None) -> None:
        self.ended.append(self.cycle)
        self.words.append(word)

    def _response(self, master: str, address: int, write: bool) -> AxiResp:
        """Return what a beat is answered with."""
        seen, self._seen[master, write] = self._seen[master, write], self._seen[master, write] + 1
        for fault in self.faults:
            here = seen == fault["at"] if fault["address"] is None else address == fault["address"]
            if here and (fault["master"], fault["write"]) == (master, write):
                if address == self._slot(len(self.ended)) + STATUS_OFFSET and write:
                    self._end(None)
                return AxiResp[fault["response"]]
        return AxiResp.OKAY

    async def power_up(self) -> None:
        """Reset the hardware, check who is there, and tell it where everything lies."""
        for _ in range(4):
            await self.edge
        self.dut.rst.value = 0
        await self.edge
        fingerprint = self.registers.registers["FINGERPRINT"].reset
        for name, want in (("ID", MAGIC), ("VERSION", VERSION), ("FINGERPRINT", fingerprint)):
            got = await self.registers.read(name)
            if got != want:
                raise TestbenchFailure(f"{name} is {got:#x}, expected {want:#x}")
        addresses = {f"{area.upper()}_BASE": self.program["areas"][area] for area in AREAS}
        for name, address in ({"RING_BASE": self.program["ring"]} | addresses).items():
            await self.registers.write(f"{name}_LOW", address=address & 0xFFFFFFFF)
            await self.registers.write(f"{name}_HIGH", address=address >> 32)
        await self.registers.write("RING_SIZE", log2=self.program["ring_log2"])
        await self.registers.write("INTERRUPT_ENABLE", descriptor_done=1, error=1)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; nothing that moves for `patience` cycles is a hang."""
        moved, moved_at = -1, self.cycle
        while not condition():
            await self.edge
            now = sum(memory.count for memory in self.memories.values())
            if now != moved:
                moved, moved_at = now, self.cycle
            elif self.cycle - moved_at > self.settings["patience"]:
                state = await self.registers.read_fields("STATUS")
                raise TestbenchFailure(f"nothing moved on the buses for {self.settings['patience']} cycles, waiting "
                                       f"for {what}; STATUS {state}")

    async def run(self, cycles: int | None = None) -> None:
        """Carry out all jobs from the first one on, or begin with them and stop after some cycles."""
        self.rung, self.ended, self.words = [], [], []
        for first, stop, place in self.program["places"]:
            self._write(place, self._first_image[first:stop].tobytes())
        for head, word, data in self.program["words"]:
            if word == 0:
                await self.registers.write("PARAMETER_SELECT", head=head)
            await self.registers.write("PARAMETER_DATA", data=data)
        await self.registers.write("CONTROL", enable=1)
        jobs, begun = self.program["jobs"], self.cycle

        def late() -> bool:
            return cycles is not None and self.cycle - begun >= cycles

        before: dict[str, Any] = {"alone": False}
        for number, job in enumerate(jobs):
            room = number - (0 if job["alone"] or before["alone"] else (1 << self.program["ring_log2"]) - 1)
            await self._until_ended(room, late)
            if late():
                return
            self._submit(number, job)
            await self.registers.write("RING_HEAD", number=(number + 1) % _NUMBERS)
            before = job
        await self._until_ended(len(jobs), late)

    async def _until_ended(self, number: int, late: Callable[[], bool]) -> None:
        await self.until(lambda: len(self.ended) >= number or late(), f"the end of job {number - 1}")

    def _submit(self, number: int, job: dict[str, Any]) -> None:
        """Do what the host does before a job, and write its rows and its descriptor."""
        for address, data in [*job["patches"], *job["operands"]]:
            self._write(address, bytes.fromhex(data))
        self._write(self._slot(number), bytes.fromhex(job["descriptor"]))
        # Nothing else is under way with faults: they end with their job.
        if self.faults or job["faults"]:
            self.faults = job["faults"]
            self._seen = dict.fromkeys(self._seen, 0)
        self.rung.append(self.cycle)

    async def soft_reset(self) -> None:
        """Reset the core in the middle of its work."""
        await self.registers.write("CONTROL", soft_reset=1)
        begun = self.cycle
        while (await self.registers.read_fields("STATUS"))["resetting"]:
            if self.cycle - begun > self.settings["patience"]:
                raise TestbenchFailure("the soft reset does not end")
        if await self.registers.read("RING_HEAD") or await self.registers.read("RING_TAIL"):
            raise TestbenchFailure("the soft reset left something of the ring")
        self.faults = []
        await self.registers.write("CONTROL", clear=1)
        for name in ("ERROR", "INTERRUPT_STATUS"):
            fields = await self.registers.read_fields(name)
            await self.registers.write(name, **fields)

    async def read_registers(self) -> dict[str, Any]:
        """Return what registers say when nothing is under way."""
        begun = self.cycle
        while (await self.registers.read_fields("STATUS"))["busy"]:
            if self.cycle - begun > self.settings["patience"]:
                raise TestbenchFailure("busy after the last job")
        names = [name for name in self.registers.registers if name.startswith("COUNTER_")]
        found = {name: await self.registers.read(name) for name in [*names, "RING_TAIL"]}
        return found | {name: await self.registers.read_fields(name) for name in
                        ("STATUS", "ERROR", "CORE_STATUS", "INTERRUPT_STATUS")} | {
            "irq": int(self.dut.irq.value), "longest": [memory.longest for memory in self.memories.values()]}

    async def misplace_areas(self) -> None:
        """Enable the ring with an area at an address that it cannot have; nothing is fetched, nothing moves it then."""
        counts = [memory.count for memory in self.memories.values()]
        for area in AREAS:
            name, address = f"{area.upper()}_BASE_LOW", self.program["areas"][area] & 0xFFFFFFFF
            await self.registers.write("CONTROL", enable=0)
            await self.registers.write(name, address=address + 4)
            await self.registers.write("CONTROL", enable=1)
            await self.registers.write("RING_HEAD", number=(len(self.program["jobs"]) + 1) % _NUMBERS)
            for _ in range(20):
                await self.edge
            done = await self.registers.bus.write(self.registers.registers[name].offset, bytes(4))
            errors = await self.registers.read_fields("ERROR")
            if [memory.count for memory in self.memories.values()] != counts or not errors["base_unaligned"] or (
                    done.resp != AxiResp.SLVERR):
                raise TestbenchFailure(f"{name} is no multiple of the data width, which is not told")
            await self.registers.write("ERROR", base_unaligned=1)
            await self.registers.write("CONTROL", enable=0)
            await self.registers.write("ERROR", base_unaligned=1)
            await self.registers.write(name, address=address)

    async def move_areas(self) -> None:
        """Give ring and areas the last address and the first one, behind all jobs: their registers have all bits."""
        for half in (0xFFFFFFFF, 0):
            for area in ("ring", *AREAS):
                for name in (f"{area.upper()}_BASE_LOW", f"{area.upper()}_BASE_HIGH"):
                    await self.registers.write(name, address=half)
                    if (found := await self.registers.read(name)) != half:
                        raise TestbenchFailure(f"{name} is {found:#x}, {half:#x} was written")

    def image(self) -> bytes:
        """Return the golden model's memory as it is now."""
        ram = self.memories["m_axi"].ram
        return b"".join(bytes(ram.read(place, stop - first)) for first, stop, place in self.program["places"])

    def output_rows(self) -> bytes:
        """Return the output rows of all jobs, one behind the other."""
        ram, size = self.memories["m_axi"].ram, self.program["row_bytes"]
        return b"".join(bytes(ram.read(at, size)) for job in self.program["jobs"] for at in job["rows"])
