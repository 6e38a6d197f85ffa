"""Input port of Q and K: saturation and the split in a high and a low part."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig

__all__ = ["SplitBeat", "element_layout"]


def element_layout(config: AttentionConfig) -> data.StructLayout:
    """Layout of one split element: ``x = 2**low_bits * high + low``."""
    low = signed(config.low_bits) if config.split == "balanced" else unsigned(config.low_bits)
    return data.StructLayout({"low": low, "high": signed(config.estimate_bits)})


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
        A valid element was above `qk_max`.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "valid": In(1), "beat": In(data.ArrayLayout(signed(8), config.bus_bytes)),
            "limited": Out(data.ArrayLayout(signed(8), config.bus_bytes)),
            "elements": Out(data.ArrayLayout(element_layout(config), config.bus_bytes)), "saturated": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        above = Signal(config.bus_bytes)
        # Half of the high part's step, so that the low part is centred on zero.
        offset = 1 << (config.low_bits - 1) if config.split == "balanced" else 0
        for n in range(config.bus_bytes):
            limited = self.limited[n]
            m.d.comb += [
                above[n].eq(self.beat[n] > config.qk_max),
                limited.eq(Mux(above[n], config.qk_max, self.beat[n])),
                self.elements[n].high.eq((limited + offset) >> config.low_bits),
                self.elements[n].low.eq(limited[:config.low_bits]),
            ]
        m.d.comb += self.saturated.eq(self.valid & above.any())
        return m
