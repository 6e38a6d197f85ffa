"""The dot products of a tile: estimates of a stream of keys, and the cross products of survivors."""

from amaranth import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.operand_split import SplitBeat
from latte.rtl.common.primitives import delay, next_modulo, register
from latte.rtl.memory.tile_payloads import chunk_lanes, chunk_layout, part_shape, row_shape

__all__ = ["TileArray", "dot_shape"]


def dot_shape(build: MemoryBuild) -> signed:
    """Shape of an estimate and of the sum of both cross products."""
    return signed(2 * part_shape(build).width + ceil_log2(2 * build.core.head_dim))


def _product(a: Value, b: Value) -> Value:
    """Return the product of two signed numbers of few bits, of which no hard multiplier is worth one."""
    planes = [Mux(b.as_unsigned()[bit], a, 0) << bit for bit in range(len(b))]
    return sum(planes[1:-1], planes[0]) - planes[-1]


class TileArray(wiring.Component):
    r"""`chunk_lanes` products a cycle for each row of a tile, all of the same chunk of a key::

        q -> saturate, split -> [high, low parts of each row]
                                   | the one that the chunk meets
        chunk ---------------------x-> sum -> + chunks of the key -> dot

    A high part meets the queries' high parts in an estimate, their low ones in a cross product; a low part meets their
    high ones. So one array serves both passes (LATTE Algorithm 1, Eq. 9), and each is paced by its beats.

    Latency: `latency` cycles from a key's last chunk to its dot products. Throughput: one chunk per cycle.

    Parameters
    ----------
    build

    Members
    -------
    restart : In(1)
        The next query is row 0's.
    rows : In(range(tile_rows + 1))
        So many queries are taken since then.
    q : In(stream of ArrayLayout(signed(8), bus_bytes))
    loaded : Out(row_shape + 1)
        Rows whose elements are all here.
    saturated : Out(1)
        An element above `qk_max` was limited.
    crosses : In(1)
        Cross products: of a high row, then of a low one. Stands while chunks are on their way.
    valid, chunk : In
    dot_valid, dot : Out(ArrayLayout(dot_shape, tile_rows))
    group : Out(group_bits)
        Of the key of an estimate; in a build with several.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.latency = self.latency_of(build)
        group = {"group": Out(build.core.group_bits)} if build.core.group_bits else {}
        super().__init__({
            "restart": In(1), "rows": In(range(build.tile_rows + 1)),
            "q": In(stream.Signature(data.ArrayLayout(signed(8), build.bus_bytes))),
            "loaded": Out(range(build.tile_rows + 1)), "saturated": Out(1), "crosses": In(1), "valid": In(1),
            "chunk": In(chunk_layout(build)), "dot_valid": Out(1),
            "dot": Out(data.ArrayLayout(dot_shape(build), build.tile_rows)), **group})

    @classmethod
    def latency_of(cls, build: MemoryBuild) -> int:
        """Return the latency of a build: operands, products, their sum, the key's."""
        return 2 + AdderTree.latency_of(chunk_lanes(build)) + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, lanes = self.build, chunk_lanes(self.build)
        part, chunks = part_shape(build), build.core.head_dim // lanes
        halves = data.ArrayLayout(part, lanes)
        queries = self._load(m, lanes, chunks)
        # High parts meet high ones in an estimate; in a cross product each meets the other.
        takes_low = self.crosses & ~self.chunk.low
        key, address = register(m, self.chunk.elements, "key"), self.chunk.number
        begins = (self.chunk.number == 0) & ~(self.crosses & self.chunk.low)
        ends = self.valid & self.chunk.last & ~takes_low
        before_sum = self.latency - 1
        first = delay(m, begins, before_sum, name="first", reset_less=True)
        adds = delay(m, self.valid, before_sum, name="adds")
        m.d.comb += self.dot_valid.eq(delay(m, ends, self.latency, name="dot_valid"))
        if build.core.group_bits:
            m.d.comb += self.group.eq(delay(m, self.chunk.group, self.latency, name="group", reset_less=True))
        for row in range(build.tile_rows):
            read = queries[row].read_port(domain="comb")
            both = data.View(data.ArrayLayout(halves, 2), read.data)
            m.d.comb += read.addr.eq(address)
            query = register(m, Mux(takes_low, both[1].as_value(), both[0].as_value()), f"query_{row}")
            query = data.View(halves, query)
            m.submodules[f"tree_{row}"] = tree = AdderTree(lanes, Shape(2 * part.width, signed=True))
            m.d.comb += [tree.terms[n].eq(register(m, _product(query[n], key[n]), f"product_{row}_{n}"))
                         for n in range(lanes)]
            dot = Signal(dot_shape(build), name=f"dot_{row}", reset_less=True)
            with m.If(adds):
                m.d.sync += dot.eq(Mux(first, 0, dot) + tree.sum)
            m.d.comb += self.dot[row].eq(dot)
        return m

    def _load(self, m: Module, lanes: int, chunks: int) -> list[memory.Memory]:
        """Take the queries; return a memory for each row, with the high and the low parts of a chunk in a word."""
        build, core, part = self.build, self.build.core, part_shape(self.build)
        m.submodules.gearbox = gearbox = RowGearbox(build.bus_bytes, lanes, core.head_dim)
        m.submodules.split = split = SplitBeat(core.replace(
            key_groups=0, bus_bytes=lanes, dim_lanes=core.head_dim, cross_lanes=core.head_dim,
            value_lanes=core.head_dim, normalizer_lanes=1))
        number, row = Signal(range(max(2, chunks))), Signal(row_shape(build))
        taken = gearbox.o.valid
        # No beat is taken beyond the tile's: those of a job that is refused are not for this block.
        beats = core.head_dim // build.bus_bytes
        beat, coming = Signal(range(max(2, beats))), Signal.like(self.rows)
        wanted = coming < self.rows
        with m.If(self.q.valid & self.q.ready):
            m.d.sync += [beat.eq(next_modulo(beat, beats)), coming.eq(coming + (beat == beats - 1))]
        m.d.comb += [
            gearbox.i.valid.eq(self.q.valid & wanted), gearbox.i.payload.eq(self.q.payload),
            self.q.ready.eq(gearbox.i.ready & wanted), gearbox.o.ready.eq(1), split.valid.eq(taken),
            split.beat.eq(gearbox.o.payload), self.saturated.eq(split.saturated),
        ]
        with m.If(taken):
            m.d.sync += number.eq(next_modulo(number, chunks))
            with m.If(number == chunks - 1):
                m.d.sync += [row.eq(row + 1), self.loaded.eq(self.loaded + 1)]
        with m.If(self.restart):
            m.d.sync += [row.eq(0), self.loaded.eq(0), coming.eq(0)]
        queries = []
        for index in range(build.tile_rows):
            m.submodules[f"query_{index}"] = query = memory.Memory(shape=2 * lanes * part.width, depth=max(2, chunks),
                                                                   init=[])
            write = query.write_port()
            parts = [Signal(part, name=f"{name}_{index}_{n}") for name in ("high", "low") for n in range(lanes)]
            m.d.comb += [parts[n].eq(split.elements[n].high) for n in range(lanes)]
            m.d.comb += [parts[lanes + n].eq(split.elements[n].low) for n in range(lanes)]
            m.d.comb += [write.addr.eq(number), write.data.eq(Cat(parts)), write.en.eq(taken & (row == index))]
            queries.append(query)
        return queries
