"""Attention of a tile of query rows whose keys and values lie in memory."""

from amaranth import Array, Const, Module, Signal, Value, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import SUM_BYTES
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.axi.read_engine import reader_members
from latte.rtl.axi.write_engine import writer_members
from latte.rtl.common.payloads import length_shape, output_layout
from latte.rtl.common.ram import Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.mass_return import MassReturn
from latte.rtl.memory.tile_front import TileFront, failure_layout, tile_layout
from latte.rtl.memory.tile_payloads import (
    group_shape,
    row_shape,
    tile_config,
    tile_row_layout,
    weighed_layout,
)
from latte.rtl.memory.tile_softmax import TileSoftmax
from latte.rtl.memory.tile_values import TileValues
from latte.rtl.wide.normalizer import Normalizer

__all__ = ["TileEngine", "engine_row_layout", "engine_tile_layout", "group_sum_layout", "tile_events_layout"]


def engine_tile_layout(build: MemoryBuild) -> data.StructLayout:
    """A tile; ``sums`` of groups come with it, the others are those of the last tile."""
    sums: dict[str, ShapeLike] = {}
    if build.core.key_groups:
        sums["sums"] = range(build.tile_rows * build.core.key_groups * tile_config(build).value_slices + 1)
    return data.StructLayout({**tile_layout(build).members, **sums})


def engine_row_layout(build: MemoryBuild) -> data.StructLayout:
    """A row of a tile; ``position``: which of the tile's sums of groups it sees."""
    position: dict[str, ShapeLike] = {"position": row_shape(build)} if build.core.key_groups else {}
    return data.StructLayout({**tile_row_layout(build).members, **position})


def group_sum_layout(build: MemoryBuild) -> data.StructLayout:
    """One slice of the sum of a group's values at a position, and the group's number of keys there."""
    config = tile_config(build)
    return data.StructLayout({
        "position": row_shape(build), "group": group_shape(build), "slice": range(max(2, config.value_slices)),
        "keys": length_shape(config), "sums": data.ArrayLayout(signed(8 * SUM_BYTES), config.value_lanes)})


def tile_events_layout() -> data.StructLayout:
    """What is counted: keys whose rows were read, values that were read; and queries that were limited."""
    return data.StructLayout({"key": 1, "value": 1, "saturated": 1})


class TileEngine(wiring.Component):
    r"""`latte.golden.memory.tile.attend_tile`: the same bits as with keys and values on chip::

        tile, row, q -> TileFront -> scores -> TileSoftmax -> weights -+-> TileFront -> values -> TileValues
        memory <----------/   \-> masses -> MassReturn -> units -------+-------------------------> TileValues
                                                                                     TileValues -> Normalizer -> o

    One tile at a time; its rows leave while the next one begins.

    Latency: phases of `TileFront`, then the values. Throughput: a beat of memory per cycle.

    Parameters
    ----------
    build
        With thresholds by mass or key groups.
    parameters
        Of the master.

    Members
    -------
    first_page, spill_address : In(ADDRESS_BITS)
        As of `TileFront`.
    tile : In(stream of engine_tile_layout), row : In(stream of engine_row_layout)
    q : In(stream of ArrayLayout(signed(8), bus_bytes))
    sums : In(stream of group_sum_layout)
        Of the tile that was taken. Present in a build that compensates.
    complete : In(1)
        All keys that the tile sees are in memory, and its sums are on their way: the stream may begin. Low when a tile
        is offered.
    o : Out(stream of output_layout)
        ``job_last`` of the tile.
    ended : Out(1)
        No tile is under way.
    drained : Out(1)
        All rows have left that are to come of tiles so far.
    failed, failure
        As of `TileFront`: when `ended`, why the last tile failed.
    events : Out(tile_events_layout)
    overflow : Out(1)
        A queue has lost something.
    request ... write_fault
        As `reader_members` and `writer_members` have them.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters) -> None:
        self.build = build
        self.parameters = parameters
        sums = {"sums": In(stream.Signature(group_sum_layout(build)))} if build.core.key_groups else {}
        super().__init__({
            "first_page": In(ADDRESS_BITS), "spill_address": In(ADDRESS_BITS),
            "tile": In(stream.Signature(engine_tile_layout(build))),
            "row": In(stream.Signature(engine_row_layout(build))),
            "q": In(stream.Signature(data.ArrayLayout(signed(8), build.bus_bytes))), **sums, "complete": In(1),
            "o": Out(stream.Signature(output_layout(tile_config(build)))),
            "ended": Out(1), "drained": Out(1), "failed": Out(1), "failure": Out(failure_layout()),
            "events": Out(tile_events_layout()), "overflow": Out(1), **reader_members(parameters),
            **writer_members(parameters)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build = self.build
        m.submodules.front = front = TileFront(build, self.parameters)
        m.submodules.softmax = softmax = TileSoftmax(build)
        m.submodules.values = values = TileValues(build)
        m.submodules.normalizer = normalizer = Normalizer(tile_config(build))
        for name in ("q", "request", "burst", "beat"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(front, name))
        wiring.connect(m, wiring.flipped(self.o), normalizer.o)
        wiring.connect(m, front.scores, softmax.i)
        wiring.connect(m, front.value, values.value)
        for n in range(build.tile_rows):
            m.d.comb += [scale.eq(entry) for scale, entry in zip(
                (softmax.scales[n].scale_mantissa, softmax.scales[n].scale_shift),
                (front.entries[n].scale_mantissa, front.entries[n].scale_shift), strict=True)]
        offer, row = self.tile.payload, self.row.payload
        m.d.comb += [
            *(getattr(front, name).eq(getattr(self, name)) for name in (
                "first_page", "spill_address", "taken", "data", "fault", "write_idle", "write_answered",
                "write_fault")),
            *(front.tile.payload[name].eq(offer[name]) for name in front.tile.payload.shape().members),
            *(front.row.payload[name].eq(row[name]) for name in front.row.payload.shape().members),
            front.row.valid.eq(self.row.valid), self.row.ready.eq(front.row.ready),
            front.tile.valid.eq(self.tile.valid), self.tile.ready.eq(front.tile.ready), self.ended.eq(front.ended),
            softmax.row_max.eq(front.score_max), values.rows.eq(front.rows), values.begin.eq(front.scored),
            normalizer.row_reserve.eq(values.row_reserve), values.row_room.eq(normalizer.row_room),
            *(getattr(normalizer, name).eq(getattr(values, name))
              for name in ("sum_valid", "weight_sum", "job_last", "word_valid", "word")),
            self.failed.eq(front.failed), self.failure.eq(front.failure),
            self.events.key.eq(front.key_fetched), self.events.value.eq(front.fetch.valid & front.fetch.ready),
            self.events.saturated.eq(front.saturated),
        ]
        # A weight waits for its value.
        m.submodules.weighed = weighed = StreamQueue(weighed_layout(build), 2 * self.parameters.reads_in_flight)
        wiring.connect(m, weighed.o, values.i)
        key = softmax.o.payload
        m.d.comb += [
            front.fetch.payload.eq(key.place), front.fetch.valid.eq(softmax.o.valid & key.fetch & weighed.i.ready),
            weighed.i.valid.eq(softmax.o.valid & (~key.fetch | front.fetch.ready)), weighed.i.payload.eq(key),
            softmax.o.ready.eq(weighed.i.ready & (~key.fetch | front.fetch.ready)),
        ]
        # Rows on their way, fewer than a job can have.
        rows_due = Signal(COUNT_BITS)
        m.d.sync += rows_due.eq(rows_due + values.row_reserve
                                - (self.o.valid & self.o.ready & self.o.payload.row_last))
        m.d.comb += self.drained.eq(rows_due == 0)
        was_busy = Signal()
        m.d.sync += was_busy.eq(values.busy)
        m.d.comb += front.end.eq(was_busy & ~values.busy)
        summed, lost = (self._compensate(m, front, softmax, values, normalizer) if build.core.key_groups else
                        (Const(1), Const(0)))
        m.d.comb += [front.complete.eq(self.complete & summed),
                     self.overflow.eq(front.overflow | softmax.overflow | lost)]
        return m

    def _compensate(self, m: Module, front: TileFront, softmax: TileSoftmax, values: TileValues,
                    normalizer: Normalizer) -> tuple[Value, Value]:
        """Give back what is pruned; return whether all sums of groups are here, and whether a queue overflows."""
        build, config = self.build, tile_config(self.build)
        m.submodules.mass_return = mass = MassReturn(build)
        for n in range(build.tile_rows):
            entry = front.entries[n]
            wiring.connect(m, getattr(front, f"masses_{n}"), getattr(mass, f"pruned_{n}"))
            m.d.comb += [mass.gains[n].denominator_gain.eq(entry.denominator_gain),
                         mass.gains[n].mean_gain.eq(entry.mean_gain),
                         values.compensated[n].eq(front.present[n] & (entry.denominator_gain != 0))]
        wiring.connect(m, softmax.rescale, mass.rescale)
        wiring.connect(m, mass.unit, values.unit)
        wiring.connect(m, mass.denominator, values.denominator)
        wiring.connect(m, mass.keys, normalizer.keys)
        m.d.comb += [
            softmax.begin.eq(front.scored), softmax.compensated.eq(values.compensated),
            softmax.estimate_max.eq(front.estimate_max), mass.counted.eq(normalizer.counted),
            mass.reciprocal.eq(normalizer.count),
        ]
        item = self.sums.payload
        depth = build.tile_rows * build.core.key_groups
        m.submodules.counts = counts = Ram(item.keys.shape(), depth)
        m.submodules.sums = sums = Ram(item.sums.shape(), depth * config.value_slices)
        position, rows = Signal(data.ArrayLayout(row_shape(build), build.tile_rows)), Signal(row_shape(build))
        with m.If(self.row.valid & self.row.ready):
            m.d.sync += [position[rows].eq(self.row.payload.position), rows.eq(rows + 1)]
        with m.If(front.ended):
            m.d.sync += rows.eq(0)
        left = Signal(self.tile.payload.sums.shape())
        m.d.comb += self.sums.ready.eq(left != 0)
        takes = self.sums.valid & self.sums.ready

        def place(at: Signal, group: Signal) -> Signal:
            return at * build.core.key_groups + group

        m.d.comb += [
            counts.write_en.eq(takes), counts.write_addr.eq(place(item.position, item.group)),
            counts.write_data.eq(item.keys), sums.write_en.eq(takes),
            sums.write_addr.eq(place(item.position, item.group) * config.value_slices + item.slice),
            sums.write_data.eq(item.sums),
            counts.read_addr.eq(place(Array(position)[mass.count_row], mass.count_group)),
            mass.count.eq(counts.read_data),
            sums.read_addr.eq(place(Array(position)[values.sums_row], values.sums_group) * config.value_slices
                              + values.sums_slice), values.sums.eq(sums.read_data),
        ]
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += left.eq(self.tile.payload.sums)
        with m.Elif(takes):
            m.d.sync += left.eq(left - 1)
        return left == 0, mass.overflow
