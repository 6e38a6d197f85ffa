"""Held query rows as tables of half sums and half differences."""

import functools
import operator

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_div, ceil_log2
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.primitives import delay
from latte.rtl.wide.pair_table_dot import pair_entry
from latte.rtl.wide.payloads import query_row_layout

__all__ = ["QueryTables"]


class QueryTables(wiring.Component):
    """The held query rows as `pair_entry` tables, double buffered, with the loader that makes them.

    A row arrives whole and is turned into entries in up to 8 slices by one small generator that all rows
    share; each row shifts the slices it is given into its shadow registers. When keys move to the other
    bank, all rows copy shadow to active at once. Copying costs no logic, where choosing between two banks
    would cost a LUT per bit::

        q -> row register -> slice mux -> +,- -+-> shadow[0] -> active[0] -> entries[0]
                                               +-> shadow[1] -> active[1] -> entries[1]
                                               +-> sum ------> offset (follows offset_delay cycles later)

    The price is that banks are used in the order in which they were loaded, each once: a switch retires the
    bank that was in use, and so does loading it. No register needs a reset, as a row is loaded before use.

    Parameters
    ----------
    config
    offset_delay
        Cycles by which `offset` follows `entries` when the bank is switched.

    Members
    -------
    q : In(stream of query_row_layout)
        Rows to load. Ready again after `load_cycles`.
    k_valid, k_bank : In(1)
        A key, and the bank it is for: `entries` hold that bank two cycles later.
    entries : Out(ArrayLayout(ArrayLayout(pair_entry(estimate_bits), head_dim / 2), query_lanes))
    offset : Out(ArrayLayout(signed, query_lanes))
    """

    MAX_SLICES = 8

    def __init__(self, config: AttentionConfig, offset_delay: int) -> None:
        self.pairs = config.head_dim // 2
        self.rows = config.query_lanes
        self.bits = config.estimate_bits
        self.entry = pair_entry(self.bits)
        self.offset_delay = offset_delay
        self.slice_pairs, self.slices = self._slices_of(config)
        self.load_cycles = self.load_cycles_of(config)
        super().__init__({
            "q": In(stream.Signature(query_row_layout(config, signed(config.estimate_bits)))),
            "k_valid": In(1),
            "k_bank": In(1),
            "entries": Out(data.ArrayLayout(data.ArrayLayout(self.entry, self.pairs), self.rows)),
            "offset": Out(data.ArrayLayout(signed(self.bits + ceil_log2(self.pairs)), self.rows)),
        })

    @classmethod
    def _slices_of(cls, config: AttentionConfig) -> tuple[int, int]:
        """Return (pairs in a slice, slices of a row)."""
        pairs = config.head_dim // 2
        slice_pairs = ceil_div(pairs, cls.MAX_SLICES)
        return slice_pairs, ceil_div(pairs, slice_pairs)

    @classmethod
    def load_cycles_of(cls, config: AttentionConfig) -> int:
        """Return the cycles that a row keeps the loader busy: its slices, and the two stages behind them."""
        return cls._slices_of(config)[1] + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Loader: take a row, then go through its slices.
        row = Signal(self.q.payload.row.shape(), reset_less=True)
        row_bank = Signal(reset_less=True)
        taken = Signal()
        slices = Signal(data.ArrayLayout(2 * self.bits * self.slice_pairs, self.slices), reset_less=True)
        step = Signal(range(self.slices + 1))
        # A bit for each slice, so that a LUT4 chooses between two.
        here = Signal(self.slices, reset_less=True)
        busy = Signal()
        m.d.comb += self.q.ready.eq(~busy)
        m.d.sync += taken.eq(self.q.valid & ~busy)
        with m.If(busy):
            # The extra step lets the last slice reach the shadow registers.
            m.d.sync += [step.eq(step + 1), here.eq(here << 1), busy.eq(step != self.slices)]
        with m.Elif(self.q.valid):
            m.d.sync += [row.eq(self.q.payload.row), row_bank.eq(self.q.payload.bank),
                         slices.eq(self.q.payload.hi.as_value()), step.eq(0), here.eq(1), busy.eq(1)]

        # Two stages: choose a slice, make its entries.
        elements = Signal(data.ArrayLayout(signed(self.bits), 2 * self.slice_pairs), reset_less=True)
        word = Signal(data.ArrayLayout(self.entry, self.slice_pairs), reset_less=True)
        last = delay(m, step == self.slices - 1, 2, name="last")
        made = delay(m, busy & (step != self.slices), 1, name="made")
        write = Signal(self.rows)
        m.d.sync += elements.eq(functools.reduce(operator.or_, (
            slices[n] & here[n].replicate(len(slices[n])) for n in range(self.slices))))
        for r in range(self.rows):
            m.d.sync += write[r].eq(made & (row == r))
        m.submodules.offset_tree = tree = AdderTree(self.slice_pairs, signed(self.bits))
        for i in range(self.slice_pairs):
            q0, q1 = elements[2 * i], elements[2 * i + 1]
            m.d.sync += [
                word[i].half_sum.eq((q0 + q1) >> 1),
                word[i].half_diff.eq((q0 - q1) >> 1),
                word[i].even.eq(q0[0] == q1[0]),
            ]
            m.d.comb += tree.terms[i].eq(word[i].half_sum)

        # The offset's sum runs behind the entries by the depth of its tree.
        clear = delay(m, busy & (step == 0), 1 + tree.latency, name="clear")
        add = delay(m, write.any(), tree.latency, name="add")
        total = Signal(self.offset[0].shape(), reset_less=True)
        with m.If(clear):
            m.d.sync += total.eq(0)
        with m.Elif(add):
            m.d.sync += total.eq(total + tree.sum)
        # Written once, at the end: the last load's offset may not have been copied when this load begins.
        write_offset = delay(m, Mux(last, write, 0), tree.latency + 1, name="write_offset")

        # Switch banks when a key asks for the other one. A load into the bank in use means that it is in
        # use no longer, even if no key has asked for the other one yet.
        bank = Signal()
        next_bank = Mux(self.k_valid, self.k_bank, Mux(taken, ~row_bank, bank))
        switch = Signal()
        m.d.sync += [bank.eq(next_bank), switch.eq(next_bank != bank)]
        switch_offset = delay(m, switch, self.offset_delay, name="switch_offset")

        for r in range(self.rows):
            shadow = Signal(data.ArrayLayout(self.entry, self.slice_pairs * self.slices),
                            name=f"shadow_{r}", reset_less=True)
            active = Signal(data.ArrayLayout(self.entry, self.pairs), name=f"active_{r}", reset_less=True)
            shadow_offset = Signal.like(total, name=f"shadow_offset_{r}")
            active_offset = Signal.like(total, name=f"active_offset_{r}")
            with m.If(write[r]):
                m.d.sync += shadow.eq(Cat(shadow.as_value(), word)[len(word.as_value()):])
            with m.If(write_offset[r]):
                m.d.sync += shadow_offset.eq(total)
            with m.If(switch):
                m.d.sync += active.eq(shadow.as_value())
            with m.If(switch_offset):
                m.d.sync += active_offset.eq(shadow_offset)
            m.d.comb += [self.entries[r].eq(active), self.offset[r].eq(active_offset)]
        return m
