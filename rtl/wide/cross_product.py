"""The two cross products of a survivor: high x low and low x high halves, summed over a slice of dimensions.

Two structures compute the same exact integer; `create_cross_product` chooses:

=================== ============================== =============================================
Class               Made of                        For
=================== ============================== =============================================
`PairedCrossDot`    half sums of two elements'     the balanced split: 35 LUT4 per product (ECP5,
                    parts, as in `PairTableDot`    64 lanes, with its unit)
`BitPlaneCrossDot`  AND gates, carry chains        4-bit halves of any split: 43 LUT4 per product
=================== ============================== =============================================
"""

from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.primitives import register
from latte.rtl.wide.pair_table_dot import PairTableDot, pair_entry

__all__ = ["BitPlaneCrossDot", "PairedCrossDot", "create_cross_product", "cross_product_latency"]


class _CrossDot(wiring.Component):
    """Ports that both structures share.

    Parameters
    ----------
    config
        Uses `cross_lanes`, the dimensions per slice, `split` and `estimate_bits`.

    Members
    -------
    query, keys : In(ArrayLayout(element_layout(config), lanes))
    sum : Out(signed)
        ``sum(q_high * k_low + q_low * k_high)``, `latency` cycles later.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.lanes = config.cross_lanes
        self.latency = self.latency_of(self.lanes)
        elements = data.ArrayLayout(element_layout(config), self.lanes)
        super().__init__({"query": In(elements), "keys": In(elements),
                          "sum": Out(signed(9 + ceil_log2(2 * self.lanes)))})


class PairedCrossDot(_CrossDot):
    """A dimension's two products as the pair of a `PairTableDot`: of 4-bit halves, the query's against the key's.

    ::

        query -> half sum, half difference of its halves ---+-> PairTableDot -> sum
                        half sums -> AdderTree -> offset ---+
        keys --> bits of both halves -----------------------------^

    The bits of a pair have to weigh the same in every plane, so both must be signed, and as wide. Of a narrower high
    part, both low parts take the query's place, and both high parts the key's: few planes.

    Latency: `latency` = ``ceil(log2(lanes)) + 5`` cycles. Throughput: one slice per cycle. Exact.
    """

    def __init__(self, config: AttentionConfig) -> None:
        if config.split != "balanced":
            raise ValueError(f"split {config.split!r} has unsigned low halves; BitPlaneCrossDot takes them")
        super().__init__(config)

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Return the latency of a slice of `lanes` dimensions."""
        return ceil_log2(lanes) + 5

    def elaborate(self, platform: object) -> Module:
        m = Module()
        planes, bits = self.config.estimate_bits, self.config.low_bits
        m.submodules.dot = dot = PairTableDot(2 * self.lanes, bits, planes)
        m.submodules.offset = offset = AdderTree(self.lanes, signed(bits))
        for n, (query, key) in enumerate(zip(self.query, self.keys, strict=True)):
            if bits == planes:
                q0, q1, k0, k1 = query.high, query.low, key.low, key.high
            else:
                q0, q1, k0, k1 = query.low, key.low, key.high, query.high
            entry = Signal(pair_entry(bits), name=f"entry_{n}", reset_less=True)
            m.d.sync += [
                entry.half_sum.eq((q0 + q1) >> 1), entry.half_diff.eq((q0 - q1) >> 1), entry.even.eq(q0[0] == q1[0]),
            ]
            first = register(m, k0.as_unsigned(), f"first_{n}")
            second = register(m, k1.as_unsigned(), f"second_{n}")
            m.d.comb += [dot.entries[n].eq(entry), offset.terms[n].eq(entry.half_sum)]
            for bit in range(planes):
                m.d.comb += [dot.first[bit][n].eq(first[bit]), dot.second[bit][n].eq(second[bit])]
        m.d.comb += [dot.offset.eq(register(m, offset.sum, "offset_delayed")), self.sum.eq(dot.sum)]
        return m


class BitPlaneCrossDot(_CrossDot):
    """A dot product of twice the length, with the low halves of 4 bits as bit planes.

    Each plane's bits select high halves, one tree adds them, and the four sums are shifted together. The last plane
    counts -8 in the balanced split and +8 in the sliced one, whose low halves are unsigned; nothing else differs.

    Latency: `latency` = ``ceil(log2(2 * lanes)) + 2`` cycles. Throughput: one slice per cycle. Exact.
    """

    def __init__(self, config: AttentionConfig) -> None:
        if config.estimate_bits != 4:
            raise ValueError(f"{config.estimate_bits} and {config.low_bits} bits are no halves; PairedCrossDot takes "
                             "them")
        super().__init__(config)

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Return the latency of a slice of `lanes` dimensions."""
        return ceil_log2(2 * lanes) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        products = [(self.query[n].high, self.keys[n].low) for n in range(self.lanes)]
        products += [(self.keys[n].high, self.query[n].low) for n in range(self.lanes)]
        planes = []
        bits = self.config.low_bits
        for bit in range(bits):
            m.submodules[f"plane{bit}"] = plane = AdderTree(len(products), signed(bits))
            for n, (high, low) in enumerate(products):
                m.d.comb += plane.terms[n].eq(high & low.as_unsigned()[bit].replicate(bits))
            planes.append(plane.sum)
        top = planes[3] << 1
        upper = planes[2] - top if self.config.split == "balanced" else planes[2] + top
        low, high = register(m, planes[0] + (planes[1] << 1), "low"), register(m, upper, "high")
        m.d.comb += self.sum.eq(register(m, low + (high << 2), "result"))
        return m


def create_cross_product(config: AttentionConfig) -> PairedCrossDot | BitPlaneCrossDot:
    """Return the smallest structure that can hold a configuration's split."""
    return _structure(config)(config)


def cross_product_latency(config: AttentionConfig) -> int:
    """Return the latency of what `create_cross_product` returns."""
    return _structure(config).latency_of(config.cross_lanes)


def _structure(config: AttentionConfig) -> type[PairedCrossDot] | type[BitPlaneCrossDot]:
    return PairedCrossDot if config.split == "balanced" else BitPlaneCrossDot

