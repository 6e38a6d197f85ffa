"""Queue of stream payloads."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.primitives import next_modulo

__all__ = ["StreamQueue"]

class StreamQueue(wiring.Component):
    """First-in first-out queue of stream payloads, with a register in front of the consumer.

    Producers that cannot be stopped at once look at `level` and leave room for what is under way.

    Latency: 3 cycles from an empty queue. Throughput: one per cycle, or one in two cycles.

    Parameters
    ----------
    shape
        Of the payload.
    depth
        Entries.
    every_other
        Give one item in two cycles at most: then what enables a wide register does not come from the consumer.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Entries held, not counting the one at the output.
    """

    def __init__(self, shape, depth: int, *, every_other: bool = False):
        self.shape = shape
        self.depth = depth
        self.every_other = every_other
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "level": Out(range(depth + 1))})

    def elaborate(self, platform):
        m = Module()
        width = len(Value.cast(self.i.payload))
        m.submodules.storage = storage = memory.Memory(shape=width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port()
        # Words in the memory, and, known beforehand, whether there are any and whether there is room for another.
        stored, some, full = Signal(range(self.depth)), Signal(), Signal()
        # A word behind the memory's read port, and none in the register behind that.
        fetched, vacant = Signal(), Signal(init=1)
        held = Signal(width, reset_less=True)
        push, pull, fetch, advance = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            push.eq(self.i.valid & ~full), self.i.ready.eq(~full),
            advance.eq(vacant if self.every_other else vacant | self.o.ready),
            # On in every cycle in which the register behind it is: one block RAM holds both, and may tie them.
            fetch.eq(~fetched | advance),
            pull.eq(fetch & some),
            write.en.eq(push), write.data.eq(self.i.payload), read.en.eq(fetch),
            self.o.valid.eq(~vacant), self.o.payload.eq(held), self.level.eq(stored + fetched),
        ]
        for port, moves in ((write, push), (read, pull)):
            with m.If(moves):
                m.d.sync += port.addr.eq(next_modulo(port.addr, self.depth))
        with m.If(push ^ pull):
            m.d.sync += [stored.eq(stored + Mux(push, 1, -1)), some.eq(push | (stored != 1)),
                         full.eq(push & (stored == self.depth - 2))]
        with m.If(fetch):
            m.d.sync += fetched.eq(some)
        with m.If(advance):
            m.d.sync += [vacant.eq(~fetched), held.eq(read.data)]
        with m.Elif(self.o.ready):
            m.d.sync += vacant.eq(1)
        return m
