"""Dot product of vectors of few bits with a query that stands still: one LUT4 per bit."""

from amaranth import Cat, Module, Mux, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div, ceil_log2
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.primitives import register

__all__ = ["PairTableDot", "pair_entry"]


def pair_entry(bits: int) -> data.StructLayout:
    """Layout of what is remembered of two elements ``q0``, ``q1`` of `bits` bits: all that `PairTableDot` needs.

    Both halves are rounded down; ``q0 + q1`` and ``q0 - q1`` have the same parity, which ``even`` records.
    """
    return data.StructLayout({"half_sum": signed(bits), "half_diff": signed(bits), "even": 1})


class PairTableDot(wiring.Component):
    """Dot product of a key with a held query row, from half sums and half differences of query pairs.

    Distributed arithmetic with offset binary coding, on pairs. Take bit ``b`` of the two keys of a pair,
    ``x`` and ``y``, and ``C = q0 + q1``, ``D = q0 - q1``. Then::

        -(x*q0 + y*q1) = -C/2 -+ M/2     with  M = C where x == y else D,  and the sign - where x is set

    so one LUT4 per bit, ``(x == y ? half_sum : half_diff) ^ x``, replaces two AND gates per bit *and* their
    adder. (The negative is computed because its XOR needs no inverter.) What the LUTs leave out:

    * an inverted term is one short of a negated one, unless C and D are odd, where the half that was rounded
      away makes up for it: `AdderTree` adds the carry ``x & even``;
    * ``-floor(C/2)`` is missing in every plane. The planes weigh 1 + 2 + 4 - 8 = -1, those of fewer bits
      1 + 2 - 4 or 1 - 2, so it is put right once, by the sum of all half sums, which is made when the row is
      loaded: `offset`;
    * terms are added in offset binary, the sign inverted in their LUT: unsigned sums need no LUT for a sign. A plane is
      then too large by ``2 ** (entry_bits - 1)`` for each pair, and the planes together by as much less: `offset` takes
      that, too;
    * each of the trees owes a carry at its root; together they are a signed number, a bit for each.

    ::

        first, second ---> LUT4s -> AdderTree, bit plane 0 -> p0 --+
        (4 planes)     --> LUT4s -> AdderTree, bit plane 1 -> p1 --+-> 8 p3 - 4 p2 - 2 p1 - p0 - owed - offset
        entries (held) --> LUT4s -> AdderTree, bit plane 2 -> p2 --+
                       --> LUT4s -> AdderTree, bit plane 3 -> p3 --+

    The planes of a 4-bit key are drawn; one of fewer bits has fewer.

    Latency: `latency` = ``ceil(log2(head_dim)) + 3`` cycles. Throughput: one per cycle. Rounding: none.
    `offset` is read `offset_delay` cycles after the other inputs.

    Why pairs, and registers rather than distributed RAM: with a RAM of 16 entries as 6 LUTs (4, and 2 to
    write it), tables of 3 elements cost 28 LUTs per product, of 4 elements 26, pairs in registers 23 (ECP5,
    64 elements, all adders). Wider tables save adders, but not as much as their memory costs.

    Source: the bit-split PE of LATTE (arXiv 2404.07519), with its high x high multipliers replaced by tables.

    Parameters
    ----------
    head_dim
        Elements of a vector; even.
    entry_bits
        Width of a query element.
    planes
        Width of a key element, 2 to 4.

    Members
    -------
    entries : In(ArrayLayout(pair_entry(entry_bits), head_dim / 2))
        The query row.
    first, second : In(ArrayLayout(head_dim / 2, planes))
        Per bit plane and pair: the bits of its two key elements.
    offset : In(signed(entry_bits + ceil_log2(head_dim / 2)))
        Sum of all half sums.
    sum : Out(signed(entry_bits + planes + ceil_log2(head_dim)))
    """

    def __init__(self, head_dim: int, entry_bits: int, planes: int) -> None:
        self.head_dim = head_dim
        self.entry_bits = entry_bits
        self.planes = planes
        self.pairs = head_dim // 2
        self.offset_delay = self.offset_delay_of(head_dim)
        self.latency = self.latency_of(head_dim)
        super().__init__({
            "entries": In(data.ArrayLayout(pair_entry(entry_bits), self.pairs)),
            "first": In(data.ArrayLayout(self.pairs, planes)),
            "second": In(data.ArrayLayout(self.pairs, planes)),
            "offset": In(signed(entry_bits + ceil_log2(self.pairs))),
            "sum": Out(signed(entry_bits + planes + ceil_log2(head_dim))),
        })

    @staticmethod
    def offset_delay_of(head_dim: int) -> int:
        """Return the cycles until the trees' sums are there: the chosen terms, then a level each."""
        return 1 + AdderTree.latency_of(head_dim // 2)

    @classmethod
    def latency_of(cls, head_dim: int) -> int:
        """Return the latency for vectors of `head_dim` elements: three additions come after the trees."""
        return cls.offset_delay_of(head_dim) + 3

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.entry_bits
        half = 1 << (bits - 1)
        planes = []
        for b in range(self.planes):
            plane = AdderTree(self.pairs, unsigned(bits), carries=True)
            m.submodules[f"plane{b}"] = plane
            planes.append(plane)
            for i in range(self.pairs):
                entry, first, second = self.entries[i], self.first[b][i], self.second[b][i]
                term = Mux(first ^ second, entry.half_diff, entry.half_sum) ^ first.replicate(bits) ^ half
                # A register between LUT and adder: they never share a slice, so the wire is long.
                m.d.comb += [
                    plane.terms[i].eq(register(m, term[:bits], f"term_{b}_{i}")),
                    plane.carry_a[i].eq(register(m, first, f"first_{b}_{i}")),
                    plane.carry_b[i].eq(register(m, entry.even, f"even_{b}_{i}")),
                ]
        owed = Cat(plane.carry for plane in planes).as_signed()
        # The small terms join the lower planes, whose adders are shorter.
        *lower, top = (plane.sum for plane in planes)
        low = register(m, lower[0] + (lower[1] << 1) if self.planes > 2 else lower[0], "low")
        high = register(m, (top << 1) - lower[2] if self.planes > 3 else top, "high")
        rest = register(m, owed + (self.offset + half * self.pairs)[:len(self.offset)], "rest")
        low, high = register(m, low + rest, "low_and_rest"), register(m, high, "high_delayed")
        m.d.comb += self.sum.eq(register(m, (high << ceil_div(self.planes, 2)) - low, "result"))
        return m
