"""A row's survivors: those that were spilled, then those of the list."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.payloads import length_shape
from latte.rtl.memory.payloads import bound_shape, candidate_layout, spilled_layout, survivor_layout

__all__ = ["SurvivorMerge"]


class SurvivorMerge(wiring.Component):
    """Puts what is read back in front of what is listed, and marks the row's last::

        recalled -> estimate > floor -+-> held until another comes, or none -> o
        listed -----------------------+

    Latency: a survivor is offered when the next one is. Throughput: one candidate per cycle.

    Parameters
    ----------
    build

    Members
    -------
    begin : In(1), recalls : In(length_shape)
        A row of which so many candidates were spilled.
    floor : In(bound_shape)
        What survivors are above; stands from `begin` on. The listed ones are.
    recalled : In(stream of spilled_layout)
    listed : In(stream of candidate_layout), listed_last : In(1)
        None is offered, and none will be.
    busy : Out(1)
        From the cycle behind `begin` until the last survivor is taken.
    o : Out(stream of survivor_layout)
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        super().__init__({
            "begin": In(1), "recalls": In(length_shape(build.core)), "floor": In(bound_shape(build)),
            "recalled": In(stream.Signature(spilled_layout())),
            "listed": In(stream.Signature(candidate_layout(build))), "listed_last": In(1), "busy": Out(1),
            "o": Out(stream.Signature(survivor_layout(build)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, held = Signal.like(self.recalls), Signal()
        recalls = left != 0
        offer = Mux(recalls, self.recalled.valid, self.busy & self.listed.valid)
        survives = ~recalls | (self.recalled.payload.estimate > self.floor)
        ends = self.busy & ~recalls & self.listed_last
        ready = ~survives | ~held | self.o.ready
        m.d.comb += [
            self.recalled.ready.eq(recalls & ready), self.listed.ready.eq(self.busy & ~recalls & ready),
            self.o.valid.eq(held & ((offer & survives) | ends)), self.o.payload.last.eq(ends),
        ]
        with m.If(offer & survives & ready):
            m.d.sync += [held.eq(1), self.o.payload.spilled.eq(recalls)]
            m.d.sync += [self.o.payload[name].eq(Mux(recalls, self.recalled.payload[name], self.listed.payload[name]))
                         for name in ("place", "estimate")]
        with m.Elif(self.o.ready & ends):
            m.d.sync += [held.eq(0), self.busy.eq(0)]
        with m.If(self.begin):
            m.d.sync += [self.busy.eq(1), left.eq(self.recalls)]
        with m.Elif(recalls & offer & ready):
            m.d.sync += left.eq(left - 1)
        return m
