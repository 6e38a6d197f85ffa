"""A memory for the benches of blocks that read one: filled word by word, then it answers bursts, late and with gaps."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, Response, read_members
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["SlowMemory", "connect_memory", "word_layout"]

_LATENCIES = (3, 40)
"""Cycles of a read: of the first half of each 256 cycles, and of the second."""


def word_layout(parameters: MasterParameters) -> data.StructLayout:
    """A word to fill in, and whether reads of it are answered with an error."""
    return data.StructLayout({"data": parameters.data_bits, "broken": 1})


class SlowMemory(wiring.Component):
    """The slave of a `ReadEngine`'s channels.

    Parameters
    ----------
    parameters
    words
        Of a beat each; further addresses are answered with an error.

    Members
    -------
    fill : In(stream of word_layout)
        All words, in order.
    filled : Out(1)
    beats : Out(32)
        Given so far.
    araddr ... rready
        As `read_members`, from the slave's side.
    """

    def __init__(self, parameters: MasterParameters, words: int) -> None:
        self.parameters = parameters
        self.words = words
        channels = {name: member.flip() for name, member in read_members(parameters).items()}
        super().__init__({"fill": In(stream.Signature(word_layout(parameters))), "filled": Out(1), "beats": Out(32),
                          **channels})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = word_layout(self.parameters)
        m.submodules.words = words = memory.Memory(shape=layout, depth=self.words, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        burst = data.StructLayout({"word": ADDRESS_BITS, "beats": 9, "due": 16})
        m.submodules.bursts = bursts = StreamQueue(burst, 256)
        time, count, left, word = Signal(16), Signal(range(self.words + 1)), Signal(9), Signal(ADDRESS_BITS)
        noise = Signal(16, init=1)
        m.d.sync += [time.eq(time + 1), noise.eq((noise << 1) | (noise[15] ^ noise[13] ^ noise[12] ^ noise[10]))]
        m.d.comb += [
            self.filled.eq(count == self.words), self.fill.ready.eq(~self.filled), write.addr.eq(count),
            write.data.eq(self.fill.payload), write.en.eq(self.fill.valid & self.fill.ready),
            self.arready.eq(bursts.i.ready & noise[3]), bursts.i.valid.eq(self.arvalid & noise[3]),
            bursts.i.payload.word.eq(self.araddr >> (self.parameters.data_bytes.bit_length() - 1)),
            bursts.i.payload.beats.eq(self.arlen + 1),
            bursts.i.payload.due.eq(time + Mux(time[7], *_LATENCIES[::-1])),
        ]
        with m.If(write.en):
            m.d.sync += count.eq(count + 1)
        answers = (left != 0) & (noise[:2] != 0)
        outside = word >= self.words
        m.d.comb += [
            read.addr.eq(word), self.rvalid.eq(answers), self.rdata.eq(read.data.data), self.rlast.eq(left == 1),
            self.rresp.eq(Mux(outside, Response.DECERR, Mux(read.data.broken, Response.SLVERR, Response.OKAY))),
            bursts.o.ready.eq((left == 0) & ((time - bursts.o.payload.due)[:16] < 1 << 15)),
        ]
        with m.If(bursts.o.valid & bursts.o.ready):
            m.d.sync += [left.eq(bursts.o.payload.beats), word.eq(bursts.o.payload.word)]
        with m.Elif(answers & self.rready):
            m.d.sync += [left.eq(left - 1), word.eq(word + 1), self.beats.eq(self.beats + 1)]
        return m


def connect_memory(m: Module, parameters: MasterParameters, words: int, readers: int) -> tuple[ReadEngine, SlowMemory]:
    """Put a memory behind a read engine of some readers."""
    m.submodules.engine = engine = ReadEngine(parameters, readers)
    m.submodules.memory = slow = SlowMemory(parameters, words)
    for name, member in read_members(parameters).items():
        ours, theirs = getattr(engine, name), getattr(slow, name)
        m.d.comb += theirs.eq(ours) if member.flow == Out else ours.eq(theirs)
    return engine, slow
