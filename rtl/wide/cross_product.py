"""The two cross products of a survivor: high x low and low x high halves, summed over a slice of dimensions.

Two structures compute the same exact integer; `create_cross_product` chooses:

=================== ============================== =============================================
Class               Made of                        For
=================== ============================== =============================================
`PairedCrossDot`    half sums of the query's       the balanced split: 35 LUT4 per product (ECP5,
                    halves, as in `PairTableDot`   64 lanes, with its unit)
`BitPlaneCrossDot`  AND gates, carry chains        any split: 43 LUT4 per product
=================== ============================== =============================================
"""

from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.operand_split import HALF_BITS, element_layout
from latte.rtl.common.primitives import register
from latte.rtl.wide.pair_table_dot import PairEntry, PairTableDot

__all__ = ["BitPlaneCrossDot", "PairedCrossDot", "create_cross_product", "cross_product_latency"]


class _CrossDot(wiring.Component):
    """Ports that both structures share.

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
        ``sum(q_high * k_low + q_low * k_high)``, `latency` cycles later.
    """

    def __init__(self, lanes: int, split: str) -> None:
        self.lanes = lanes
        self.split = split
        self.latency = self.latency_of(lanes)
        elements = data.ArrayLayout(element_layout(split), lanes)
        super().__init__({"query": In(elements), "keys": In(elements),
                          "sum": Out(signed(2 * HALF_BITS + 1 + ceil_log2(2 * lanes)))})


class PairedCrossDot(_CrossDot):
    """A dimension's two products as the pair of a `PairTableDot`: both halves of the query against both of the key.

    ::

        query -> half sum, half difference of its halves ---+-> PairTableDot -> sum
                        half sums -> AdderTree -> offset ---+
        keys --> bits of the low half, and where the halves differ ---^

    The bits of a key's two halves have to weigh the same in every plane, so both halves must be signed.

    Latency: `latency` = ``ceil(log2(lanes)) + 5`` cycles. Throughput: one slice per cycle. Exact.
    """

    def __init__(self, lanes: int, split: str = "balanced") -> None:
        if split != "balanced":
            raise ValueError(f"split {split!r} has unsigned low halves; BitPlaneCrossDot takes them")
        super().__init__(lanes, split)

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Return the latency of a slice of `lanes` dimensions."""
        return ceil_log2(lanes) + 5

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dot = dot = PairTableDot(2 * self.lanes)
        m.submodules.offset = offset = AdderTree(self.lanes, signed(HALF_BITS))
        for n, (query, key) in enumerate(zip(self.query, self.keys, strict=True)):
            entry = Signal(PairEntry, name=f"entry_{n}", reset_less=True)
            m.d.sync += [
                entry.half_sum.eq((query.high + query.low) >> 1), entry.half_diff.eq((query.high - query.low) >> 1),
                entry.even.eq(query.high[0] == query.low[0]),
            ]
            invert = register(m, key.low.as_unsigned(), f"invert_{n}")
            differ = register(m, key.low.as_unsigned() ^ key.high.as_unsigned(), f"differ_{n}")
            m.d.comb += [dot.entries[n].eq(entry), offset.terms[n].eq(entry.half_sum)]
            for bit in range(HALF_BITS):
                m.d.comb += [dot.invert[bit][n].eq(invert[bit]), dot.differ[bit][n].eq(differ[bit])]
        m.d.comb += [dot.offset.eq(register(m, offset.sum, "offset_delayed")), self.sum.eq(dot.sum)]
        return m


class BitPlaneCrossDot(_CrossDot):
    """A dot product of twice the length, with the low halves as bit planes.

    Each plane's bits select high halves, one tree adds them, and the four sums are shifted together. The last plane
    counts -8 in the balanced split and +8 in the sliced one, whose low halves are unsigned; nothing else differs.

    Latency: `latency` = ``ceil(log2(2 * lanes)) + 2`` cycles. Throughput: one slice per cycle. Exact.
    """

    def __init__(self, lanes: int, split: str) -> None:
        super().__init__(lanes, split)

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Return the latency of a slice of `lanes` dimensions."""
        return ceil_log2(2 * lanes) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        products = [(self.query[n].high, self.keys[n].low) for n in range(self.lanes)]
        products += [(self.keys[n].high, self.query[n].low) for n in range(self.lanes)]
        planes = []
        for bit in range(HALF_BITS):
            m.submodules[f"plane{bit}"] = plane = AdderTree(len(products), signed(HALF_BITS))
            for n, (high, low) in enumerate(products):
                m.d.comb += plane.terms[n].eq(high & low.as_unsigned()[bit].replicate(HALF_BITS))
            planes.append(plane.sum)
        top = planes[3] << 1
        upper = planes[2] - top if self.split == "balanced" else planes[2] + top
        low, high = register(m, planes[0] + (planes[1] << 1), "low"), register(m, upper, "high")
        m.d.comb += self.sum.eq(register(m, low + (high << 2), "result"))
        return m


def create_cross_product(config: AttentionConfig) -> PairedCrossDot | BitPlaneCrossDot:
    """Return the smallest structure that can hold a configuration's split."""
    return _structure(config)(config.cross_lanes, config.split)


def cross_product_latency(config: AttentionConfig) -> int:
    """Return the latency of what `create_cross_product` returns."""
    return _structure(config).latency_of(config.cross_lanes)


def _structure(config: AttentionConfig) -> type[PairedCrossDot] | type[BitPlaneCrossDot]:
    return PairedCrossDot if config.split == "balanced" else BitPlaneCrossDot

