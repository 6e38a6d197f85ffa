"""Queries of the serial core: a ring of rows that two readers go through one behind the other."""

from amaranth import Module, Signal, Value, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.operand_split import SplitBeat, element_layout
from latte.rtl.common.payloads import query_load_layout
from latte.rtl.common.primitives import next_modulo, times
from latte.rtl.common.word_packer import WordPacker
from latte.rtl.serial.serial_memories import DualPortRam

__all__ = ["SerialQueryRing"]


class SerialQueryRing(wiring.Component):
    """Rows on their way from the port to the scorer, slice by slice::

        q -> saturate, split -+-> high halves: ring of query_rows rows -> estimator
                              +-> both halves: ring of query_rows rows -> scorer

    Latency: a row is `available` `latency` cycles after its last beat was taken; 1 cycle from a slice to its data.
    Throughput: one beat per cycle.

    Members
    -------
    load : In(stream of query_load_layout)
    q : In(stream of bus_bytes int8 elements)
    saturated : Out(1)
        An element above `qk_max`, of a dropped row as well, arrived one cycle ago and was limited.
    available : Out(1)
        The estimator's row is there.
    high_slice : In, high : Out
        One slice of the estimator's row.
    estimated : In(1)
        The estimator goes to the next row.
    halves_slice : In, halves : Out
        One slice of the scorer's row.
    scored : In(1)
        The scorer goes to the next row.
    """

    latency = 1 + WordPacker.latency + 1
    """Split, packed, counted."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "load": In(stream.Signature(query_load_layout())),
            "q": In(stream.Signature(data.ArrayLayout(signed(8), config.bus_bytes))), "saturated": Out(1),
            "available": Out(1), "high_slice": In(range(config.dim_slices)),
            "high": Out(data.ArrayLayout(signed(config.estimate_bits), config.dim_lanes)), "estimated": In(1),
            "halves_slice": In(range(config.cross_slices)),
            "halves": Out(data.ArrayLayout(element_layout(config), config.cross_lanes)), "scored": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        beats = config.head_dim // config.bus_bytes
        # Counts down to -1: the sign tells that no rows are left, without a comparison.
        rows, drop, room = Signal(signed(COUNT_BITS + 1), init=-1), Signal(), Signal()
        beat = Signal(range(max(2, beats)))
        accepted, row_ends, kept = Signal(), Signal(), Signal()
        m.submodules.split = split = SplitBeat(config)
        elements, arrived = Signal.like(split.elements, reset_less=True), Signal()
        m.d.comb += [
            self.load.ready.eq(rows < 0),
            self.q.ready.eq((rows >= 0) & (drop | room)),
            accepted.eq(self.q.valid & self.q.ready), kept.eq(accepted & ~drop),
            row_ends.eq(accepted & (beat == beats - 1)),
            split.beat.eq(self.q.payload), split.valid.eq(accepted),
        ]
        m.d.sync += [elements.eq(split.elements), arrived.eq(kept), self.saturated.eq(split.saturated)]
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += [rows.eq(self.load.payload.rows - 1), drop.eq(self.load.payload.drop)]
        with m.If(accepted):
            m.d.sync += beat.eq(next_modulo(beat, beats))
        with m.If(row_ends):
            m.d.sync += rows.eq(rows - 1)

        # Rows that are complete or begun, and rows that wait for the estimator.
        held, waiting = Signal(range(config.query_rows + 1)), Signal(range(config.query_rows + 1))
        m.d.sync += held.eq(held + (row_ends & ~drop) - self.scored)
        m.d.comb += [room.eq(held != config.query_rows), self.available.eq(waiting != 0)]

        high, high_row_ends = self._ring(m, "high", signed(config.estimate_bits), config.dim_lanes, arrived,
                                         self.high_slice, self.estimated)
        halves, _ = self._ring(m, "halves", element_layout(config), config.cross_lanes, arrived,
                               self.halves_slice, self.scored)
        m.d.sync += waiting.eq(waiting + high_row_ends - self.estimated)
        m.d.comb += [high.beat[n].eq(elements[n].high) for n in range(config.bus_bytes)]
        m.d.comb += halves.beat.eq(elements)
        return m

    def _ring(self, m: Module, name: str, element: ShapeLike, lanes: int, arrived: Signal, read_slice: Signal,
              leaves: Signal) -> tuple[WordPacker, Value]:
        """Make one ring; return (its packer, whose beats are still to be connected, a row has been written)."""
        config = self.config
        slices = config.head_dim // lanes
        m.submodules[f"{name}_packer"] = packer = WordPacker(element, config.bus_bytes, lanes, config.head_dim)
        m.submodules[f"{name}_ring"] = ring = DualPortRam(data.ArrayLayout(element, lanes), config.query_rows * slices)
        write, read_row = Signal.like(ring.write_addr, name=f"{name}_write"), Signal(range(config.query_rows),
                                                                                    name=f"{name}_row")
        with m.If(packer.word_valid):
            m.d.sync += write.eq(next_modulo(write, config.query_rows * slices))
        with m.If(leaves):
            m.d.sync += read_row.eq(next_modulo(read_row, config.query_rows))
        m.d.comb += [
            packer.beat_valid.eq(arrived),
            ring.write_en.eq(packer.word_valid), ring.write_addr.eq(write), ring.write_data.eq(packer.word),
            ring.read_addr.eq(times(read_row, slices) + read_slice), getattr(self, name).eq(ring.read_data),
        ]
        return packer, packer.word_valid & packer.row_last
