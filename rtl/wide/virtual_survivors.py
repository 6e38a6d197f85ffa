"""Puts each row's virtual survivors behind its real ones, on their way to the value accumulator."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import UNIT_FRAC_BITS
from latte.rtl.wide.key_counts import ROW_BITS, added_key_layout
from latte.rtl.wide.mass_compensation import compensation_layout
from latte.rtl.wide.payloads import denominator_bits, value_item_layout, weight_layout

__all__ = ["VirtualSurvivors"]


class VirtualSurvivors(wiring.Component):
    """One row after the other: survivors, in their gaps keys whose values are added, and virtual survivors at its end.

    A row's sums are exact, so their order is free; its virtual survivors are not known before its first real ones pass.
    The item has a register of its own: what chooses it is as much logic as what it decides in the value accumulator.

    Latency: `latency` cycle. Throughput: one item per cycle; a row takes two cycles or more.

    Members
    -------
    i : In(stream of weight_layout)
    added : In(stream of added_key_layout)
        A row's are there before its virtual survivors.
    compensation : In(stream of compensation_layout)
    denominator : In(stream of denominator_bits)
        One per row.
    o : Out(stream of value_item_layout)
    sum_end : Out(denominator_bits)
        The row's denominator, with its last item.
    """

    latency = 1

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(weight_layout(config))), "added": In(stream.Signature(added_key_layout(config))),
            "compensation": In(stream.Signature(compensation_layout(config))),
            "denominator": In(stream.Signature(denominator_bits(config))),
            "o": Out(stream.Signature(value_item_layout(config))), "sum_end": Out(denominator_bits(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The row's survivors have passed; what they said of the job and its keys.
        ended, job_last, bank, number = Signal(), Signal(), Signal(), Signal(ROW_BITS)
        given, key, item = self.compensation.payload, self.added.payload, self.i.payload
        offered, free, o = Signal(), Signal(), Signal.like(self.o.payload)
        # A row's denominator leaves its queue a cycle after the row's last item: what takes the item is logic enough.
        leaves = Signal()
        there = self.denominator.valid & ~leaves
        # The last survivor is the row's last item if nothing is given back, which is known soon.
        known = self.compensation.valid & (given.virtual | there)
        survives = self.i.valid & ~ended & (~item.row_last | known)
        adds = self.added.valid & (key.row == number)
        gives = self.compensation.valid & given.virtual & Mux(given.last, ended & there, ended | ~self.i.valid)
        # An item that was offered stays on offer.
        held, turn, taken, row_ends = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            turn.eq(held | ~survives), offered.eq(Mux(turn, adds | gives | held, survives)),
            free.eq(~self.o.valid | self.o.ready), taken.eq(offered & free),
            o.job_last.eq(row_ends & Mux(turn, job_last, item.job_last)), o.row_last.eq(row_ends),
            self.denominator.ready.eq(leaves),
        ]
        m.d.sync += [leaves.eq(taken & row_ends), held.eq(offered & turn & ~free),
                     number.eq(number + (taken & row_ends))]
        with m.If(free):
            m.d.sync += [self.o.valid.eq(offered), self.o.payload.eq(o), self.sum_end.eq(self.denominator.payload)]
        with m.If(~turn):
            m.d.comb += [
                row_ends.eq(item.row_last & ~given.virtual), self.i.ready.eq(taken),
                self.compensation.ready.eq(taken & row_ends),
                o.weight.eq(item.weight << UNIT_FRAC_BITS), o.key.eq(item.key), o.bank.eq(item.bank),
            ]
            with m.If(taken & item.row_last & given.virtual):
                m.d.sync += [ended.eq(1), job_last.eq(item.job_last), bank.eq(item.bank)]
        with m.Elif(adds):
            m.d.comb += [self.added.ready.eq(taken), o.key.eq(key.key), o.bank.eq(key.bank), o.adds.eq(1),
                         o.first.eq(key.first)]
            if self.config.group_bits:
                m.d.comb += o.group.eq(key.group)
        with m.Else():
            m.d.comb += [row_ends.eq(given.last), self.compensation.ready.eq(taken), o.weight.eq(given.unit),
                         o.virtual.eq(1), o.bank.eq(bank)]
            if self.config.group_bits:
                m.d.comb += o.group.eq(given.group)
            with m.If(taken & row_ends):
                m.d.sync += ended.eq(0)
        return m
