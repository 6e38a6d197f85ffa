"""A memory for the benches of blocks that have one: filled word by word, then it answers bursts, late and with gaps."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, Response, read_members, write_members
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["SlowMemory", "connect_memory", "word_layout"]

_LATENCIES = (3, 40)
"""Cycles of a read: of the first half of each 256 cycles, and of the second."""


def word_layout(parameters: MasterParameters) -> data.StructLayout:
    """A word to fill in, and whether reads of it are answered with an error."""
    return data.StructLayout({"data": parameters.data_bits, "broken": 1})


class SlowMemory(wiring.Component):
    """The slave of a `ReadEngine` and a `WriteEngine`; a read sees what was answered before it was asked for.

    Parameters
    ----------
    parameters
    words
        Of a beat each.
    scratch
        Words behind them that are not filled; further addresses are answered with an error.

    Members
    -------
    fill : In(stream of word_layout)
        All words, in order.
    filled : Out(1)
    beats : Out(32)
        Given so far.
    show : In(1), shown : Out(stream of a word)
        All words that were filled, in order; nothing else is read then.
    araddr ... bready
        As `read_members` and `write_members`, from the slave's side.
    """

    def __init__(self, parameters: MasterParameters, words: int, scratch: int = 0) -> None:
        self.parameters = parameters
        self.words = words
        self.scratch = scratch
        members = read_members(parameters) | write_members(parameters)
        channels = {name: member.flip() for name, member in members.items()}
        super().__init__({"fill": In(stream.Signature(word_layout(parameters))), "filled": Out(1), "beats": Out(32),
                          "show": In(1), "shown": Out(stream.Signature(parameters.data_bits)), **channels})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, bits = self.words + self.scratch, self.parameters.data_bytes.bit_length() - 1
        # What is broken stays so; bytes are written apart.
        m.submodules.words = words = memory.Memory(shape=self.parameters.data_bits, depth=size, init=[])
        m.submodules.flaws = flaws = memory.Memory(shape=1, depth=size, init=[])
        write, read = words.write_port(granularity=8), words.read_port(domain="comb")
        broken, flaw = flaws.write_port(), flaws.read_port(domain="comb")
        burst = data.StructLayout({"word": ADDRESS_BITS, "beats": 9, "due": 16})
        m.submodules.bursts = bursts = StreamQueue(burst, 256)
        time, count, left, word = Signal(16), Signal(range(self.words + 1)), Signal(9), Signal(ADDRESS_BITS)
        noise = Signal(16, init=1)
        m.d.sync += [time.eq(time + 1), noise.eq((noise << 1) | (noise[15] ^ noise[13] ^ noise[12] ^ noise[10]))]
        m.d.comb += [
            self.filled.eq(count == self.words), self.fill.ready.eq(~self.filled),
            self.arready.eq(bursts.i.ready & noise[3]), bursts.i.valid.eq(self.arvalid & noise[3]),
            bursts.i.payload.word.eq(self.araddr >> bits),
            bursts.i.payload.beats.eq(self.arlen + 1),
            bursts.i.payload.due.eq(time + Mux(time[7], *_LATENCIES[::-1])),
        ]
        with m.If(~self.filled):
            m.d.comb += [write.addr.eq(count), write.data.eq(self.fill.payload.data),
                         write.en.eq(self.fill.valid.replicate(len(write.en))), broken.addr.eq(count),
                         broken.data.eq(self.fill.payload.broken), broken.en.eq(self.fill.valid)]
            m.d.sync += count.eq(count + self.fill.valid)
        answers = (left != 0) & (noise[:2] != 0)
        outside, number = word >= size, Signal(range(self.words + 1))
        m.d.sync += number.eq(number + (self.shown.valid & self.shown.ready))
        m.d.comb += [
            read.addr.eq(Mux(self.show, number, word)), self.shown.payload.eq(read.data), flaw.addr.eq(word),
            self.shown.valid.eq(self.show & (number != self.words)),
            self.rvalid.eq(answers), self.rdata.eq(read.data), self.rlast.eq(left == 1),
            self.rresp.eq(Mux(outside, Response.DECERR, Mux(flaw.data, Response.SLVERR, Response.OKAY))),
            bursts.o.ready.eq((left == 0) & ((time - bursts.o.payload.due)[:16] < 1 << 15)),
        ]
        with m.If(bursts.o.valid & bursts.o.ready):
            m.d.sync += [left.eq(bursts.o.payload.beats), word.eq(bursts.o.payload.word)]
        with m.Elif(answers & self.rready):
            m.d.sync += [left.eq(left - 1), word.eq(word + 1), self.beats.eq(self.beats + 1)]
        self._write(m, write, bits, size)
        return m

    def _write(self, m: Module, write: memory.WritePort, bits: int, size: int) -> None:
        """Take a burst after the other."""
        begun, ends, word, outside = Signal(), Signal(), Signal(ADDRESS_BITS), Signal()
        m.d.comb += [self.awready.eq(~begun), self.wready.eq(begun & ~ends), self.bvalid.eq(ends),
                     self.bresp.eq(Mux(outside, Response.DECERR, Response.OKAY))]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [begun.eq(1), word.eq(self.awaddr >> bits), outside.eq(0)]
        with m.If(self.wvalid & self.wready):
            m.d.comb += [write.addr.eq(word), write.data.eq(self.wdata),
                         write.en.eq(Mux(word < size, self.wstrb, 0))]
            m.d.sync += [word.eq(word + 1), ends.eq(self.wlast), outside.eq(outside | (word >= size))]
        with m.If(self.bvalid & self.bready):
            m.d.sync += [ends.eq(0), begun.eq(0)]


def connect_memory(m: Module, slow: SlowMemory, readers: int) -> tuple[ReadEngine, WriteEngine]:
    """Put a memory behind a read engine of some readers and a write engine."""
    m.submodules.memory = slow
    m.submodules.reads = reads = ReadEngine(slow.parameters, readers)
    m.submodules.writes = writes = WriteEngine(slow.parameters)
    for engine, members in ((reads, read_members(slow.parameters)), (writes, write_members(slow.parameters))):
        for name, member in members.items():
            ours, theirs = getattr(engine, name), getattr(slow, name)
            m.d.comb += theirs.eq(ours) if member.flow == Out else ours.eq(theirs)
    return reads, writes
