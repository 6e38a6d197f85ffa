"""Input port of Q and K: saturation at 119 and the split in 4-bit halves."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.quantizer import QK_MAX

__all__ = ["HALF_BITS", "SplitBeat", "element_layout"]

HALF_BITS = 4
"""Bits of each half of an 8-bit element."""


def element_layout(split: str) -> data.StructLayout:
    """Layout of one split element: ``x = 16 * high + low``."""
    return data.StructLayout({"low": signed(HALF_BITS) if split == "balanced" else unsigned(HALF_BITS),
                              "high": signed(HALF_BITS)})


class SplitBeat(wiring.Component):
    """Saturates and splits `bus_bytes` elements. Combinational. Source: LATTE Eq. 9 (balanced), Algorithm 1 (slice).

    Members
    -------
    valid : In(1)
    beat : In(ArrayLayout(signed(8), bus_bytes))
    limited : Out(ArrayLayout(signed(8), bus_bytes))
        The elements before the split.
    elements : Out(ArrayLayout(element_layout, bus_bytes))
    saturated : Out(1)
        A valid element was above 119.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "valid": In(1), "beat": In(data.ArrayLayout(signed(8), config.bus_bytes)),
            "limited": Out(data.ArrayLayout(signed(8), config.bus_bytes)),
            "elements": Out(data.ArrayLayout(element_layout(config.split), config.bus_bytes)), "saturated": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        above = Signal(self.config.bus_bytes)
        # Half of the high half's step, so that the low half is centred on zero.
        offset = 8 if self.config.split == "balanced" else 0
        for n in range(self.config.bus_bytes):
            limited = self.limited[n]
            m.d.comb += [
                above[n].eq(self.beat[n] > QK_MAX),
                limited.eq(Mux(above[n], QK_MAX, self.beat[n])),
                self.elements[n].high.eq((limited + offset) >> 4),
                self.elements[n].low.eq(limited[:4]),
            ]
        m.d.comb += self.saturated.eq(self.valid & above.any())
        return m
