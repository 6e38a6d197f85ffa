"""What a mass says of the keys of a row: which weights are too small, and from which gap on."""

from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.memory.payloads import bound_shape, selected_row_layout
from latte.rtl.wide.gap_table import table_write_layout
from latte.rtl.wide.payloads import gap_weight_bits, mass_bits
from latte.rtl.wide.row_limits import LimitSearch, MassThreshold

__all__ = ["LimitFinder"]


class LimitFinder(wiring.Component):
    """`latte.golden.row_limit` of one row, asked again and again::

        mass -> MassThreshold -> least -> LimitSearch -> threshold

    Latency: `latency` cycles from `begin` to a threshold, by mass as many more as `MassThreshold` says. One question at
    a time.

    Parameters
    ----------
    build

    Members
    -------
    fill : In(table_write_layout)
    row : In(selected_row_layout), row_max : In(signed(est_bits)), mass : In(mass_bits)
        Stand from the cycle behind `begin` until the answer.
    begin : In(1)
    least_valid, least : Out
        Weights up to it are too small; of a threshold by mass.
    searches : Out(1)
        With `least_valid`: by mass, and theta is not 0.
    stops : In(1)
        With `least_valid`: no threshold is wanted.
    valid : Out(1), threshold : Out(bound_shape)
        What survivors are above: `row_max` less the limit; of any kind of threshold.
    """

    latency = MassThreshold.other_cycles + LimitSearch.latency
    """What is too small; from which gap on."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        config = build.core
        super().__init__({
            "fill": In(table_write_layout(config)), "row": In(selected_row_layout(build)),
            "row_max": In(signed(config.est_bits)), "mass": In(mass_bits(config)), "begin": In(1), "stops": In(1),
            "least_valid": Out(1), "searches": Out(1), "least": Out(gap_weight_bits(config)), "valid": Out(1),
            "threshold": Out(bound_shape(build))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.build.core
        m.submodules.judge = judge = MassThreshold(config)
        m.submodules.search = search = LimitSearch(config)
        # One question at a time: it is noticed in the cycle in which it is offered, and the search before has ended.
        asks = Signal()
        m.d.sync += asks.eq(self.begin)
        answer, asked = judge.o.payload, judge.row.payload
        given = {"row_max": self.row_max, "code" if config.code_octaves else "tau": self.row.code,
                 **{name: self.row[name] for name in ("kind", "table") if name in self.row.shape().members}}
        m.d.comb += [
            judge.row.valid.eq(asks), judge.mass.valid.eq(asks), judge.mass.payload.eq(self.mass),
            *(asked[name].eq(value) for name, value in given.items()),
            search.fill.eq(self.fill), search.i.valid.eq(judge.o.valid & ~self.stops), search.i.payload.eq(answer),
            judge.o.ready.eq(1), search.o.ready.eq(1),
            self.least_valid.eq(judge.o.valid), self.searches.eq(answer.search), self.least.eq(answer.least),
            self.valid.eq(search.o.valid), self.threshold.eq(search.o.payload.threshold),
        ]
        return m
