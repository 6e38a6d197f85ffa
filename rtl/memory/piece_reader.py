"""Reads pieces of memory in their order, many of them in flight."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters, burst_layout, fault_layout
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["PieceReader", "beat_layout", "piece_layout"]

PIECE_BITS = 16
"""Of the number of beats of a piece."""


def piece_layout() -> data.StructLayout:
    """`beats` beats from an address on, which is a multiple of a beat."""
    return data.StructLayout({"address": ADDRESS_BITS, "beats": PIECE_BITS})


def beat_layout(parameters: MasterParameters) -> data.StructLayout:
    """A beat, zero if it came with a ``fault``."""
    return data.StructLayout({"data": parameters.data_bits, "fault": 1})


class PieceReader(wiring.Component):
    """Cuts pieces into bursts and asks for them ahead of their consumer, as far as its queue goes::

        piece -> bursts -> room? -> request
        data, taken, fault -> StreamQueue -> o

    No burst is longer than the master's, none crosses 4 KB. One is asked for when the queue has room for all of it.

    Latency: two cycles from a piece to its first request. Throughput: a burst in two cycles, a beat per cycle.

    Parameters
    ----------
    parameters
        Of the master. The queue holds as many beats as may be in flight.

    Members
    -------
    piece : In(stream of piece_layout)
    request : Out(stream of burst_layout)
    taken, data, fault : In
        As of `ReadEngine`.
    o : Out(stream of beat_layout)
    """

    def __init__(self, parameters: MasterParameters) -> None:
        self.parameters = parameters
        super().__init__({
            "piece": In(stream.Signature(piece_layout())), "request": Out(stream.Signature(burst_layout(parameters))),
            "taken": In(1), "data": In(parameters.data_bits), "fault": In(fault_layout()),
            "o": Out(stream.Signature(beat_layout(parameters)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parameters, burst = self.parameters, self.request.payload
        most, depth = parameters.burst_beats, parameters.burst_beats * parameters.reads_in_flight
        step = ceil_log2(parameters.data_bytes)
        m.submodules.queue = queue = StreamQueue(beat_layout(parameters), depth)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        left, cut, fits = Signal(PIECE_BITS), Signal(), Signal()
        # Places that nothing was asked for.
        room = Signal(range(depth + 1), init=depth)
        to_boundary = Signal(range(BOUNDARY // parameters.data_bytes + 1))
        asked = Signal()
        m.d.comb += [
            to_boundary.eq(BOUNDARY // parameters.data_bytes - burst.address[step:ceil_log2(BOUNDARY)]),
            self.piece.ready.eq(left == 0), fits.eq(room >= burst.beats),
            self.request.valid.eq(cut & fits), asked.eq(self.request.valid & self.request.ready),
            queue.i.valid.eq(self.taken), queue.i.payload.data.eq(self.data),
            queue.i.payload.fault.eq(self.fault.as_value().any()),
        ]
        m.d.sync += room.eq(room - Mux(asked, burst.beats, 0) + (queue.o.valid & queue.o.ready))
        with m.If(asked):
            m.d.sync += [burst.address.eq(burst.address + (burst.beats << step)), cut.eq(0),
                         left.eq(left - burst.beats)]
        with m.Elif((left != 0) & ~cut):
            m.d.sync += [cut.eq(1), burst.beats.eq(most)]
            with m.If((to_boundary < most) & (to_boundary < left)):
                m.d.sync += burst.beats.eq(to_boundary)
            with m.Elif(left < most):
                m.d.sync += burst.beats.eq(left)
        # The next piece takes the place of the last one's last burst.
        last = asked & (left == burst.beats)
        with m.If(last):
            m.d.comb += self.piece.ready.eq(1)
        with m.If(self.piece.valid & self.piece.ready):
            m.d.sync += [left.eq(self.piece.payload.beats), burst.address.eq(self.piece.payload.address)]
        return m
