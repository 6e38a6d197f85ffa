"""cocotb testbench of the drivers: what they do to registers and memory happens in the simulation of a core.

Drivers are ordinary, blocking code. They run in a thread beside the simulation; each access to a register is a
transaction of AXI4-Lite, and memory is what the core reads and writes as an AXI4 master. The processor has a cache that
nobody keeps coherent: its view of memory and the core's are two, and only `flush` and `invalidate` carry bytes between
them. The u-dma-buf, which is mapped without a cache, is one file that both see.
"""

import functools
import json
import pathlib
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiResp

from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.register_types import Register
from latte.rtl.axi.registers import register_table
from latte.sim.axi_memory import AxiMemory
from latte.sim.axi_registers import RegisterAccess
from latte.sim.program import Program
from tests.fpga.package.c_session import run_c
from tests.fpga.package.python_session import run_linux, run_python

RUN = {"c": run_c, "python": run_python, "linux": run_linux}
PERIOD = 2
BASE, SIZE = 0x3_4560_0000, 1 << 22
"""Of the memory that drivers use: above 4 GB, so that both halves of an address count."""
PATIENCE = 2_000_000
"""Cycles within which an interrupt must come."""
SESSION = 500_000
"""Cycles within which all that a driver does must end."""


@cocotb.test()
async def run_sessions(dut: Any) -> None:
    """Run the program once with each driver that ``settings.json`` names; leave outputs and answers in the folder."""
    folder = pathlib.Path()
    settings = json.loads((folder / "settings.json").read_text())
    program, master = Program.load(folder), MasterParameters(**settings["master"])
    system = System(dut, register_table(program.config, master), master.data_bytes)
    await system.power_up()
    answers = {}
    for name, session in settings["sessions"].items():
        system.begin()
        answers[name], outputs = await bridge(RUN[session["driver"]])(
            system, program, pathlib.Path(session["package"]), session["interrupt"])
        assert system.failure is None, system.failure
        np.savez(folder / f"{name}.npz", **{f"job{n}": rows for n, rows in enumerate(outputs)})
    (folder / "answers.json").write_text(json.dumps(answers))


class System:
    """Bus models, and the processor's side of them; functions without ``async`` are called by drivers.

    Attributes
    ----------
    fault
        Master, whether it writes, address or None: what is answered with SLVERR next; None: nothing.
    """

    def __init__(self, dut: Any, registers: list[Register], data_bytes: int, *, masters: tuple[str, ...] = ("m_axi",)
                 ) -> None:
        self.dut, self.data_bytes = dut, data_bytes
        self.edge = RisingEdge(dut.clk)
        Clock(dut.clk, PERIOD, unit="ns").start()
        self.access = RegisterAccess(dut, registers)
        self.fault: tuple[str, bool, int | None] | None = None
        self.memories: list[AxiMemory] = []
        for name in masters:
            memory = AxiMemory(dut, PERIOD, latency=10, size=BASE + SIZE, prefix=name)
            memory.failing = functools.partial(self._response, name)
            self.memories.append(memory)
        self.memory = self.memories[0]
        self.cache = np.zeros(SIZE, np.uint8)
        self.base = BASE
        self.failure: str | None = None

    async def power_up(self) -> None:
        """Reset the hardware."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await self.edge

    def begin(self) -> None:
        """Forget what an earlier driver left in the processor's cache and memory."""
        self.deadline = get_sim_time("ns") + SESSION * PERIOD
        self.cache[:] = 0xA5
        self.used = 0
        self.show(bytearray(SIZE))

    def show(self, memory: Any) -> None:
        """Give the core other memory."""
        for model in self.memories:
            model.ram.mem = Window(memory, BASE)

    def take(self, size: int) -> int:
        """Return the place of so many bytes of memory."""
        place, self.used = self.used, -(-(self.used + size) // DESCRIPTOR_BYTES) * DESCRIPTOR_BYTES
        assert self.used <= SIZE
        return place

    def read(self, offset: int) -> int:
        """Read a register."""
        return resume(self._read)(offset)

    def write(self, offset: int, value: int) -> None:
        """Write a register."""
        resume(self._write)(offset, value)

    def flush(self, place: int, size: int) -> None:
        """Write the cache's bytes to memory."""
        resume(self._wait)(size)
        self.memory.ram.write(BASE + place, self.cache[place:place + size].tobytes())

    def invalidate(self, place: int, size: int) -> None:
        """Read memory's bytes anew."""
        resume(self._wait)(size)
        self.cache[place:place + size] = np.frombuffer(bytes(self.memory.ram.read(BASE + place, size)), np.uint8)

    def sleep(self, seconds: float | None = None) -> bool:
        """Sleep until the interrupt line is high."""
        return resume(self._sleep)()

    def _response(self, master: str, address: int, write: bool) -> AxiResp:
        if self.fault not in ((master, write, address), (master, write, None)):
            return AxiResp.OKAY
        self.fault = None
        return AxiResp.SLVERR

    async def _read(self, offset: int) -> int:
        if get_sim_time("ns") > self.deadline:
            raise TimeoutError(f"the driver still polls register {offset:#x} after {SESSION} cycles")
        done = await self.access.bus.read(offset, 4)
        self._check(done, f"read of register {offset:#x}")
        return int.from_bytes(done.data, "little")

    async def _write(self, offset: int, value: int) -> None:
        self._check(await self.access.bus.write(offset, int(value).to_bytes(4, "little")),
                    f"write of {value:#x} to register {offset:#x}")

    def _check(self, done: Any, what: str) -> None:
        if done.resp != 0:
            self.failure = f"{what} was answered with {done.resp.name}"

    async def _wait(self, size: int) -> None:
        await ClockCycles(self.dut.clk, 1 + size // self.data_bytes)

    async def _sleep(self) -> bool:
        if not self.dut.irq.value:
            await with_timeout(RisingEdge(self.dut.irq), PATIENCE * PERIOD, "ns")
        return True


class Window:
    """Memory that begins at an address, for the bus models: what is read and written there is in `mem`."""

    def __init__(self, mem: Any, base: int) -> None:
        self.mem, self.base = mem, base

    def __getitem__(self, where: slice) -> bytes:
        return bytes(self.mem[where.start - self.base:where.stop - self.base])

    def __setitem__(self, where: slice, data: bytes) -> None:
        assert where.start >= self.base
        self.mem[where.start - self.base:where.stop - self.base] = data
