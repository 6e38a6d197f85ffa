"""Row scanner: reads complete tiles back row by row, ``P`` keys of one row per cycle."""

from amaranth import Array, Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.payloads import code_bits, code_layout, head_entry_layout, key_shape
from latte.rtl.common.primitives import add_modulo, delay, next_modulo
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, EstimateBuffer, buffer_size, scan_layout
from latte.rtl.wide.payloads import code_slots, row_layout, row_mark_layout, slot_shape

__all__ = ["RowScanner", "scanned_layout"]


def scanned_layout(config: AttentionConfig) -> data.StructLayout:
    """``P`` consecutive keys' estimates of one row, and what is needed to judge them.

    `visible` marks the keys that the row may see; `row_max` is the largest estimate among all of them. The threshold is
    `tau`, or the `code` of the row's length and, if there are several, its `kind`. The rest is what a build that weighs
    keys has besides: the keys' `groups`, and `row_mark_layout`.
    """
    pairs = config.pairs_per_cycle
    threshold = {"code": code_bits(config)} if config.code_octaves else {"tau": config.est_bits}
    entry = head_entry_layout(config).members
    return data.StructLayout({
        "estimate": data.ArrayLayout(signed(config.row_bits), pairs), "visible": pairs,
        "row_max": signed(config.row_bits), **threshold, "key": key_shape(config),
        "slot": slot_shape(config), "bank": 1, "row_last": 1,
        **({"kind": entry["kind"]} if "kind" in entry else {}),
        **({"groups": data.ArrayLayout(config.group_bits, pairs)} if config.group_bits else {}),
        **row_mark_layout(config).members})


class RowScanner(wiring.Component):
    """Walks the rows and key groups of each complete tile::

        scan -> row, group counters -> EstimateBuffer -> o
                      |
                      +-> row (scale and flags of each row, to the softmax)

    Latency: from a cycle of `room`, `latency` to a group and `row_latency` to the description of a row that begins.
    Throughput: one group per cycle, no gap between rows or tiles; but for rows of fewer groups of estimates than groups
    of keys, `room` is the only thing it waits for.

    Members
    -------
    scan : In(stream of scan_layout)
    read_index, read_row, read_data
        `EstimateBuffer` read port.
    read_groups
        With `read_data` in a build with several key groups.
    code_valid, code : In(code_layout)
        Codes of the accepted jobs' thresholds, in a build with several; a row takes that of its length.
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
            "stalled": Out(1),
            **({"read_groups": In(data.ArrayLayout(config.group_bits, config.pairs_per_cycle))}
               if config.group_bits else {}),
            **({"code_valid": In(1), "code": In(code_layout(config, code_slots(config)))}
               if config.code_octaves else {})})

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
        room = self.room
        if config.group_bits:
            # The sums of a row's groups leave one by one (`GroupSums`), before the next row ends.
            waits = Signal(range(config.key_groups))
            room = self.room & ~(row_ends & (waits != 0))
            with m.If(step & row_ends):
                m.d.sync += waits.eq((1 << tile.entry.group_bits) - 1)
            with m.Elif(waits != 0):
                m.d.sync += waits.eq(waits - 1)
        m.d.comb += [
            step.eq(self.scan.valid & room),
            self.stalled.eq(self.scan.valid & ~room),
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

        job_last = tile.job_last & (row == tile.rows - 1)
        row_max = Array(scan.row_max[n] for n in range(lanes))[row]
        m.d.sync += [
            self.row_valid.eq(step & (key == 0)),
            self.row.scale_mantissa.eq(tile.entry.scale_mantissa), self.row.scale_shift.eq(tile.entry.scale_shift),
            self.row.bank.eq(tile.bank), self.row.job_last.eq(job_last),
        ]
        if config.key_groups:
            m.d.sync += [self.row.row_max.eq(row_max), self.row.keys.eq(keys),
                         self.row.restart.eq(tile.restart & (row == 0))]
            m.d.sync += [self.row[name].eq(tile.entry[name]) for name in ("denominator_gain", "mean_gain", "group_bits")
                         if name in tile.entry.shape().members]

        group = Signal(scanned_layout(config), reset_less=True)
        fields = group.shape().members
        m.d.sync += [
            group.key.eq(key), group.slot.eq(slot), group.bank.eq(tile.bank), group.row_last.eq(row_ends),
            group.visible.eq(Cat(key + n < keys for n in range(pairs))), group.row_max.eq(row_max),
        ]
        m.d.sync += [group[name].eq(tile.entry[name]) for name in ("tau", "kind", "group_bits") if name in fields]
        if "table" in fields:
            m.d.sync += [group.table.eq(tile.table), group.job_last.eq(job_last)]
        if config.key_groups:
            m.d.sync += group.compensated.eq(tile.entry.denominator_gain != 0)
        m.d.comb += [
            self.o_valid.eq(delay(m, step, self.latency, name="read_valid")),
            self.o.eq(delay(m, group, self.latency - 1, name="group", reset_less=True)),
            self.o.estimate.eq(self.read_data),
        ]
        if config.group_bits:
            m.d.comb += self.o.groups.eq(self.read_groups)
        if config.code_octaves:
            m.d.comb += self.o.code.eq(self._code(m, keys, tile.codes))
        return m

    def _code(self, m: Module, keys: Value, slot: Value) -> Value:
        """Return the code of a row's length and job, with its estimates."""
        layout = self.code.shape().members
        octave_bits = Shape.cast(layout["octave"]).width
        m.submodules.codes = codes = memory.Memory(shape=layout["code"], init=[],
                                                   depth=code_slots(self.config) << octave_bits)
        write, read = codes.write_port(), codes.read_port(domain="comb")
        octave = Signal(octave_bits, reset_less=True)
        kept = delay(m, keys, 1, name="kept_keys", reset_less=True)
        m.d.sync += octave.eq(0)
        for n in self.config.code_octaves:
            with m.If(kept[n]):
                m.d.sync += octave.eq(n)
        m.d.comb += [write.en.eq(self.code_valid), write.addr.eq(Cat(self.code.octave, self.code.slot)),
                     write.data.eq(self.code.code),
                     read.addr.eq(Cat(octave, delay(m, slot, 2, name="code_slot", reset_less=True)))]
        return delay(m, read.data, self.latency - 2, name="code", reset_less=True)
