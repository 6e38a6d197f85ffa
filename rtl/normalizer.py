"""Normaliser: one reciprocal per row, one product per output element."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import (
    INTERPOLATION_BITS,
    NUMERATOR_FRAC_BITS,
    RECIPROCAL_FRAC_BITS,
    reciprocal_table,
)
from latte.rtl.payloads import output_layout
from latte.rtl.primitives import RAM_LATENCY, Ram, StreamQueue, delay, next_modulo

__all__ = ["Normalizer", "Reciprocal", "RowMemory", "RowScaler", "RowShifter"]


def exponent_shape(config: AttentionConfig) -> range:
    """Shape of the place of the leading one of a sum of weights, above the smallest: `weight_bits` - 1."""
    return range(config.sum_bits - config.weight_bits + 1)


class Reciprocal(wiring.Component):
    """``1 / weight_sum`` as mantissa and exponent: `latte.golden.normalizer.reciprocal`.

    ::

        sum -> leading one -> shift left -> index -> table of base and slope -> base - slope * remainder
                                         -> remainder ------------------------------------^

    A row's sum is at least ``2**weight_bits - 1``, the weight of its largest score, which bounds the shifter.

    Latency: `latency` cycles. Throughput: one per cycle.

    Members
    -------
    weight_sum : In(sum_bits)
    mantissa : Out(17)
    exponent : Out
        Place of the leading one, less ``weight_bits - 1``.
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        self.latency = 7 + RAM_LATENCY
        super().__init__({"weight_sum": In(config.sum_bits), "mantissa": Out(RECIPROCAL_FRAC_BITS),
                          "exponent": Out(exponent_shape(config))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        index_bits = config.reciprocal_bits
        fraction_bits = index_bits + INTERPOLATION_BITS
        places = config.sum_bits - config.weight_bits
        exponent = Signal(exponent_shape(config), reset_less=True)
        weight_sum = Signal(config.sum_bits, reset_less=True)
        m.d.sync += [weight_sum.eq(self.weight_sum), exponent.eq(0)]
        for place in range(1, places + 1):
            with m.If(self.weight_sum[config.weight_bits - 1 + place]):
                m.d.sync += exponent.eq(place)

        # Two stages of shifting bring the leading one to the top; the bits below it are index and remainder.
        low_bits = (len(exponent) + 1) // 2
        distance = Signal(range(places + 1), reset_less=True)
        shifted = Signal(config.sum_bits, reset_less=True)
        aligned = Signal(config.sum_bits, reset_less=True)
        m.d.sync += [
            distance.eq(places - exponent), shifted.eq(weight_sum),
        ]
        coarse = Signal(config.sum_bits, reset_less=True)
        fine_distance = Signal(low_bits, reset_less=True)
        m.d.sync += [
            coarse.eq((shifted << (distance[low_bits:] << low_bits))[:config.sum_bits]),
            fine_distance.eq(distance[:low_bits]),
            aligned.eq((coarse << fine_distance)[:config.sum_bits]),
        ]
        below = Cat(Const(0, fraction_bits), aligned[:-1])[-fraction_bits:]
        index, remainder = below[INTERPOLATION_BITS:], below[:INTERPOLATION_BITS]

        base, slope = reciprocal_table(index_bits)
        entry = data.StructLayout({"base": RECIPROCAL_FRAC_BITS, "slope": int(slope.max()).bit_length()})
        m.submodules.table = table = Ram(entry, 1 << index_bits, [
            {"base": int(b), "slope": int(s)} for b, s in zip(base, slope, strict=True)])
        m.d.comb += table.read_addr.eq(index)
        # One register is the memory's own, the next one the multiplier's.
        remainder = delay(m, remainder, RAM_LATENCY + 1, name="remainder", reset_less=True)
        factor = delay(m, table.read_data.slope, 1, name="factor", reset_less=True)
        step = Signal(range(int(slope.max()) << INTERPOLATION_BITS), reset_less=True)
        base = delay(m, table.read_data.base, 2, name="base", reset_less=True)
        # base - round(step), half up, in one subtraction: the fraction below the base is just short of a half.
        extended = Cat(Const((1 << (INTERPOLATION_BITS - 1)) - 1, INTERPOLATION_BITS), base)
        m.d.sync += [step.eq(factor * remainder), self.mantissa.eq((extended - step) >> INTERPOLATION_BITS)]
        m.d.comb += self.exponent.eq(delay(m, exponent, self.latency - 1, name="exponent", reset_less=True))
        return m


class RowScaler(wiring.Component):
    """``round(numerator * reciprocal)`` of `normalizer_lanes` elements: `latte.golden.normalizer.normalize`.

    The numerator is shifted to 18 bits, so that the product takes one 18 x 18 multiplier.

    Latency: `latency` cycles. Throughput: one beat per cycle. The result is limited to `out_bits`, which only the
    rounding of -128 can exceed.

    Members
    -------
    numerator : In(ArrayLayout(signed(acc_bits), normalizer_lanes))
    mantissa, exponent : In
        From `Reciprocal`.
    quotient : Out(ArrayLayout(signed(out_bits), normalizer_lanes))
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        self.latency = 6
        lanes = config.normalizer_lanes
        super().__init__({
            "numerator": In(data.ArrayLayout(signed(config.acc_bits), lanes)),
            "mantissa": In(RECIPROCAL_FRAC_BITS), "exponent": In(exponent_shape(config)),
            "quotient": Out(data.ArrayLayout(signed(config.out_bits), lanes))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        operand = signed(8 + NUMERATOR_FRAC_BITS + 1)
        least = config.weight_bits - 1
        high_bits = len(self.exponent) // 2
        low_bits = len(self.exponent) - high_bits
        low_shift = delay(m, self.exponent[:low_bits], 1, name="low_shift", reset_less=True)
        mantissa = delay(m, self.mantissa, 2, name="mantissa", reset_less=True)
        drop = RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits
        limit = 1 << (config.out_bits - 1)

        def stage(value, name, shape=None):
            register = Signal(shape or value.shape(), name=name, reset_less=True)
            m.d.sync += register.eq(value)
            return register

        for n in range(config.normalizer_lanes):
            scaled = (self.numerator[n] << NUMERATOR_FRAC_BITS) >> least
            coarse = stage(scaled >> (self.exponent[low_bits:] << low_bits), f"coarse_{n}")
            numerator = stage(coarse >> low_shift, f"fine_{n}", operand)
            product = stage(stage(numerator * mantissa, f"product_{n}"), f"piped_{n}")
            rounded = stage((product + (1 << (drop - 1))) >> drop, f"rounded_{n}")
            limited = Mux(rounded < -limit, -limit, Mux(rounded > limit - 1, limit - 1, rounded))
            m.d.comb += self.quotient[n].eq(stage(limited, f"quotient_{n}", signed(config.out_bits)))
        return m


def row_signature(config: AttentionConfig) -> dict:
    """Return the members of what holds rows before the scaler, `RowMemory` or `RowShifter`.

    ``write_en``, ``write_slice``, ``write_data``: a word of the arriving row; it stands until the next one.
    ``hand_over``: the arrived row becomes the leaving one. ``step``: its next elements, from the first, are in
    ``elements`` `ROW_LATENCY` cycles later.
    """
    element = signed(config.acc_bits)
    return {"write_en": In(1), "write_slice": In(range(max(2, config.value_slices))),
            "write_data": In(data.ArrayLayout(element, config.value_lanes)),
            "hand_over": In(1), "step": In(1), "elements": Out(data.ArrayLayout(element, config.normalizer_lanes))}


ROW_LATENCY = 3


class RowMemory(wiring.Component):
    """Two rows of several words each: LUT RAM where they are wide and few, block RAM where they are many.

    Latency: `ROW_LATENCY` cycles from a step to its elements. Nothing is read while it is written.

    Members are those of `row_signature`.
    """

    LUT_RAM_DEPTH = 16

    def __init__(self, config: AttentionConfig):
        self.config = config
        super().__init__(row_signature(config))

    def elaborate(self, platform):
        m = Module()
        config = self.config
        beats_per_word = config.value_lanes // config.normalizer_lanes
        write_half, in_word = Signal(), Signal(range(max(2, beats_per_word)))
        read_slice = Signal.like(self.write_slice)
        with m.If(self.step):
            m.d.sync += in_word.eq(next_modulo(in_word, beats_per_word))
            with m.If(in_word == beats_per_word - 1):
                m.d.sync += read_slice.eq(read_slice + 1)
        with m.If(self.hand_over):
            m.d.sync += [write_half.eq(~write_half), in_word.eq(0), read_slice.eq(0)]

        write_address, read_address = Cat(self.write_slice, write_half), Cat(read_slice, ~write_half)
        depth = 1 << len(read_address)
        m.submodules.array = array = memory.Memory(shape=self.write_data.shape(), depth=depth, init=[])
        write = array.write_port()
        if depth <= self.LUT_RAM_DEPTH:
            # The element mux has its register behind the memory: one here would be the size of a word.
            read = array.read_port(domain="comb")
            read_address = delay(m, read_address, 1, name="read_address", reset_less=True)
        else:
            read = array.read_port()
        m.d.comb += [write.en.eq(self.write_en), write.addr.eq(write_address), write.data.eq(self.write_data),
                     read.addr.eq(read_address)]
        # The elements are chosen in two steps: one of four, then the rest.
        width = len(self.elements.as_value())
        chunks = [read.data.as_value()[first:first + width] for first in range(0, beats_per_word * width, width)]
        chunk = delay(m, in_word, 1, name="chunk", reset_less=True)
        group = delay(m, chunk[2:], 1, name="group", reset_less=True)
        chosen = [Signal(width, name=f"chosen_{first}", reset_less=True) for first in range(0, beats_per_word, 4)]
        m.d.sync += [target.eq(Array(chunks[4 * n:4 * n + 4])[chunk[:2]]) for n, target in enumerate(chosen)]
        m.d.sync += self.elements.eq(Array(chosen)[group])
        return m


class RowShifter(wiring.Component):
    """A row that comes as one word and leaves by shifting: one LUT per bit, where a memory would have to be as wide.

    Latency: `ROW_LATENCY` cycles from a step to its elements.

    Members are those of `row_signature`.
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        super().__init__(row_signature(config))

    def elaborate(self, platform):
        m = Module()
        width = len(self.elements.as_value())
        row = Signal(len(self.write_data.as_value()), reset_less=True)
        shift = delay(m, self.step, 1, name="shift")
        with m.If(self.hand_over):
            m.d.sync += row.eq(self.write_data)
        with m.Elif(shift):
            m.d.sync += row.eq(row >> width)
        m.d.comb += self.elements.eq(delay(m, row[:width], ROW_LATENCY - 1, name="elements", reset_less=True))
        return m


class Normalizer(wiring.Component):
    """Divides each row by its sum of weights and sends it out, `normalizer_lanes` elements per beat::

        word -------> RowMemory or RowShifter -> RowScaler -> queue -> o
        weight_sum -> Reciprocal ----------------^

    One row arrives while another leaves.

    Latency: 2 cycles from a row's last word, then one beat per cycle. Throughput: one row in
    ``max(head_dim / normalizer_lanes, RAM_LATENCY + 8)`` cycles or a little more.

    Members
    -------
    row_reserve : In(1)
        A row is under way; allowed while `row_room`.
    row_room : Out(1)
    sum_valid, weight_sum, job_last : In
    word_valid, word : In
        A word stands until the next one is valid.
    o : Out(stream of output_layout)
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        super().__init__({
            "row_reserve": In(1), "row_room": Out(1),
            "sum_valid": In(1), "weight_sum": In(config.sum_bits), "job_last": In(1),
            "word_valid": In(1), "word": In(data.ArrayLayout(signed(config.acc_bits), config.value_lanes)),
            "o": Out(stream.Signature(output_layout(config)))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        slices = config.value_slices
        reserved, words, leaving_valid = Signal(), Signal(range(slices + 1)), Signal()

        m.submodules.reciprocal = reciprocal = Reciprocal(config)
        m.d.comb += reciprocal.weight_sum.eq(self.weight_sum)
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

        m.submodules.rows = rows = RowShifter(config) if slices == 1 else RowMemory(config)
        m.d.comb += [rows.write_en.eq(self.word_valid), rows.write_slice.eq(words), rows.write_data.eq(self.word),
                     rows.hand_over.eq(hand_over)]
        self._send(m, leaving_valid, rows, leaving)
        return m

    def _send(self, m, leaving_valid, rows, leaving):
        """Send the leaving row out, beat by beat, while the output queue has room."""
        config = self.config
        beats = config.head_dim // config.normalizer_lanes
        m.submodules.scaler = scaler = RowScaler(config)
        latency = scaler.latency + ROW_LATENCY
        depth = 2 * (latency + 4)
        m.submodules.queue = queue = StreamQueue(output_layout(config), depth)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        room = Signal()
        m.d.sync += room.eq(queue.level < depth - latency - 2)

        beat, step, row_ends = Signal(range(max(2, beats))), Signal(), Signal()
        m.d.comb += [step.eq(leaving_valid & room), row_ends.eq(beat == beats - 1), rows.step.eq(step)]
        with m.If(step):
            m.d.sync += beat.eq(next_modulo(beat, beats))
            with m.If(row_ends):
                m.d.sync += leaving_valid.eq(0)

        factor = delay(m, leaving, ROW_LATENCY, name="factor", reset_less=True)
        m.d.comb += [scaler.numerator.eq(rows.elements), scaler.mantissa.eq(factor.mantissa),
                     scaler.exponent.eq(factor.exponent)]
        flags = Signal(data.StructLayout({"row_last": 1, "job_last": 1}))
        m.d.comb += [flags.row_last.eq(row_ends), flags.job_last.eq(row_ends & leaving.job_last)]
        flags = delay(m, flags, latency, name="flags", reset_less=True)
        m.d.comb += [
            queue.i.valid.eq(delay(m, step, latency, name="valid")),
            queue.i.payload.data.eq(scaler.quotient),
            queue.i.payload.row_last.eq(flags.row_last), queue.i.payload.job_last.eq(flags.job_last),
        ]
