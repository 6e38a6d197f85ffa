"""Scores that wait for their row's largest."""

from amaranth import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.payloads import score_layout
from latte.rtl.wide.running_maximum import MAXIMUM_LATENCY, RunningMaximum

__all__ = ["ROW_QUEUE_DEPTH", "ScoreQueue"]

ROW_QUEUE_DEPTH = 64
"""Complete rows that wait for the softmax; more only if rows are very short."""


class ScoreQueue(wiring.Component):
    """Scores of rows in progress, and the maximum of each complete row.

    Softmax needs a row's largest score before its first weight, so a whole row waits here; the queue holds at least
    one row of the greatest length.

    Members
    -------
    i_valid, i : In
        Scores; never refused, so the producer heeds `room`.
    room : Out(1)
        There is room for `margin` more scores.
    overflow : Out(1)
        A score was lost: `room` was not heeded.
    row_max : Out(stream of signed(score_bits))
        One item per complete row.
    o : Out(stream of score_layout)
    """

    def __init__(self, config: AttentionConfig, margin: int):
        self.config = config
        self.margin = margin
        self.depth = max(2 * margin, 1 << ceil_log2(config.max_seq_len + margin + 2))
        super().__init__({"i_valid": In(1), "i": In(score_layout(config)), "room": Out(1), "overflow": Out(1),
                          "row_max": Out(stream.Signature(signed(config.score_bits))),
                          "o": Out(stream.Signature(score_layout(config)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.scores = scores = StreamQueue(score_layout(self.config), self.depth)
        m.submodules.maxima = maxima = StreamQueue(signed(self.config.score_bits), ROW_QUEUE_DEPTH, every_other=True)
        wiring.connect(m, wiring.flipped(self.o), scores.o)
        wiring.connect(m, wiring.flipped(self.row_max), maxima.o)
        m.submodules.maximum = maximum = RunningMaximum(self.config.score_bits)
        first = Signal(init=1)
        m.d.comb += [scores.i.valid.eq(self.i_valid), scores.i.payload.eq(self.i),
                     self.overflow.eq((self.i_valid & ~scores.i.ready) | (maxima.i.valid & ~maxima.i.ready))]
        m.d.sync += [
            # A maximum reaches its queue later than its row's last score.
            self.room.eq((scores.level < self.depth - self.margin)
                         & (maxima.level < ROW_QUEUE_DEPTH - self.margin - (MAXIMUM_LATENCY - 1))),
        ]
        m.d.comb += [
            maximum.valid.eq(self.i_valid), maximum.first.eq(first), maximum.value.eq(self.i.score),
            maxima.i.valid.eq(delay(m, self.i_valid & self.i.row_last, MAXIMUM_LATENCY, name="row_complete")),
            maxima.i.payload.eq(maximum.maximum),
        ]
        with m.If(self.i_valid):
            m.d.sync += first.eq(self.i.row_last)
        return m
