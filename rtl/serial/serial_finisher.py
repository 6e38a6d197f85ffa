"""Third stage of the serial core: softmax, P·V and division of one row, with one multiplier and one shifter."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import (
    INTERPOLATION_BITS,
    NUMERATOR_FRAC_BITS,
    RECIPROCAL_FRAC_BITS,
    reciprocal_table,
)
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.golden.softmax import exp2_table
from latte.rtl.common.payloads import key_shape, length_shape, output_layout
from latte.rtl.common.primitives import delay
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_scorer import SCORE_SHIFT, scored_row_layout, stored_score
from latte.rtl.serial.serial_scratchpad import plane_port

__all__ = ["SerialFinisher"]


class SerialFinisher(wiring.Component):
    """Weights, weighted values and quotients of a row, as `latte.golden` defines them, one step after the other::

        score -> maximum - score -> x scale -> >> shift, round -> table of powers -> >> octaves, round -> weight
        weight -> slice counter -> [value plane] -> products -> + [sums of the row] -> sums of the row
        sum of weights -> << to its leading one -> table of reciprocals -> slope x remainder -> mantissa
        sums of the row -> >> exponent -> x mantissa -> round, limit -> o

    All shifts to the right are one shifter's; all products are one multiplier's, but for those of the values.

    Latency: a survivor takes `survivor_cycles`, the rest of a row `division_cycles`: 4 for an element, one for each
    word, and those of the reciprocal. Throughput: the next row is accepted one cycle after this one's last output.

    Members
    -------
    row : In(stream of scored_row_layout)
    index : Out, score : In
        The row's survivors, one cycle later.
    scale_mantissa, scale_shift : In
        Softmax scale of the row's head.
    values : Out(plane_port)
    release : Out(1)
        One cycle: the last row of a job has read its last value.
    o : Out(stream of output_layout)
    step : Out(1)
        A slice of a value is read.
    score_probe, weight_probe : Out
        Taps for a scoreboard.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.survivor_cycles = self.survivor_cycles_of(config)
        self.division_cycles = self.division_cycles_of(config)
        stored = data.StructLayout({"score": stored_score(config), "key": key_shape(config)})
        super().__init__({
            "row": In(stream.Signature(scored_row_layout(config))),
            "index": Out(key_shape(config)), "score": In(stored),
            "scale_mantissa": In(SCALE_MANTISSA_BITS), "scale_shift": In(SCALE_SHIFT_BITS),
            "values": Out(plane_port(config, signed(8), config.value_lanes)), "release": Out(1),
            "o": Out(stream.Signature(output_layout(config))), "step": Out(1),
            "score_probe": Out(data.StructLayout({"valid": 1, "row_last": 1, "key": key_shape(config),
                                                  "score": signed(config.score_bits)})),
            "weight_probe": Out(data.StructLayout({"valid": 1, "row_last": 1, "weight": config.weight_bits}))})

    @staticmethod
    def survivor_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles of a survivor: five to its weight, then its slices."""
        return 5 + config.value_slices

    @staticmethod
    def division_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles from a row's last value to its last output: reciprocal, words, elements."""
        reciprocal = config.sum_bits - config.weight_bits + 2
        return reciprocal + config.value_slices * (1 + 4 * config.value_lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes, slices = config.value_lanes, config.value_slices
        frac_bits, octave_bits = config.exp_frac_bits, bits_for(config.weight_bits + 1)
        row, taken = Signal(scored_row_layout(config)), Signal(length_shape(config))
        part, lane = self.values.slice, Signal(range(max(2, lanes)))
        last_survivor = taken == row.survivors - 1

        # One multiplier. A score difference has as many bits as a score; a mantissa has its leading one in bit 16.
        factor, multiplier = Signal(signed(max(config.score_bits - SCORE_SHIFT, 8 + NUMERATOR_FRAC_BITS) + 1)), Signal(
            RECIPROCAL_FRAC_BITS)
        product = Signal(signed(len(factor) + len(multiplier)))
        m.d.comb += product.eq(factor * multiplier)

        # One shifter, to the right; the lowest bit of `halves` is worth one half.
        width = max(len(product) + SCORE_SHIFT, config.acc_bits)
        value, amount = Signal(signed(width)), Signal(SCALE_SHIFT_BITS)
        halves = Signal(signed(width + 1))
        exponent_bits = frac_bits + octave_bits
        rounded = Signal(max(exponent_bits, config.weight_bits) + 1)
        m.d.comb += [halves.eq((value << 1) >> amount), rounded.eq((halves[:len(rounded)] + 1) >> 1)]
        too_small = halves[len(rounded):].any() | rounded[exponent_bits:].any()
        octaves = rounded[frac_bits:exponent_bits]

        m.submodules.powers = powers = DualPortRam(config.weight_bits, 1 << frac_bits,
                                                   exp2_table(config.weight_bits, frac_bits).tolist())
        base, slope = reciprocal_table(config.reciprocal_bits)
        entry = data.StructLayout({"base": RECIPROCAL_FRAC_BITS, "slope": int(slope.max()).bit_length()})
        m.submodules.reciprocals = reciprocals = DualPortRam(entry, 1 << config.reciprocal_bits, [
            {"base": int(b), "slope": int(s)} for b, s in zip(base, slope, strict=True)])

        # The sum of weights goes to the left until its leading one is at the top.
        longest = config.sum_bits - config.weight_bits
        weight_sum, exponent, places = Signal(config.sum_bits), Signal(range(longest + 1)), Signal(range(longest + 1))
        fraction_bits = config.reciprocal_bits + INTERPOLATION_BITS
        below = Cat(Const(0, fraction_bits), weight_sum[:-1])[-fraction_bits:]
        mantissa, numerator = Signal(RECIPROCAL_FRAC_BITS), Signal(signed(8 + NUMERATOR_FRAC_BITS + 1))
        m.d.sync += numerator.eq(halves >> 1)
        # base - round(step), half up, in one subtraction: the fraction below the base is just short of a half.
        extended = Cat(Const((1 << (INTERPOLATION_BITS - 1)) - 1, INTERPOLATION_BITS), reciprocals.read_data.base)

        weight = Signal(config.weight_bits)
        sums = self._sums(m, weight, taken == 0, part)
        drop = RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits
        quotient = (product + (1 << (drop - 1))) >> drop
        limit = 1 << (config.out_bits - 1)
        m.d.comb += [
            self.index.eq(taken), self.values.key.eq(self.score.key), self.step.eq(self.values.read),
            powers.read_addr.eq(rounded[:frac_bits]), reciprocals.read_addr.eq(below[INTERPOLATION_BITS:]),
            factor.eq(row.maximum - self.score.score), multiplier.eq(self.scale_mantissa),
            self.score_probe.row_last.eq(last_survivor), self.score_probe.key.eq(self.score.key),
            self.score_probe.score.eq(self.score.score << SCORE_SHIFT),
            self.weight_probe.row_last.eq(last_survivor), self.weight_probe.weight.eq(rounded),
            self.o.payload.row_last.eq((part == slices - 1) & (lane == lanes - 1)),
            self.o.payload.job_last.eq(self.o.payload.row_last & row.job_last),
        ]
        with m.FSM():
            with m.State("ROW"):
                m.d.comb += self.row.ready.eq(1)
                m.d.sync += [row.eq(self.row.payload), taken.eq(0), part.eq(0), weight_sum.eq(0)]
                with m.If(self.row.valid):
                    m.next = "READ"

            # Weight of a survivor.
            with m.State("READ"):
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += self.score_probe.valid.eq(1)
                m.d.sync += [value.eq(product << SCORE_SHIFT), amount.eq(self.scale_shift)]
                m.next = "EXPONENT"
            with m.State("EXPONENT"):
                m.d.sync += amount.eq(Mux(too_small | (octaves > config.weight_bits), config.weight_bits + 1, octaves))
                m.next = "POWER"
            with m.State("POWER"):
                m.d.sync += value.eq(powers.read_data)
                m.next = "WEIGHT"
            with m.State("WEIGHT"):
                m.d.comb += self.weight_probe.valid.eq(1)
                m.d.sync += [weight.eq(rounded), weight_sum.eq(weight_sum + rounded[:config.weight_bits])]
                m.next = "VALUES"
            with m.State("VALUES"):
                m.d.comb += self.values.read.eq(1)
                m.d.sync += part.eq(part + 1)
                with m.If(part == slices - 1):
                    m.d.sync += [part.eq(0), taken.eq(taken + 1)]
                    m.next = "READ"
                    with m.If(last_survivor):
                        m.d.comb += self.release.eq(row.job_last)
                        m.d.sync += [exponent.eq(longest), places.eq(longest)]
                        m.next = "ALIGN SUM"

            # Reciprocal of their sum. Always as many cycles as the longest way takes.
            with m.State("ALIGN SUM"):
                m.d.sync += places.eq(places - 1)
                with m.If(~weight_sum[-1]):
                    m.d.sync += [weight_sum.eq(weight_sum << 1), exponent.eq(exponent - 1)]
                with m.If(places == 0):
                    m.next = "RECIPROCAL"
            with m.State("RECIPROCAL"):
                m.d.comb += [factor.eq(reciprocals.read_data.slope), multiplier.eq(below[:INTERPOLATION_BITS])]
                m.d.sync += mantissa.eq((extended - product) >> INTERPOLATION_BITS)
                m.next = "WORD"

            # Quotients.
            with m.State("WORD"):
                m.next = "ELEMENT"
            with m.State("ELEMENT"):
                # The smallest exponent is weight_bits - 1.
                m.d.sync += [value.eq((Array(sums)[lane] << NUMERATOR_FRAC_BITS) >> (config.weight_bits - 1)),
                             amount.eq(exponent)]
                m.next = "ALIGN"
            with m.State("ALIGN"):
                m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += [factor.eq(numerator), multiplier.eq(mantissa)]
                m.d.sync += self.o.payload.data[0].eq(
                    Mux(quotient < -limit, -limit, Mux(quotient > limit - 1, limit - 1, quotient)))
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += lane.eq(lane + 1)
                    m.next = "ELEMENT"
                    with m.If(lane == lanes - 1):
                        m.d.sync += [lane.eq(0), part.eq(part + 1)]
                        m.next = "WORD"
                    with m.If(self.o.payload.row_last):
                        m.next = "ROW"
        return m

    def _sums(self, m: Module, weight: Signal, first: Value, part: Signal) -> list[Value]:
        """Add the products of a slice to the row's sums; return the sums of slice `part`, one cycle later."""
        config = self.config
        word = data.ArrayLayout(signed(config.acc_bits), config.value_lanes)
        m.submodules.sums = memory = DualPortRam(word, config.value_slices)
        m.d.comb += [
            memory.read_addr.eq(part), memory.write_en.eq(delay(m, self.step, 1, name="adding")),
            memory.write_addr.eq(delay(m, part, 1, name="added")),
        ]
        starts = delay(m, first, 1, name="starts")
        for n in range(config.value_lanes):
            previous = Mux(starts, 0, memory.read_data[n])
            m.d.comb += memory.write_data[n].eq(previous + weight * self.values.data[n])
        return list(memory.read_data)
