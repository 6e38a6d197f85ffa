"""Wishbone slave: cycles of the bus become reads and writes of words."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring

from latte.rtl.axi.bus import WORD_ADDRESS_BITS, register_members, wishbone_members

__all__ = ["WishboneSlave"]


class WishboneSlave(wiring.Component):
    """Answers every cycle of Wishbone B4, classic, once, with ACK, or with ERR where the registers refuse::

        cyc, stb, we, adr, dat_w, sel -> held -> word, data, strobe -> read_data, refused -> ack, err, dat_r

    A cycle that the master gives up before it is answered is not answered any more.

    Latency: ACK or ERR two cycles after STB of a write, `read_latency` + 2 after that of a read, for one cycle.
    Throughput: one write in three cycles, one read in `read_latency` + 3.

    Parameters
    ----------
    read_latency
        Cycles in which the registers answer a read.

    Members
    -------
    cyc ... dat_r
        Wishbone as `wishbone_members` has it.
    write ... read_refused
        As of `AxiLiteSlave`.
    """

    def __init__(self, read_latency: int) -> None:
        self.read_latency = read_latency
        super().__init__({**wishbone_members(), **register_members()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(WORD_ADDRESS_BITS)
        held, writes, left = Signal(), Signal(), Signal(range(self.read_latency + 1))
        asked, ends, refused = Signal(), Signal(), Signal()
        m.d.comb += [
            asked.eq(self.cyc & self.stb), ends.eq(asked & held & (left == 0)),
            self.write.eq(ends & writes), self.write_word.eq(word), self.read_word.eq(word),
            refused.eq(Mux(writes, self.write_refused, self.read_refused)),
        ]
        m.d.sync += [self.ack.eq(ends & ~refused), self.err.eq(ends & refused), left.eq(left - (left != 0))]
        with m.If(~asked | ends):
            m.d.sync += held.eq(0)
        with m.Elif(~held & ~self.ack & ~self.err):
            m.d.sync += [held.eq(1), writes.eq(self.we), left.eq(Mux(self.we, 0, self.read_latency)), word.eq(self.adr),
                         self.write_data.eq(self.dat_w), self.write_strobe.eq(self.sel)]
        with m.If(ends):
            m.d.sync += self.dat_r.eq(Mux(refused, 0, self.read_data))
        return m
