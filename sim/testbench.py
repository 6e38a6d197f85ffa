"""The clock loop: one coroutine, one edge, one read and one write per cycle, with a watchdog."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from latte.sim.agents import Agent, Ports, TestbenchFailure
from latte.sim.runner import load_ports

__all__ = ["WATCH_PERIOD", "ClockLoop", "Testbench", "Watchdog", "known_bits"]

WATCH_PERIOD = 256
"""Cycles after which a watchdog looks again."""


class ClockLoop(Protocol):
    """What a testbench is written for: `Testbench`, or `latte.sim.compiled_testbench.CompiledTestbench`.

    Attributes
    ----------
    ports
        (inputs, outputs) of the model.
    patience
        Cycles without any transfer after which the design counts as hung.
    cycle
        Clock edges since the start.
    """

    ports: Ports
    patience: int
    cycle: int

    async def reset(self, cycles: int = 2) -> None:
        """Hold reset for some cycles, with all inputs low."""

    def output(self, name: str) -> int:
        """Return the value of output port `name` before the last edge."""

    async def pulse(self, name: str) -> None:
        """Set the input `name` to all ones for one cycle, while no agent runs."""

    async def run(self, agents: Sequence[Agent], done: Callable[[], bool], until: int | None = None) -> None:
        """Step the agents each cycle until `done`, or up to cycle `until`.

        A compiled loop may ask whether it is done some cycles late, unless it is the sources that are.

        Raises
        ------
        TestbenchFailure
            An agent found a broken rule, or nothing moved for `patience` cycles.
        """


class Watchdog:
    """Ends a run in which nothing moves.

    Parameters
    ----------
    agents
    patience
        Cycles without any transfer that count as a hang.
    cycle
        The present one.
    """

    def __init__(self, agents: Sequence[Agent], patience: int, cycle: int) -> None:
        self._agents = agents
        self._patience = patience
        self._moved, self._moved_at = -1, cycle

    def look(self, cycle: int) -> None:
        """Raise `TestbenchFailure` if there was no transfer for so long."""
        moved = sum(agent.count for agent in self._agents)
        if moved != self._moved:
            self._moved, self._moved_at = moved, cycle
        elif cycle - self._moved_at >= self._patience:
            state = "; ".join(agent.describe() for agent in self._agents)
            raise TestbenchFailure(f"nothing moved for {cycle - self._moved_at} cycles ({state})")


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

    async def run(self, agents: Sequence[Agent], done: Callable[[], bool], until: int | None = None) -> None:
        """Step the agents each cycle until `done`, or up to cycle `until`.

        Raises
        ------
        TestbenchFailure
            An agent found a broken rule, or nothing moved for `patience` cycles.
        """
        edge, observe, drive = self._edge, self._dut.observe, self._dut.drive
        steps = [agent.step for agent in agents]
        watchdog, watch_at = Watchdog(agents, self.patience, self.cycle), self.cycle + WATCH_PERIOD
        while self.cycle != until and not done():
            await edge
            self.cycle += 1
            self.observed = observed = known_bits(observe.value)
            driven = 0
            for step in steps:
                driven |= step(observed, self.cycle)
            if driven != self._driven:
                drive.value = self._driven = driven
            if self.cycle >= watch_at:
                watch_at = self.cycle + WATCH_PERIOD
                watchdog.look(self.cycle)


def known_bits(value: Any) -> int:
    """Return a vector as an integer; unknown bits count as 0, so an unknown handshake is none."""
    try:
        return value.to_unsigned()
    except ValueError:
        return int("".join(bit if bit in "01" else "0" for bit in str(value)), 2)
