"""Scores that wait for their row's largest."""

from amaranth import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.payloads import score_layout
from latte.rtl.wide.running_maximum import RunningMaximum

__all__ = ["ROW_QUEUE_DEPTH", "ScoreQueue"]

ROW_QUEUE_DEPTH = 64
"""Complete rows that wait for the softmax; more only if rows are very short."""


class ScoreQueue(wiring.Component):
    """Scores of rows in progress, and the maximum of each complete row.

    Softmax needs a row's largest score before its first weight, so a whole row waits here; the queue holds at least
    one row of the greatest length.

    Latency: `latency` cycles from a row's last score to its maximum. Throughput: one score per cycle.

    Members
    -------
    i_valid, i : In
        Scores; never refused, so the producer heeds `room`.
    room : Out(1)
        Another score may be begun.
    overflow : Out(1)
        A score was lost: `room` was not heeded.
    row_max : Out(stream of signed(score_bits))
        One item per complete row.
    o : Out(stream of score_layout)
    """

    latency = RunningMaximum.latency + StreamQueue.latency

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.producer_latency = CrossProductUnit.latency_of(config)
        self.depth = self.depth_of(config)
        super().__init__({"i_valid": In(1), "i": In(score_layout(config)), "room": Out(1), "overflow": Out(1),
                          "row_max": Out(stream.Signature(signed(config.score_bits))),
                          "o": Out(stream.Signature(score_layout(config)))})

    @staticmethod
    def depth_of(config: AttentionConfig) -> int:
        """Return the entries of a build: a row of the greatest length beside what is under way, in whole memories."""
        under_way = StreamQueue.count_under_way(CrossProductUnit.latency_of(config))
        return max(2 * under_way, 1 << ceil_log2(config.max_seq_len + under_way + 2))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.scores = scores = StreamQueue(
            score_layout(config), self.depth, producer_latency=self.producer_latency)
        m.submodules.maximum = maximum = RunningMaximum(config.score_bits)
        # A maximum reaches its queue later than its row's last score.
        m.submodules.maxima = maxima = StreamQueue(
            signed(config.score_bits), ROW_QUEUE_DEPTH, producer_latency=self.producer_latency + maximum.latency,
            every_other=True)
        wiring.connect(m, wiring.flipped(self.o), scores.o)
        wiring.connect(m, wiring.flipped(self.row_max), maxima.o)
        first = Signal(init=1)
        m.d.comb += [
            scores.i.valid.eq(self.i_valid), scores.i.payload.eq(self.i),
            self.room.eq(scores.room & maxima.room), self.overflow.eq(scores.overflow | maxima.overflow),
            maximum.valid.eq(self.i_valid), maximum.first.eq(first), maximum.value.eq(self.i.score),
            maxima.i.valid.eq(delay(m, self.i_valid & self.i.row_last, maximum.latency, name="row_complete")),
            maxima.i.payload.eq(maximum.maximum),
        ]
        with m.If(self.i_valid):
            m.d.sync += first.eq(self.i.row_last)
        return m
