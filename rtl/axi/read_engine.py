"""AXI4 master's read side: bursts of several readers, in order, several of them in flight."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.axi.bus import MasterParameters, Response, burst_layout, fault_layout, read_members
from latte.rtl.common.primitives import next_modulo

__all__ = ["ReadEngine", "reader_members"]


def reader_members(parameters: MasterParameters) -> dict[str, wiring.Member]:
    """Return the signals of a reader as it has them: a request, and whose beat the data are, with their fault."""
    return {"request": Out(stream.Signature(burst_layout(parameters))), "taken": In(1),
            "data": In(parameters.data_bits), "fault": In(fault_layout())}


class ReadEngine(wiring.Component):
    """Asks for the readers' bursts in turn, and hands each the data that are its own::

        request_0 --+
        request_1 --+-> in turn -> ar          r -> register -> data, taken_0, taken_1, ...
        ...       --+      |                             ^
                           +--> who, how many beats -----+

    All reads have one ID, so data come in the order in which they were asked for: no reader needs to put bursts in
    order, any interconnect can do it, and what is lost against several IDs is only that a slow slave delays the others'
    data. A reader asks for no more than it has room for: RREADY is always high, and no reader can block another.

    A word that comes with an error response is handed on as zero, with the fault beside it.

    Latency: ARVALID one cycle after a request is granted, data one cycle after RVALID. Throughput: a beat per cycle; a
    burst in as many cycles as there are readers, at worst.

    Parameters
    ----------
    parameters
    readers
        Their number.

    Members
    -------
    request_<n> : In(stream of burst_layout)
    taken_<n> : Out(1)
        `data` is a beat of this reader's.
    data : Out
    fault : Out(fault_layout)
        Of the beat.
    stop : In(1)
        Grant nothing more.
    idle : Out(1)
        Nothing was asked for that has not come.
    beat, stall : Out(1)
        A beat came; reads are under way and none came.
    araddr ... rready
        AXI4 as `read_members` has it.
    """

    def __init__(self, parameters: MasterParameters, readers: int) -> None:
        self.parameters = parameters
        self.readers = readers
        super().__init__({
            **{f"request_{n}": In(stream.Signature(burst_layout(parameters))) for n in range(readers)},
            **{f"taken_{n}": Out(1) for n in range(readers)},
            "data": Out(parameters.data_bits), "fault": Out(fault_layout()), "stop": In(1), "idle": Out(1),
            "beat": Out(1), "stall": Out(1), **read_members(parameters)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        most = self.parameters.reads_in_flight
        requests = [getattr(self, f"request_{n}") for n in range(self.readers)]
        # One reader is looked at in a cycle: bursts are longer than the way round.
        turn, granted = Signal(range(self.readers)), Signal()
        offered = Signal()
        chosen = Signal(burst_layout(self.parameters))
        in_flight = Signal(range(most + 1))
        ended = Signal()
        with m.Switch(turn):
            for n, request in enumerate(requests):
                with m.Case(n):
                    m.d.comb += [offered.eq(request.valid), chosen.eq(request.payload), request.ready.eq(granted)]
        m.d.comb += granted.eq(offered & ~self.stop & (~self.arvalid | self.arready) & (in_flight != most))
        m.d.sync += in_flight.eq(in_flight + granted - ended)
        with m.If(self.arready):
            m.d.sync += self.arvalid.eq(0)
        with m.If(granted):
            m.d.sync += [self.arvalid.eq(1), self.araddr.eq(chosen.address), self.arlen.eq(chosen.beats - 1)]
        with m.If(granted | ~offered):
            m.d.sync += turn.eq(next_modulo(turn, self.readers))
        m.d.comb += self.idle.eq((in_flight == 0) & ~self.arvalid)
        self._data(m, granted, turn, chosen.beats, ended)
        m.d.comb += [self.beat.eq(self.rvalid & self.rready), self.stall.eq((in_flight != 0) & ~self.rvalid)]
        return m

    def _data(self, m: Module, granted: Signal, turn: Signal, beats: Signal, ended: Signal) -> None:
        """Keep the order of the requests, and give each its beats."""
        most = self.parameters.reads_in_flight
        entry = data.StructLayout({"reader": ceil_log2(max(2, self.readers)), "beats": beats.shape()})
        order = Signal(data.ArrayLayout(entry, most))
        write, read = Signal(range(most)), Signal(range(most))
        count = Signal(beats.shape())
        front = Signal(entry)
        m.d.comb += [front.eq(order[read]), self.rready.eq(1), ended.eq(self.rvalid & (count == front.beats - 1))]
        with m.If(granted):
            m.d.sync += [order[write].reader.eq(turn), order[write].beats.eq(beats),
                         write.eq(next_modulo(write, most))]
        m.d.sync += [self.data.eq(Mux(self.rresp[1], 0, self.rdata)),
                     self.fault.slverr.eq(self.rresp == Response.SLVERR),
                     self.fault.decerr.eq(self.rresp == Response.DECERR)]
        m.d.sync += Cat(getattr(self, f"taken_{n}") for n in range(self.readers)).eq(self.rvalid << front.reader)
        with m.If(self.rvalid):
            m.d.sync += count.eq(count + 1)
            with m.If(ended):
                m.d.sync += [count.eq(0), read.eq(next_modulo(read, most))]
