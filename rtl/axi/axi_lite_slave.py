"""AXI4-Lite slave: transactions of the bus become reads and writes of words."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring

from latte.rtl.axi.bus import LITE_ADDRESS_BITS, Response, lite_members, register_members

__all__ = ["AxiLiteSlave"]


class AxiLiteSlave(wiring.Component):
    """Answers every transaction, one read and one write at a time, each on its own::

        aw -> held address --+-> write, address, data, strobe -> refused -> b
        w --> held data -----+
        ar -> held address ----> address -> `read_latency` cycles -> data, refused -> r

    Address and data of a write come in any order. An address that is no multiple of 4 is answered with SLVERR and goes
    no further; so is what the registers refuse.

    Latency: BVALID two cycles after the later of address and data, RVALID `read_latency` + 2 cycles after the address.
    Throughput: one write in two cycles, one read in `read_latency` + 3.

    Parameters
    ----------
    read_latency
        Cycles in which the registers answer a read.

    Members
    -------
    awaddr ... rready
        AXI4-Lite as `lite_members` has it; protection bits are ignored.
    write : Out(1)
        In this cycle `write_word`, `write_data` and `write_strobe` are to be written; `write_refused`, in the same
        cycle, says that they are not.
    read_word : Out
        Word to read; `read_data` and `read_refused` follow it by `read_latency` cycles.
    """

    def __init__(self, read_latency: int) -> None:
        self.read_latency = read_latency
        super().__init__({**lite_members(), **register_members()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._writes(m)
        self._reads(m)
        return m

    def _writes(self, m: Module) -> None:
        address, unaligned = Signal(LITE_ADDRESS_BITS), Signal()
        addressed, given, both = Signal(), Signal(), Signal()
        m.d.comb += [
            self.awready.eq(~addressed), self.wready.eq(~given),
            both.eq(addressed & given & ~self.bvalid), unaligned.eq(address[:2] != 0),
            self.write.eq(both & ~unaligned), self.write_word.eq(address[2:]),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [addressed.eq(1), address.eq(self.awaddr)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [given.eq(1), self.write_data.eq(self.wdata), self.write_strobe.eq(self.wstrb)]
        with m.If(both):
            m.d.sync += [addressed.eq(0), given.eq(0), self.bvalid.eq(1),
                         self.bresp.eq(Mux(unaligned | self.write_refused, Response.SLVERR, Response.OKAY))]
        with m.If(self.bvalid & self.bready):
            m.d.sync += self.bvalid.eq(0)

    def _reads(self, m: Module) -> None:
        address = Signal(LITE_ADDRESS_BITS)
        left, waiting = Signal(range(self.read_latency + 1)), Signal()
        m.d.comb += [self.arready.eq(~waiting & ~self.rvalid), self.read_word.eq(address[2:])]
        with m.If(self.arvalid & self.arready):
            m.d.sync += [waiting.eq(1), address.eq(self.araddr), left.eq(self.read_latency)]
        with m.If(waiting):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                refused = self.read_refused | (address[:2] != 0)
                m.d.sync += [waiting.eq(0), self.rvalid.eq(1), self.rdata.eq(Mux(refused, 0, self.read_data)),
                             self.rresp.eq(Mux(refused, Response.SLVERR, Response.OKAY))]
        with m.If(self.rvalid & self.rready):
            m.d.sync += self.rvalid.eq(0)
