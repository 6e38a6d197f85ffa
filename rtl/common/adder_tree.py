"""Sum of many terms, a register per level."""

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.common.primitives import register

__all__ = ["AdderTree"]

_LEAST_CHAIN = 4
"""Bits up to which synthesis for ECP5 adds without carry cells."""
_CHAIN_SUMS = 4
"""Sums that share a chain where one alone would be as short as that: more would make the chain slow."""


class AdderTree(wiring.Component):
    """Sum of `count` terms, each with an optional carry: a binary tree with a register per level.

    With `carries`, term ``i`` stands for ``terms[i] + (carry_a[i] & carry_b[i])``. An adder takes one carry
    in for almost nothing: ``{x, a} + {y, b}`` has an extra least significant cell, whose own carry is
    ``a & b``. So every partial sum *owes* exactly one carry, which it passes on to its parent::

        x owes a,b ---+
                      (+) <- pays a & b --- x+y owes c,d
        y owes c,d ---+

    and the root's debt leaves by `carry`. The debt is also what keeps the width tight: ``n`` terms in
    ``[-8, 8]`` reach ``8n``, less the carry owed ``8n - 1``, which fits; as do terms in ``[0, 16]``.

    Latency: `latency` = ``ceil(log2(count))`` cycles. Throughput: one sum per cycle. Rounding: none.

    Parameters
    ----------
    count
        Number of terms.
    shape
        Of one term.
    carries
        Whether the terms have carries.

    Members
    -------
    terms : In(ArrayLayout(shape, count))
    carry_a, carry_b : In(count)
        Carries of the terms; present with `carries` only.
    sum : Out(Shape(shape.width + ceil_log2(count), shape.signed))
    carry : Out(1)
        The carry still owed: the exact sum is ``sum + carry``. Present with `carries` only.
    """

    def __init__(self, count: int, shape: Shape, *, carries: bool = False) -> None:
        self.count = count
        self.shape = shape
        self.carries = carries
        self.latency = self.latency_of(count)
        ports = {
            "terms": In(data.ArrayLayout(shape, count)),
            "sum": Out(Shape(shape.width + self.latency, shape.signed)),
        }
        if carries:
            ports |= {"carry_a": In(count), "carry_b": In(count), "carry": Out(1)}
        super().__init__(ports)

    @staticmethod
    def latency_of(count: int) -> int:
        """Return the latency of a sum of `count` terms."""
        return ceil_log2(count)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        nodes = [self.terms[i] for i in range(self.count)]
        owed: list[Sequence[Value]] = [(self.carry_a[i], self.carry_b[i]) for i in range(self.count) if self.carries]

        for level in range(self.latency):
            left, right, single = nodes[:-1:2], nodes[1::2], nodes[len(nodes) & ~1:]
            if not self.carries:
                totals = [self._sum(x, y) for x, y in zip(left, right, strict=True)]
            elif len(left[0]) + 1 == _LEAST_CHAIN and not self.shape.signed:
                totals = []
                for i in range(0, len(left), _CHAIN_SUMS):
                    here = slice(i, i + _CHAIN_SUMS)
                    totals += _chained_sums(m, f"chain_{level}_{i}", left[here], right[here], owed[:-1:2][here])
            else:
                totals = [self._sum(Cat(a, x), Cat(b, y))[1:]
                          for x, y, (a, b) in zip(left, right, owed[:-1:2], strict=True)]
            shape = Shape(self.shape.width + level + 1, self.shape.signed)
            nodes = [register(m, total, f"sum_{level}_{i}", shape) for i, total in enumerate(totals + single)]
            owed = [[register(m, bit, f"owed_{level}_{i}") for bit in debt]
                    for i, debt in enumerate(owed[1::2] + owed[len(owed) & ~1:])]

        m.d.comb += self.sum.eq(nodes[0])
        if self.carries:
            a, b = owed[0]
            m.d.comb += self.carry.eq(a & b)
        return m

    def _sum(self, x: Value, y: Value) -> Value:
        """Return the sum of two numbers of as many bits, which has a bit more.

        Carry cells come in pairs. A last bit that would take a pair for itself is one LUT: where those of `x` and `y`
        are equal it is equal to them, and the bit below says what it is where they differ. (A chain of two pairs would
        not be one: synthesis makes LUTs of it.)
        """
        total = x.as_signed() + y.as_signed() if self.shape.signed else x.as_unsigned() + y.as_unsigned()
        width = len(x)
        if width % 2 or width <= _LEAST_CHAIN:
            return total
        below = total[width - 1] if self.shape.signed else ~total[width - 1]
        return Cat(total[:width], Mux(x[-1] ^ y[-1], below, x[-1]))


def _chained_sums(m: Module, name: str, left: Sequence[Value], right: Sequence[Value],
                  paid: Sequence[Sequence[Value]]) -> list[Value]:
    """Return sums of pairs of unsigned numbers, and of a carry each, from one addition.

    Between two sums is a bit that adds the second one's carry to itself: it passes that on, and shows what came from
    the first one, whose last bit it is::

        a0 + b0 | x0 + y0 | c1 + c1 | x1 + y1 | c2 + c2 | ...      with  c1 = a1 & b1
    """
    carries = [paid[0], *([a & b] * 2 for a, b in paid[1:])]
    total = Signal((len(left[0]) + 1) * len(left) + 1, name=name)
    m.d.comb += total.eq(sum(Cat(Cat(pair[side], number) for pair, number in zip(carries, numbers, strict=True))
                             for side, numbers in enumerate((left, right))))
    return [total[1:].word_select(n, len(left[0]) + 1) for n in range(len(left))]
