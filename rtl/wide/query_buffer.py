"""Queries on the way in: high halves to the estimator, both halves kept until the cross product unit is done."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.operand_split import SplitBeat, element_layout
from latte.rtl.common.payloads import query_load_layout
from latte.rtl.common.primitives import next_modulo, slice_address
from latte.rtl.common.ram import Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.common.word_packer import WordPacker
from latte.rtl.wide.payloads import query_element, slot_shape

__all__ = ["QueryBuffer"]


class QueryBuffer(wiring.Component):
    """Ring buffer of query rows::

        q -> saturate, split -+-> high halves: whole rows, a short queue -> o (tile sequencer)
                              +-> both halves: ring of query_rows rows   -> cross product unit

    With `whole_elements` both halves of whole rows go to the array, and no ring is kept: nothing reads a row again.

    Rows enter in the order of the jobs, as far as there is room, ahead of the computation. Slot numbers count rows
    modulo `query_rows`.

    Latency: `latency` cycles from a row's last beat to `o`; `RAM_LATENCY` from address to data. Throughput: one beat
    per cycle.

    Parameters
    ----------
    config
    whole_elements
        For an array that makes exact scores.

    Members
    -------
    load : In(stream of query_load_layout)
    q : In(stream of bus_bytes int8 elements)
    saturated : Out(1)
        An element above `qk_max`, of a dropped row as well, arrived one cycle ago and was limited.
    o : Out(stream of head_dim high parts, or whole elements)
    cross_slot, cross_slice : In
        Address of both halves of one row, one slice of dimensions; `cross_data` : Out.
    retire : In(1)
        The oldest row is no longer needed.
    """

    def __init__(self, config: AttentionConfig, *, whole_elements: bool = False) -> None:
        self.config = config
        self.whole_elements = whole_elements
        self.latency = self.latency_of(config)
        super().__init__({
            "load": In(stream.Signature(query_load_layout())),
            "q": In(stream.Signature(data.ArrayLayout(signed(8), config.bus_bytes))),
            "saturated": Out(1),
            "o": Out(stream.Signature(data.ArrayLayout(query_element(config, whole_elements), config.head_dim))),
            "cross_slot": In(slot_shape(config)),
            "cross_slice": In(range(max(2, config.cross_slices))),
            "cross_data": Out(data.ArrayLayout(element_layout(config), config.cross_lanes)),
            "retire": In(1)})

    @staticmethod
    def waiting_rows(config: AttentionConfig) -> int:
        """Return how many whole rows may wait for the estimator: two tiles, or one if it takes many cycles for each."""
        return max(4, 1 << ceil_log2(2 * config.query_lanes)) if config.dim_slices == 1 else 1

    @staticmethod
    def latency_of(config: AttentionConfig) -> int:
        """Return the latency of a build: split, packed; then the queue, or a register that tells of a row."""
        return 1 + WordPacker.latency + (StreamQueue.latency if config.dim_slices == 1 else 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        beats = config.head_dim // config.bus_bytes
        # Counts down to -1: the sign tells that no rows are left, without a comparison.
        rows, drop = Signal(signed(COUNT_BITS + 1), init=-1), Signal()
        beat, row_starts = Signal(range(max(2, beats))), Signal(init=1)
        row_ends = beat == beats - 1
        accepted, kept, begins, room = Signal(), Signal(), Signal(), Signal()

        m.d.comb += [
            self.load.ready.eq(rows < 0),
            self.q.ready.eq((rows >= 0) & (drop | room | ~row_starts)),
            accepted.eq(self.q.valid & self.q.ready),
            kept.eq(accepted & ~drop), begins.eq(kept & row_starts),
        ]
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += [rows.eq(self.load.payload.rows - 1), drop.eq(self.load.payload.drop)]
        with m.If(accepted):
            m.d.sync += [beat.eq(next_modulo(beat, beats)), row_starts.eq(row_ends)]
            with m.If(row_ends):
                m.d.sync += rows.eq(rows - 1)

        # The split beat is registered: the way from the host's side of the port ends here.
        m.submodules.split = split = SplitBeat(config)
        elements = Signal.like(split.elements, reset_less=True)
        arrived = Signal()
        m.d.comb += [split.beat.eq(self.q.payload), split.valid.eq(accepted)]
        m.d.sync += [elements.eq(split.elements), arrived.eq(kept), self.saturated.eq(split.saturated)]

        m.submodules.row_packer = row_packer = WordPacker(query_element(config, self.whole_elements), config.bus_bytes,
                                                          config.head_dim, config.head_dim)
        m.d.comb += row_packer.beat_valid.eq(arrived)
        m.d.comb += [row_packer.beat[n].eq(elements[n] if self.whole_elements else elements[n].high)
                     for n in range(config.bus_bytes)]
        self._queue_rows(m, row_packer)
        depth = self.waiting_rows(config)
        # Rows that wait for the estimator, and rows that the cross product unit may still need. `room` is a register: a
        # row of a single beat has begun before it knows of the one before.
        late = int(beats == 1)
        waiting, held = Signal(range(depth + 2)), Signal(range(config.query_rows + 1))
        m.d.sync += [
            waiting.eq(waiting + begins - (self.o.valid & self.o.ready)), held.eq(held + begins - self.retire),
            room.eq((waiting < depth - late) & (held < config.query_rows - late)),
        ]

        if not self.whole_elements:
            self._cross_ring(m, arrived, elements)
        return m

    def _queue_rows(self, m: Module, packer: WordPacker) -> None:
        """Queue whole rows for the estimator; one that takes many cycles for each needs the packer's register alone."""
        if self.config.dim_slices > 1:
            full = Signal()
            with m.If(packer.word_valid):
                m.d.sync += full.eq(1)
            with m.Elif(self.o.ready):
                m.d.sync += full.eq(0)
            m.d.comb += [self.o.valid.eq(full), self.o.payload.eq(packer.word)]
        else:
            m.submodules.rows = queue = StreamQueue(self.o.payload.shape(), self.waiting_rows(self.config),
                                                    every_other=True)
            wiring.connect(m, wiring.flipped(self.o), queue.o)
            m.d.comb += [queue.i.valid.eq(packer.word_valid), queue.i.payload.eq(packer.word)]

    def _cross_ring(self, m: Module, arrived: Signal, elements: data.View) -> None:
        """Keep both halves of each row for the cross product unit."""
        config = self.config
        m.submodules.packer = packer = WordPacker(element_layout(config), config.bus_bytes,
                                                  config.cross_lanes, config.head_dim)
        m.submodules.ring = ring = Ram(data.ArrayLayout(element_layout(config), config.cross_lanes),
                                       config.query_rows * config.cross_slices)
        row, part = Signal(slot_shape(config)), Signal.like(self.cross_slice)
        with m.If(packer.word_valid):
            m.d.sync += part.eq(part + 1)
            with m.If(packer.row_last):
                m.d.sync += [part.eq(0), row.eq(next_modulo(row, config.query_rows))]
        m.d.comb += [
            packer.beat_valid.eq(arrived), packer.beat.eq(elements),
            ring.write_en.eq(packer.word_valid), ring.write_data.eq(packer.word),
            ring.write_addr.eq(slice_address(row, part, config.query_rows)),
            ring.read_addr.eq(slice_address(self.cross_slot, self.cross_slice, config.query_rows)),
            self.cross_data.eq(ring.read_data),
        ]
