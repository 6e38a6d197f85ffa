"""Taker of rows: packets of an AXI4-Stream become a stream of the core's beats."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import StreamParameters, receiver_members
from latte.rtl.axi.job_registers import packet_fault_layout
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.common.primitives import times

__all__ = ["PacketReceiver"]


class PacketReceiver(wiring.Component):
    """Takes a packet for each job that has rows on this stream, and gives the core as many rows as it asked for::

        rows -> beats left -+
        tdata, tkeep, tlast +-> [zeros where it is too short, nothing of what is too long] -> RowGearbox -> o

    A packet is a job's rows one behind the other, each from a beat of its own; TLAST marks its last beat. What lies in
    that beat behind a row's end means nothing. Before a job asks for it, a packet waits: TREADY is low, whatever TVALID
    does. A packet of another length costs its own job alone: the rest of one that is too short is filled with zeros,
    that of one that is too long is taken and dropped, up to TLAST. So packets and jobs never lose step.

    Throughput: that of `RowGearbox`; two cycles between packets.

    Parameters
    ----------
    row_bytes, out_bytes
        Of a row, and of a beat of `o`.
    parameters

    Members
    -------
    rows : In(stream of COUNT_BITS)
        Rows of the next job; none is no packet.
    tdata ... tready
        AXI4-Stream as `receiver_members` has it.
    o : Out(stream of out_bytes bytes)
    finished : Out(1)
        For one cycle: the packet ended, with the faults `faults`.
    beat, stall : Out(1)
        A beat was taken; a packet is waited for and none came.
    """

    def __init__(self, row_bytes: int, out_bytes: int, parameters: StreamParameters) -> None:
        self.row_bytes = row_bytes
        self.out_bytes = out_bytes
        self.parameters = parameters
        super().__init__({
            "rows": In(stream.Signature(COUNT_BITS)), **receiver_members(parameters),
            "o": Out(stream.Signature(8 * out_bytes)), "finished": Out(1), "faults": Out(packet_fault_layout()),
            "beat": Out(1), "stall": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gearbox = gearbox = RowGearbox(self.parameters.data_bytes, self.out_bytes, self.row_bytes)
        wiring.connect(m, gearbox.o, wiring.flipped(self.o))
        row_beats = ceil_div(self.row_bytes, self.parameters.data_bytes)
        left = Signal(range((row_beats << COUNT_BITS) + 1))
        last, moved = Signal(), Signal()
        m.d.comb += [last.eq(left == 1), self.beat.eq(self.tvalid & self.tready),
                     moved.eq(gearbox.i.valid & gearbox.i.ready)]
        with m.If(moved):
            m.d.sync += left.eq(left - 1)
        missing = self._missing(m, row_beats, moved)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.rows.ready.eq(1)
                m.d.sync += self.faults.eq(0)
                with m.If(self.rows.valid):
                    m.d.sync += left.eq(times(self.rows.payload, row_beats))
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.next = "TAKE"
                with m.If(left == 0):
                    m.next = "FINISH"
            with m.State("TAKE"):
                m.d.comb += [gearbox.i.valid.eq(self.tvalid), self.tready.eq(gearbox.i.ready),
                             gearbox.i.payload.eq(self.tdata), self.stall.eq(~self.tvalid)]
                with m.If(self.beat):
                    m.d.sync += [
                        self.faults.packet_short.eq(self.tlast & ~last),
                        self.faults.packet_long.eq(last & ~self.tlast),
                        self.faults.bytes_missing.eq(self.faults.bytes_missing | missing),
                    ]
                    with m.If(last):
                        m.next = "FINISH"
                        with m.If(~self.tlast):
                            m.next = "DROP"
                    with m.Elif(self.tlast):
                        m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += gearbox.i.valid.eq(1)
                with m.If(moved & last):
                    m.next = "FINISH"
            with m.State("DROP"):
                m.d.comb += self.tready.eq(1)
                with m.If(self.beat & self.tlast):
                    m.next = "FINISH"
            with m.State("FINISH"):
                m.d.comb += self.finished.eq(1)
                m.next = "IDLE"
        return m

    def _missing(self, m: Module, row_beats: int, moved: Signal) -> Value:
        """Return whether TKEEP is low for a byte of the row that lies in the present beat."""
        size = self.parameters.data_bytes
        behind = Const((1 << size) - (1 << (self.row_bytes - (row_beats - 1) * size)), size)
        if behind.value == 0:
            return (~self.tkeep).any()
        beat = Signal(range(max(2, row_beats)))
        with m.If(moved):
            m.d.sync += beat.eq(Mux(beat == row_beats - 1, 0, beat + 1))
        return Cat(~self.tkeep & ~Mux(beat == row_beats - 1, behind, 0)).any()
