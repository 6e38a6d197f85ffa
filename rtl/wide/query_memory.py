"""Held query rows as they are."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.wide.payloads import query_row_layout

__all__ = ["QueryMemory"]


class QueryMemory(wiring.Component):
    """The held query rows as they are, in a memory of two banks; reads `dim_lanes` elements at a time.

    The memory is not cleared by reset: a row is loaded before it is used.

    Parameters
    ----------
    config

    Members
    -------
    q : In(stream of query_row_layout)
        Rows to load. Ready again after `load_cycles`.
    k_bank : In(1)
    k_slice : In(range(dim_slices))
        What to read: `hi` shows it one cycle later.
    hi : Out(ArrayLayout(ArrayLayout(signed(estimate_bits), dim_lanes), query_lanes))
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.rows = config.query_lanes
        self.slices = config.dim_slices
        self.load_cycles = self.load_cycles_of(config)
        self.word = data.ArrayLayout(signed(config.estimate_bits), config.dim_lanes)
        super().__init__({
            "q": In(stream.Signature(query_row_layout(config, signed(config.estimate_bits)))),
            "k_bank": In(1),
            "k_slice": In(range(self.slices)),
            "hi": Out(data.ArrayLayout(self.word, self.rows)),
        })

    @staticmethod
    def load_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles that a row keeps the loader busy: one for each slice."""
        return config.dim_slices

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row = Signal.like(self.q.payload.row, reset_less=True)
        bank = Signal(reset_less=True)
        words = Signal(data.ArrayLayout(self.word, self.slices), reset_less=True)
        step = Signal(range(self.slices))
        busy = Signal()
        last = step == self.slices - 1
        m.d.comb += self.q.ready.eq(~busy | last)
        with m.If(busy):
            m.d.sync += [step.eq(Mux(last, 0, step + 1)), busy.eq(~last)]
        with m.If(self.q.valid & self.q.ready):
            m.d.sync += [row.eq(self.q.payload.row), bank.eq(self.q.payload.bank),
                         words.eq(self.q.payload.hi.as_value()), busy.eq(1)]
        depth = 2 << ceil_log2(self.slices)
        for r in range(self.rows):
            m.submodules[f"array_{r}"] = mem = memory.Memory(shape=self.word, depth=depth, init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                write.addr.eq(Cat(step, bank)),
                write.data.eq(words[step]),
                write.en.eq(busy & (row == r)),
                read.addr.eq(Cat(self.k_slice, self.k_bank)),
                self.hi[r].eq(read.data),
            ]
        return m
