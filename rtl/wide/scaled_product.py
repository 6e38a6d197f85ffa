"""Product of two unsigned numbers, shifted right and rounded half up."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.primitives import delay, register

__all__ = ["ScaledProduct"]

_MULTIPLIER_BITS = 17
"""Unsigned bits that the smallest common hard multiplier (18 x 18, signed) takes."""


class ScaledProduct(wiring.Component):
    """``min(2**bits - 1, round(a * b * 2**left / 2**shift))``, rounded half up.

    Latency: `latency` cycles. Throughput: one per cycle.

    Parameters
    ----------
    a_bits, b_bits
        Unsigned widths; of `b` at most 17.
    left
        Places that every product goes left.
    most_shift
        Largest `shift`.
    bits : list of int
        Widths at which a result may saturate.

    Members
    -------
    a, b, shift : In
    limit : In(range(len(bits)))
        Which of `bits` the result saturates at.
    o : Out(max(bits))
    """

    latency = 2 + 2 + 1 + 1
    """Product in parts and whole; shift in two; rounding; limit."""

    def __init__(self, a_bits: int, b_bits: int, left: int, most_shift: int, bits: list[int]) -> None:
        assert b_bits <= _MULTIPLIER_BITS, "a factor that is too wide for a hard multiplier"
        self.left = left
        self.bits = bits
        super().__init__({"a": In(a_bits), "b": In(b_bits), "shift": In(range(most_shift + 1)),
                          "limit": In(range(max(2, len(bits)))), "o": Out(max(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low = register(m, self.a[:_MULTIPLIER_BITS] * self.b, "product_low")
        high = register(m, self.a[_MULTIPLIER_BITS:] * self.b, "product_high")
        product = register(m, low + (high << _MULTIPLIER_BITS), "product")
        shift = delay(m, self.shift, 2, name="shift", reset_less=True)
        limit = delay(m, self.limit, 5, name="limit", reset_less=True)

        # Rounding half up: shift so that half a step remains as the last bit, add it, drop it.
        kept = max(self.bits) + 1
        coarse = register(m, (product << (self.left + 1)) >> (shift[3:] << 3), "coarse")
        fine = coarse >> register(m, shift[:3], "fine_shift")
        half_steps, above = register(m, fine[:kept], "half_steps"), register(m, fine[kept:].any(), "above")
        rounded, above = register(m, (half_steps + 1) >> 1, "rounded"), register(m, above, "far_above")
        result = Signal(max(self.bits), reset_less=True)
        m.d.sync += result.eq(rounded)
        for n, bits in enumerate(self.bits):
            with m.If((limit == n) & (above | rounded[bits:].any())):
                m.d.sync += result.eq((1 << bits) - 1)
        m.d.comb += self.o.eq(result)
        return m
