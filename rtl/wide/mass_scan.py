"""Sums of the weights of all keys that a row sees, before the filter decides about them."""

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.primitives import delay
from latte.rtl.wide.gap_table import GapTable, table_write_layout
from latte.rtl.wide.group_sums import GroupSums
from latte.rtl.wide.payloads import mass_bits
from latte.rtl.wide.row_scanner import scanned_layout

__all__ = ["MassScan"]


class MassScan(wiring.Component):
    """``M = sum W(rowmax - est)`` over a row's visible keys, of each group of keys: `latte.golden.row_limit`.

    ::

        estimates -> gaps -> [P tables] -> weights -> GroupSums -> sum of each group, when the row has ended

    Latency: `latency` cycles from a row's last estimates to the sum of its first group. Throughput: one beat of `P`
    estimates per cycle; as of `GroupSums`.

    Members
    -------
    i_valid, i : In(scanned_layout)
    fill : In(table_write_layout)
    sum_valid, sum, sum_last, sum_wanted : Out
        The groups' sums of one row, in order; wanted if its head compensates.
    """

    weight_latency = 1 + GapTable.latency
    """Cycles from estimates to their weights."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latency = self.latency_of(config)
        super().__init__({"i_valid": In(1), "i": In(scanned_layout(config)), "fill": In(table_write_layout(config)),
                          "sum_valid": Out(1), "sum": Out(mass_bits(config)), "sum_last": Out(1), "sum_wanted": Out(1)})

    @classmethod
    def latency_of(cls, config: AttentionConfig) -> int:
        """Return the latency of a build."""
        return cls.weight_latency + GroupSums.latency_of(config.pairs_per_cycle)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.sums = sums = GroupSums(config, config.pairs_per_cycle)
        visible = delay(m, self.i.visible, 1, name="visible", reset_less=True)
        table = delay(m, self.i.table, 1, name="table", reset_less=True)
        for n in range(config.pairs_per_cycle):
            m.submodules[f"table_{n}"] = gap_table = GapTable(config)
            gap = Signal(config.est_bits + 1, name=f"gap_{n}", reset_less=True)
            m.d.sync += gap.eq(self.i.row_max - self.i.estimate[n])
            m.d.comb += [gap_table.fill.eq(self.fill), gap_table.valid.eq(visible[n]), gap_table.gap.eq(gap),
                         gap_table.table.eq(table), sums.weights[n].eq(gap_table.weight)]
        beside = {"valid": self.i_valid, "row_last": self.i.row_last}
        if config.key_groups:
            beside["wanted"] = self.i.compensated
        if config.group_bits:
            beside |= {"groups": self.i.groups, "group_bits": self.i.group_bits}
        layout = data.StructLayout({name: sums.signature.members[name].shape for name in beside})
        flags = Signal(layout)
        m.d.comb += [flags[name].eq(value) for name, value in beside.items()]
        flags = delay(m, flags, self.weight_latency, name="flags")
        m.d.comb += [getattr(sums, name).eq(flags[name]) for name in beside]
        m.d.comb += [self.sum_valid.eq(sums.sum_valid), self.sum.eq(sums.sum), self.sum_last.eq(sums.sum_last),
                     self.sum_wanted.eq(sums.sum_wanted)]
        return m
