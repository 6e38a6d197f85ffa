"""Registers of the core behind a bus, by name, through a model of the bus; in the simulator's process."""

from typing import Any

from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from latte.rtl.axi.register_types import Register
from latte.sim.agents import TestbenchFailure
from latte.sim.wishbone_master import WishboneMaster

__all__ = ["RegisterAccess"]


class RegisterAccess:
    """Registers by name, over the bus.

    Parameters
    ----------
    dut
        Simulated `AxiCore`.
    registers
        Its table.
    """

    def __init__(self, dut: Any, registers: list[Register]) -> None:
        self.registers = {register.name: register for register in registers}
        self.bus: Any = (WishboneMaster(dut, "s_wb") if hasattr(dut, "s_wb_cyc") else
                         AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst))

    async def read(self, name: str) -> int:
        """Return a register; fail if the bus answers with an error."""
        done = await self.bus.read(self.registers[name].offset, 4)
        if done.resp != AxiResp.OKAY:
            raise TestbenchFailure(f"{name}: a read was answered with {done.resp.name}")
        return int.from_bytes(done.data, "little")

    async def read_fields(self, name: str) -> dict[str, int]:
        """Return the fields of a register."""
        value = await self.read(name)
        return {field.name: (value & field.mask) >> field.low for field in self.registers[name].fields}

    async def write(self, name: str, **fields: int) -> None:
        """Write the fields of a register, the others as 0; fail if the bus answers with an error."""
        places = {field.name: field.low for field in self.registers[name].fields}
        value = sum(value << places[field] for field, value in fields.items())
        done = await self.bus.write(self.registers[name].offset, value.to_bytes(4, "little"))
        if done.resp != AxiResp.OKAY:
            raise TestbenchFailure(f"{name}: a write was answered with {done.resp.name}")
