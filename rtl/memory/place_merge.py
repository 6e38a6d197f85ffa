"""The lists of a tile's rows as one, in the order in which their keys were streamed."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.payloads import key_shape
from latte.rtl.memory.tile_payloads import merged_layout

__all__ = ["PlaceMerge", "placed_layout"]


def placed_layout(build: MemoryBuild, shape: ShapeLike) -> data.StructLayout:
    """A key of a row's list and what the row says of it; ``spilled``: it was in memory. ``last`` of the list."""
    return data.StructLayout({"place": key_shape(build.core), "value": shape, "spilled": 1, "last": 1})


class PlaceMerge(wiring.Component):
    """Gives each key once that is in some of the lists, with the rows that have it::

        i_<r> -> first place of all -> rows whose next key it is -> o

    Each list is in the order of the stream: the places from `last_page` on, then the others. Every row of the tile has
    one key at least.

    Latency: two cycles from the last row's next key. Throughput: one key in two cycles.

    Parameters
    ----------
    build
    shape
        Of what rows say of a key.

    Members
    -------
    restart : In(1)
        Lists begin; nothing is on offer.
    rows : In(tile_rows)
        Those that have a list.
    last_page : In(key_shape)
        Place of the first key that was streamed.
    i_<r> : In(stream of placed_layout)
    o : Out(stream of merged_layout)
    """

    def __init__(self, build: MemoryBuild, shape: ShapeLike) -> None:
        self.build = build
        self.shape = shape
        super().__init__({
            "restart": In(1), "rows": In(build.tile_rows), "last_page": In(key_shape(build.core)),
            **{f"i_{row}": In(stream.Signature(placed_layout(build, shape))) for row in range(build.tile_rows)},
            "o": Out(stream.Signature(merged_layout(build, shape)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = [getattr(self, f"i_{row}") for row in range(self.build.tile_rows)]
        ended = Signal(len(rows))
        left = self.rows & ~ended
        # The place with the turn above it; lists that have ended come last.
        keys = [Cat(row.payload.place, row.payload.place < self.last_page, ~left[n]) for n, row in enumerate(rows)]
        first, chosen = Signal(len(keys[0])), Signal()
        there = (Cat(row.valid for row in rows) | ~left).all() & left.any()
        item = self.o.payload
        free = ~self.o.valid | self.o.ready
        takes = Signal()
        m.d.comb += takes.eq(chosen & free)
        m.d.sync += [first.eq(self._least(keys)), chosen.eq(there & ~chosen)]
        with m.If(chosen & ~free):
            m.d.sync += [first.eq(first), chosen.eq(1)]
        ours = Signal(len(rows))
        ends = Cat(row.payload.last for row in rows) & ours
        m.d.comb += ours.eq(Cat(left[n] & (key == first) for n, key in enumerate(keys)))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(takes):
            m.d.sync += [
                self.o.valid.eq(1), item.place.eq(first[:len(item.place)]), item.rows.eq(ours),
                item.spilled.eq(ours & Cat(row.payload.spilled for row in rows)),
                item.last.eq((left & ~ends) == 0), ended.eq(ended | ends),
                *(item.values[n].eq(row.payload.value) for n, row in enumerate(rows)),
            ]
        m.d.comb += [row.ready.eq(takes & ours[n]) for n, row in enumerate(rows)]
        with m.If(self.restart):
            m.d.sync += ended.eq(0)
        return m

    @staticmethod
    def _least(keys: list[Value]) -> Value:
        """Return the least of some values, by pairs."""
        while len(keys) > 1:
            keys = [Mux(a < b, a, b) for a, b in zip(keys[::2], keys[1::2], strict=False)] + keys[len(keys) & ~1:]
        return keys[0]
