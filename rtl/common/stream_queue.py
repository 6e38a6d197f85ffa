"""Queue of stream payloads, which knows what its producer has under way."""

from amaranth import Module, Mux, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.primitives import next_modulo

__all__ = ["StreamQueue"]


class StreamQueue(wiring.Component):
    """First-in first-out queue of stream payloads, with a register in front of the consumer.

    A producer that cannot be stopped at once gives its `producer_latency`, begins an item only in a cycle of `room`,
    and then always finds a place: whatever it has under way, and the queue's own delay in saying so, is kept free::

        room -> [producer: producer_latency cycles] -> i -> memory -> register -> o
         ^-------- level < depth - under_way - reserve ------|

    Latency: `latency` cycles from an empty queue. Throughput: one per cycle, or one in two cycles.

    Parameters
    ----------
    shape
        Of the payload.
    depth
        Entries; None: enough for an endless producer and consumer to go on without a gap.
    producer_latency
        Cycles from the one in which the producer looks at `room` to that in which it offers what it began then. None:
        the producer looks at `i.ready`, and there is no `room`.
    reserve
        Entries kept free on top of those for what is under way.
    every_other
        Give one item in two cycles at most: then what enables a wide register does not come from the consumer.

    Attributes
    ----------
    under_way
        Items that may still arrive when `level` says that there is no room.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Entries held, not counting the one at the output.
    room : Out(1)
        An item may be begun in this cycle; present with a `producer_latency`.
    overflow : Out(1)
        An item is lost in this cycle: `room` was not heeded. Present with `room`.
    """

    latency = 3
    """The memory's write, its read, and the register behind it."""

    def __init__(self, shape: ShapeLike, depth: int | None = None, *, producer_latency: int | None = None,
                 reserve: int = 0, every_other: bool = False) -> None:
        self.shape = shape
        self.producer_latency = producer_latency
        self.under_way = self.count_under_way(producer_latency or 0)
        self.depth = self.gapless_depth(producer_latency or 0) if depth is None else depth
        self.reserve = reserve
        self.every_other = every_other
        if producer_latency is not None and self.depth <= self.under_way + reserve:
            raise ValueError(f"a queue of {self.depth} has no room beside the {self.under_way} items under way")
        members = {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                   "level": Out(range(self.depth + 1))}
        if producer_latency is not None:
            members |= {"room": Out(1), "overflow": Out(1)}
        super().__init__(members)

    @staticmethod
    def count_under_way(producer_latency: int) -> int:
        """Return how many items arrive at most from a cycle's `level` on: two were begun before `room` tells of it."""
        return producer_latency + 2

    @classmethod
    def gapless_depth(cls, producer_latency: int) -> int:
        """Return a depth at which the consumer never waits for `room` to make its way round.

        From an item that leaves until the one it made room for can leave: that one's way to the queue, as long as
        what is under way, through it, and the cycle of the first item's leaving. So many items are held when `room`
        ends; those under way come on top. Two entries fewer would do as well, three would not.
        """
        under_way = cls.count_under_way(producer_latency)
        return under_way + (under_way + cls.latency + 1)

    def elaborate(self, platform: object) -> Module:
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
        if self.producer_latency is not None:
            m.d.comb += self.overflow.eq(self.i.valid & full)
            # A register: producers are far away, and what they do with it is wide.
            m.d.sync += self.room.eq(self.level < self.depth - self.under_way - self.reserve)
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
