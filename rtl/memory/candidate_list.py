"""Keys of a row that may survive, in the order of the stream."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.primitives import choose, delay, lowest, register
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.payloads import bound_shape, candidate_layout

__all__ = ["CandidateList"]


class CandidateList(wiring.Component):
    """A list in block RAM, `lanes` places to a word, which is thinned in place or leaves by a stream::

        candidate -> [list] -> estimates > floor -> queue of words with any -> one after the other -+-> o
                       ^                                                                            |
                       +------------------- behind those kept before, in words that were read ------+

    Few of a long list survive; so a pass looks at a word in a cycle, and takes as long as the list only if all stay.

    Latency: a pass of which nothing stays is `busy` for a cycle for each word and `pass_latency`, more by what stays
    and while its stream waits. Throughput: a word per cycle; of what stays, one candidate per cycle.

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

    lanes = 4
    """As many block RAMs as a list of 2048 places takes in any case."""
    _FILTER_LATENCY = RAM_LATENCY + 1
    """The memory; the comparisons."""
    pass_latency = _FILTER_LATENCY + 2
    """The last word's way; a cycle until the queue knows of it; the end."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        super().__init__({
            "append": In(1), "candidate": In(candidate_layout(build)),
            "used": Out(range(build.candidates + 1)), "full": Out(1), "begin": In(1), "thins": In(1),
            "floor": In(bound_shape(build)), "busy": Out(1), "o": Out(stream.Signature(candidate_layout(build))),
            "overflow": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout, lanes, candidates = candidate_layout(self.build), range(self.lanes), self.build.candidates
        words = ceil_div(candidates, self.lanes)
        word_layout = data.StructLayout({"candidates": data.ArrayLayout(layout, self.lanes), "above": self.lanes})
        m.submodules.queue = queue = StreamQueue(word_layout, producer_latency=self._FILTER_LATENCY)
        # Of a pass: the next word to read, and candidates that are left. What stays is appended to an empty list.
        word, left, reads = Signal(range(words)), Signal.like(self.used), Signal()
        m.d.comb += reads.eq((left != 0) & queue.room)
        under_way = [reads]
        for age in range(1, self.pass_latency):
            under_way.append(delay(m, under_way[-1], 1, name=f"read_{age}"))
        present = delay(m, Cat(reads & (left > lane) for lane in lanes), RAM_LATENCY, name="present")

        thinning, stays, candidate = Signal(), Signal(), Signal(layout)
        appends, place = self.append | stays, self.used >> exact_log2(self.lanes)
        for lane in lanes:
            m.submodules[f"entries_{lane}"] = entries = Ram(layout, words)
            found = entries.read_data
            m.d.comb += [
                entries.read_addr.eq(word), entries.write_addr.eq(place),
                entries.write_en.eq(appends & (self.used[:exact_log2(self.lanes)] == lane)),
                entries.write_data.eq(Mux(stays, candidate.as_value(), self.candidate.as_value())),
                queue.i.payload.candidates[lane].eq(register(m, found, f"found_{lane}")),
                queue.i.payload.above[lane].eq(delay(m, present[lane] & (found.estimate > self.floor), 1,
                                                     name="above")),
            ]
        m.d.comb += [queue.i.valid.eq(queue.i.payload.above.any()),
                     self.overflow.eq(queue.overflow | (self.append & self.full))]
        self._give(m, queue, thinning, stays, candidate)

        with m.If(self.begin):
            m.d.sync += [self.used.eq(0), self.full.eq(0)]
        with m.Elif(appends):
            # Known beforehand: what is appended depends on it.
            m.d.sync += [self.used.eq(self.used + 1), self.full.eq(self.used == candidates - 1)]
        with m.If(reads):
            m.d.sync += [word.eq(word + 1), left.eq(Mux(left > self.lanes, left - self.lanes, 0))]
        with m.If(self.begin):
            m.d.sync += [thinning.eq(self.thins), word.eq(0), left.eq(self.used), self.busy.eq(1)]
        with m.Elif((left == 0) & ~Cat(under_way).any() & (queue.level == 0) & ~queue.o.valid):
            m.d.sync += self.busy.eq(0)
        return m

    def _give(self, m: Module, queue: StreamQueue, thinning: Signal, stays: Signal, candidate: data.View) -> None:
        """Take the candidates of a word that are above the floor one after the other."""
        word, given = queue.o.payload, Signal(self.lanes)
        waiting = word.above & ~given
        last = (waiting & (waiting - 1)) == 0
        leaves = thinning | self.o.ready
        m.d.comb += [
            candidate.eq(choose([entry.as_value() for entry in word.candidates], lowest(waiting))),
            stays.eq(queue.o.valid & thinning), self.o.valid.eq(queue.o.valid & ~thinning),
            self.o.payload.eq(candidate), queue.o.ready.eq(leaves & last),
        ]
        with m.If(queue.o.valid & leaves):
            m.d.sync += given.eq(Mux(last, 0, given | lowest(waiting)))
