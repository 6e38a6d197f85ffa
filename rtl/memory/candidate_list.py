"""Keys of a row that may survive, in the order of the stream."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.primitives import delay, register
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.payloads import bound_shape, candidate_layout

__all__ = ["CandidateList"]


class CandidateList(wiring.Component):
    """A list in block RAM, which is thinned in place or leaves by a stream::

        candidate -> [list] -> estimate > floor -+-> behind those kept before, where they were read already
                                                 +-> queue -> o

    Latency: a pass over n candidates is `busy` for ``n + pass_latency`` cycles, more while its stream waits.
    Throughput: one candidate per cycle.

    Parameters
    ----------
    build

    Members
    -------
    append, candidate : In
        Neither `full` nor `busy`.
    used : Out, full : Out(1)
    begin, thins : In(1)
        Begin a pass: what is above the floor stays, or leaves and empties the list.
    floor : In(bound_shape)
        Stands during the pass.
    busy : Out(1)
        A pass is under way; nothing is left in the queue when it ends.
    o : Out(stream of candidate_layout)
    overflow : Out(1)
        A candidate found no place.
    """

    _FILTER_LATENCY = RAM_LATENCY + 1
    """The memory; the comparison."""
    pass_latency = _FILTER_LATENCY + 2
    """The last candidate's way; a cycle until the queue knows of it; the end."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        super().__init__({
            "append": In(1), "candidate": In(candidate_layout(build)),
            "used": Out(range(build.candidates + 1)), "full": Out(1), "begin": In(1), "thins": In(1),
            "floor": In(bound_shape(build)), "busy": Out(1), "o": Out(stream.Signature(candidate_layout(build))),
            "overflow": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = candidate_layout(self.build)
        m.submodules.entries = entries = Ram(layout, self.build.candidates)
        m.submodules.queue = queue = StreamQueue(layout, producer_latency=self._FILTER_LATENCY)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        thinning, reads, keeps, writes = Signal(), Signal(), Signal(), Signal()
        # Of a pass: the next place to read, and places that are left. What stays is appended to a list that was empty.
        place, left = Signal(range(self.build.candidates)), Signal.like(self.used)
        found = register(m, entries.read_data, "found")
        above = register(m, entries.read_data.estimate > self.floor, "above")
        under_way = [reads]
        for age in range(1, self.pass_latency):
            under_way.append(delay(m, under_way[-1], 1, name=f"read_{age}"))
        passes = under_way[self._FILTER_LATENCY] & above
        m.d.comb += [
            reads.eq((left != 0) & (thinning | queue.room)), keeps.eq(passes & thinning),
            writes.eq(self.append | keeps), entries.read_addr.eq(place), entries.write_en.eq(writes),
            entries.write_addr.eq(self.used),
            entries.write_data.eq(Mux(keeps, found.as_value(), self.candidate.as_value())),
            queue.i.valid.eq(passes & ~thinning), queue.i.payload.eq(found),
            self.overflow.eq(queue.overflow | (self.append & self.full)),
        ]
        with m.If(self.begin):
            m.d.sync += [self.used.eq(0), self.full.eq(0)]
        with m.Elif(writes):
            # Known beforehand: what is appended depends on it.
            m.d.sync += [self.used.eq(self.used + 1), self.full.eq(self.used == self.build.candidates - 1)]
        with m.If(reads):
            m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
        with m.If(self.begin):
            m.d.sync += [thinning.eq(self.thins), place.eq(0), left.eq(self.used), self.busy.eq(1)]
        with m.Elif((left == 0) & ~Cat(under_way).any() & (queue.level == 0) & ~queue.o.valid):
            m.d.sync += self.busy.eq(0)
        return m
