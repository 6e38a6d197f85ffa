"""Memories for the benches of blocks that read or write one: filled word by word, then they answer late, with gaps."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters, Response, read_members, write_members
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["SlowMemory", "WrittenMemory", "connect_memory", "connect_written_memory", "word_layout"]

_LATENCIES = (3, 40)
"""Cycles of a read: of the first half of each 256 cycles, and of the second."""


def word_layout(parameters: MasterParameters) -> data.StructLayout:
    """A word to fill in, and whether it is answered with an error."""
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


class WrittenMemory(wiring.Component):
    """The slave of a `WriteEngine`'s channels.

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
    dump : In(1), word : Out(stream of data_bits), dumping : Out(1)
        Begins to give all words, in order.
    beats : Out(32)
        Written so far.
    wrong : Out(1)
        A burst crosses 4 KB, or does not end where it says.
    awaddr ... bready
        As `write_members`, from the slave's side.
    """

    def __init__(self, parameters: MasterParameters, words: int) -> None:
        self.parameters = parameters
        self.words = words
        channels = {name: member.flip() for name, member in write_members(parameters).items()}
        super().__init__({"fill": In(stream.Signature(word_layout(parameters))), "filled": Out(1), "dump": In(1),
                          "word": Out(stream.Signature(parameters.data_bits)), "dumping": Out(1), "beats": Out(32),
                          "wrong": Out(1), **channels})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.parameters.data_bytes
        m.submodules.words = words = memory.Memory(shape=8 * size, depth=self.words, init=[])
        m.submodules.broken = broken = memory.Memory(shape=1, depth=self.words, init=[])
        write, read = words.write_port(granularity=8), words.read_port(domain="comb")
        mark, marked = broken.write_port(), broken.read_port(domain="comb")
        burst = data.StructLayout({"word": ADDRESS_BITS, "beats": 9})
        m.submodules.bursts = bursts = StreamQueue(burst, 64)
        m.submodules.answers = answers = StreamQueue(data.StructLayout({"fault": 1, "due": 16}), 64)
        time, count, number, faulty = Signal(16), Signal(range(self.words + 1)), Signal(9), Signal()
        noise, shown = Signal(16, init=1), Signal(range(self.words + 1))
        m.d.sync += [time.eq(time + 1), noise.eq((noise << 1) | (noise[15] ^ noise[13] ^ noise[12] ^ noise[10]))]
        word, taken, fault = Signal(ADDRESS_BITS), Signal(), Signal()
        last = number == bursts.o.payload.beats - 1
        m.d.comb += [
            self.filled.eq(count == self.words), self.fill.ready.eq(~self.filled), mark.addr.eq(count),
            mark.data.eq(self.fill.payload.broken), mark.en.eq(self.fill.valid & self.fill.ready),
            self.awready.eq(bursts.i.ready & noise[3]), bursts.i.valid.eq(self.awvalid & noise[3]),
            bursts.i.payload.word.eq(self.awaddr >> (size.bit_length() - 1)),
            bursts.i.payload.beats.eq(self.awlen + 1),
            word.eq(bursts.o.payload.word + number), marked.addr.eq(word),
            self.wready.eq(bursts.o.valid & (noise[:2] != 0)), taken.eq(self.wvalid & self.wready),
            bursts.o.ready.eq(taken & last), fault.eq((word >= self.words) | marked.data | faulty),
            answers.i.valid.eq(taken & last), answers.i.payload.fault.eq(fault),
            answers.i.payload.due.eq(time + Mux(time[7], *_LATENCIES[::-1])),
            self.bvalid.eq(answers.o.valid & ((time - answers.o.payload.due)[:16] < 1 << 15)),
            self.bresp.eq(Mux(answers.o.payload.fault, Response.SLVERR, Response.OKAY)),
            answers.o.ready.eq(self.bvalid & self.bready),
            self.wrong.eq((taken & (self.wlast != last)) | (self.awvalid & (
                (self.awaddr % BOUNDARY) + (self.awlen + 1) * size > BOUNDARY))),
            write.addr.eq(Mux(self.filled, word, count)),
            write.data.eq(Mux(self.filled, self.wdata, self.fill.payload.data)),
            write.en.eq(Mux(self.filled, Mux(taken & ~fault, self.wstrb, 0), self.fill.valid.replicate(size))),
            read.addr.eq(shown), self.word.payload.eq(read.data), self.word.valid.eq(self.dumping),
        ]
        with m.If(mark.en):
            m.d.sync += count.eq(count + 1)
        with m.If(taken):
            m.d.sync += [self.beats.eq(self.beats + 1), number.eq(Mux(last, 0, number + 1)),
                         faulty.eq(fault & ~last)]
        with m.If(self.dump):
            m.d.sync += [self.dumping.eq(1), shown.eq(0)]
        with m.Elif(self.word.valid & self.word.ready):
            m.d.sync += [shown.eq(shown + 1), self.dumping.eq(shown != self.words - 1)]
        return m


def connect_memory(m: Module, parameters: MasterParameters, words: int, readers: int) -> tuple[ReadEngine, SlowMemory]:
    """Put a memory behind a read engine of some readers."""
    m.submodules.engine = engine = ReadEngine(parameters, readers)
    m.submodules.memory = slow = SlowMemory(parameters, words)
    _connect(m, engine, slow, read_members(parameters))
    return engine, slow


def connect_written_memory(m: Module, parameters: MasterParameters, words: int) -> tuple[WriteEngine, WrittenMemory]:
    """Put a memory behind a write engine."""
    m.submodules.writes = engine = WriteEngine(parameters)
    m.submodules.written = written = WrittenMemory(parameters, words)
    _connect(m, engine, written, write_members(parameters))
    return engine, written


def _connect(m: Module, master: wiring.Component, slave: wiring.Component, members: dict[str, wiring.Member]) -> None:
    for name, member in members.items():
        ours, theirs = getattr(master, name), getattr(slave, name)
        m.d.comb += theirs.eq(ours) if member.flow == Out else ours.eq(theirs)
