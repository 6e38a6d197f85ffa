"""Adds the two cross products to a survivor's estimate, a slice of dimensions per cycle."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.payloads import key_shape
from latte.rtl.common.primitives import delay, next_modulo
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.cross_product import create_cross_product, cross_product_latency
from latte.rtl.wide.payloads import score_layout, slot_shape, survivor_layout

__all__ = ["CrossProductUnit"]


class CrossProductUnit(wiring.Component):
    r"""``score = 2**2l est + 2**l (q_high . k_low + q_low . k_high)`` for each survivor (LATTE Eq. 9).

    ``l`` is `low_bits`. The estimate is reused and the low x low product skipped::

        survivor -> slice counter -> addresses -> [query ring, key plane] -> cross products -> sum of slices -> +
               \------------------------------ estimate, key ------------------------------------------------/

    The cross products are spread over the dimensions, not over keys, so that one survivor after another keeps every
    multiplier busy.

    Latency: `latency` cycles after a survivor's last slice. Throughput: one survivor in
    `cross_slices` cycles. Exact.

    Members
    -------
    i : In(stream of survivor_layout)
    room : In(1)
        The score queue has room for everything under way.
    slot, slice, key, bank : Out
        Read addresses of the query ring and the key plane.
    query, keys : In(ArrayLayout(element_layout, cross_lanes))
        Their data, `RAM_LATENCY` cycles later.
    retire : Out(1)
        A row's last survivor was taken `retire_latency` cycles ago: its query is no longer needed.
    step : Out(1)
        A slice is begun in this cycle.
    o_valid, o : Out
        Scores, never refused.
    """

    retire_latency = 2
    """The ring is read one cycle after the address register; only then may the row be overwritten."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latency = self.latency_of(config)
        element = data.ArrayLayout(element_layout(config), config.cross_lanes)
        super().__init__({
            "i": In(stream.Signature(survivor_layout(config))), "room": In(1),
            "slot": Out(slot_shape(config)), "slice": Out(range(max(2, config.cross_slices))),
            "key": Out(key_shape(config)), "bank": Out(1), "query": In(element), "keys": In(element),
            "retire": Out(1), "step": Out(1), "o_valid": Out(1), "o": Out(score_layout(config))})

    @staticmethod
    def latency_of(config: AttentionConfig) -> int:
        """Return the latency of a build: address, memories, cross products, sum of slices, score."""
        return 1 + RAM_LATENCY + cross_product_latency(config) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slices = config.cross_slices
        survivor = self.i.payload
        part = Signal(range(max(2, slices)))
        step, last = self.step, Signal()
        m.d.comb += [
            # A survivor that was begun is finished.
            step.eq(self.i.valid & (self.room | (part != 0))),
            last.eq(part == slices - 1),
            self.i.ready.eq(step & last),
        ]
        with m.If(step):
            m.d.sync += part.eq(next_modulo(part, slices))
        m.d.sync += [self.slot.eq(survivor.slot), self.key.eq(survivor.key), self.bank.eq(survivor.bank),
                     self.slice.eq(part)]
        m.d.comb += self.retire.eq(delay(m, self.i.ready & survivor.row_last, self.retire_latency, name="retire"))

        m.submodules.cross = cross = create_cross_product(config)
        m.d.comb += [cross.query.eq(self.query), cross.keys.eq(self.keys)]
        latency = 1 + RAM_LATENCY + cross.latency
        valid = delay(m, step, latency, name="valid")
        flags = data.StructLayout({"first": 1, "last": 1, "row_last": 1, "key": key_shape(config),
                                   "estimate": signed(config.est_bits)})
        beside = Signal(flags)
        m.d.comb += [beside.first.eq(part == 0), beside.last.eq(last), beside.row_last.eq(survivor.row_last),
                     beside.key.eq(survivor.key), beside.estimate.eq(survivor.estimate)]
        beside = delay(m, beside, latency, name="beside", reset_less=True)

        total = Signal(signed(config.cross_bits), reset_less=True)
        with m.If(valid):
            m.d.sync += total.eq(Mux(beside.first, 0, total) + cross.sum)
        done = delay(m, valid & beside.last, 1, name="done")
        beside = delay(m, beside, 1, name="beside_total", reset_less=True)
        m.d.sync += [
            self.o_valid.eq(done),
            self.o.score.eq(((beside.estimate << config.low_bits) + total) << config.low_bits),
            self.o.key.eq(beside.key), self.o.row_last.eq(beside.row_last),
        ]
        return m
