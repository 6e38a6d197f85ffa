"""Memory behind the AXI master, made of the models of cocotbext-axi: latency, pauses, and addresses that answer errors.

Runs inside the simulator's process.
"""

from collections.abc import Callable
from typing import Any

from cocotb.triggers import Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiRam, AxiResp

from latte.sim.stalls import Stall

__all__ = ["AxiMemory"]


class AxiMemory:
    """What the master reads and writes.

    Parameters
    ----------
    dut
        Simulated `AxiCore`.
    period
        Of the clock, in nanoseconds.
    latency
        Cycles from the acceptance of a read's address to its first data; reads overlap.
    size
        Bytes; addresses beyond are answered with DECERR.
    source, sink
        When the memory gives nothing, and when it does not listen.
    prefix
        Of the master's signals.
    beside
        What another master reads and writes, and this one as well; none: a memory of its own.

    Attributes
    ----------
    written
        Called with (address, data) of each write that was carried out.
    failing
        Called with (address, whether it is written); returns the response, an error or OKAY.
    count
        Beats so far.
    bursts
        Read and answered so far, reads and writes.
    longest
        Beats of the longest burst.
    """

    def __init__(self, dut: Any, period: int, *, latency: int, size: int, source: Stall | None = None,
                 sink: Stall | None = None, prefix: str = "m_axi",
                 beside: "AxiMemory | None" = None) -> None:
        self.period = period
        self.latency = latency
        self.size = size
        self.count = self.bursts = 0
        self.longest = 0
        self.written: Callable[[int, bytes], None] = lambda address, data: None
        self.failing: Callable[[int, bool], AxiResp] = lambda address, write: AxiResp.OKAY
        self.ram: Any = AxiRam(AxiBus.from_prefix(dut, prefix), dut.clk, dut.rst, size=1 << 62,
                          mem=beside and beside.ram.mem)
        reads, writes = self.ram.read_if, self.ram.write_if
        self._errors: dict[str, AxiResp] = {}
        reads._read, writes._write = self._read, self._write
        self._delay(reads.ar_channel)
        for channel in (reads.r_channel, writes.b_channel):
            self._respond(channel)
        for name, channel, stall in (("r", reads.r_channel, source), ("b", writes.b_channel, source),
                                     ("ar", reads.ar_channel, sink), ("aw", writes.aw_channel, sink),
                                     ("w", writes.w_channel, sink)):
            if stall is not None:
                channel.set_pause_generator(iter(stall.fork(name), None))

    def _delay(self, channel: Any) -> None:
        """Hold each address back until its latency is over."""
        channel.queue_occupancy_limit = 64
        put, receive = channel.queue.put_nowait, channel.recv

        def arrive(address: Any) -> None:
            address.due = get_sim_time("ns") + self.latency * self.period
            self.longest = max(self.longest, int(address.arlen) + 1)
            self.bursts += 1
            put(address)

        async def leave() -> Any:
            address = await receive()
            left = address.due - get_sim_time("ns")
            if left > 0:
                await Timer(left, "ns")
            return address

        channel.queue.put_nowait, channel.recv = arrive, leave

    def _respond(self, channel: Any) -> None:
        """Make the models' SLVERR the error that was meant: the last one of the same direction."""
        send = channel.send
        field = "rresp" if hasattr(channel.bus, "rresp") else "bresp"

        async def answer(response: Any) -> None:
            self.bursts += field == "bresp"
            if getattr(response, field) != AxiResp.OKAY:
                setattr(response, field, self._errors[field])
            await send(response)

        channel.send = answer

    def _check(self, address: int, write: bool) -> None:
        """Raise what the models answer with an error."""
        self.count += 1
        response = AxiResp.DECERR if address >= self.size else self.failing(address, write)
        if response != AxiResp.OKAY:
            self._errors["bresp" if write else "rresp"] = response
            raise ValueError(f"nothing at {address:#x}")

    async def _read(self, address: int, length: int) -> bytes:
        self._check(address, False)
        return self.ram.read(address, length)

    async def _write(self, address: int, data: bytes) -> None:
        self._check(address, True)
        self.ram.write(address, data)
        self.written(address, data)
