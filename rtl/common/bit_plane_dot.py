"""Dot product of vectors of few bits by AND gates and carry chains."""

from amaranth import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.primitives import register

__all__ = ["BitPlaneDot"]


class BitPlaneDot(wiring.Component):
    """Dot product of two vectors that may both change every cycle: ANDed bit planes of the key.

    Each bit plane of the key selects query elements, a tree adds them, and the planes' sums are shifted
    together (two's complement: the last plane counts negative). It needs no table, no carry tricks and no
    multiplier, which makes it the fallback for any FPGA, and the reference for the other structures.

    Latency: `latency` = ``ceil(log2(dims)) + 2`` cycles. Throughput: one per cycle. Rounding: none.

    Parameters
    ----------
    dims
        Elements of a vector.
    bits
        Width of an element, 2 to 4.

    Members
    -------
    q, k : In(ArrayLayout(signed(bits), dims))
    sum : Out(signed(2 * bits + ceil_log2(dims)))
    """

    def __init__(self, dims: int, bits: int) -> None:
        self.dims = dims
        self.bits = bits
        self.latency = self.latency_of(dims)
        vector = data.ArrayLayout(signed(bits), dims)
        super().__init__({"q": In(vector), "k": In(vector), "sum": Out(signed(2 * bits + ceil_log2(dims)))})

    @staticmethod
    def latency_of(dims: int) -> int:
        """Return the latency for vectors of `dims` elements: the planes' trees, then two additions."""
        return AdderTree.latency_of(dims) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums = []
        for b in range(self.bits):
            m.submodules[f"plane{b}"] = plane = AdderTree(self.dims, signed(self.bits))
            for d in range(self.dims):
                m.d.comb += plane.terms[d].eq(self.q[d] & self.k[d].as_unsigned()[b].replicate(self.bits))
            sums.append(plane.sum)
        *lower, top = sums
        low = register(m, lower[0] + (lower[1] << 1) if self.bits > 2 else lower[0], "low")
        if self.bits == 4:
            total = low + (register(m, lower[2] - (top << 1), "high") << 2)
        else:
            total = low - (register(m, top, "high") << (self.bits - 1))
        m.d.comb += self.sum.eq(register(m, total, "result"))
        return m
