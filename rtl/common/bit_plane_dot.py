"""Dot product of 4-bit vectors by AND gates and carry chains."""

from amaranth import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.operand_split import HALF_BITS
from latte.rtl.common.primitives import register

__all__ = ["BitPlaneDot"]


class BitPlaneDot(wiring.Component):
    """Dot product of two vectors that may both change every cycle: ANDed bit planes of the key.

    Each bit plane of the key selects query elements, a tree adds them, and the four sums are shifted
    together (two's complement: the last plane counts negative). It needs no table, no carry tricks and no
    multiplier, which makes it the fallback for any FPGA, and the reference for the other structures.

    Latency: `latency` = ``ceil(log2(dims)) + 2`` cycles. Throughput: one per cycle. Rounding: none.

    Parameters
    ----------
    dims
        Elements of a vector.

    Members
    -------
    q, k : In(ArrayLayout(signed(HALF_BITS), dims))
    sum : Out(signed(8 + ceil_log2(dims)))
    """

    def __init__(self, dims: int) -> None:
        self.dims = dims
        self.latency = self.latency_of(dims)
        vector = data.ArrayLayout(signed(HALF_BITS), dims)
        super().__init__({"q": In(vector), "k": In(vector), "sum": Out(signed(2 * HALF_BITS + ceil_log2(dims)))})

    @staticmethod
    def latency_of(dims: int) -> int:
        """Return the latency for vectors of `dims` elements: the planes' trees, then two additions."""
        return AdderTree.latency_of(dims) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums = []
        for b in range(HALF_BITS):
            m.submodules[f"plane{b}"] = plane = AdderTree(self.dims, signed(HALF_BITS))
            for d in range(self.dims):
                m.d.comb += plane.terms[d].eq(self.q[d] & self.k[d].as_unsigned()[b].replicate(HALF_BITS))
            sums.append(plane.sum)
        p0, p1, p2, p3 = sums
        low, high = register(m, p0 + (p1 << 1), "low"), register(m, p2 - (p3 << 1), "high")
        m.d.comb += self.sum.eq(register(m, low + (high << 2), "result"))
        return m
