"""Softmax: base-2 weights of a row's survivors, relative to the row's largest score."""

from amaranth import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.gap_table import ask_layout
from latte.rtl.wide.payloads import gap_weight_bits, row_layout, score_layout, weighs_gaps, weight_layout
from latte.rtl.wide.weight_pipeline import FineWeightPipeline, WeightPipeline, create_weight_pipeline, mass_shift_range

__all__ = ["Softmax", "rescale_layout"]


def rescale_layout(config: AttentionConfig) -> data.StructLayout:
    """What brings a row's pruned mass to its largest score: a power, and places to the right."""
    return data.StructLayout({"power": config.weight_bits, "shift": mass_shift_range(config)})


class Softmax(wiring.Component):
    """Weights of each row's survivors, in their order.

    In a build that weighs gaps the pipeline serves two more: `FillTables` asks for the weights of gaps, which are made
    in cycles without a score; and in one that compensates, each row begins with the distance of its largest score from
    its largest estimate.

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
    ask : In(stream of gap, mantissa, shift)
        A gap to weigh. With `answer_valid` and `answer`, `weight_latency` cycles later, in a build that weighs gaps.
    begun : Out(stream of row_layout)
        The row that has begun; a row does not begin before the last one was taken. With `rescale_valid` and `rescale`,
        its `rescale_layout` some cycles later, in a build that compensates.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latency = self.latency_of(config)
        ports = {"i": In(stream.Signature(score_layout(config))),
                 "row_max": In(stream.Signature(signed(config.score_bits))),
                 "row": In(stream.Signature(row_layout(config))),
                 "o": Out(stream.Signature(weight_layout(config)))}
        if weighs_gaps(config):
            ports |= {"ask": In(stream.Signature(ask_layout())), "answer_valid": Out(1),
                      "answer": Out(gap_weight_bits(config))}
        if config.key_groups:
            ports |= {"begun": Out(stream.Signature(row_layout(config))), "rescale_valid": Out(1),
                      "rescale": Out(rescale_layout(config))}
        super().__init__(ports)

    weight_latency = 2 + WeightPipeline.latency
    """Cycles from a score's acceptance to its weight: the score and its row are registered, then their difference."""

    @classmethod
    def latency_of(cls, config: AttentionConfig) -> int:
        """Return the latency of a build: the row is made the present one, its mass rescaled; a queue comes last."""
        return 1 + bool(config.key_groups) + cls.weight_latency + StreamQueue.latency

    @classmethod
    def depth_of(cls, config: AttentionConfig) -> int:
        """Return the weights that a build holds: for endless rows, or while virtual survivors are on their way."""
        gapless = StreamQueue.gapless_depth(cls.weight_latency)
        return max(gapless, 64) if config.key_groups else gapless

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.pipeline = pipeline = create_weight_pipeline(config)
        m.submodules.queue = queue = StreamQueue(weight_layout(config), self.depth_of(config),
                                                 producer_latency=self.weight_latency)
        wiring.connect(m, wiring.flipped(self.o), queue.o)

        row, row_max, active = Signal(row_layout(config)), Signal(signed(config.score_bits)), Signal()
        step, row_ends, row_begins, fetch = Signal(), Signal(), Signal(), Signal()
        told = ~self.begun.valid | self.begun.ready if config.key_groups else Const(1)
        m.d.comb += [
            step.eq(active & self.i.valid & queue.room),
            self.i.ready.eq(active & queue.room),
            row_ends.eq(step & self.i.payload.row_last),
            row_begins.eq(self.row.valid & self.row_max.valid & ~fetch & told & (~active | row_ends)),
            self.row.ready.eq(fetch), self.row_max.ready.eq(fetch),
        ]
        with m.If(row_ends):
            m.d.sync += active.eq(0)
        # The row's wide registers follow a cycle later, as do its scores; a row's rescaling comes before them.
        m.d.sync += fetch.eq(row_begins)
        with m.If(fetch if config.key_groups else row_begins):
            m.d.sync += active.eq(1)
        with m.If(fetch):
            m.d.sync += [row.eq(self.row.payload), row_max.eq(self.row_max.payload)]
        item = delay(m, self.i.payload, 1, name="item", reset_less=True)
        if config.key_groups:
            estimate = Signal(signed(config.score_bits), reset_less=True)
            rescales = delay(m, fetch, 1, name="rescales")
            m.d.sync += estimate.eq(self.row.payload.row_max << config.estimate_shift)
            delta = row_max - Mux(rescales, estimate, item.score)
            self._begin(m, row, fetch, rescales, pipeline)
        else:
            delta, rescales = row_max - item.score, Const(0)
        mantissa, shift = row.scale_mantissa, row.scale_shift
        if weighs_gaps(config):
            # A gap takes the place of a score that does not come.
            asked = Signal()
            m.d.comb += [self.ask.ready.eq(~rescales & ~delay(m, step, 1, name="weighs")),
                         asked.eq(self.ask.valid & self.ask.ready)]
            ask = self.ask.payload
            delta = Mux(asked, ask.gap << config.estimate_shift, delta)
            mantissa, shift = Mux(asked, ask.mantissa, mantissa), Mux(asked, ask.shift, shift)
            m.d.comb += [self.answer_valid.eq(delay(m, asked, self.weight_latency - 1, name="answer_valid")),
                         self.answer.eq(pipeline.fine_weight)]
        m.d.sync += [pipeline.delta.eq(delta), pipeline.scale_mantissa.eq(mantissa), pipeline.scale_shift.eq(shift)]
        beside = Signal(weight_layout(config))
        m.d.comb += [beside.key.eq(item.key), beside.row_last.eq(item.row_last),
                     beside.bank.eq(row.bank), beside.job_last.eq(row.job_last & item.row_last)]
        beside = delay(m, beside, self.weight_latency - 1, name="beside", reset_less=True)
        m.d.comb += [
            queue.i.valid.eq(delay(m, step, self.weight_latency, name="valid")), queue.i.payload.eq(beside),
            queue.i.payload.weight.eq(pipeline.weight),
        ]
        return m

    def _begin(self, m: Module, row: data.View, fetch: Signal, rescales: Value, pipeline: FineWeightPipeline) -> None:
        """Tell of the row that has begun, and of its rescaling."""
        m.d.comb += self.begun.payload.eq(row)
        with m.If(fetch):
            m.d.sync += self.begun.valid.eq(1)
        with m.Elif(self.begun.ready):
            m.d.sync += self.begun.valid.eq(0)
        m.d.comb += [
            self.rescale_valid.eq(delay(m, rescales, self.weight_latency - 1, name="rescale_valid")),
            self.rescale.power.eq(pipeline.power), self.rescale.shift.eq(pipeline.mass_shift),
        ]
