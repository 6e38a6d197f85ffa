"""A base-2 weight from a score's distance to its row's largest."""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from latte.golden.config import AttentionConfig
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.golden.softmax import exp2_table
from latte.rtl.common.primitives import delay, register
from latte.rtl.common.ram import RAM_LATENCY, Ram

__all__ = ["WeightPipeline"]

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
