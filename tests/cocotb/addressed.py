"""A memory without contents, for benches of what reads: its words, their errors and zeros follow from the address."""

import numpy as np
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import MasterParameters, Response, burst_layout, fault_layout
from latte.rtl.common.stream_queue import StreamQueue
from tests.cocotb.weighed import paused

_FACTOR = 0x9E37_79B9_7F4A_7C15
_MASK = (1 << 64) - 1
_ZONE = 12
"""Where the bits of an address lie by which a word is answered with an error."""
_ZERO = 7
"""Where those lie by which half a word is zero: an entry of a page table that is missing."""


def response_of(address: int) -> Response:
    """Return how a read of an address is answered."""
    zone = address >> _ZONE & 63
    return {62: Response.SLVERR, 63: Response.DECERR}.get(zone, Response.OKAY)


def word_of(address: int) -> int:
    """Return the eight bytes at a multiple of eight."""
    word = address * _FACTOR & _MASK
    word ^= word >> 32
    return word & ~0xFFFF_FFFF if address >> _ZERO & 31 == 31 else word


def missing_behind(address: int) -> int:
    """Return where half of each word is zero for a while, near an address."""
    return address >> _ZERO + 5 << _ZERO + 5 | 31 << _ZERO


def bytes_of(address: int, count: int) -> np.ndarray:
    """Return bytes as they are read, uint8 [count]: zeros where there is an error."""
    first, last = address & ~7, address + count + 7 & ~7
    words = [0 if response_of(at & _MASK) else word_of(at & _MASK) for at in range(first, last, 8)]
    return np.array(words, np.uint64).view(np.uint8)[address - first:][:count]


class AddressedMemory(wiring.Component):
    """Takes bursts and gives their beats, each when it is told to, and none for some time now and then.

    Parameters
    ----------
    parameters

    Members
    -------
    request : In(stream of burst_layout)
    asked, given : In(stream)
        An item for each burst that is taken, and for each beat that is given.
    taken : Out(1), data, fault : Out
        A beat, as `ReadEngine` gives it.
    idle : Out(1)
        All that was asked for was given.
    """

    def __init__(self, parameters: MasterParameters) -> None:
        self.parameters = parameters
        super().__init__({
            "request": In(stream.Signature(burst_layout(parameters))), "asked": In(stream.Signature(1)),
            "given": In(stream.Signature(1)), "taken": Out(1), "data": Out(parameters.data_bits),
            "fault": Out(fault_layout()), "idle": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Answer."""
        m = Module()
        m.submodules.bursts = bursts = StreamQueue(burst_layout(self.parameters), 8)
        beat, burst = Signal(16), bursts.o.payload
        gives, last = bursts.o.valid & ~paused(m, 61), beat == burst.beats - 1
        address, zone = Signal(64), Signal(6)
        m.d.comb += [
            bursts.i.valid.eq(self.request.valid & self.asked.valid),
            self.asked.ready.eq(self.request.valid & bursts.i.ready),
            self.request.ready.eq(self.asked.valid & bursts.i.ready), bursts.i.payload.eq(self.request.payload),
            address.eq(burst.address + beat * self.parameters.data_bytes), zone.eq(address[_ZONE:]),
            self.taken.eq(gives & self.given.valid), self.given.ready.eq(gives),
            bursts.o.ready.eq(self.taken & last), self.idle.eq(~bursts.o.valid & ~self.request.valid),
            self.fault.slverr.eq(zone == 62), self.fault.decerr.eq(zone == 63),
            self.data.eq(Mux(self.fault.as_value().any(), 0, Cat(
                self._word(m, (address + at)[:64]) for at in range(0, self.parameters.data_bytes, 8)))),
        ]
        with m.If(self.taken):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        return m

    @staticmethod
    def _word(m: Module, address: Signal) -> data.View:
        product, mixed = Signal(64), Signal(64)
        m.d.comb += [product.eq(address * _FACTOR), mixed.eq(product ^ (product >> 32))]
        return Mux(address[_ZERO:_ZERO + 5].all(), Cat(Signal(32), mixed[32:]), mixed)
