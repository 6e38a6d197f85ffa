"""Rows in memory, cut into the bursts that read or write them."""

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div, ceil_log2
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters, burst_layout
from latte.rtl.common.primitives import times

__all__ = ["RowBursts", "rows_layout"]

_STRIDE_BITS = 32


def rows_layout() -> data.StructLayout:
    """`rows` rows, the first at `address`, each `stride` bytes behind the one before; both multiples of a beat."""
    return data.StructLayout({"address": ADDRESS_BITS, "stride": _STRIDE_BITS, "rows": COUNT_BITS})


class RowBursts(wiring.Component):
    """Cuts rows into incrementing bursts: none is longer than the master's, none crosses 4 KB.

    Rows that lie one behind the other, without a gap, are one run, so that short rows make full bursts; other rows
    begin a burst each.

    Throughput: a burst in two cycles, and one cycle more for each run.

    Parameters
    ----------
    row_bytes
        Of a row; its last beat may be filled in part only.
    parameters

    Members
    -------
    rows : In(stream of rows_layout)
    burst : Out(stream of burst_layout)
        In order. `rows` is ready again when the last one was taken.
    """

    def __init__(self, row_bytes: int, parameters: MasterParameters) -> None:
        self.row_bytes = row_bytes
        self.parameters = parameters
        super().__init__({"rows": In(stream.Signature(rows_layout())),
                          "burst": Out(stream.Signature(burst_layout(parameters)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self.parameters.data_bytes
        row_beats = ceil_div(self.row_bytes, beat)
        step = ceil_log2(beat)
        # A row that fills its last beat may be followed by the next one in the same burst.
        joins = (self.rows.payload.stride == self.row_bytes) if self.row_bytes % beat == 0 else Const(0)
        row_address, stride, rows = Signal(ADDRESS_BITS), Signal(_STRIDE_BITS), Signal(COUNT_BITS)
        joined = Signal()
        left = Signal(range((row_beats << COUNT_BITS) + 1))
        address, beats = self.burst.payload.address, self.burst.payload.beats
        to_boundary = Signal(range(BOUNDARY // beat + 1))
        m.d.comb += to_boundary.eq(BOUNDARY // beat - address[step:ceil_log2(BOUNDARY)])
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.rows.ready.eq(1)
                m.d.sync += [row_address.eq(self.rows.payload.address), stride.eq(self.rows.payload.stride),
                             rows.eq(self.rows.payload.rows), joined.eq(joins)]
                with m.If(self.rows.valid & (self.rows.payload.rows != 0)):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += [address.eq(row_address), row_address.eq(row_address + stride),
                             left.eq(Mux(joined, times(rows, row_beats), row_beats)),
                             rows.eq(Mux(joined, 0, rows - 1))]
                m.next = "CUT"
            with m.State("CUT"):
                most = self.parameters.burst_beats
                m.d.sync += beats.eq(most)
                with m.If((to_boundary < most) & (to_boundary < left)):
                    m.d.sync += beats.eq(to_boundary)
                with m.Elif(left < most):
                    m.d.sync += beats.eq(left)
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.burst.valid.eq(1)
                with m.If(self.burst.ready):
                    m.d.sync += [address.eq(address + (beats << step)), left.eq(left - beats)]
                    m.next = "CUT"
                    with m.If(left == beats):
                        m.next = "RUN"
                        with m.If(rows == 0):
                            m.next = "IDLE"
        return m
