"""Survivors on their way to the cross product unit: a queue of groups, then one survivor at a time."""

from amaranth import Array, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.payloads import group_layout, row_mark_layout, survivor_layout, weighs_gaps
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.threshold_filter import ThresholdFilter

__all__ = ["SurvivorQueue"]


class SurvivorQueue(wiring.Component):
    """Buffers groups of estimates, and takes their survivors out one by one, lowest key first.

    The queue rides out rows with many survivors while the estimator goes on.

    Latency: `latency` cycles when empty. Throughput: one survivor per cycle, without a gap between groups.

    Members
    -------
    i_valid, i : In
        A group with at least one survivor; never refused, so the producer heeds `room`.
    room : Out(1)
        Another group may be begun.
    overflow : Out(1)
        A group was lost: `room` was not heeded.
    o : Out(stream of survivor_layout)
    """

    latency = StreamQueue.latency + 1
    """The queue, and the register of the group whose survivors are taken."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.producer_latency = self.producer_latency_of(config)
        super().__init__({"i_valid": In(1), "i": In(group_layout(config)), "room": Out(1), "overflow": Out(1),
                          "o": Out(stream.Signature(survivor_layout(config)))})

    @staticmethod
    def producer_latency_of(config: AttentionConfig) -> int:
        """Return the cycles from `room` to the group that it allowed; rows that wait for their limit are scanned."""
        return (0 if weighs_gaps(config) else RowScanner.latency) + ThresholdFilter.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        # A group takes the cross product unit as many cycles as it has slices, or a multiple of that.
        m.submodules.queue = queue = StreamQueue(
            group_layout(config), config.survivor_fifo_depth, producer_latency=self.producer_latency,
            every_other=config.cross_slices > 1)
        m.d.comb += [queue.i.valid.eq(self.i_valid), queue.i.payload.eq(self.i), self.room.eq(queue.room),
                     self.overflow.eq(queue.overflow)]

        group, valid = Signal(group_layout(config), reset_less=True), Signal()
        left = Signal(config.pairs_per_cycle)
        index = Signal(range(max(2, config.pairs_per_cycle)))
        only = Signal()
        for n in reversed(range(config.pairs_per_cycle)):
            with m.If(left[n]):
                m.d.comb += index.eq(n)
        rest = left & (left - 1)[:config.pairs_per_cycle]
        m.d.comb += [
            only.eq(rest == 0),
            self.o.valid.eq(valid),
            self.o.payload.estimate.eq(Array(group.estimate[n] for n in range(config.pairs_per_cycle))[index]),
            self.o.payload.key.eq(group.key + index), self.o.payload.slot.eq(group.slot),
            self.o.payload.bank.eq(group.bank), self.o.payload.row_last.eq(group.row_last & only),
            queue.o.ready.eq(~valid | (self.o.ready & only)),
        ]
        m.d.comb += [self.o.payload[name].eq(group[name]) for name in row_mark_layout(config).members]
        if config.group_bits:
            m.d.comb += self.o.payload.group.eq(Array(group.groups[n] for n in range(config.pairs_per_cycle))[index])
        with m.If(queue.o.ready):
            m.d.sync += [valid.eq(queue.o.valid), group.eq(queue.o.payload), left.eq(queue.o.payload.keep)]
        with m.Elif(self.o.ready):
            m.d.sync += left.eq(rest)
        return m
