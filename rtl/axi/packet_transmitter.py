"""Giver of rows: what drives an AXI4-Stream, and ends what it has begun."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import StreamParameters, transmitter_members

__all__ = ["PacketTransmitter", "transmitted_layout"]


def transmitted_layout(parameters: StreamParameters) -> data.StructLayout:
    """One beat of a packet; `error` comes with `last`."""
    return data.StructLayout({"data": parameters.data_bits, "last": 1, "error": 1})


class PacketTransmitter(wiring.Component):
    """Drives AXI4-Stream from registers; a packet that is given up ends, too::

        i -> register -> tdata, tlast, tuser

    A beat that was offered stands until it is taken. If `stop` comes within a packet, one more beat ends it, with TLAST
    and TUSER: whoever takes it sees a packet's end, and that it means nothing.

    Latency: TVALID one cycle after a beat. Throughput: a beat per cycle.

    Parameters
    ----------
    parameters

    Members
    -------
    i : In(stream of transmitted_layout)
    stop : In(1)
        Take nothing more; end the packet that was begun.
    idle : Out(1)
        No packet is begun, everything was taken.
    moved : Out(1)
        A beat was taken.
    tdata ... tready
        AXI4-Stream as `transmitter_members` has it.
    """

    def __init__(self, parameters: StreamParameters) -> None:
        self.parameters = parameters
        super().__init__({"i": In(stream.Signature(transmitted_layout(parameters))), "stop": In(1), "idle": Out(1),
                          "moved": Out(1), **transmitter_members(parameters)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        begun, free = Signal(), Signal()
        beat = self.i.payload
        m.d.comb += [free.eq(~self.tvalid | self.tready), self.i.ready.eq(free & ~self.stop),
                     self.idle.eq(~self.tvalid & ~begun), self.moved.eq(self.tvalid & self.tready)]
        with m.If(self.tready):
            m.d.sync += self.tvalid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.tvalid.eq(1), self.tdata.eq(beat.data), self.tlast.eq(beat.last),
                         self.tuser.eq(beat.error), begun.eq(~beat.last)]
        with m.Elif(self.stop & begun & free):
            m.d.sync += [self.tvalid.eq(1), self.tdata.eq(0), self.tlast.eq(1), self.tuser.eq(1), begun.eq(0)]
        return m
