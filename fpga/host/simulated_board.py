"""cocotb end of `latte.fpga.host.simulated_port`: drives the UART pins of a simulated board as the driver asks.

Runs inside the simulator's process.
"""

import contextlib
import os
import pathlib
import struct
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.simtime import get_sim_time
from cocotb.triggers import Event, RisingEdge, SimTimeoutError, Timer, ValueChange, with_timeout

from latte.fpga.host.simulated_port import SIMULATED_CLOCK, WRITE
from latte.sim.runner import load_ports
from latte.sim.simulator_process import connect_to_client, receive_exactly, simulator_settings

__all__ = ["serve_port"]

_CYCLE_NS = 2
_DATA_BITS = 8


class _Line:
    """Both directions of the UART line, bit by bit.

    Parameters
    ----------
    dut
        The harness.
    clocks
        Clock cycles of a bit.
    """

    def __init__(self, dut: Any, clocks: int) -> None:
        inputs, outputs = load_ports(pathlib.Path(os.environ["LATTE_MODEL"]))
        self.received = bytearray()
        self.wanted = 0
        self.arrived = Event()
        self.to_send: Queue[int] = Queue()
        self._dut = dut
        self._idle = 1 << inputs["rx"].offset
        self._tx = outputs["tx"].offset
        self._bit = clocks * _CYCLE_NS
        dut.drive.value = self._idle

    def _output(self) -> int:
        return self._dut.observe.value.to_unsigned() >> self._tx & 1

    async def send(self) -> None:
        """Send what is in the queue, for ever."""
        while True:
            byte = await self.to_send.get()
            for bit in (0, *(byte >> i & 1 for i in range(_DATA_BITS)), 1):
                self._dut.drive.value = self._idle if bit else 0
                await Timer(self._bit, unit="ns")

    async def receive(self) -> None:
        """Collect what the board sends, for ever."""
        while True:
            while self._output():
                await ValueChange(self._dut.observe)
            await Timer(self._bit + self._bit // 2, unit="ns")
            byte = 0
            for i in range(_DATA_BITS):
                byte |= self._output() << i
                await Timer(self._bit, unit="ns")
            self.received.append(byte)
            if len(self.received) >= self.wanted:
                self.arrived.set()


@cocotb.test()
async def serve_port(dut: Any) -> None:
    """Do what the driver says until it hangs up."""
    with connect_to_client() as connection:
        line = _Line(dut, simulator_settings()["clocks"])
        Clock(dut.clk, _CYCLE_NS, unit="ns").start()
        dut.rst.value = 1
        for _ in range(3):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        cocotb.start_soon(line.send())
        cocotb.start_soon(line.receive())
        while True:
            try:
                command = receive_exactly(connection, 13)
                count, timeout = struct.unpack("<Id", command[1:])
                data = receive_exactly(connection, count) if command[:1] == WRITE else b""
            except OSError:
                return
            for byte in data:
                line.to_send.put_nowait(byte)
            if command[:1] != WRITE:
                await _wait_for(line, count, timeout)
                answer = bytes(line.received[:count])
                del line.received[:count]
                seconds = get_sim_time("ns") / _CYCLE_NS / SIMULATED_CLOCK
                connection.sendall(struct.pack("<Id", len(answer), seconds) + answer)


async def _wait_for(line: _Line, count: int, timeout: float) -> None:
    """Let time pass until `count` bytes have arrived, or `timeout` seconds of board time are over."""
    line.wanted = count
    line.arrived.clear()
    if len(line.received) < count:
        with contextlib.suppress(SimTimeoutError):
            await with_timeout(line.arrived.wait(), max(1, int(timeout * SIMULATED_CLOCK)) * _CYCLE_NS, "ns")
