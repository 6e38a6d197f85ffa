"""Dot products of 4-bit signed vectors: the processing elements of the estimator.

Three structures compute the same exact integer, ``sum(q[d] * k[d])``; they differ in what they are made of:

===================== ======================================== =============================================
Class                 Made of                                  For
===================== ======================================== =============================================
`PairTableDot`        one LUT4 per bit, carry chains           the query stands still for many keys (default)
`BitPlaneDot`         AND gates, carry chains                  both operands change; the portable fallback
`PackedDspDot`        one hard multiplier per two products     FPGAs with multipliers to spare
===================== ======================================== =============================================

All are pipelines without stalls: one result per cycle, a register after every adder, `latency` cycles long.
"""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["BITS", "AdderTree", "BitPlaneDot", "PackedDspDot", "PairEntry", "PairTableDot"]

BITS = 4
"""Bits of one vector element: half of an 8-bit operand."""


class PairEntry(data.Struct):
    """What a held query row remembers of two elements ``q0``, ``q1``: all that `PairTableDot` needs.

    Both halves are rounded down; ``q0 + q1`` and ``q0 - q1`` have the same parity, which `even` records.
    """

    half_sum: signed(BITS)
    half_diff: signed(BITS)
    even: unsigned(1)


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
    count : int
        Number of terms.
    shape : amaranth.hdl.Shape
        Signed shape of one term.
    carries : bool
        Whether the terms have carries.

    Attributes
    ----------
    terms : In(ArrayLayout(shape, count))
    carry_a, carry_b : In(count)
        Carries of the terms; present with `carries` only.
    sum : Out(signed(shape.width + ceil_log2(count)))
    carry : Out(1)
        The carry still owed: the exact sum is ``sum + carry``. Present with `carries` only.
    """

    def __init__(self, count, shape, *, carries=False):
        self.count = count
        self.shape = shape
        self.carries = carries
        self.latency = ceil_log2(count)
        ports = {
            "terms": In(data.ArrayLayout(shape, count)),
            "sum": Out(signed(shape.width + self.latency)),
        }
        if carries:
            ports |= {"carry_a": In(count), "carry_b": In(count), "carry": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform):
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
                    total = (Cat(a, nodes[i]).as_signed() + Cat(b, nodes[i + 1]).as_signed())[1:].as_signed()
                else:
                    total, debt = nodes[i] + nodes[i + 1], None
                sums.append(register(m, total, f"sum_{level}_{i // 2}"))
                if self.carries:
                    debts.append([register(m, bit, f"owed_{level}_{i // 2}") for bit in debt])
            nodes, owed = sums, debts

        m.d.comb += self.sum.eq(nodes[0])
        if self.carries:
            a, b = owed[0]
            m.d.comb += self.carry.eq(a & b)
        return m


class PairTableDot(wiring.Component):
    """Dot product of a key with a held query row, from half sums and half differences of query pairs.

    Distributed arithmetic with offset binary coding, on pairs. Take bit ``b`` of the two keys of a pair,
    ``x`` and ``y``, and ``C = q0 + q1``, ``D = q0 - q1``. Then::

        -(x*q0 + y*q1) = -C/2 -+ M/2     with  M = C where x == y else D,  and the sign - where x is set

    so one LUT4 per bit, ``(x == y ? half_sum : half_diff) ^ x``, replaces two AND gates per bit *and* their
    adder. (The negative is computed because its XOR needs no inverter.) What the LUTs leave out:

    * an inverted term is one short of a negated one, unless C and D are odd, where the half that was rounded
      away makes up for it: `AdderTree` adds the carry ``x & even``;
    * ``-floor(C/2)`` is missing in every plane. The planes weigh 1 + 2 + 4 - 8 = -1, so it is put right once,
      by the sum of all half sums, which is made when the row is loaded: `offset`;
    * each of the four trees owes a carry at its root; together they are a 4-bit signed number.

    ::

        invert, differ --> LUT4s -> AdderTree, bit plane 0 -> p0 --+
        (4 planes)     --> LUT4s -> AdderTree, bit plane 1 -> p1 --+-> 8 p3 - 4 p2 - 2 p1 - p0 - owed - offset
        entries (held) --> LUT4s -> AdderTree, bit plane 2 -> p2 --+
                       --> LUT4s -> AdderTree, bit plane 3 -> p3 --+

    Latency: `latency` = ``ceil(log2(head_dim)) + 3`` cycles. Throughput: one per cycle. Rounding: none.
    `offset` is read `offset_delay` cycles after the other inputs.

    Why pairs, and registers rather than distributed RAM: with a RAM of 16 entries as 6 LUTs (4, and 2 to
    write it), tables of 3 elements cost 28 LUTs per product, of 4 elements 26, pairs in registers 23 (ECP5,
    64 elements, all adders). Wider tables save adders, but not as much as their memory costs.

    Source: the bit-split PE of LATTE (arXiv 2404.07519), with its high x high multipliers replaced by tables.

    Parameters
    ----------
    head_dim : int
        Elements of a vector; even.

    Attributes
    ----------
    entries : In(ArrayLayout(PairEntry, head_dim / 2))
        The query row.
    invert : In(ArrayLayout(head_dim / 2, 4))
        Per bit plane and pair: the first key element's bit.
    differ : In(ArrayLayout(head_dim / 2, 4))
        Per bit plane and pair: the bits of its two key elements differ.
    offset : In(signed(4 + ceil_log2(head_dim / 2)))
        Sum of all half sums.
    sum : Out(signed(8 + ceil_log2(head_dim)))
    """

    def __init__(self, head_dim):
        self.head_dim = head_dim
        self.pairs = head_dim // 2
        self.offset_delay = 1 + ceil_log2(self.pairs)
        self.latency = self.offset_delay + 3
        super().__init__({
            "entries": In(data.ArrayLayout(PairEntry, self.pairs)),
            "invert": In(data.ArrayLayout(self.pairs, BITS)),
            "differ": In(data.ArrayLayout(self.pairs, BITS)),
            "offset": In(signed(BITS + ceil_log2(self.pairs))),
            "sum": Out(signed(2 * BITS + ceil_log2(head_dim))),
        })

    def elaborate(self, platform):
        m = Module()
        planes = []
        for b in range(BITS):
            plane = AdderTree(self.pairs, signed(BITS), carries=True)
            m.submodules[f"plane{b}"] = plane
            planes.append(plane)
            for i in range(self.pairs):
                entry = self.entries[i]
                chosen = Mux(self.differ[b][i], entry.half_diff, entry.half_sum)
                term = chosen ^ self.invert[b][i].replicate(BITS)
                # A register between LUT and adder: they never share a slice, so the wire is long.
                m.d.comb += [
                    plane.terms[i].eq(register(m, term[:BITS], f"term_{b}_{i}")),
                    plane.carry_a[i].eq(register(m, self.invert[b][i], f"invert_{b}_{i}")),
                    plane.carry_b[i].eq(register(m, entry.even, f"even_{b}_{i}")),
                ]
        owed = Cat(plane.carry for plane in planes).as_signed()
        # The small terms join the lower planes, whose adders are shorter.
        p0, p1, p2, p3 = (plane.sum for plane in planes)
        low, high = register(m, p0 + (p1 << 1), "low"), register(m, (p3 << 1) - p2, "high")
        rest = register(m, owed + self.offset, "rest")
        low, high = register(m, low + rest, "low_and_rest"), register(m, high, "high_delayed")
        m.d.comb += self.sum.eq(register(m, (high << 2) - low, "result"))
        return m


class BitPlaneDot(wiring.Component):
    """Dot product of two vectors that may both change every cycle: ANDed bit planes of the key.

    Each bit plane of the key selects query elements, a tree adds them, and the four sums are shifted
    together (two's complement: the last plane counts negative). It needs no table, no carry tricks and no
    multiplier, which makes it the fallback for any FPGA, and the reference for the other structures.

    Latency: `latency` = ``ceil(log2(dims)) + 2`` cycles. Throughput: one per cycle. Rounding: none.

    Parameters
    ----------
    dims : int
        Elements of a vector.

    Attributes
    ----------
    q, k : In(ArrayLayout(signed(4), dims))
    sum : Out(signed(8 + ceil_log2(dims)))
    """

    def __init__(self, dims):
        self.dims = dims
        self.latency = ceil_log2(dims) + 2
        vector = data.ArrayLayout(signed(BITS), dims)
        super().__init__({"q": In(vector), "k": In(vector), "sum": Out(signed(2 * BITS + ceil_log2(dims)))})

    def elaborate(self, platform):
        m = Module()
        sums = []
        for b in range(BITS):
            m.submodules[f"plane{b}"] = plane = AdderTree(self.dims, signed(BITS))
            for d in range(self.dims):
                m.d.comb += plane.terms[d].eq(self.q[d] & self.k[d].as_unsigned()[b].replicate(BITS))
            sums.append(plane.sum)
        p0, p1, p2, p3 = sums
        low, high = register(m, p0 + (p1 << 1), "low"), register(m, p2 - (p3 << 1), "high")
        m.d.comb += self.sum.eq(register(m, low + (high << 2), "result"))
        return m


class PackedDspDot(wiring.Component):
    """Dot products of two keys with one query row, two 4-bit products per hard multiplier.

    Both keys ride in one operand, ``k0 + (k1 << field)``, so one sum of products holds both results. The
    lower one lies in ``[-56 n, 64 n]`` for ``n`` dimensions: one bit less than its signed width, but for the
    corner where every factor is -8. A `field` of that one bit less makes the operand fit 18 bits, and is
    still unambiguous: ``1000...0`` can only be the corner, never the most negative number. A negative lower
    result has borrowed one from the upper, which gets it back.

    Latency: `latency` = ``ceil(log2(dims)) + 2`` cycles. Throughput: one pair per cycle. Rounding: none.

    Parameters
    ----------
    dims : int
        Elements of a vector, at most 64 (the operand's width).

    Attributes
    ----------
    q : In(ArrayLayout(signed(4), dims))
    packed : In(ArrayLayout(signed(field + 5), dims))
        Two keys' elements, from `pack`.
    sums : Out(ArrayLayout(signed(8 + ceil_log2(dims)), 2))
    """

    def __init__(self, dims):
        if dims > 64:
            raise ValueError(f"head_dim {dims} is too large for pe_structure 'dsp': at most 64 fit 18 bits")
        self.dims = dims
        self.field = 2 * BITS - 1 + ceil_log2(dims)
        self.latency = ceil_log2(dims) + 2
        super().__init__({
            "q": In(data.ArrayLayout(signed(BITS), dims)),
            "packed": In(data.ArrayLayout(signed(self.field + BITS + 1), dims)),
            "sums": Out(data.ArrayLayout(signed(self.field + 1), 2)),
        })

    def pack(self, k0, k1):
        """Operand that holds one element of each of two keys."""
        return k0 + (k1 << self.field)

    def elaborate(self, platform):
        m = Module()
        products = Signal(data.ArrayLayout(signed(self.field + 2 * BITS + 1), self.dims), reset_less=True)
        m.submodules.tree = tree = AdderTree(self.dims, signed(self.field + 2 * BITS + 1))
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


def register(m, value, name):
    """Return `value`, a cycle later.

    Without reset: a sum means something only while the array says so, and that is reset.
    """
    stage = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += stage.eq(value)
    return stage
