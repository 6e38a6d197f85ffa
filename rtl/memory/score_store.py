"""Scores of a tile's survivors, row by row, until the largest of each row is known."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.place_merge import placed_layout
from latte.rtl.memory.tile_payloads import merged_layout, score_shape

__all__ = ["ScoreStore"]


class ScoreStore(wiring.Component):
    """A list for each row, and its largest score::

        item -> [list of row r] -> queue -> o_<r>
             -> maximum of row r

    Latency: a list's first score is offered 5 cycles after `read`. Throughput: a key per cycle on either side.

    Parameters
    ----------
    build

    Members
    -------
    restart : In(1)
        Lists are empty; none is being read.
    valid, item : In(merged_layout of scores)
        Those that were not spilled are kept: no more of a row than `candidates`.
    read : In(1)
        All scores are there: they are offered, in order.
    row_max : Out(ArrayLayout(signed(score_bits), tile_rows))
    overflow : Out(1)
        A list or a queue has lost a score.
    empty : Out(tile_rows)
        Rows that have nothing to offer.
    o_<r> : Out(stream of placed_layout of scores)
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        placed = stream.Signature(placed_layout(build, score_shape(build)))
        super().__init__({
            "restart": In(1), "valid": In(1), "item": In(merged_layout(build, score_shape(build))), "read": In(1),
            "overflow": Out(1), "empty": Out(build.tile_rows),
            "row_max": Out(data.ArrayLayout(score_shape(build), build.tile_rows)),
            **{f"o_{row}": Out(placed) for row in range(build.tile_rows)}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = placed_layout(self.build, score_shape(self.build))
        entry = data.StructLayout({name: field.shape for name, field in layout
                                   if name not in ("spilled", "last")})
        reads = Signal()
        with m.If(self.read | self.restart):
            m.d.sync += reads.eq(self.read & ~self.restart)
        lost = []
        for row in range(self.build.tile_rows):
            m.submodules[f"list_{row}"] = entries = Ram(entry, self.build.candidates)
            m.submodules[f"queue_{row}"] = queue = StreamQueue(layout, producer_latency=RAM_LATENCY)
            wiring.connect(m, wiring.flipped(getattr(self, f"o_{row}")), queue.o)
            used, taken = (Signal(range(self.build.candidates + 1), name=f"{name}_{row}") for name in ("used", "taken"))
            ours, step, score = self.valid & self.item.rows[row], Signal(name=f"step_{row}"), self.item.values[row]
            some, keeps = Signal(name=f"some_{row}"), ours & ~self.item.spilled[row]
            m.d.comb += [
                self.empty[row].eq(used == 0), entries.write_en.eq(keeps), entries.write_addr.eq(used),
                entries.write_data.place.eq(self.item.place),
                entries.write_data.value.eq(score), entries.read_addr.eq(taken),
                step.eq(reads & queue.room & (taken != used)),
                queue.i.valid.eq(delay(m, step, RAM_LATENCY, name=f"valid_{row}")),
                queue.i.payload.place.eq(entries.read_data.place), queue.i.payload.value.eq(entries.read_data.value),
                queue.i.payload.last.eq(delay(m, taken + 1 == used, RAM_LATENCY, name=f"last_{row}", reset_less=True)),
            ]
            lost.append(queue.overflow | (keeps & (used == self.build.candidates)))
            with m.If(keeps):
                m.d.sync += used.eq(used + 1)
            with m.If(ours):
                m.d.sync += some.eq(1)
                with m.If(~some | (score > self.row_max[row])):
                    m.d.sync += self.row_max[row].eq(score)
            with m.If(step):
                m.d.sync += taken.eq(taken + 1)
            with m.If(self.restart):
                m.d.sync += [used.eq(0), taken.eq(0), some.eq(0)]
        m.d.comb += self.overflow.eq(Cat(lost).any())
        return m
