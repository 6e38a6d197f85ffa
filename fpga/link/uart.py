"""UART, 8 data bits, no parity, one stop bit."""

from amaranth import Cat, Module, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.errors import LatteError

__all__ = ["UartReceiver", "UartTransmitter", "clocks_per_bit"]

_MIN_CLOCKS = 4
_MAX_ERROR = 0.02
_FRAME_BITS = 10


def clocks_per_bit(clock_hz: float, baud: int) -> int:
    """Return the clock cycles of one bit.

    Raises
    ------
    LatteError
        The clock cannot be divided to within 2 % of `baud`.
    """
    clocks = max(_MIN_CLOCKS, round(clock_hz / baud))
    if abs(clock_hz / clocks / baud - 1) > _MAX_ERROR:
        raise LatteError(f"{baud} baud cannot be made from a {clock_hz / 1e6:g} MHz clock; the nearest rate is "
                         f"{round(clock_hz / clocks)} baud")
    return clocks


class UartReceiver(wiring.Component):
    """Bytes from a line.

    A byte whose stop bit is low is dropped. Latency: `valid` is high for one cycle in the middle of the stop bit.

    Parameters
    ----------
    clocks : int
        Clock cycles of a bit, at least 4.

    Members
    -------
    rx : In(1)
        Asynchronous; high when idle.
    data : Out(8)
    valid : Out(1)
    """

    def __init__(self, clocks: int):
        self.clocks = clocks
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform):
        """Return the circuit."""
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = cdc.FFSynchronizer(self.rx, line, init=1)
        busy, bit = Signal(), Signal(range(_FRAME_BITS))
        timer = Signal(range(self.clocks))
        m.d.sync += self.valid.eq(0)
        with m.If(~busy):
            m.d.sync += [busy.eq(~line), timer.eq(self.clocks // 2 - 1), bit.eq(0)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self.clocks - 1), bit.eq(bit + 1)]
            with m.If(bit == _FRAME_BITS - 1):
                m.d.sync += [busy.eq(0), self.valid.eq(line)]
            with m.Else():
                # The start bit leaves the register again at the other end.
                m.d.sync += self.data.eq(Cat(self.data[1:], line))
                with m.If((bit == 0) & line):
                    m.d.sync += busy.eq(0)
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line.

    Throughput: one byte in ten bit times.

    Parameters
    ----------
    clocks : int
        Clock cycles of a bit.

    Members
    -------
    i : In(stream of 8 bits)
    tx : Out(1)
        High when idle.
    """

    def __init__(self, clocks: int):
        self.clocks = clocks
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        """Return the circuit."""
        m = Module()
        bits_left = Signal(range(_FRAME_BITS + 1))
        timer = Signal(range(self.clocks))
        shift = Signal(9)
        m.d.comb += self.i.ready.eq(bits_left == 0)
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits_left != 0):
            m.d.sync += [self.tx.eq(shift[0]), shift.eq(Cat(shift[1:], 1)), bits_left.eq(bits_left - 1),
                         timer.eq(self.clocks - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [shift.eq(Cat(0, self.i.payload)), bits_left.eq(_FRAME_BITS)]
        return m
