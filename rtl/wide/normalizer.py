"""Normaliser: one reciprocal per row, one product per output element."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import RECIPROCAL_FRAC_BITS
from latte.rtl.common.payloads import length_shape, output_layout
from latte.rtl.common.primitives import delay, next_modulo
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.payloads import weight_sum_bits, word_bits
from latte.rtl.wide.reciprocal import Reciprocal, exponent_shape
from latte.rtl.wide.row_memory import ROW_LATENCY, RowMemory, RowRegister
from latte.rtl.wide.row_scaler import RowScaler

__all__ = ["Normalizer", "count_layout"]


def count_layout(config: AttentionConfig) -> data.StructLayout:
    """Reciprocal of a number of keys."""
    return data.StructLayout({"mantissa": RECIPROCAL_FRAC_BITS, "exponent": exponent_shape(config)})


class Normalizer(wiring.Component):
    """Divides each row by its sum of weights and sends it out, `normalizer_lanes` elements per beat::

        word -------> RowMemory or RowRegister -> RowScaler -> queue -> o
        weight_sum -> Reciprocal ----------------^

    One row arrives while another leaves.

    Latency: `latency` cycles from a row's last word to its first beat, if its reciprocal is there. Throughput: one row
    in ``max(head_dim / normalizer_lanes, Reciprocal.latency)`` cycles or a little more.

    Members
    -------
    row_reserve : In(1)
        A row is under way; allowed while `row_room`.
    row_room : Out(1)
    sum_valid, weight_sum, job_last : In
    word_valid, word : In
        A word stands until the next one is valid.
    o : Out(stream of output_layout)
    keys : In(stream of length_shape)
        A number of keys, positive; `counted` : Out(1) and `count` : Out(count_layout) its reciprocal,
        `Reciprocal.latency` cycles later. Present in a build that compensates.
    """

    hand_over_latency = 2
    """Cycles from a row's last word until its first element may leave: counted, handed over."""
    beat_latency = ROW_LATENCY + RowScaler.latency
    """Cycles from an element's leaving to its quotient."""
    latency = hand_over_latency + beat_latency + StreamQueue.latency

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "row_reserve": In(1), "row_room": Out(1),
            "sum_valid": In(1), "weight_sum": In(weight_sum_bits(config)), "job_last": In(1),
            "word_valid": In(1), "word": In(data.ArrayLayout(signed(word_bits(config)), config.value_lanes)),
            "o": Out(stream.Signature(output_layout(config))),
            **({"keys": In(stream.Signature(length_shape(config))), "counted": Out(1),
                "count": Out(count_layout(config))} if config.key_groups else {})})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slices = config.value_slices
        reserved, words, leaving_valid = Signal(), Signal(range(slices + 1)), Signal()

        m.submodules.reciprocal = reciprocal = Reciprocal(config)
        m.d.comb += reciprocal.weight_sum.eq(self.weight_sum)
        if config.key_groups:
            self._count(m, reciprocal)
        reciprocal_ready = Signal()
        arriving = Signal(data.StructLayout({"mantissa": RECIPROCAL_FRAC_BITS, "exponent": exponent_shape(config),
                                             "job_last": 1}), reset_less=True)
        leaving = Signal.like(arriving, reset_less=True)
        with m.If(delay(m, self.sum_valid, reciprocal.latency, name="sum_valid")):
            m.d.sync += [reciprocal_ready.eq(1), arriving.mantissa.eq(reciprocal.mantissa),
                         arriving.exponent.eq(reciprocal.exponent)]
        with m.If(self.sum_valid):
            m.d.sync += arriving.job_last.eq(self.job_last)

        hand_over = Signal()
        m.d.comb += [
            hand_over.eq((words == slices) & reciprocal_ready & ~leaving_valid),
            self.row_room.eq(~reserved),
        ]
        with m.If(self.row_reserve):
            m.d.sync += reserved.eq(1)
        with m.If(self.word_valid):
            m.d.sync += words.eq(words + 1)
        with m.If(hand_over):
            m.d.sync += [leaving.eq(arriving), leaving_valid.eq(1), words.eq(0), reciprocal_ready.eq(0),
                         reserved.eq(0)]

        m.submodules.rows = rows = RowRegister(config) if slices == 1 else RowMemory(config)
        m.d.comb += [rows.write_en.eq(self.word_valid), rows.write_slice.eq(words), rows.write_data.eq(self.word),
                     rows.hand_over.eq(hand_over)]
        self._send(m, leaving_valid, rows, leaving)
        return m

    def _count(self, m: Module, reciprocal: Reciprocal) -> None:
        """Give the reciprocal of a number of keys, in a cycle without a row's sum."""
        m.d.comb += self.keys.ready.eq(~self.sum_valid)
        with m.If(~self.sum_valid):
            # As a number of weights of a half: no sum is smaller.
            m.d.comb += reciprocal.weight_sum.eq(self.keys.payload << (self.config.weight_bits - 1))
        m.d.comb += [
            self.counted.eq(delay(m, self.keys.valid & self.keys.ready, reciprocal.latency, name="counted")),
            self.count.mantissa.eq(reciprocal.mantissa), self.count.exponent.eq(reciprocal.exponent),
        ]

    def _send(self, m: Module, leaving_valid: Signal, rows: RowMemory | RowRegister, leaving: data.View) -> None:
        """Send the leaving row out, beat by beat, while the output queue has room."""
        config = self.config
        beats = config.head_dim // config.normalizer_lanes
        m.submodules.scaler = scaler = RowScaler(config)
        m.submodules.queue = queue = StreamQueue(output_layout(config), producer_latency=self.beat_latency)
        wiring.connect(m, wiring.flipped(self.o), queue.o)

        beat, step, row_ends = Signal(range(max(2, beats))), Signal(), Signal()
        m.d.comb += [step.eq(leaving_valid & queue.room), row_ends.eq(beat == beats - 1), rows.step.eq(step)]
        with m.If(step):
            m.d.sync += beat.eq(next_modulo(beat, beats))
            with m.If(row_ends):
                m.d.sync += leaving_valid.eq(0)

        factor = delay(m, leaving, rows.latency, name="factor", reset_less=True)
        m.d.comb += [scaler.numerator.eq(rows.elements), scaler.mantissa.eq(factor.mantissa),
                     scaler.exponent.eq(factor.exponent)]
        flags = Signal(data.StructLayout({"row_last": 1, "job_last": 1}))
        m.d.comb += [flags.row_last.eq(row_ends), flags.job_last.eq(row_ends & leaving.job_last)]
        flags = delay(m, flags, self.beat_latency, name="flags", reset_less=True)
        m.d.comb += [
            queue.i.valid.eq(delay(m, step, self.beat_latency, name="valid")),
            queue.i.payload.data.eq(scaler.quotient),
            queue.i.payload.row_last.eq(flags.row_last), queue.i.payload.job_last.eq(flags.job_last),
        ]
