"""Row scanner: reads complete tiles back row by row, ``P`` keys of one row per cycle."""

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.payloads import key_shape
from latte.rtl.common.primitives import add_modulo, delay, next_modulo
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, EstimateBuffer, buffer_size, scan_layout
from latte.rtl.wide.payloads import row_layout, slot_shape

__all__ = ["RowScanner", "scanned_layout"]


def scanned_layout(config: AttentionConfig) -> data.StructLayout:
    """``P`` consecutive keys' estimates of one row, and what is needed to judge them.

    `visible` marks the keys that the row may see; `row_max` is the largest estimate among all of them.
    """
    pairs = config.pairs_per_cycle
    return data.StructLayout({
        "estimate": data.ArrayLayout(signed(config.row_bits), pairs), "visible": pairs,
        "row_max": signed(config.row_bits), "tau": config.est_bits, "key": key_shape(config),
        "slot": slot_shape(config), "bank": 1, "row_last": 1})


class RowScanner(wiring.Component):
    """Walks the rows and key groups of each complete tile::

        scan -> row, group counters -> EstimateBuffer -> o
                      |
                      +-> row (scale and flags of each row, to the softmax)

    Latency: from a cycle of `room`, `latency` to a group and `row_latency` to the description of a row that begins.
    Throughput: one group per cycle, no gap between rows or tiles; `room` is the only thing it waits for.

    Members
    -------
    scan : In(stream of scan_layout)
    read_index, read_row, read_data
        `EstimateBuffer` read port.
    room : In(1)
        The consumer takes what is under way, and the row queue as many rows.
    row_valid, row : Out
        A row's scan begins.
    o_valid, o : Out(scanned_layout)
        Never refused.
    stalled : Out(1)
        A tile is there but `room` is not.
    """

    latency = EstimateBuffer.read_latency
    row_latency = 1
    """A register, off the counters' path."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "scan": In(stream.Signature(scan_layout(config))),
            "read_index": Out(range(TILE_BUFFERS * buffer_size(config))),
            "read_row": Out(range(max(2, config.query_lanes))),
            "read_data": In(data.ArrayLayout(signed(config.row_bits), config.pairs_per_cycle)),
            "room": In(1),
            "row_valid": Out(1), "row": Out(row_layout(config)),
            "o_valid": Out(1), "o": Out(scanned_layout(config)),
            "stalled": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        pairs, lanes = config.pairs_per_cycle, config.query_lanes
        scan, tile = self.scan.payload, self.scan.payload.tile
        row = Signal(range(max(2, lanes)))
        # The group's first key, and the first behind it.
        key = Signal(range(config.max_seq_len + pairs + 1))
        end = Signal(range(config.max_seq_len + 2 * pairs + 1), init=pairs)
        offset = Signal(range(buffer_size(config) + lanes))
        step, row_ends, tile_ends = Signal(), Signal(), Signal()
        # Keys that the row sees, and whether this group is its last, are registers behind a tile's first group.
        tile_starts = Signal(init=1)
        keys, held_keys = (Signal(range(config.max_seq_len + lanes + 1), name=name) for name in ("keys", "held_keys"))
        held_row_ends = Signal()
        slot = Signal(slot_shape(config))
        m.d.comb += [
            step.eq(self.scan.valid & self.room),
            self.stalled.eq(self.scan.valid & ~self.room),
            keys.eq(Mux(tile_starts, tile.first_keys, held_keys)),
            row_ends.eq(Mux(tile_starts, scan.single, held_row_ends)),
            tile_ends.eq(row_ends & (row == tile.rows - 1)),
            self.scan.ready.eq(step & tile_ends),
            self.read_index.eq(scan.base + offset + row),
            self.read_row.eq(row),
            slot.eq(add_modulo(tile.slot, row, config.query_rows)),
        ]
        with m.If(step):
            m.d.sync += [key.eq(end), end.eq(end + pairs), offset.eq(offset + lanes), tile_starts.eq(tile_ends),
                         held_keys.eq(keys), held_row_ends.eq(end + pairs >= keys)]
            with m.If(row_ends):
                m.d.sync += [key.eq(0), end.eq(pairs), offset.eq(0), row.eq(next_modulo(row, lanes)),
                             held_keys.eq(keys + tile.causal),
                             held_row_ends.eq(Mux(tile.causal, keys < pairs, keys <= pairs))]
            with m.If(tile_ends):
                m.d.sync += row.eq(0)

        m.d.sync += [
            self.row_valid.eq(step & (key == 0)),
            self.row.scale_mantissa.eq(tile.entry.scale_mantissa), self.row.scale_shift.eq(tile.entry.scale_shift),
            self.row.bank.eq(tile.bank), self.row.job_last.eq(tile.job_last & (row == tile.rows - 1)),
        ]

        group = Signal(scanned_layout(config), reset_less=True)
        m.d.sync += [
            group.key.eq(key), group.slot.eq(slot), group.bank.eq(tile.bank), group.row_last.eq(row_ends),
            group.visible.eq(Cat(key + n < keys for n in range(pairs))), group.tau.eq(tile.entry.tau),
            group.row_max.eq(Array(scan.row_max[n] for n in range(lanes))[row]),
        ]
        m.d.comb += [
            self.o_valid.eq(delay(m, step, self.latency, name="read_valid")),
            self.o.eq(delay(m, group, self.latency - 1, name="group", reset_less=True)),
            self.o.estimate.eq(self.read_data),
        ]
        return m
