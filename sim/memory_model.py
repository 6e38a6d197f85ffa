"""A memory behind an AXI4 master, as hardware: simulated as fast as the core beside it."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters, Response, read_members, write_members
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["MemoryModel", "connect_master", "connect_memory", "word_layout"]

_TIME_BITS = 16


def word_layout(parameters: MasterParameters) -> data.StructLayout:
    """A word to fill in; ``broken``: it is read and written with an error. ``last`` of all."""
    return data.StructLayout({"data": parameters.data_bits, "broken": 1, "last": 1})


class MemoryModel(wiring.Component):
    """Filled word by word, then it answers bursts in their order; reads overlap, as do writes.

    A read sees all writes that were answered before it was asked for. A write that has an error changes nothing from
    the word on that has it.

    Parameters
    ----------
    parameters
    size
        Words of a beat each; further addresses are answered with an error.
    latencies
        Cycles from a burst's address to its first beat or answer: in turn, for 128 cycles each.
    pauses
        Addresses wait in half of all cycles, beats in a quarter, at random; else there is a beat in each cycle.

    Members
    -------
    fill : In(stream of word_layout)
        Words from address 0 on; what lies behind the last of them is undefined.
    filled : Out(1)
    show : In(1), shown : Out(stream of a word), showing : Out(1)
        Begins to give all words that were filled, in order; nothing else is asked meanwhile.
    read, written : Out(32)
        Beats so far.
    wrong : Out(1)
        A burst crosses 4 KB, or a write does not end where it says.
    araddr ... bready
        As `read_members` and `write_members`, from the slave's side.
    """

    def __init__(self, parameters: MasterParameters, size: int, *, latencies: tuple[int, int] = (3, 40),
                 pauses: bool = True) -> None:
        self.parameters = parameters
        self.size = size
        self.latencies = latencies
        self.pauses = pauses
        members = read_members(parameters) | write_members(parameters)
        super().__init__({
            "fill": In(stream.Signature(word_layout(parameters))), "filled": Out(1), "show": In(1),
            "shown": Out(stream.Signature(parameters.data_bits)), "showing": Out(1), "read": Out(32),
            "written": Out(32), "wrong": Out(1), **{name: member.flip() for name, member in members.items()}})

    def elaborate(self, platform: object) -> Module:
        """Keep words, and flags of those that are broken."""
        m = Module()
        m.submodules.words = words = memory.Memory(shape=self.parameters.data_bits, depth=self.size, init=[])
        m.submodules.flaws = flaws = memory.Memory(shape=1, depth=self.size, init=[])
        write, flaw = words.write_port(granularity=8), flaws.write_port()
        # Words that were filled.
        count, time, noise = Signal(range(self.size + 1)), Signal(_TIME_BITS), Signal(16, init=1)
        m.d.sync += [time.eq(time + 1), noise.eq((noise << 1) | (noise[15] ^ noise[13] ^ noise[12] ^ noise[10]))]
        m.d.comb += [self.fill.ready.eq(~self.filled), flaw.addr.eq(count),
                     flaw.data.eq(self.fill.payload.broken), flaw.en.eq(self.fill.valid & ~self.filled)]
        m.d.sync += [count.eq(count + flaw.en), self.filled.eq(self.filled | (flaw.en & self.fill.payload.last))]
        listens, speaks = (noise[3], noise[:2] != 0) if self.pauses else (Signal(init=1), Signal(init=1))
        due = time + Mux(time[7], *self.latencies[::-1])
        self._read(m, words, flaws, count, listens, speaks, time, due)
        self._write(m, write, flaws, listens, speaks, time, due)
        with m.If(~self.filled):
            m.d.comb += [write.addr.eq(count), write.data.eq(self.fill.payload.data),
                         write.en.eq(self.fill.valid.replicate(len(write.en)))]
        return m

    def _crosses(self, address: Value, beats: Value) -> Value:
        """Return whether a burst crosses 4 KB."""
        return (address % BOUNDARY) + beats * self.parameters.data_bytes > BOUNDARY

    def _word(self, address: Value) -> Value:
        return address >> (self.parameters.data_bytes.bit_length() - 1)

    def _read(self, m: Module, words: memory.Memory, flaws: memory.Memory, count: Signal, listens: Value,
              speaks: Value, time: Signal, due: Value) -> None:
        """Answer reads; show all words."""
        read, flawed = words.read_port(domain="comb"), flaws.read_port(domain="comb")
        burst = data.StructLayout({"word": ADDRESS_BITS, "beats": 9, "due": _TIME_BITS})
        m.submodules.reads = reads = StreamQueue(burst, 256)
        left, word, next_shown = Signal(9), Signal(ADDRESS_BITS), Signal.like(count)
        answers, outside = (left != 0) & speaks, word >= self.size
        ended = (left == 0) | (answers & self.rready & (left == 1))
        m.d.comb += [
            self.arready.eq(reads.i.ready & listens), reads.i.valid.eq(self.arvalid & listens),
            reads.i.payload.word.eq(self._word(self.araddr)), reads.i.payload.beats.eq(self.arlen + 1),
            reads.i.payload.due.eq(due),
            reads.o.ready.eq(ended & ((time - reads.o.payload.due)[:_TIME_BITS] < 1 << (_TIME_BITS - 1))),
            read.addr.eq(Mux(self.showing, next_shown, word)), flawed.addr.eq(word),
            self.shown.payload.eq(read.data), self.shown.valid.eq(self.showing),
            self.rvalid.eq(answers), self.rdata.eq(read.data), self.rlast.eq(left == 1),
            self.rresp.eq(Mux(outside, Response.DECERR, Mux(flawed.data, Response.SLVERR, Response.OKAY))),
        ]
        with m.If(answers & self.rready):
            m.d.sync += [left.eq(left - 1), word.eq(word + 1), self.read.eq(self.read + 1)]
        with m.If(reads.o.valid & reads.o.ready):
            m.d.sync += [left.eq(reads.o.payload.beats), word.eq(reads.o.payload.word)]
        with m.If(self.show):
            m.d.sync += [self.showing.eq(1), next_shown.eq(0)]
        with m.Elif(self.shown.valid & self.shown.ready):
            m.d.sync += [next_shown.eq(next_shown + 1), self.showing.eq(next_shown != count - 1)]

    def _write(self, m: Module, write: memory.WritePort, flaws: memory.Memory, listens: Value, speaks: Value,
               time: Signal, due: Value) -> None:
        """Carry writes out as their data come, and answer them later."""
        flawed = flaws.read_port(domain="comb")
        burst = data.StructLayout({"word": ADDRESS_BITS, "beats": 9})
        m.submodules.writes = writes = StreamQueue(burst, 64)
        m.submodules.answers = answers = StreamQueue(data.StructLayout({"response": 2, "due": _TIME_BITS}), 64)
        number, faulty, word = Signal(9), Signal(2), Signal(ADDRESS_BITS)
        last, taken, response = number == writes.o.payload.beats - 1, Signal(), Signal(2)
        outside = word >= self.size
        m.d.comb += [
            self.awready.eq(writes.i.ready & listens), writes.i.valid.eq(self.awvalid & listens),
            writes.i.payload.word.eq(self._word(self.awaddr)), writes.i.payload.beats.eq(self.awlen + 1),
            word.eq(writes.o.payload.word + number), flawed.addr.eq(word),
            response.eq(Mux(faulty != 0, faulty, Mux(outside, Response.DECERR, Mux(flawed.data, Response.SLVERR,
                                                                                   Response.OKAY)))),
            self.wready.eq(writes.o.valid & speaks & answers.i.ready), taken.eq(self.wvalid & self.wready),
            writes.o.ready.eq(taken & last), answers.i.valid.eq(taken & last),
            answers.i.payload.response.eq(response), answers.i.payload.due.eq(due),
            self.bvalid.eq(answers.o.valid & ((time - answers.o.payload.due)[:_TIME_BITS] < 1 << (_TIME_BITS - 1))),
            self.bresp.eq(answers.o.payload.response), answers.o.ready.eq(self.bvalid & self.bready),
            self.wrong.eq((taken & (self.wlast != last)) | (self.awvalid & self._crosses(self.awaddr, self.awlen + 1))
                          | (self.arvalid & self._crosses(self.araddr, self.arlen + 1))),
        ]
        with m.If(self.filled):
            m.d.comb += [write.addr.eq(word), write.data.eq(self.wdata),
                         write.en.eq(Mux(taken & (response == Response.OKAY), self.wstrb, 0))]
        with m.If(taken):
            m.d.sync += [self.written.eq(self.written + 1), number.eq(Mux(last, 0, number + 1)),
                         faulty.eq(Mux(last, 0, response))]


def connect_master(m: Module, master: wiring.Component, slave: MemoryModel, prefix: str = "") -> None:
    """Connect the channels that a master has."""
    for name, member in (read_members(slave.parameters) | write_members(slave.parameters)).items():
        if hasattr(master, prefix + name):
            ours, theirs = getattr(master, prefix + name), getattr(slave, name)
            m.d.comb += theirs.eq(ours) if member.flow == Out else ours.eq(theirs)


def connect_memory(m: Module, model: MemoryModel, readers: int) -> tuple[ReadEngine, WriteEngine]:
    """Put a memory behind a read engine of some readers and a write engine."""
    m.submodules.memory = model
    m.submodules.reads = reads = ReadEngine(model.parameters, readers)
    m.submodules.writes = writes = WriteEngine(model.parameters)
    for engine in (reads, writes):
        connect_master(m, engine, model)
    return reads, writes
