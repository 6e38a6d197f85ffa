"""A memory behind an AXI4 master, as hardware: simulated as fast as the core beside it."""

from amaranth import ClockSignal, Elaboratable, Instance, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters, Response, read_members, write_members
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.stream_queue import StreamQueue
from latte.sim.memory_timing import TIME_BITS, MemoryTiming, PartTiming, later

__all__ = ["MemoryModel", "connect_master", "connect_memory", "word_layout"]


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
    timing
        Of the part behind all that: no beat before it would have moved its burst. None: it moves a beat in each cycle.
    base
        Address of the first word, a multiple of 4 KB.

    Members
    -------
    fill : In(stream of word_layout)
        Words from `base` on; what lies behind the last of them is undefined.
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
                 pauses: bool = True, timing: PartTiming | None = None, base: int = 0) -> None:
        assert base % BOUNDARY == 0
        self.parameters = parameters
        self.size = size
        self.latencies = latencies
        self.pauses = pauses
        self.timing = timing
        self.base = base
        members = read_members(parameters) | write_members(parameters)
        super().__init__({
            "fill": In(stream.Signature(word_layout(parameters))), "filled": Out(1), "show": In(1),
            "shown": Out(stream.Signature(parameters.data_bits)), "showing": Out(1), "read": Out(32),
            "written": Out(32), "wrong": Out(1), **{name: member.flip() for name, member in members.items()}})

    def elaborate(self, platform: object) -> Module:
        """Keep words, and flags of those that are broken."""
        m = Module()
        m.submodules.words = words = _Words(self.parameters.data_bits, self.size)
        # Which words are broken, for reads and for writes: a memory has one read port.
        flaws = [_Words(8, self.size) for _ in range(2)]
        m.submodules += flaws
        # Words that were filled.
        count, time, noise = Signal(range(self.size + 1)), Signal(TIME_BITS), Signal(16, init=1)
        m.d.sync += [time.eq(time + 1), noise.eq((noise << 1) | (noise[15] ^ noise[13] ^ noise[12] ^ noise[10]))]
        fills = self.fill.valid & ~self.filled
        m.d.comb += self.fill.ready.eq(~self.filled)
        for of in flaws:
            m.d.comb += [of.write_addr.eq(count), of.write_data.eq(self.fill.payload.broken), of.write_en.eq(fills)]
        m.d.sync += [count.eq(count + fills), self.filled.eq(self.filled | (fills & self.fill.payload.last))]
        listens, speaks = (noise[3], noise[:2] != 0) if self.pauses else (Signal(init=1), Signal(init=1))
        latency = Mux(time[7], *self.latencies[::-1])
        moved = self._move(m, time)
        self._read(m, words, flaws[0], count, listens, speaks, time, moved[0], latency)
        self._write(m, words, flaws[1], listens, speaks, time, moved[1], latency)
        with m.If(~self.filled):
            m.d.comb += [words.write_addr.eq(count), words.write_data.eq(self.fill.payload.data),
                         words.write_en.eq(self.fill.valid.replicate(len(words.write_en)))]
        return m

    def _move(self, m: Module, time: Signal) -> list[Value]:
        """Return when a part has moved the last byte of what is read, and written, by addresses of this cycle."""
        if self.timing is None:
            return [time, time]
        m.submodules.timing = timing = MemoryTiming(self.timing, 2)
        m.d.comb += timing.time.eq(time)
        for n, channel in enumerate(("ar", "aw")):
            valid, ready, address, beats = (getattr(self, channel + name) for name in ("valid", "ready", "addr", "len"))
            m.d.comb += [getattr(timing, f"valid_{n}").eq(valid & ready), getattr(timing, f"address_{n}").eq(address),
                         getattr(timing, f"bytes_{n}").eq((beats + 1) * self.parameters.data_bytes)]
        return [timing.moved_0, timing.moved_1]

    def _crosses(self, address: Value, beats: Value) -> Value:
        """Return whether a burst crosses 4 KB."""
        return (address % BOUNDARY) + beats * self.parameters.data_bytes > BOUNDARY

    def _word(self, address: Value) -> Value:
        offset = (address - self.base)[:ADDRESS_BITS] if self.base else address
        return offset >> (self.parameters.data_bytes.bit_length() - 1)

    def _read(self, m: Module, words: "_Words", flaws: "_Words", count: Signal, listens: Value, speaks: Value,
              time: Signal, moved: Value, latency: Value) -> None:
        """Answer reads; show all words."""
        burst = data.StructLayout({"word": ADDRESS_BITS, "beats": 9, "due": TIME_BITS})
        m.submodules.reads = reads = StreamQueue(burst, 256)
        left, word, next_shown = Signal(9), Signal(ADDRESS_BITS), Signal.like(count)
        answers, outside = (left != 0) & speaks, word >= self.size
        ended = (left == 0) | (answers & self.rready & (left == 1))
        m.d.comb += [
            self.arready.eq(reads.i.ready & listens), reads.i.valid.eq(self.arvalid & listens),
            reads.i.payload.word.eq(self._word(self.araddr)), reads.i.payload.beats.eq(self.arlen + 1),
            # The first beat: then the last one does not come before it was moved.
            reads.i.payload.due.eq(later((moved - self.arlen)[:TIME_BITS], time) + latency),
            reads.o.ready.eq(ended & _is_past(reads.o.payload.due, time)),
            words.read_addr.eq(Mux(self.showing, next_shown, word)), flaws.read_addr.eq(word),
            self.shown.payload.eq(words.read_data), self.shown.valid.eq(self.showing),
            self.rvalid.eq(answers), self.rdata.eq(words.read_data), self.rlast.eq(left == 1),
            self.rresp.eq(Mux(outside, Response.DECERR, Mux(flaws.read_data != 0, Response.SLVERR, Response.OKAY))),
        ]
        with m.If(answers & self.rready):
            m.d.sync += [left.eq(left - 1), word.eq(word + 1), self.read.eq(self.read + 1)]
        with m.If(reads.o.valid & reads.o.ready):
            m.d.sync += [left.eq(reads.o.payload.beats), word.eq(reads.o.payload.word)]
        with m.If(self.show):
            m.d.sync += [self.showing.eq(1), next_shown.eq(0)]
        with m.Elif(self.shown.valid & self.shown.ready):
            m.d.sync += [next_shown.eq(next_shown + 1), self.showing.eq(next_shown != count - 1)]

    def _write(self, m: Module, words: "_Words", flaws: "_Words", listens: Value, speaks: Value, time: Signal,
               moved: Value, latency: Value) -> None:
        """Carry writes out as their data come, and answer them later."""
        burst = data.StructLayout({"word": ADDRESS_BITS, "beats": 9, "moved": TIME_BITS})
        m.submodules.writes = writes = StreamQueue(burst, 64)
        m.submodules.answers = answers = StreamQueue(data.StructLayout({"response": 2, "due": TIME_BITS}), 64)
        number, faulty, word = Signal(9), Signal(2), Signal(ADDRESS_BITS)
        last, taken, response = number == writes.o.payload.beats - 1, Signal(), Signal(2)
        outside = word >= self.size
        m.d.comb += [
            self.awready.eq(writes.i.ready & listens), writes.i.valid.eq(self.awvalid & listens),
            writes.i.payload.word.eq(self._word(self.awaddr)), writes.i.payload.beats.eq(self.awlen + 1),
            writes.i.payload.moved.eq(moved),
            word.eq(writes.o.payload.word + number), flaws.read_addr.eq(word),
            response.eq(Mux(faulty != 0, faulty, Mux(outside, Response.DECERR, Mux(
                flaws.read_data != 0, Response.SLVERR, Response.OKAY)))),
            self.wready.eq(writes.o.valid & speaks & answers.i.ready), taken.eq(self.wvalid & self.wready),
            writes.o.ready.eq(taken & last), answers.i.valid.eq(taken & last),
            answers.i.payload.response.eq(response),
            answers.i.payload.due.eq(later(writes.o.payload.moved, time) + latency),
            self.bvalid.eq(answers.o.valid & _is_past(answers.o.payload.due, time)),
            self.bresp.eq(answers.o.payload.response), answers.o.ready.eq(self.bvalid & self.bready),
            self.wrong.eq((taken & (self.wlast != last)) | (self.awvalid & self._crosses(self.awaddr, self.awlen + 1))
                          | (self.arvalid & self._crosses(self.araddr, self.arlen + 1))),
        ]
        with m.If(self.filled):
            m.d.comb += [words.write_addr.eq(word), words.write_data.eq(self.wdata),
                         words.write_en.eq(Mux(taken & (response == Response.OKAY), self.wstrb, 0))]
        with m.If(taken):
            m.d.sync += [self.written.eq(self.written + 1), number.eq(Mux(last, 0, number + 1)),
                         faulty.eq(Mux(last, 0, response))]


def _is_past(due: Value, time: Value) -> Value:
    """Return whether a time has come."""
    return ~(time - due)[TIME_BITS - 1]


class _Words(Elaboratable):
    """Words that are written byte by byte, and read without latency; nothing says what they hold at first."""

    def __init__(self, width: int, depth: int) -> None:
        bits = max(1, (depth - 1).bit_length())
        self.write_addr, self.read_addr = Signal(bits), Signal(bits)
        self.write_en, self.write_data, self.read_data = Signal(width // 8), Signal(width), Signal(width)
        self._sizes = {"p_WIDTH": width, "p_DEPTH": depth, "p_ADDRESS_BITS": bits}

    def elaborate(self, platform: object) -> Instance:
        ports = {f"i_{name}": getattr(self, name) for name in ("write_addr", "write_en", "write_data", "read_addr")}
        return Instance("latte_words", i_clk=ClockSignal(), o_read_data=self.read_data, **self._sizes, **ports)


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
