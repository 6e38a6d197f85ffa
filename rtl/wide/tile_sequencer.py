"""Cuts jobs in tiles of query rows, and walks the keys of each tile past the estimator."""

import dataclasses

from amaranth import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.payloads import key_shape
from latte.rtl.common.primitives import add_modulo, delay, next_modulo
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.payloads import query_element, query_row_layout, tile_job_layout, tile_layout
from latte.rtl.wide.score_estimator import ScoreEstimator

__all__ = ["TileSequencer"]

@dataclasses.dataclass(frozen=True)
class LoadedTiles:
    """Tiles whose query rows are in place.

    Parameters
    ----------
    tile : stream of tile_layout
    bank
        The estimator's, that holds the rows of `tile`.
    bank_taken
        By bank: its rows begin to be loaded in this cycle.
    job_active
        There are rows of a job that are not loaded yet.
    """

    tile: stream.Interface
    bank: Signal
    bank_taken: Signal
    job_active: Value


class TileSequencer(wiring.Component):
    """Two walkers, one tile apart, so that the estimator never waits between tiles::

        compute, rows -> [tile loader] -> query rows of tile t+1 -> estimator's idle bank
                              |
                             tile -> [key walker] -> key addresses of tile t, one group (slice) per cycle

    The key walk of a causal tile ends at the last row's own position: nothing is computed to be masked but the
    steps of the diagonal inside the tile.

    Parameters
    ----------
    config
    whole_elements
        The array takes both halves of the query's elements.

    Members
    -------
    compute : In(stream of tile_job_layout)
    rows : In(stream of head_dim elements)
        Query rows, in order.
    query : Out(stream)
        Rows into the estimator's banks.
    tile : Out(stream of tile_layout)
        Handed over in the cycle before a tile's first key is addressed.
    key_valid, key_bank, key_group, key_slice : Out
        Address of a beat of keys.
    beat_valid, beat_query_bank, beat_first : Out(1)
        The beat itself, `RAM_LATENCY` cycles later: which query bank it meets, first slice of its group.
    waiting_for_queries, waiting_for_filter : Out(1)
        No beat in this cycle, because the next tile's queries are not there; because no tile buffer is free.
    """

    bank_drain = RAM_LATENCY + ScoreEstimator.operand_latency + 1
    """Cycles from a key's address until the dot products' first registers hold the query rows that it meets."""

    def __init__(self, config: AttentionConfig, *, whole_elements: bool = False) -> None:
        self.config = config
        element = query_element(config, whole_elements)
        super().__init__({
            "compute": In(stream.Signature(tile_job_layout(config))),
            "rows": In(stream.Signature(data.ArrayLayout(element, config.head_dim))),
            "query": Out(stream.Signature(query_row_layout(config, element))),
            "tile": Out(stream.Signature(tile_layout(config))),
            "key_valid": Out(1), "key_bank": Out(1), "key_group": Out(key_shape(config)),
            "key_slice": Out(range(max(2, config.dim_slices))),
            "beat_valid": Out(1), "beat_query_bank": Out(1), "beat_first": Out(1),
            "waiting_for_queries": Out(1), "waiting_for_filter": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bank_busy = Signal(2)
        loaded = self._load_tiles(m, bank_busy)
        drained = self._walk_keys(m, loaded)
        m.d.sync += bank_busy.eq((bank_busy & ~drained) | loaded.bank_taken)
        return m

    def _load_tiles(self, m: Module, bank_busy: Signal) -> LoadedTiles:
        """Load the next tile's rows into the idle bank, if it is not busy."""
        config = self.config
        lanes = config.query_lanes
        job = Signal(tile_job_layout(config))
        rows_left = Signal(COUNT_BITS)
        visible = Signal(range(config.max_seq_len + 1))
        slot = Signal(range(config.query_rows))
        row = Signal(range(lanes + 1))
        bank = Signal()
        tile = stream.Signature(tile_layout(config)).create()
        tile_bank = Signal()
        # What follows from the counters is registered while the tile's rows are loaded.
        rows_in_tile, last_tile = Signal(range(lanes + 1)), Signal()
        last_keys, next_slot = Signal.like(visible), Signal.like(slot)
        m.d.sync += [
            last_keys.eq(Mux(job.causal, visible + rows_in_tile - 1, visible)),
            next_slot.eq(add_modulo(slot, rows_in_tile, config.query_rows)),
        ]

        # The estimator is far away, and busy for some cycles with each row: that it is free again is a register.
        free = Signal()
        m.d.sync += free.eq(self.query.ready & ~self.query.valid)
        m.d.comb += [
            self.query.payload.row.eq(row), self.query.payload.bank.eq(bank),
            self.query.payload.hi.eq(self.rows.payload),
        ]
        with m.If(tile.valid & tile.ready):
            m.d.sync += tile.valid.eq(0)
        bank_taken = Signal(2)
        with m.FSM(name="loader") as loader:
            with m.State("JOB"):
                m.d.comb += self.compute.ready.eq(1)
                compute = self.compute.payload
                m.d.sync += [
                    job.eq(compute), rows_left.eq(compute.rows),
                    visible.eq(Mux(compute.causal, compute.keys - compute.rows + 1, compute.keys)),
                ]
                with m.If(self.compute.valid):
                    m.next = "WAIT FOR BANK"
            with m.State("WAIT FOR BANK"):
                m.d.sync += [row.eq(0), rows_in_tile.eq(Mux(rows_left < lanes, rows_left, lanes)),
                             last_tile.eq(rows_left <= lanes)]
                with m.If(~bank_busy.bit_select(bank, 1)):
                    m.d.comb += bank_taken.bit_select(bank, 1).eq(1)
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += [self.query.valid.eq(self.rows.valid & free), self.rows.ready.eq(free)]
                with m.If(self.rows.valid & free):
                    m.d.sync += row.eq(row + 1)
                    with m.If(row == rows_in_tile - 1):
                        m.next = "TILE"
            with m.State("TILE"):
                # The estimator is free for another row when the last one is in place.
                with m.If(free & ~tile.valid):
                    m.d.sync += [
                        tile.valid.eq(1), tile_bank.eq(bank), bank.eq(~bank),
                        tile.payload.entry.eq(job.entry), tile.payload.rows.eq(rows_in_tile),
                        tile.payload.first_keys.eq(visible),
                        tile.payload.last_keys.eq(last_keys),
                        tile.payload.causal.eq(job.causal), tile.payload.bank.eq(job.bank),
                        tile.payload.slot.eq(slot), tile.payload.job_last.eq(last_tile),
                        rows_left.eq(rows_left - rows_in_tile), slot.eq(next_slot),
                    ]
                    fields = job.shape().members
                    if "slot" in fields:
                        m.d.sync += tile.payload.codes.eq(job.slot)
                    if "table" in fields:
                        m.d.sync += tile.payload.table.eq(job.table)
                    if "restart" in fields:
                        m.d.sync += [tile.payload.restart.eq(job.restart), job.restart.eq(0)]
                    with m.If(job.causal):
                        m.d.sync += visible.eq(visible + lanes)
                    with m.If(last_tile):
                        m.next = "JOB"
                    with m.Else():
                        m.next = "WAIT FOR BANK"
        return LoadedTiles(tile, tile_bank, bank_taken, ~loader.ongoing("JOB"))

    def _walk_keys(self, m: Module, loaded: LoadedTiles) -> Value:
        """Walk the keys of one tile after the other; return the query banks that no key needs any more."""
        config = self.config
        lane_bits = ceil_log2(config.key_lanes)
        active, query_bank, key_bank = Signal(), Signal(), Signal()
        group = Signal(key_shape(config))
        # Groups behind this one, less one: its sign tells the last.
        behind = Signal(signed(len(group) + 1))
        part = Signal(range(max(2, config.dim_slices)))
        finishing = Signal()
        m.d.comb += [
            finishing.eq(active & (behind < 0) & (part == config.dim_slices - 1)),
            self.key_valid.eq(active), self.key_bank.eq(key_bank), self.key_group.eq(group),
            self.key_slice.eq(part),
            self.tile.payload.eq(loaded.tile.payload),
            self.tile.valid.eq(loaded.tile.valid & (~active | finishing)),
            loaded.tile.ready.eq(self.tile.ready & (~active | finishing)),
            self.waiting_for_queries.eq(~active & ~loaded.tile.valid & loaded.job_active),
            self.waiting_for_filter.eq(~active & loaded.tile.valid & ~self.tile.ready),
        ]
        with m.If(active):
            m.d.sync += part.eq(next_modulo(part, config.dim_slices))
            with m.If(part == config.dim_slices - 1):
                m.d.sync += [group.eq(group + 1), behind.eq(behind - 1)]
        with m.If(finishing):
            m.d.sync += active.eq(0)
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += [
                active.eq(1), group.eq(0), part.eq(0), query_bank.eq(loaded.bank),
                key_bank.eq(loaded.tile.payload.bank),
                behind.eq((loaded.tile.payload.last_keys - (1 + config.key_lanes)) >> lane_bits),
            ]

        # A query bank is free again once its last beat has passed the estimator's own registers.
        done = Signal(2)
        m.d.comb += done.bit_select(query_bank, 1).eq(finishing)
        drained = delay(m, done, self.bank_drain, name="bank_done")

        m.d.comb += [
            self.beat_valid.eq(delay(m, active, RAM_LATENCY, name="beat_valid")),
            self.beat_query_bank.eq(delay(m, query_bank, RAM_LATENCY, name="beat_query_bank")),
            self.beat_first.eq(delay(m, part == 0, RAM_LATENCY, name="beat_first")),
        ]
        return drained
