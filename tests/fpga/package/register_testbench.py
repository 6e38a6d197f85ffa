"""cocotb testbench of the registers: every word of the register port against the compiled SystemRDL."""

import json
import pathlib
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

PATTERNS = (0x5555_5555, 0xAAAA_5A5F)
"""Written one after the other; as RING_SIZE and RING_HEAD they are a ring that holds what it is told to."""
BEYOND = 0x40
"""Bytes behind the last register that are looked at, too."""


@cocotb.test()
async def compare_registers(dut: Any) -> None:
    """Leave in ``answers.json`` what differs from the registers in ``settings.json``, one sentence each."""
    folder = pathlib.Path()
    registers = json.loads((folder / "settings.json").read_text())
    Clock(dut.clk, 2, unit="ns").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 4)
    port = Registers(dut, registers)
    await port.compare_resets()
    await port.compare_accesses()
    (folder / "answers.json").write_text(json.dumps({"differences": port.differences, "accesses": port.accesses}))


class Registers:
    """Registers as SystemRDL has them, and as the hardware answers."""

    def __init__(self, dut: Any, registers: list[dict[str, Any]]) -> None:
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.registers = {register["offset"]: register for register in registers}
        self.differences: list[str] = []
        self.accesses = 0

    async def read(self, offset: int) -> int | None:
        """Return a word, None if it is refused."""
        self.accesses += 1
        done = await self.bus.read(offset, 4)
        return None if done.resp else int.from_bytes(done.data, "little")

    async def write(self, offset: int, value: int) -> bool:
        """Write a word; return whether it is taken."""
        self.accesses += 1
        return not (await self.bus.write(offset, value.to_bytes(4, "little"))).resp

    def expect(self, got: object, want: object, what: str) -> None:
        """Note a difference."""
        if got != want:
            self.differences.append(f"{what} is {got}, expected {want}")

    async def compare_resets(self) -> None:
        """Read every word, those without a register, too."""
        for offset in range(0, max(self.registers) + BEYOND, 4):
            register = self.registers.get(offset)
            want = register and sum(field["reset"] << field["low"] for field in register["fields"] if field["readable"])
            self.expect(await self.read(offset), want, f"{register['name'] if register else hex(offset)} after reset")

    async def compare_accesses(self) -> None:
        """Write every word and read it back, those last that change others: a doorbell, and `CONTROL`."""
        last = ("JOB_ROWS", "CONTROL")
        for register in sorted(self.registers.values(), key=lambda register: (
                last.index(register["name"]) + 1 if register["name"] in last else 0)):
            writable = any(field["writable"] for field in register["fields"])
            for pattern in PATTERNS:
                self.expect(await self.write(register["offset"], pattern), writable, f"write of {register['name']}")
            value = await self.read(register["offset"])
            for field in register["fields"]:
                if field["keeps"]:
                    mask = (1 << field["width"]) - 1
                    self.expect(value >> field["low"] & mask, PATTERNS[-1] >> field["low"] & mask,
                                f"{register['name']}.{field['name']} after {PATTERNS[-1]:#x}")
            if not writable or all(field["clears"] for field in register["fields"]):
                want = sum(field["reset"] << field["low"] for field in register["fields"])
                self.expect(value, want, f"{register['name']} after writes that change nothing")
        for offset in range(0, max(self.registers) + BEYOND, 4):
            if offset not in self.registers:
                self.expect(await self.write(offset, 0), False, f"write of {offset:#x}")
