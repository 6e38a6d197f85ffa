"""A base-2 weight from a score's distance to its row's largest."""

from amaranth import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import MASS_FRAC_BITS
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.golden.softmax import exp2_table
from latte.rtl.common.primitives import delay, register
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.wide.payloads import gap_weight_bits, weighs_gaps

__all__ = ["FineWeightPipeline", "WeightPipeline", "create_weight_pipeline", "mass_shift_range"]

_MULTIPLIER_BITS = 17
"""Unsigned bits that the smallest common hard multiplier (18 x 18, signed) takes."""


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

    latency = 2 + 2 + 1 + RAM_LATENCY + 2
    """Product in parts and whole; shift in two; rounding; table of powers; shift, rounding."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"delta": In(config.score_bits + 1), "scale_mantissa": In(SCALE_MANTISSA_BITS),
                          "scale_shift": In(SCALE_SHIFT_BITS), "weight": Out(config.weight_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        frac_bits, weight_bits = config.exp_frac_bits, config.weight_bits
        octave_bits = bits_for(weight_bits + 1)

        # Rounding half up: shift so that half a step remains as the last bit, add it, drop it.
        # In two parts, each of which fits a hard multiplier.
        low = register(m, self.delta[:_MULTIPLIER_BITS] * self.scale_mantissa, "product_low")
        high = register(m, self.delta[_MULTIPLIER_BITS:] * self.scale_mantissa, "product_high")
        product = register(m, low + (high << _MULTIPLIER_BITS), "product")
        shift = delay(m, self.scale_shift, 2, name="shift", reset_less=True)
        coarse = register(m, (product << 1) >> (shift & 0x38), "coarse")
        fine = coarse >> register(m, shift[:3], "fine_shift")
        kept_bits = frac_bits + octave_bits + 1
        half_steps = register(m, fine[:kept_bits], "half_steps")
        overflow = register(m, fine[kept_bits:].any(), "overflow")
        exponent = register(m, ((half_steps + 1) >> 1)[:frac_bits + octave_bits + 1], "exponent")
        saturate = register(m, overflow, "saturate") | exponent[-1]

        m.submodules.table = table = Ram(weight_bits, 1 << frac_bits, exp2_table(weight_bits, frac_bits).tolist())
        m.d.comb += table.read_addr.eq(exponent[:frac_bits])
        octaves = register(m, Mux(saturate, (1 << octave_bits) - 1, exponent[frac_bits:-1]), "octaves")
        octaves = delay(m, octaves, RAM_LATENCY - 1, name="octaves", reset_less=True)
        power_half_steps = register(m, (table.read_data << 1) >> octaves, "power_half_steps")
        m.d.comb += self.weight.eq(register(m, ((power_half_steps + 1) >> 1)[:weight_bits], "weight_out"))
        return m


def mass_shift_range(config: AttentionConfig) -> range:
    """Range of the places by which a product of a mass and a power goes right; negative ones go left."""
    own = MASS_FRAC_BITS + config.weight_bits
    return range(own - config.sum_bits, own + config.sum_bits + 1)


class FineWeightPipeline(wiring.Component):
    """The same with what the weights of gaps, and of the pruned mass, need beside it.

    ``fine_weight`` has `MASS_FRAC_BITS` more fraction bits: `latte.golden.pruned_mass.gap_weights`. A negative distance
    has no weight, but a power and its place: `rescale_mass`.

    Latency: `latency` cycles. Throughput: one per cycle.

    Members
    -------
    delta : In(signed(score_bits + 1))
    scale_mantissa, scale_shift : In
    weight : Out(weight_bits)
    fine_weight : Out(weight_bits + MASS_FRAC_BITS)
    power : Out(weight_bits)
        Entry of the table of powers.
    mass_shift : Out(signed)
        Places by which the product of a mass and the power goes right (`mass_shift_range`).
    """

    latency = WeightPipeline.latency

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"delta": In(signed(config.score_bits + 1)), "scale_mantissa": In(SCALE_MANTISSA_BITS),
                          "scale_shift": In(SCALE_SHIFT_BITS), "weight": Out(config.weight_bits),
                          "fine_weight": Out(gap_weight_bits(config)), "power": Out(config.weight_bits),
                          "mass_shift": Out(mass_shift_range(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        frac_bits, weight_bits = config.exp_frac_bits, config.weight_bits
        octave_bits = bits_for(max(config.sum_bits, weight_bits + MASS_FRAC_BITS + 1))

        low = register(m, self.delta[:_MULTIPLIER_BITS] * self.scale_mantissa, "product_low")
        high = register(m, self.delta[_MULTIPLIER_BITS:].as_signed() * self.scale_mantissa, "product_high")
        product = register(m, low + (high << _MULTIPLIER_BITS), "product")
        shift = delay(m, self.scale_shift, 2, name="shift", reset_less=True)
        coarse = register(m, (product << 1) >> (shift & 0x38), "coarse")
        fine = coarse >> register(m, shift[:3], "fine_shift")
        kept_bits = frac_bits + octave_bits + 1
        above = fine[kept_bits:]
        half_steps = register(m, fine[:kept_bits + 1].as_signed(), "half_steps")
        overflow = register(m, above.any() & ~above.all(), "overflow")
        negative = register(m, fine[-1], "negative")
        exponent = register(m, ((half_steps + 1) >> 1)[:frac_bits + octave_bits + 2].as_signed(), "exponent")
        overflow, negative = register(m, overflow, "saturate"), register(m, negative, "below")

        m.submodules.table = table = Ram(weight_bits, 1 << frac_bits, exp2_table(weight_bits, frac_bits).tolist())
        m.d.comb += table.read_addr.eq(exponent[:frac_bits])
        octaves = exponent[frac_bits:].as_signed()
        limit = config.sum_bits
        limited = Mux(overflow, Mux(negative, -limit, limit), Mux(octaves < -limit, -limit,
                                                                  Mux(octaves > limit, limit, octaves)))
        limited = register(m, limited, "limited", signed(bits_for(limit) + 1))
        mass_shift = register(m, limited + (MASS_FRAC_BITS + weight_bits), "mass_shift", self.mass_shift.shape())
        m.d.comb += [
            self.mass_shift.eq(delay(m, mass_shift, 2, name="mass_shift", reset_less=True)),
            self.power.eq(delay(m, table.read_data, 2, name="power", reset_less=True)),
        ]
        vanishes = overflow | octaves[octave_bits:].any()
        octaves = register(m, Mux(vanishes, (1 << octave_bits) - 1, octaves[:octave_bits]), "octaves")
        octaves = delay(m, octaves, RAM_LATENCY - 1, name="octaves", reset_less=True)
        half_steps = register(m, (table.read_data << (MASS_FRAC_BITS + 1)) >> octaves, "power_half_steps")
        m.d.comb += [
            self.weight.eq(register(m, ((half_steps[MASS_FRAC_BITS:] + 1) >> 1)[:weight_bits], "weight_out")),
            self.fine_weight.eq(register(m, ((half_steps + 1) >> 1)[:gap_weight_bits(config)], "fine_out")),
        ]
        return m


def create_weight_pipeline(config: AttentionConfig) -> WeightPipeline | FineWeightPipeline:
    """Return the pipeline that a build needs."""
    return FineWeightPipeline(config) if weighs_gaps(config) else WeightPipeline(config)
