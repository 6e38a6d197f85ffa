"""Sum of many terms, a register per level."""

from amaranth import Cat, Module, Mux, Shape, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.common.primitives import register

__all__ = ["AdderTree"]

_LEAST_CHAIN = 4
"""Bits up to which synthesis for ECP5 adds without carry cells."""


class AdderTree(wiring.Component):
    """Sum of `count` signed terms, each with an optional carry: a binary tree with a register per level.

    With `carries`, term ``i`` stands for ``terms[i] + (carry_a[i] & carry_b[i])``. An adder takes one carry
    in for almost nothing: ``{x, a} + {y, b}`` has an extra least significant cell, whose own carry is
    ``a & b``. So every partial sum *owes* exactly one carry, which it passes on to its parent::

        x owes a,b ---+
                      (+) <- pays a & b --- x+y owes c,d
        y owes c,d ---+

    and the root's debt leaves by `carry`. The debt is also what keeps the width tight: ``n`` terms in
    ``[-8, 8]`` reach ``8n``, less the carry owed ``8n - 1``, which fits.

    Latency: `latency` = ``ceil(log2(count))`` cycles. Throughput: one sum per cycle. Rounding: none.

    Parameters
    ----------
    count
        Number of terms.
    shape
        Signed shape of one term.
    carries
        Whether the terms have carries.

    Members
    -------
    terms : In(ArrayLayout(shape, count))
    carry_a, carry_b : In(count)
        Carries of the terms; present with `carries` only.
    sum : Out(signed(shape.width + ceil_log2(count)))
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
            "sum": Out(signed(shape.width + self.latency)),
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
        owed = [(self.carry_a[i], self.carry_b[i]) for i in range(self.count)] if self.carries else None

        for level in range(self.latency):
            sums, debts = [], []
            for i in range(0, len(nodes), 2):
                if i + 1 == len(nodes):
                    total, debt = nodes[i], owed and owed[i]
                elif self.carries:
                    (a, b), debt = owed[i], owed[i + 1]
                    total = _signed_sum(Cat(a, nodes[i]), Cat(b, nodes[i + 1]))[1:].as_signed()
                else:
                    total, debt = _signed_sum(nodes[i], nodes[i + 1]), None
                sums.append(register(m, total, f"sum_{level}_{i // 2}"))
                if self.carries:
                    debts.append([register(m, bit, f"owed_{level}_{i // 2}") for bit in debt])
            nodes, owed = sums, debts

        m.d.comb += self.sum.eq(nodes[0])
        if self.carries:
            a, b = owed[0]
            m.d.comb += self.carry.eq(a & b)
        return m


def _signed_sum(a: Value, b: Value) -> Value:
    """Return the sum of two signed numbers of as many bits, which has a bit more.

    Carry cells come in pairs. A sign that would take a pair for itself is one LUT: if the signs of `a` and `b` differ,
    their sum is no longer than they are. (A chain of two pairs would not be one: synthesis makes LUTs of it.)
    """
    total = a.as_signed() + b.as_signed()
    width = len(a)
    if width % 2 or width <= _LEAST_CHAIN:
        return total
    return Cat(total[:width], Mux(a[-1] ^ b[-1], total[width - 1], a[-1])).as_signed()
