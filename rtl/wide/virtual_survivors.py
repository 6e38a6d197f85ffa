"""Puts each row's virtual survivors in front of its real ones, on their way to the value accumulator."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import UNIT_FRAC_BITS
from latte.rtl.wide.mass_compensation import compensation_layout
from latte.rtl.wide.payloads import denominator_bits, value_item_layout, weight_layout

__all__ = ["VirtualSurvivors"]


class VirtualSurvivors(wiring.Component):
    """One row after the other: keys whose values are added, virtual survivors, survivors.

    Latency: none. Throughput: one item per cycle; a row without compensation takes a cycle more.

    Members
    -------
    compensation : In(stream of compensation_layout)
    denominator : In(stream of denominator_bits)
        One per row.
    i : In(stream of weight_layout)
    o : Out(stream of value_item_layout)
    sum_begin : Out(denominator_bits)
        The row's denominator, while its survivors pass.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "compensation": In(stream.Signature(compensation_layout(config))),
            "denominator": In(stream.Signature(denominator_bits(config))),
            "i": In(stream.Signature(weight_layout(config))), "o": Out(stream.Signature(value_item_layout(config))),
            "sum_begin": Out(denominator_bits(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        survivors = Signal()
        first, item, o = self.compensation.payload, self.i.payload, self.o.payload
        m.d.comb += self.sum_begin.eq(self.denominator.payload)
        with m.If(survivors):
            m.d.comb += [
                self.o.valid.eq(self.i.valid & self.denominator.valid),
                self.i.ready.eq(self.o.ready & self.denominator.valid),
                o.weight.eq(item.weight << UNIT_FRAC_BITS), o.key.eq(item.key), o.bank.eq(item.bank),
                o.row_last.eq(item.row_last), o.job_last.eq(item.job_last),
                self.denominator.ready.eq(self.i.valid & self.i.ready & item.row_last),
            ]
            with m.If(self.denominator.ready):
                m.d.sync += survivors.eq(0)
        with m.Else():
            counts = first.adds | first.virtual
            m.d.comb += [
                self.o.valid.eq(self.compensation.valid & counts), self.compensation.ready.eq(self.o.ready | ~counts),
                o.weight.eq(first.unit), o.key.eq(first.key), o.bank.eq(first.bank),
                o.virtual.eq(first.virtual), o.adds.eq(first.adds), o.first.eq(first.first),
            ]
            if self.config.group_bits:
                m.d.comb += o.group.eq(first.group)
            with m.If(self.compensation.valid & self.compensation.ready & first.last):
                m.d.sync += survivors.eq(1)
        return m
