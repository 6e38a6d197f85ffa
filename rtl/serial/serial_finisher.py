"""Third stage of the serial core: softmax, compensation, P·V and division of a row, by one multiplier and shifter."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.normalizer import (
    INTERPOLATION_BITS,
    NUMERATOR_FRAC_BITS,
    RECIPROCAL_FRAC_BITS,
    reciprocal_table,
)
from latte.golden.pruned_mass import MASS_FRAC_BITS, UNIT_BITS
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.golden.softmax import exp2_table
from latte.rtl.common.entry_words import GAIN_BITS
from latte.rtl.common.payloads import key_shape, length_shape, output_layout
from latte.rtl.common.primitives import delay
from latte.rtl.serial.serial_compensation import Arithmetic, VirtualSurvivors, virtual_cycles, wide_operand_bits
from latte.rtl.serial.serial_gap_table import fill_layout, mass_bits, weighs
from latte.rtl.serial.serial_group_sums import SerialGroupSums, group_sum_shape
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_scorer import scored_row_layout, stored_score
from latte.rtl.serial.serial_scratchpad import plane_port

__all__ = ["SerialFinisher"]


class SerialFinisher(wiring.Component):
    """Weights, weighted values and quotients of a row, as `latte.golden` defines them, one step after the other::

        score -> maximum - score -> x scale -> >> shift, round -> table of powers -> >> octaves, round -> weight
        weight -> slice counter -> [value plane] -> products -> + [sums of the row] -> sums of the row
        sum of weights -> << to its leading one -> table of reciprocals -> slope x remainder -> mantissa
        sums of the row -> >> exponent -> x mantissa -> round, limit -> o

    In a build with compensation the virtual survivors of a compensated row come first, one for each group::

        new keys -> [value plane] -> SerialGroupSums
        largest score, largest estimate -> power of two -> mass
        pruned mass x power -> >> -> mass -> x mean gain -> >> -> x reciprocal of the group's keys -> >> -> unit weight
        unit weight -> slice counter -> [group's sum] -> products -> + [sums of the row] -> sums of the row
        masses of all groups -> x denominator gain -> >> -> sum of weights

    A build that weighs keys by their estimates has the weights of a new job made here, one gap after the other.

    All shifts to the right are one shifter's; all products are one multiplier's, those of wide numbers in two steps,
    but for those of the values.

    Latency: a survivor takes `survivor_cycles`, the rest of a row `division_cycles`: 4 for an element, one for each
    word, and those of the reciprocal; compensation takes `compensation_cycles` and those of `SerialGroupSums`, a job's
    weights `fill_cycles` each. Throughput: the next row is accepted one cycle after this one's last output.

    Members
    -------
    row : In(stream of scored_row_layout)
    index : Out, score : In
        The row's survivors, one cycle later.
    scale_mantissa, scale_shift : In
        Softmax scale of the row's head.
    values : Out(plane_port)
    begin, weighed : In(1)
        A job begins; whether it needs its weights by estimate. With `fill` and `filled` in a build that has such.
    fill : Out(fill_layout), filled : Out(1)
        Weights of the job, and that they are all there.
    compensated, denominator_gain, mean_gain, group_bits : In
        Of the row's head; with the rest in a build with compensation.
    mass_group : Out, mass : In
        Pruned mass of a group of the row, one cycle later.
    restart, member, group
        As of `SerialGroupSums`: other keys are loaded; the key whose group comes a cycle later.
    pruned : Out
        Mass of one group relative to the row's largest score, in the cycle in which it is known; else 0.
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
        # Wider sums with virtual survivors: of weights, and of values while the units have their fraction.
        self.sum_bits = config.sum_bits
        self.acc_bits = config.acc_bits
        optional: dict[str, wiring.Member] = {}
        if weighs(config):
            optional |= {"begin": In(1), "weighed": In(1), "fill": Out(fill_layout(config)), "filled": Out(1)}
        if config.key_groups:
            self.sum_bits += config.group_bits + 3
            self.acc_bits = max(self.acc_bits + 2, UNIT_BITS + group_sum_shape(config).width)
            optional |= {
                "compensated": In(1), "denominator_gain": In(GAIN_BITS), "mean_gain": In(GAIN_BITS),
                "group_bits": In(ceil_log2(config.group_bits + 1)), "mass_group": Out(config.group_bits),
                "mass": In(mass_bits(config)), "restart": In(1), "member": Out(key_shape(config)),
                "group": In(config.group_bits), "pruned": Out(config.sum_bits)}
        super().__init__({
            **optional,
            "row": In(stream.Signature(scored_row_layout(config))),
            "index": Out(key_shape(config)), "score": In(stored),
            "scale_mantissa": In(SCALE_MANTISSA_BITS), "scale_shift": In(SCALE_SHIFT_BITS),
            "values": Out(plane_port(config, signed(8), config.value_lanes)), "release": Out(1),
            "o": Out(stream.Signature(output_layout(config))), "step": Out(1),
            "score_probe": Out(data.StructLayout({"valid": 1, "row_last": 1, "key": key_shape(config),
                                                  "score": signed(config.score_bits)})),
            "weight_probe": Out(data.StructLayout({"valid": 1, "row_last": 1, "weight": config.weight_bits}))})

    fill_cycles = 4
    """Cycles of one weight of a job's table."""

    @staticmethod
    def survivor_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles of a survivor: five to its weight, then its slices."""
        return 5 + config.value_slices

    @staticmethod
    def division_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles from a row's last value to its last output: reciprocal, words, elements."""
        longer = config.group_bits + 3 if config.key_groups else 0
        reciprocal = config.sum_bits + longer - config.weight_bits + 2
        return reciprocal + config.value_slices * (1 + 4 * config.value_lanes)

    @staticmethod
    def compensation_cycles_of(config: AttentionConfig, groups: int, new_keys: int) -> int:
        """Return the cycles that a row's compensation takes: the sums of `new_keys`, the virtual survivors."""
        return new_keys * SerialGroupSums.key_cycles_of(config) + 1 + virtual_cycles(config, groups)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes, slices = config.value_lanes, config.value_slices
        finest = config.weight_bits + (MASS_FRAC_BITS if weighs(config) else 0)
        frac_bits, octave_bits = config.exp_frac_bits, bits_for(finest + 1)
        row, taken = Signal(scored_row_layout(config)), Signal(length_shape(config))
        part, lane = Signal.like(self.values.slice), Signal(range(max(2, lanes)))
        last_survivor = taken == row.survivors - 1

        # One multiplier. A score difference has as many bits as a score; a mantissa has its leading one in bit 16.
        factor_bits = max(stored_score(config).width, 8 + NUMERATOR_FRAC_BITS) + 1
        factor, multiplier = Signal(signed(factor_bits)), Signal(RECIPROCAL_FRAC_BITS)
        product = Signal(signed(len(factor) + len(multiplier)))
        m.d.comb += product.eq(factor * multiplier)

        # One shifter, to the right; the lowest bit of `halves` is worth one half.
        wide = wide_operand_bits(config) + RECIPROCAL_FRAC_BITS + 1 if config.key_groups else 0
        width = max(len(product) + config.low_bits, self.acc_bits, wide)
        value, amount = Signal(signed(width)), Signal(SCALE_SHIFT_BITS)
        halves = Signal(signed(width + 1))
        exponent_bits = frac_bits + octave_bits
        rounded = Signal(max(exponent_bits, finest) + 1)
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
        longest = self.sum_bits - config.weight_bits
        weight_sum = Signal(self.sum_bits)
        exponent, places = (Signal(range(max(longest, config.max_seq_len.bit_length()) + 1), name=name)
                            for name in ("exponent", "places"))
        fraction_bits = config.reciprocal_bits + INTERPOLATION_BITS
        below = Cat(Const(0, fraction_bits), weight_sum[:-1])[-fraction_bits:]
        mantissa, numerator = Signal(RECIPROCAL_FRAC_BITS), Signal(signed(8 + NUMERATOR_FRAC_BITS + 1))
        m.d.sync += numerator.eq(halves >> 1)
        # base - round(step), half up, in one subtraction: the fraction below the base is just short of a half.
        extended = Cat(Const((1 << (INTERPOLATION_BITS - 1)) - 1, INTERPOLATION_BITS), reciprocals.read_data.base)

        weight, adding = Signal(max(config.weight_bits, UNIT_BITS if config.key_groups else 0)), Signal()
        parts = Arithmetic(row, part, factor, multiplier, product, value, amount, halves, powers, weight_sum, exponent,
                           places, mantissa, weight, adding)
        virtual = VirtualSurvivors(m, self, parts) if config.key_groups else None
        sums = self._sums(m, parts, taken == 0, virtual)
        # A job's weights by gap: they are wanted, and being made.
        pending, filling = Signal(), Signal()
        if weighs(config):
            gap = Signal.like(self.fill.gap)
            m.d.comb += [self.fill.gap.eq(gap), self.fill.weight.eq(rounded), self.filled.eq(~pending)]
            with m.If(self.begin & self.weighed):
                m.d.sync += pending.eq(1)
        drop = RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits
        quotient = (product + (1 << (drop - 1))) >> drop
        limit = 1 << (config.out_bits - 1)
        m.d.comb += [
            self.index.eq(taken), self.values.key.eq(self.score.key), self.values.slice.eq(part),
            self.step.eq(adding | self.values.read),
            powers.read_addr.eq(rounded[:frac_bits]), reciprocals.read_addr.eq(below[INTERPOLATION_BITS:]),
            factor.eq(row.maximum - self.score.score), multiplier.eq(self.scale_mantissa),
            self.score_probe.row_last.eq(last_survivor), self.score_probe.key.eq(self.score.key),
            self.score_probe.score.eq(self.score.score << config.low_bits),
            self.weight_probe.row_last.eq(last_survivor), self.weight_probe.weight.eq(rounded),
            self.o.payload.row_last.eq((part == slices - 1) & (lane == lanes - 1)),
            self.o.payload.job_last.eq(self.o.payload.row_last & row.job_last),
        ]
        with m.FSM():
            with m.State("ROW"):
                m.d.comb += self.row.ready.eq(~pending)
                m.d.sync += [row.eq(self.row.payload), taken.eq(0), part.eq(0), weight_sum.eq(0)]
                with m.If(self.row.valid & self.row.ready):
                    m.next = "READ"
                    if virtual is not None:
                        with m.If(self.compensated):
                            m.next = "SUM KEYS"
                if weighs(config):
                    with m.If(pending):
                        m.d.sync += [gap.eq(0), filling.eq(1)]
                        m.next = "FILL"
            if virtual is not None:
                virtual.states()

            # Weight of a survivor, or of a gap.
            with m.State("READ"):
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += self.score_probe.valid.eq(1)
                m.d.sync += [value.eq(product << config.low_bits), amount.eq(self.scale_shift)]
                m.next = "EXPONENT"
            with m.State("EXPONENT"):
                most = Mux(filling, finest, config.weight_bits)
                m.d.sync += amount.eq(Mux(too_small | (octaves > most), most + 1, octaves))
                m.next = "POWER"
            with m.State("POWER"):
                m.d.sync += value.eq(Mux(filling, powers.read_data << MASS_FRAC_BITS, powers.read_data))
                m.next = "WEIGHT"
            with m.State("WEIGHT"):
                m.d.comb += self.weight_probe.valid.eq(~filling)
                m.d.sync += weight.eq(rounded)
                m.next = "VALUES"
                if weighs(config):
                    with m.If(filling):
                        m.d.comb += self.fill.valid.eq(1)
                        m.d.sync += gap.eq(gap + 1)
                        m.next = "FILL"
                        with m.If(self.fill.weight == 0):
                            m.d.sync += [pending.eq(0), filling.eq(0)]
                            m.next = "ROW"
                with m.If(~filling):
                    m.d.sync += weight_sum.eq(weight_sum + rounded[:config.weight_bits])
            with m.State("VALUES"):
                m.d.comb += [self.values.read.eq(1), adding.eq(1)]
                m.d.sync += part.eq(part + 1)
                with m.If(part == slices - 1):
                    m.d.sync += [part.eq(0), taken.eq(taken + 1)]
                    m.next = "READ"
                    with m.If(last_survivor):
                        m.d.comb += self.release.eq(row.job_last)
                        m.d.sync += [exponent.eq(longest), places.eq(longest)]
                        m.next = "ALIGN SUM"

            # Reciprocal of their sum, or of a number of keys. Always as many cycles as the longest way takes.
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
                if virtual is not None:
                    virtual.divide_by_keys()

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
            if weighs(config):
                with m.State("FILL"):
                    m.d.comb += factor.eq(gap << config.low_bits)
                    m.d.sync += [value.eq(product << config.low_bits), amount.eq(self.scale_shift)]
                    m.next = "EXPONENT"
        return m

    def _sums(self, m: Module, parts: Arithmetic, first: Value, virtual: VirtualSurvivors | None) -> list[Value]:
        """Add the products of a slice to the row's sums; return the sums of slice `part`, one cycle later."""
        config = self.config
        word = data.ArrayLayout(signed(self.acc_bits), config.value_lanes)
        m.submodules.sums = memory = DualPortRam(word, config.value_slices)
        m.d.comb += [
            memory.read_addr.eq(parts.part), memory.write_en.eq(delay(m, parts.adding, 1, name="adding")),
            memory.write_addr.eq(delay(m, parts.part, 1, name="added")),
        ]
        starts = delay(m, first if virtual is None else virtual.first(first), 1, name="starts")
        for n in range(config.value_lanes):
            begin, element = 0, self.values.data[n]
            if virtual is not None:
                begin, element = virtual.begin(memory.read_data[n]), virtual.element(n)
            previous = Mux(starts, begin, memory.read_data[n])
            m.d.comb += memory.write_data[n].eq(previous + parts.weight * element)
        return list(memory.read_data)
