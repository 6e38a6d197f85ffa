"""The two cross products of a survivor: high x low and low x high halves, summed over a slice of dimensions."""

from amaranth import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.dot_product import BITS, AdderTree, register
from latte.rtl.operand_split import element_layout

__all__ = ["CrossProductDot"]


class CrossProductDot(wiring.Component):
    """``sum(q_high * k_low + q_low * k_high)`` over `lanes` dimensions, as a dot product of twice the length.

    The low halves supply the bit planes: each plane's bits select high halves, one tree adds them, and the four sums
    are shifted together. The last plane counts -8 in the balanced split and +8 in the sliced one, whose low halves
    are unsigned; nothing else differs between the two.

    Latency: `latency` = ``ceil(log2(2 * lanes)) + 2`` cycles. Throughput: one slice per cycle. Exact.

    Parameters
    ----------
    lanes
        Dimensions per slice.
    split
        ``"balanced"`` or ``"slice"``.

    Members
    -------
    query, keys : In(ArrayLayout(element_layout(split), lanes))
    sum : Out(signed)
    """

    def __init__(self, lanes: int, split: str):
        self.lanes = lanes
        self.split = split
        self.latency = self.latency_of(lanes)
        elements = data.ArrayLayout(element_layout(split), lanes)
        super().__init__({"query": In(elements), "keys": In(elements),
                          "sum": Out(signed(2 * BITS + 1 + ceil_log2(2 * lanes)))})

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Return the latency of a slice of `lanes` dimensions."""
        return ceil_log2(2 * lanes) + 2

    def elaborate(self, platform):
        m = Module()
        products = [(self.query[n].high, self.keys[n].low) for n in range(self.lanes)]
        products += [(self.keys[n].high, self.query[n].low) for n in range(self.lanes)]
        planes = []
        for bit in range(BITS):
            m.submodules[f"plane{bit}"] = plane = AdderTree(len(products), signed(BITS))
            for n, (high, low) in enumerate(products):
                m.d.comb += plane.terms[n].eq(high & low.as_unsigned()[bit].replicate(BITS))
            planes.append(plane.sum)
        top = planes[3] << 1
        upper = planes[2] - top if self.split == "balanced" else planes[2] + top
        low, high = register(m, planes[0] + (planes[1] << 1), "low"), register(m, upper, "high")
        m.d.comb += self.sum.eq(register(m, low + (high << 2), "result"))
        return m
