"""The clock loop: one coroutine, one edge, one read and one write per cycle, with a watchdog."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from latte.sim.agents import Agent, TestbenchFailure
from latte.sim.runner import load_ports

__all__ = ["Testbench", "known_bits"]

_WATCH_PERIOD = 256


class Testbench:
    """Clock, reset and agents of one simulated `latte.sim.harness.Harness`.

    Parameters
    ----------
    dut
        cocotb's handle of the harness.
    patience
        Cycles without any transfer after which the design counts as hung.

    Attributes
    ----------
    ports
        (inputs, outputs) of the model.
    cycle
        Clock edges since the start.
    observed
        The output vector before the last edge.
    """

    def __init__(self, dut: Any, patience: int = 20_000) -> None:
        self.ports = load_ports(pathlib.Path(os.environ["LATTE_MODEL"]))
        self.patience = patience
        self.cycle = 0
        self.observed = 0
        self._dut = dut
        self._edge = RisingEdge(dut.clk)
        self._driven = 0
        dut.rst.value = 1
        dut.drive.value = 0
        Clock(dut.clk, 2, unit="ns").start()

    async def reset(self, cycles: int = 2) -> None:
        """Hold reset for some cycles, with all inputs low."""
        self._dut.rst.value = 1
        self._dut.drive.value = self._driven = 0
        for _ in range(cycles):
            await self._edge
            self.cycle += 1
        self._dut.rst.value = 0

    def output(self, name: str) -> int:
        """Return the value of output port `name` before the last edge."""
        bits = self.ports[1][name]
        return self.observed >> bits.offset & bits.mask

    async def pulse(self, name: str) -> None:
        """Set the input `name` to all ones for one cycle, while no agent runs."""
        bits = self.ports[0][name]
        self._dut.drive.value = bits.mask << bits.offset
        await self._edge
        self._dut.drive.value = self._driven = 0
        await self._edge
        self.cycle += 2

    async def run(self, agents: Sequence[Agent], done: Callable[[], bool]) -> None:
        """Step the agents each cycle until `done`.

        Raises
        ------
        TestbenchFailure
            An agent found a broken rule, or nothing moved for `patience` cycles.
        """
        edge, observe, drive = self._edge, self._dut.observe, self._dut.drive
        steps = [agent.step for agent in agents]
        watch_at, moved_at, moved = self.cycle + _WATCH_PERIOD, self.cycle, -1
        while not done():
            await edge
            self.cycle += 1
            self.observed = observed = known_bits(observe.value)
            driven = 0
            for step in steps:
                driven |= step(observed, self.cycle)
            if driven != self._driven:
                drive.value = self._driven = driven
            if self.cycle >= watch_at:
                watch_at = self.cycle + _WATCH_PERIOD
                count = sum(agent.count for agent in agents)
                if count != moved:
                    moved, moved_at = count, self.cycle
                elif self.cycle - moved_at >= self.patience:
                    state = "; ".join(agent.describe() for agent in agents)
                    raise TestbenchFailure(f"nothing moved for {self.cycle - moved_at} cycles ({state})")


def known_bits(value: Any) -> int:
    """Return a vector as an integer; unknown bits count as 0, so an unknown handshake is none."""
    try:
        return value.to_unsigned()
    except ValueError:
        return int("".join(bit if bit in "01" else "0" for bit in str(value)), 2)
