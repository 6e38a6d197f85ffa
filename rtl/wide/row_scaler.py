"""Quotients: a row's elements times its reciprocal."""

from amaranth import Module, Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import NUMERATOR_FRAC_BITS, RECIPROCAL_FRAC_BITS
from latte.rtl.common.primitives import delay, register
from latte.rtl.wide.payloads import word_bits
from latte.rtl.wide.reciprocal import exponent_shape

__all__ = ["RowScaler"]


class RowScaler(wiring.Component):
    """``round(numerator * reciprocal)`` of `normalizer_lanes` elements: `latte.golden.normalizer.normalize`.

    The numerator is shifted to 18 bits, so that the product takes one 18 x 18 multiplier.

    Latency: `latency` cycles. Throughput: one beat per cycle. The result is limited to `out_bits`, which only the
    rounding of -128 can exceed.

    Members
    -------
    numerator : In(ArrayLayout(signed(word_bits), normalizer_lanes))
    mantissa, exponent : In
        From `Reciprocal`.
    quotient : Out(ArrayLayout(signed(out_bits), normalizer_lanes))
    """

    latency = 6
    """Shift in two, product in two, rounding, limit."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        lanes = config.normalizer_lanes
        super().__init__({
            "numerator": In(data.ArrayLayout(signed(word_bits(config)), lanes)),
            "mantissa": In(RECIPROCAL_FRAC_BITS), "exponent": In(exponent_shape(config)),
            "quotient": Out(data.ArrayLayout(signed(config.out_bits), lanes))})

    def elaborate(self, platform: object) -> Module:
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

        for n in range(config.normalizer_lanes):
            scaled = (self.numerator[n] << NUMERATOR_FRAC_BITS) >> least
            coarse = register(m, scaled >> (self.exponent[low_bits:] << low_bits), f"coarse_{n}")
            fine = coarse >> low_shift
            if config.key_groups:
                # Pruned mass is rounded: a row of nothing but -128 may come out a little below, and is limited anyway.
                least_operand = -(1 << (operand.width - 1))
                fine = Mux(fine < least_operand, least_operand, fine)
            numerator = register(m, fine, f"fine_{n}", operand)
            product = register(m, register(m, numerator * mantissa, f"product_{n}"), f"piped_{n}")
            rounded = register(m, (product + (1 << (drop - 1))) >> drop, f"rounded_{n}")
            limited = Mux(rounded < -limit, -limit, Mux(rounded > limit - 1, limit - 1, rounded))
            m.d.comb += self.quotient[n].eq(register(m, limited, f"quotient_{n}", signed(config.out_bits)))
        return m
