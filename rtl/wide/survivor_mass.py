"""Pruned mass: of all keys that a row sees, less that of its survivors."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.gap_table import GapTable, table_write_layout
from latte.rtl.wide.group_sums import GroupSums
from latte.rtl.wide.payloads import survivor_layout
from latte.rtl.wide.row_limiter import group_mass_layout

__all__ = ["SurvivorMass"]

_DEPTH = 256
"""Sums of groups that wait for their row's largest score."""


class SurvivorMass(wiring.Component):
    r"""``sum over pruned keys of W(rowmax - est)`` of each group: `latte.golden.pruned_mass.pruned_mass`::

        i ----------------------------> o
           \-> gap -> GapTable -> GroupSums -> - -> pruned
                              masses ----------^

    Survivors pass one by one on their way to the cross products, so that one look-up suffices. Sums are exact: what all
    keys weigh less what survivors weigh is what pruned keys weigh.

    Latency: none from `i` to `o`; `latency` cycles from a row's last survivor to the mass of its first group.
    Throughput: one survivor per cycle; from a row's last to the next one's there are as many cycles as it has groups.

    Members
    -------
    i : In(stream of survivor_layout)
    o : Out(stream of survivor_layout)
        A row's last survivor that waits is withdrawn when the queue of masses fills up: what takes `o` looks at
        nothing but transfers.
    fill : In(table_write_layout)
    release, release_table : Out(1)
        The last survivor of a job was looked up in that table: `release_latency` cycles after it was taken.
    masses : In(stream of group_mass_layout)
        Of all keys; of rows whose head compensates. It is there before a row's last survivor. With what follows,
        present in a build that compensates.
    pruned : Out(stream of group_mass_layout)
    overflow : Out(1)
        A queue has lost an entry.
    """

    latency = 1 + GapTable.latency + GroupSums.latency_of(1) + 1 + StreamQueue.latency
    """The gap, its weight, the sums, the difference; and a queue."""
    release_latency = 1 + GapTable.latency + 1

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        survivors = stream.Signature(survivor_layout(config))
        ports = {"i": In(survivors), "o": Out(survivors), "fill": In(table_write_layout(config)),
                 "release": Out(1), "release_table": Out(1)}
        if config.key_groups:
            ports |= {"masses": In(stream.Signature(group_mass_layout(config))),
                      "pruned": Out(stream.Signature(group_mass_layout(config))), "overflow": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        survivor = self.i.payload
        taken = self.i.valid & self.i.ready
        m.d.comb += self.o.payload.eq(survivor)
        m.d.sync += [
            self.release.eq(delay(m, taken & survivor.row_last & survivor.job_last, 1 + GapTable.latency, name="done")),
            self.release_table.eq(delay(m, survivor.table, 1 + GapTable.latency, name="done_table"))]
        if not config.key_groups:
            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
            return m

        m.submodules.table = table = GapTable(config)
        m.submodules.sums = sums = GroupSums(config, 1)
        m.submodules.queue = queue = StreamQueue(group_mass_layout(config), _DEPTH, producer_latency=self.latency,
                                                 reserve=config.key_groups)
        wiring.connect(m, wiring.flipped(self.pruned), queue.o)
        # The sums of a row's groups leave one by one, before the next row ends.
        wait = Signal(range(max(2, config.key_groups)))
        passes = ~survivor.row_last | ((wait == 0) & queue.room)
        m.d.comb += [self.o.valid.eq(self.i.valid & passes), self.i.ready.eq(self.o.ready & passes)]
        if config.group_bits:
            with m.If(taken & survivor.row_last):
                m.d.sync += wait.eq((1 << survivor.group_bits) - 1)
            with m.Elif(wait != 0):
                m.d.sync += wait.eq(wait - 1)

        gap = Signal(config.est_bits + 1, reset_less=True)
        m.d.sync += gap.eq(survivor.row_max - survivor.estimate)
        m.d.comb += [
            table.fill.eq(self.fill), table.gap.eq(gap), table.valid.eq(1),
            table.table.eq(delay(m, survivor.table, 1, name="table", reset_less=True)),
            sums.weights[0].eq(table.weight),
        ]
        latency = 1 + GapTable.latency
        beside = {"valid": taken, "row_last": survivor.row_last, "wanted": survivor.compensated}
        if config.group_bits:
            beside["group_bits"] = survivor.group_bits
            m.d.comb += sums.groups[0].eq(delay(m, survivor.group, latency, name="group", reset_less=True))
        m.d.comb += [getattr(sums, name).eq(delay(m, value, latency, name=name)) for name, value in beside.items()]
        emits = sums.sum_valid & sums.sum_wanted
        pushes = Signal()
        pruned = Signal(group_mass_layout(config), reset_less=True)
        m.d.sync += [pushes.eq(emits), pruned.mass.eq(self.masses.payload.mass - sums.sum),
                     pruned.last.eq(sums.sum_last)]
        m.d.comb += [self.masses.ready.eq(emits), queue.i.valid.eq(pushes), queue.i.payload.eq(pruned),
                     self.overflow.eq(queue.overflow | (emits & ~self.masses.valid))]
        return m
