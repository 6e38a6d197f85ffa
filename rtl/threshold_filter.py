"""Threshold filter: scans each row against its final maximum and passes the groups that hold survivors."""

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.estimate_buffer import READ_LATENCY, TILE_BUFFERS, buffer_size, scan_layout
from latte.rtl.payloads import group_layout, key_shape, row_layout, slot_shape
from latte.rtl.primitives import delay, next_modulo

__all__ = ["PIPELINE_GROUPS", "ThresholdFilter", "filter_probe_layout"]

PIPELINE_GROUPS = READ_LATENCY + 6
"""Groups that may still come out after `room` was withdrawn."""


def filter_probe_layout(config: AttentionConfig) -> data.StructLayout:
    """What the filter decided on one group; `visible` marks the keys the row may see."""
    return data.StructLayout({
        "valid": 1, "row_last": 1, "visible": config.pairs_per_cycle, "keep": config.pairs_per_cycle,
        "estimate": data.ArrayLayout(signed(config.est_bits), config.pairs_per_cycle)})


class ThresholdFilter(wiring.Component):
    """``keep = est > rowmax - tau`` over the row's visible keys (LATTE Eq. 6), ``P`` keys of one row per cycle::

        scan -> row, group counters -> EstimateBuffer -> compare -> drop empty groups -> o
                                                            |
                                                            +-> row (scale and flags of each row, to the softmax)

    A group without survivors is dropped. The last group of a row that has some is marked `row_last`; it is known
    only at the row's end, so each group waits for its successor. A row always has a survivor.

    Latency: `PIPELINE_GROUPS` cycles, more while a group waits for the row's end. Throughput: one group per cycle,
    no gap between rows or tiles; `room` is the only thing it waits for.

    Members
    -------
    scan : In(stream of scan_layout)
    read_index, read_row, read_data
        `EstimateBuffer` read port.
    room : In(1)
        The survivor queue has room for `PIPELINE_GROUPS` more, and the row queue for as many rows.
    row_valid, row : Out
        A row's scan begins.
    o_valid, o : Out
        A group with survivors; never refused.
    stalled : Out(1)
        A tile is there but `room` is not.
    probe : Out(filter_probe_layout)
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        super().__init__({
            "scan": In(stream.Signature(scan_layout(config))),
            "read_index": Out(range(TILE_BUFFERS * buffer_size(config))),
            "read_row": Out(range(max(2, config.query_lanes))),
            "read_data": In(data.ArrayLayout(signed(config.est_bits), config.pairs_per_cycle)),
            "room": In(1),
            "row_valid": Out(1), "row": Out(row_layout(config)),
            "o_valid": Out(1), "o": Out(group_layout(config)),
            "stalled": Out(1),
            "probe": Out(filter_probe_layout(config))})

    def elaborate(self, platform):
        m = Module()
        valid, beat = self._walk(m)
        self._compare(m, valid, beat)
        return m

    def _walk(self, m):
        """Step through the rows and groups of a tile; return what travels beside the estimates."""
        config = self.config
        pairs, lanes = config.pairs_per_cycle, config.query_lanes
        scan, tile = self.scan.payload, self.scan.payload.tile
        row = Signal(range(max(2, lanes)))
        key = Signal(range(config.max_seq_len + pairs + 1))
        offset = Signal(range(buffer_size(config) + lanes))
        step, row_ends, tile_ends = Signal(), Signal(), Signal()
        keys = Signal(range(config.max_seq_len + lanes + 1))
        slot = Signal(slot_shape(config))
        m.d.comb += [
            step.eq(self.scan.valid & self.room),
            self.stalled.eq(self.scan.valid & ~self.room),
            keys.eq(tile.first_keys + Mux(tile.causal, row, 0)),
            row_ends.eq(key + pairs >= keys),
            tile_ends.eq(row_ends & (row == tile.rows - 1)),
            self.scan.ready.eq(step & tile_ends),
            self.read_index.eq(scan.base + offset + row),
            self.read_row.eq(row),
            slot.eq(Mux(tile.slot + row >= config.query_rows, tile.slot + row - config.query_rows,
                        tile.slot + row)),
        ]
        with m.If(step):
            m.d.sync += [key.eq(key + pairs), offset.eq(offset + lanes)]
            with m.If(row_ends):
                m.d.sync += [key.eq(0), offset.eq(0), row.eq(next_modulo(row, lanes))]
            with m.If(tile_ends):
                m.d.sync += row.eq(0)

        # The row queue hears of a row one cycle later, off the counters' path.
        m.d.sync += [
            self.row_valid.eq(step & (key == 0)),
            self.row.scale_mantissa.eq(tile.entry.scale_mantissa), self.row.scale_shift.eq(tile.entry.scale_shift),
            self.row.bank.eq(tile.bank), self.row.job_last.eq(tile.job_last & (row == tile.rows - 1)),
        ]

        beat = Signal(data.StructLayout({
            "key": key_shape(config), "slot": slot_shape(config), "bank": 1, "row_last": 1, "visible": pairs,
            "row_max": signed(config.est_bits), "tau": config.est_bits}), reset_less=True)
        visible = Cat(key + n < keys for n in range(pairs))
        m.d.sync += [
            beat.key.eq(key), beat.slot.eq(slot), beat.bank.eq(tile.bank), beat.row_last.eq(row_ends),
            beat.visible.eq(visible), beat.tau.eq(tile.entry.tau),
            beat.row_max.eq(Array(scan.row_max[n] for n in range(lanes))[row]),
        ]
        return delay(m, step, READ_LATENCY, name="read_valid"), beat

    def _compare(self, m, valid, beat):
        config = self.config
        threshold = Signal(signed(config.est_bits + 2), reset_less=True)
        m.d.sync += threshold.eq(beat.row_max - beat.tau)
        threshold = delay(m, threshold, READ_LATENCY - 2, name="threshold", reset_less=True)
        beat = delay(m, beat, READ_LATENCY - 1, name="beat", reset_less=True)

        compared, is_last = Signal(), Signal()
        group = Signal(group_layout(config), reset_less=True)
        visible = Signal(config.pairs_per_cycle, reset_less=True)
        m.d.sync += [
            compared.eq(valid), is_last.eq(beat.row_last), visible.eq(beat.visible),
            group.estimate.eq(self.read_data), group.key.eq(beat.key), group.slot.eq(beat.slot),
            group.bank.eq(beat.bank), group.row_last.eq(0),
            group.keep.eq(Cat(beat.visible[n] & (self.read_data[n] > threshold)
                              for n in range(config.pairs_per_cycle))),
        ]
        m.d.comb += [
            self.probe.valid.eq(compared), self.probe.row_last.eq(is_last), self.probe.visible.eq(visible),
            self.probe.keep.eq(group.keep), self.probe.estimate.eq(group.estimate),
        ]

        # One group waits here until it is known whether another of its row follows.
        waiting, waiting_valid = Signal(group_layout(config), reset_less=True), Signal()
        arrives = compared & group.keep.any()
        leaves = waiting_valid & (waiting.row_last | arrives)
        m.d.sync += [self.o_valid.eq(leaves), self.o.eq(waiting)]
        with m.If(arrives):
            m.d.sync += [waiting.eq(group), waiting_valid.eq(1), waiting.row_last.eq(is_last)]
        with m.Elif(leaves):
            m.d.sync += waiting_valid.eq(0)
        with m.Elif(compared & is_last):
            m.d.sync += waiting.row_last.eq(1)
