"""Reader of rows: commands become bursts, what comes back becomes a stream of the core's beats."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.rtl.axi.bus import MasterParameters, fault_layout
from latte.rtl.axi.read_engine import reader_members
from latte.rtl.axi.row_bursts import RowBursts, rows_layout
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.common.primitives import times
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["RowFetcher", "fetch_layout"]


def fetch_layout() -> data.StructLayout:
    """Rows to fetch, or, with `zeros`, just as many rows of zeros."""
    return data.StructLayout({**rows_layout().members, "zeros": 1})


class RowFetcher(wiring.Component):
    """Fetches rows ahead of their consumer, as far as its queue goes::

        command -> RowBursts -> room? -> request
                      |
                    zeros ------+
        data, taken, fault -----+-> StreamQueue -> RowGearbox -> o

    A burst is asked for when the queue has room for all of it, and no sooner: data never wait on the bus. A command
    ends when all of its data have come; only then the next one begins, so a fault is that of the present command.

    Parameters
    ----------
    row_bytes, out_bytes
        Of a row, and of a beat of `o`.
    parameters
        Of the master. The queue holds as many beats as may be in flight.

    Members
    -------
    command : In(stream of fetch_layout)
    request : Out(stream of burst_layout)
    taken, data, fault : In
        As of `ReadEngine`.
    o : Out(stream of out_bytes bytes)
    finished : Out(1)
        For one cycle: the command ended, with the faults `faults` on the way.
    idle : Out(1)
        No command is under way.
    """

    def __init__(self, row_bytes: int, out_bytes: int, parameters: MasterParameters) -> None:
        self.row_bytes = row_bytes
        self.out_bytes = out_bytes
        self.parameters = parameters
        super().__init__({
            "command": In(stream.Signature(fetch_layout())), **reader_members(parameters),
            "o": Out(stream.Signature(8 * out_bytes)), "finished": Out(1), "faults": Out(fault_layout()),
            "idle": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parameters, beat = self.parameters, self.parameters.data_bytes
        depth = parameters.burst_beats * parameters.reads_in_flight
        m.submodules.bursts = bursts = RowBursts(self.row_bytes, parameters)
        m.submodules.queue = queue = StreamQueue(parameters.data_bits, depth)
        m.submodules.gearbox = gearbox = RowGearbox(beat, self.out_bytes, self.row_bytes)
        wiring.connect(m, queue.o, gearbox.i)
        wiring.connect(m, gearbox.o, wiring.flipped(self.o))

        # Room that nothing was asked for; beats that were asked for and have not come.
        room, coming = Signal(range(depth + 1), init=depth), Signal(range(depth + 1))
        row_beats = ceil_div(self.row_bytes, beat)
        zeros = Signal(range((row_beats << len(self.command.payload.rows)) + 1))
        asked, filled, fits, working = Signal(), Signal(), Signal(), Signal()
        burst = bursts.burst.payload
        m.d.comb += [
            fits.eq(room >= burst.beats),
            self.request.valid.eq(bursts.burst.valid & fits), self.request.payload.eq(burst),
            bursts.burst.ready.eq(self.request.ready & fits),
            asked.eq(self.request.valid & self.request.ready),
            bursts.rows.payload.address.eq(self.command.payload.address),
            bursts.rows.payload.stride.eq(self.command.payload.stride),
            bursts.rows.payload.rows.eq(self.command.payload.rows),
            bursts.rows.valid.eq(self.command.valid & self.command.ready & ~self.command.payload.zeros),
            self.command.ready.eq(~working),
            filled.eq((zeros != 0) & (room != 0)),
            queue.i.valid.eq(self.taken | filled), queue.i.payload.eq(Mux(self.taken, self.data, 0)),
        ]
        m.d.sync += [
            room.eq(room - Mux(asked, burst.beats, 0) - filled + (queue.o.valid & queue.o.ready)),
            coming.eq(coming + Mux(asked, burst.beats, 0) - self.taken),
        ]
        with m.If(self.taken):
            m.d.sync += self.faults.eq(self.faults.as_value() | self.fault.as_value())
        with m.If(filled):
            m.d.sync += zeros.eq(zeros - 1)
        # A command is looked at a cycle after it was taken: by then it shows in what it waits for.
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [working.eq(1), self.faults.eq(0)]
            with m.If(self.command.payload.zeros):
                m.d.sync += zeros.eq(times(self.command.payload.rows, row_beats))
        m.d.comb += [
            self.finished.eq(working & bursts.rows.ready & (coming == 0) & (zeros == 0)),
            self.idle.eq(~working),
        ]
        with m.If(self.finished):
            m.d.sync += working.eq(0)
        return m
