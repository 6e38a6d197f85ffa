"""Softmax: base-2 weights of a row's survivors, relative to the row's largest score."""

from amaranth import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.payloads import row_layout, score_layout, weight_layout
from latte.rtl.wide.weight_pipeline import WeightPipeline

__all__ = ["Softmax"]


class Softmax(wiring.Component):
    """Weights of each row's survivors, in their order.

    Latency: `latency` cycles from a row whose description, maximum and first score are there to its first weight.
    Throughput: one weight per cycle, without a gap between complete rows of three weights or more. Weights are not
    normalised here: `Normalizer` divides.

    Members
    -------
    i : In(stream of score_layout)
    row_max : In(stream of signed(score_bits))
    row : In(stream of row_layout)
        One item each per row, in order.
    o : Out(stream of weight_layout)
    """

    weight_latency = 2 + WeightPipeline.latency
    """Cycles from a score's acceptance to its weight: the score and its row are registered, then their difference."""
    latency = 1 + weight_latency + StreamQueue.latency
    """The row is made the present one first, and a queue comes last."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"i": In(stream.Signature(score_layout(config))),
                          "row_max": In(stream.Signature(signed(config.score_bits))),
                          "row": In(stream.Signature(row_layout(config))),
                          "o": Out(stream.Signature(weight_layout(config)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.pipeline = pipeline = WeightPipeline(config)
        m.submodules.queue = queue = StreamQueue(weight_layout(config), producer_latency=self.weight_latency)
        wiring.connect(m, wiring.flipped(self.o), queue.o)

        row, row_max, active = Signal(row_layout(config)), Signal(signed(config.score_bits)), Signal()
        step, row_ends, row_begins, fetch = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(active & self.i.valid & queue.room),
            self.i.ready.eq(active & queue.room),
            row_ends.eq(step & self.i.payload.row_last),
            row_begins.eq(self.row.valid & self.row_max.valid & ~fetch & (~active | row_ends)),
            self.row.ready.eq(fetch), self.row_max.ready.eq(fetch),
        ]
        with m.If(row_ends):
            m.d.sync += active.eq(0)
        with m.If(row_begins):
            m.d.sync += active.eq(1)
        # The row's wide registers follow a cycle later, as do its scores.
        m.d.sync += fetch.eq(row_begins)
        with m.If(fetch):
            m.d.sync += [row.eq(self.row.payload), row_max.eq(self.row_max.payload)]
        item = delay(m, self.i.payload, 1, name="item", reset_less=True)

        m.d.sync += [
            pipeline.delta.eq(row_max - item.score),
            pipeline.scale_mantissa.eq(row.scale_mantissa), pipeline.scale_shift.eq(row.scale_shift),
        ]
        beside = Signal(weight_layout(config))
        m.d.comb += [beside.key.eq(item.key), beside.row_last.eq(item.row_last),
                     beside.bank.eq(row.bank), beside.job_last.eq(row.job_last & item.row_last)]
        beside = delay(m, beside, self.weight_latency - 1, name="beside", reset_less=True)
        m.d.comb += [
            queue.i.valid.eq(delay(m, step, self.weight_latency, name="valid")), queue.i.payload.eq(beside),
            queue.i.payload.weight.eq(pipeline.weight),
        ]
        return m
