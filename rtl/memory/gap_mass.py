"""What the keys at some gaps below a row's maximum weigh, of each group and together."""

from amaranth import Cat, Module, Mux, Shape, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.primitives import delay, register
from latte.rtl.memory.estimate_histogram import EstimateHistogram, count_groups, counts_layout
from latte.rtl.wide.gap_table import GapTable, gap_shape, table_write_layout
from latte.rtl.wide.payloads import gap_weight_bits, mass_bits

__all__ = ["GapMass"]


class GapMass(wiring.Component):
    r"""Adds the weights of the keys at the gaps from `first` on, before `end`, to a sum for each group::

        gap -+-> row_max - gap -> [EstimateHistogram] -> count of each group -> x -> + masses -> + mass
             +-> [GapTable] -> weight ------------------------------------------^

    Latency: `latency` cycles from a gap, the first of which is looked at behind `begin`, to `mass` with it.
    Throughput: one gap per cycle. Exact.

    Parameters
    ----------
    build

    Members
    -------
    fill : In(table_write_layout), table : In(1)
    begin, first, end : In
        `first` and `end` are taken in the cycle of `begin`.
    row_max : In(signed(est_bits))
        Stands while `busy`, as does the table.
    estimate : Out, counts : In
        Of `EstimateHistogram`.
    busy : Out(1)
    weight : Out(gap_weight_bits)
        Of the last gap.
    masses : Out(ArrayLayout(mass_bits, key_groups)), mass : Out(mass_bits)
        Of each group, and their sum; not `busy`.
    """

    _PRODUCT = 1 + EstimateHistogram.latency + 2
    """The estimate; the histogram, and the table beside it, which takes as long; products in two."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        config = build.core
        self.latency = self.latency_of(build)
        super().__init__({
            "fill": In(table_write_layout(config)), "table": In(1),
            "begin": In(1), "first": In(gap_shape()), "end": In(gap_shape()),
            "row_max": In(signed(config.est_bits)), "estimate": Out(signed(config.est_bits)),
            "counts": In(counts_layout(build)), "busy": Out(1), "weight": Out(gap_weight_bits(config)),
            "masses": Out(data.ArrayLayout(mass_bits(config), count_groups(build))), "mass": Out(mass_bits(config))})

    @classmethod
    def latency_of(cls, build: MemoryBuild) -> int:
        """Return the latency of a build: products, masses, their sum."""
        return cls._PRODUCT + 1 + AdderTree.latency_of(count_groups(build))

    def elaborate(self, platform: object) -> Module:
        assert GapTable.latency == EstimateHistogram.latency
        m = Module()
        build, groups = self.build, count_groups(self.build)
        m.submodules.table = table = GapTable(build.core)
        m.submodules.tree = tree = AdderTree(groups, Shape(mass_bits(build.core)))
        gap, left = Signal(gap_shape()), Signal(gap_shape())
        under_way = [left != 0]
        for age in range(1, self.latency):
            under_way.append(delay(m, under_way[-1], 1, name=f"gap_{age}"))
        with m.If(self.begin):
            m.d.sync += [gap.eq(self.first), left.eq(Mux(self.first < self.end, self.end - self.first, 0))]
        with m.Elif(left != 0):
            m.d.sync += [gap.eq(gap + 1), left.eq(left - 1)]
        m.d.comb += [
            self.busy.eq(Cat(under_way).any()), self.estimate.eq(register(m, self.row_max - gap, "estimate")),
            table.fill.eq(self.fill), table.gap.eq(register(m, gap, "looked_up")), table.table.eq(self.table),
            table.valid.eq(1), self.mass.eq(tree.sum),
        ]
        weight = delay(m, table.weight, 2, name="weight_held", reset_less=True)
        with m.If(under_way[self._PRODUCT]):
            m.d.sync += self.weight.eq(weight)
        for n in range(groups):
            product = register(m, self.counts[n] * table.weight, f"product_{n}")
            product = register(m, product, f"product_held_{n}")
            m.d.comb += tree.terms[n].eq(self.masses[n])
            with m.If(self.begin):
                m.d.sync += self.masses[n].eq(0)
            with m.Elif(under_way[self._PRODUCT]):
                m.d.sync += self.masses[n].eq(self.masses[n] + product)
        return m
