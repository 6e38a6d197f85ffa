"""Dot products of vectors of few bits, two products per hard multiplier."""

from amaranth import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.common.adder_tree import AdderTree

__all__ = ["PackedDspDot"]


class PackedDspDot(wiring.Component):
    """Dot products of two keys with one query row, two products per hard multiplier.

    Both keys ride in one operand, ``k0 + (k1 << field)``, so one sum of products holds both results. The
    lower one lies in ``[-56 n, 64 n]`` for ``n`` dimensions of 4 bits: one bit less than its signed width, but for the
    corner where every factor is the least. A `field` of that one bit less makes the operand fit 18 bits, and is
    still unambiguous: ``1000...0`` can only be the corner, never the most negative number. A negative lower
    result has borrowed one from the upper, which gets it back.

    Latency: `latency` = ``ceil(log2(dims)) + 2`` cycles. Throughput: one pair per cycle. Rounding: none.

    Parameters
    ----------
    dims
        Elements of a vector, at most 64 (the operand's width).
    bits
        Width of an element, at most 4.

    Members
    -------
    q : In(ArrayLayout(signed(bits), dims))
    packed : In(ArrayLayout(signed(field + bits + 1), dims))
        Two keys' elements, from `pack`.
    sums : Out(ArrayLayout(signed(2 * bits + ceil_log2(dims)), 2))
    """

    def __init__(self, dims: int, bits: int) -> None:
        if dims > 64:
            raise ValueError(f"head_dim {dims} is too large for pe_structure 'dsp': at most 64 fit 18 bits")
        self.dims = dims
        self.bits = bits
        self.field = 2 * bits - 1 + ceil_log2(dims)
        self.latency = self.latency_of(dims)
        super().__init__({
            "q": In(data.ArrayLayout(signed(bits), dims)),
            "packed": In(data.ArrayLayout(signed(self.field + bits + 1), dims)),
            "sums": Out(data.ArrayLayout(signed(self.field + 1), 2)),
        })

    @staticmethod
    def latency_of(dims: int) -> int:
        """Return the latency for vectors of `dims` elements: the products, their tree, and what is borrowed back."""
        return 1 + AdderTree.latency_of(dims) + 1

    def pack(self, k0: Value, k1: Value) -> Value:
        """Return the operand that holds one element of each of two keys."""
        return k0 + (k1 << self.field)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = signed(self.field + 2 * self.bits + 1)
        products = Signal(data.ArrayLayout(product, self.dims), reset_less=True)
        m.submodules.tree = tree = AdderTree(self.dims, product)
        m.d.comb += tree.terms.eq(products)
        for d in range(self.dims):
            m.d.sync += products[d].eq(self.q[d] * self.packed[d])

        lower, upper = tree.sum[:self.field], tree.sum[self.field:].as_signed()
        negative = lower[-1] & lower[:-1].any()
        sums = Signal.like(self.sums, reset_less=True)
        m.d.sync += [
            sums[0].eq(Cat(lower, negative).as_signed()),
            sums[1].eq(upper + negative),
        ]
        m.d.comb += self.sums.eq(sums)
        return m
