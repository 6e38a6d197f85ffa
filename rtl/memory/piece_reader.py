"""Reads pieces of memory in their order, many of them in flight."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.read_engine import reader_members
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.piece_bursts import PieceBursts, piece_layout

__all__ = ["PieceReader", "beat_layout"]


def beat_layout(parameters: MasterParameters) -> data.StructLayout:
    """A beat, zero if it came with a ``fault``."""
    return data.StructLayout({"data": parameters.data_bits, "fault": 1})


class PieceReader(wiring.Component):
    """Cuts pieces into bursts and asks for them ahead of their consumer, as far as its queue goes::

        piece -> PieceBursts -> room? -> request
        data, taken, fault -> StreamQueue -> o

    A burst is asked for when the queue has room for all of it.

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
    overflow : Out(1)
        The queue has lost a beat.
    """

    def __init__(self, parameters: MasterParameters) -> None:
        self.parameters = parameters
        super().__init__({
            "piece": In(stream.Signature(piece_layout())), **reader_members(parameters),
            "o": Out(stream.Signature(beat_layout(parameters))), "overflow": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parameters = self.parameters
        depth = parameters.burst_beats * parameters.reads_in_flight
        m.submodules.bursts = bursts = PieceBursts(parameters)
        m.submodules.queue = queue = StreamQueue(beat_layout(parameters), depth)
        wiring.connect(m, wiring.flipped(self.piece), bursts.piece)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        # Places that nothing was asked for.
        room, fits = Signal(range(depth + 1), init=depth), Signal()
        burst = bursts.burst
        m.d.comb += [
            fits.eq(room >= burst.payload.beats), self.request.payload.eq(burst.payload),
            self.request.valid.eq(burst.valid & fits), burst.ready.eq(self.request.ready & fits),
            queue.i.valid.eq(self.taken), queue.i.payload.data.eq(self.data),
            queue.i.payload.fault.eq(self.fault.as_value().any()), self.overflow.eq(self.taken & ~queue.i.ready),
        ]
        asked = burst.valid & burst.ready
        m.d.sync += room.eq(room - Mux(asked, burst.payload.beats, 0) + (queue.o.valid & queue.o.ready))
        return m
