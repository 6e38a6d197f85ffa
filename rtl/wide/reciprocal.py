"""Reciprocal of a row's sum of weights."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import INTERPOLATION_BITS, RECIPROCAL_FRAC_BITS, reciprocal_table
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.wide.payloads import weight_sum_bits

__all__ = ["Reciprocal", "exponent_shape"]


def exponent_shape(config: AttentionConfig) -> range:
    """Shape of the place of the leading one of a sum of weights, above the smallest: `weight_bits` - 1."""
    return range(weight_sum_bits(config) - config.weight_bits + 1)


class Reciprocal(wiring.Component):
    """``1 / weight_sum`` as mantissa and exponent: `latte.golden.normalizer.reciprocal`.

    ::

        sum -> leading one -> shift left -> index -> table of base and slope -> base - slope * remainder
                                         -> remainder ------------------------------------^

    A row's sum is at least ``2**weight_bits - 1``, the weight of its largest score, which bounds the shifter.

    Latency: `latency` cycles. Throughput: one per cycle.

    Members
    -------
    weight_sum : In(weight_sum_bits)
    mantissa : Out(17)
    exponent : Out
        Place of the leading one, less ``weight_bits - 1``.
    """

    latency = 4 + RAM_LATENCY + 3
    """Leading one, its distance, shift in two; table; factor, product, difference."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"weight_sum": In(weight_sum_bits(config)), "mantissa": Out(RECIPROCAL_FRAC_BITS),
                          "exponent": Out(exponent_shape(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        index_bits = config.reciprocal_bits
        fraction_bits = index_bits + INTERPOLATION_BITS
        sum_bits = weight_sum_bits(config)
        places = sum_bits - config.weight_bits
        exponent = Signal(exponent_shape(config), reset_less=True)
        weight_sum = Signal(sum_bits, reset_less=True)
        m.d.sync += [weight_sum.eq(self.weight_sum), exponent.eq(0)]
        for place in range(1, places + 1):
            with m.If(self.weight_sum[config.weight_bits - 1 + place]):
                m.d.sync += exponent.eq(place)

        # Two stages of shifting bring the leading one to the top; the bits below it are index and remainder.
        low_bits = (len(exponent) + 1) // 2
        distance = Signal(range(places + 1), reset_less=True)
        shifted = Signal(sum_bits, reset_less=True)
        aligned = Signal(sum_bits, reset_less=True)
        m.d.sync += [
            distance.eq(places - exponent), shifted.eq(weight_sum),
        ]
        coarse = Signal(sum_bits, reset_less=True)
        fine_distance = Signal(low_bits, reset_less=True)
        m.d.sync += [
            coarse.eq((shifted << (distance[low_bits:] << low_bits))[:sum_bits]),
            fine_distance.eq(distance[:low_bits]),
            aligned.eq((coarse << fine_distance)[:sum_bits]),
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
