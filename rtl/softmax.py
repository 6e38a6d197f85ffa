"""Softmax: base-2 weights of a row's survivors, relative to the row's largest score."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.golden.softmax import exp2_table
from latte.rtl.payloads import row_layout, score_layout, weight_layout
from latte.rtl.primitives import RAM_LATENCY, Ram, StreamQueue, delay
from latte.rtl.running_maximum import MAXIMUM_LATENCY, RunningMaximum

__all__ = ["ScoreQueue", "Softmax", "WeightPipeline"]

ROW_QUEUE_DEPTH = 64
"""Complete rows that wait for the softmax; more only if rows are very short."""
_MULTIPLIER_BITS = 17
"""Unsigned bits that the smallest common hard multiplier (18 x 18, signed) takes."""


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


class WeightPipeline(wiring.Component):
    """``weight ~ (2**weight_bits - 1) * 2**(-scale * delta)``: `latte.golden.softmax.softmax_weights` for one score.

    ::

        delta * mantissa -> >> shift, round -> fraction -> table of powers -> >> octaves, round -> weight
                                            -> octaves --------------------------^

    Latency: `latency` cycles. Throughput: one per cycle.

    Members
    -------
    delta : In(score_bits + 1)
        Row maximum minus score.
    scale_mantissa, scale_shift : In
    weight : Out(weight_bits)
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        self.latency = 7 + RAM_LATENCY
        super().__init__({"delta": In(config.score_bits + 1), "scale_mantissa": In(SCALE_MANTISSA_BITS),
                          "scale_shift": In(SCALE_SHIFT_BITS), "weight": Out(config.weight_bits)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        frac_bits, weight_bits = config.exp_frac_bits, config.weight_bits
        octave_bits = bits_for(weight_bits + 1)

        def stage(value, name):
            register = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += register.eq(value)
            return register

        # Rounding half up: shift so that half a step remains as the last bit, add it, drop it.
        # In two parts, each of which fits a hard multiplier.
        low = stage(self.delta[:_MULTIPLIER_BITS] * self.scale_mantissa, "product_low")
        high = stage(self.delta[_MULTIPLIER_BITS:] * self.scale_mantissa, "product_high")
        product = stage(low + (high << _MULTIPLIER_BITS), "product")
        shift = delay(m, self.scale_shift, 2, name="shift", reset_less=True)
        coarse = stage((product << 1) >> (shift & 0x38), "coarse")
        fine = coarse >> stage(shift[:3], "fine_shift")
        kept_bits = frac_bits + octave_bits + 1
        half_steps = stage(fine[:kept_bits], "half_steps")
        overflow = stage(fine[kept_bits:].any(), "overflow")
        exponent = stage(((half_steps + 1) >> 1)[:frac_bits + octave_bits + 1], "exponent")
        saturate = stage(overflow, "saturate") | exponent[-1]

        m.submodules.table = table = Ram(weight_bits, 1 << frac_bits, exp2_table(weight_bits, frac_bits).tolist())
        m.d.comb += table.read_addr.eq(exponent[:frac_bits])
        octaves = stage(Mux(saturate, (1 << octave_bits) - 1, exponent[frac_bits:-1]), "octaves")
        octaves = delay(m, octaves, RAM_LATENCY - 1, name="octaves", reset_less=True)
        power_half_steps = stage((table.read_data << 1) >> octaves, "power_half_steps")
        m.d.comb += self.weight.eq(stage(((power_half_steps + 1) >> 1)[:weight_bits], "weight_out"))
        return m


class Softmax(wiring.Component):
    """Weights of each row's survivors, in their order.

    Latency: a row waits until its last score is known; then 2 cycles, `WeightPipeline` and a short queue. Throughput:
    one weight per cycle, without a gap between complete rows of three weights or more. Weights are not normalised here:
    `Normalizer` divides.

    Members
    -------
    i : In(stream of score_layout)
    row_max : In(stream of signed(score_bits))
    row : In(stream of row_layout)
        One item each per row, in order.
    o : Out(stream of weight_layout)
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        super().__init__({"i": In(stream.Signature(score_layout(config))),
                          "row_max": In(stream.Signature(signed(config.score_bits))),
                          "row": In(stream.Signature(row_layout(config))),
                          "o": Out(stream.Signature(weight_layout(config)))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.pipeline = pipeline = WeightPipeline(config)
        latency = 2 + pipeline.latency
        depth = 2 * (latency + 4)
        m.submodules.queue = queue = StreamQueue(weight_layout(config), depth)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        room = Signal()
        m.d.sync += room.eq(queue.level < depth - latency - 2)

        row, row_max, active = Signal(row_layout(config)), Signal(signed(config.score_bits)), Signal()
        step, row_ends, row_begins, fetch = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(active & self.i.valid & room),
            self.i.ready.eq(active & room),
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
        beside = delay(m, beside, latency - 1, name="beside", reset_less=True)
        m.d.comb += [
            queue.i.valid.eq(delay(m, step, latency, name="valid")), queue.i.payload.eq(beside),
            queue.i.payload.weight.eq(pipeline.weight),
        ]
        return m
