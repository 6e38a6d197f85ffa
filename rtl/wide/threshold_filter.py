"""Threshold filter: compares each estimate with its row's maximum and passes the groups that hold survivors."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.probes import filter_probe_layout
from latte.rtl.wide.payloads import group_layout, row_mark_layout, weighs_gaps
from latte.rtl.wide.row_limiter import limited_layout
from latte.rtl.wide.row_scanner import scanned_layout

__all__ = ["ThresholdFilter", "filtered_layout"]


def filtered_layout(config: AttentionConfig) -> data.StructLayout:
    """What the filter takes: rows with their limit, or with the threshold that it follows from."""
    return limited_layout(config) if weighs_gaps(config) else scanned_layout(config)


class ThresholdFilter(wiring.Component):
    """``keep = est > rowmax - limit`` over the row's visible keys (LATTE Eq. 6), ``P`` keys of one row per cycle.

    Relative and absolute thresholds make the limit here (`latte.golden.row_limit`); in a build that weighs keys
    `RowLimiter` does.

    A group without survivors is dropped. The last group of a row that has some is marked `row_last`; it is known
    only at the row's end, so each group waits for its successor. A row always has a survivor.

    Latency: `latency` cycles, more while a group waits for the row's end; `probe_latency` to the probe. Throughput: one
    group per cycle.

    Members
    -------
    i_valid, i : In(filtered_layout)
    o_valid, o : Out(group_layout)
        A group with survivors; never refused.
    probe : Out(filter_probe_layout)
    """

    probe_latency = 2
    """The threshold, and the comparison."""
    latency = probe_latency + 2
    """The wait for what follows, and the output."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"i_valid": In(1), "i": In(filtered_layout(config)),
                          "o_valid": Out(1), "o": Out(group_layout(config)),
                          "probe": Out(filter_probe_layout(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        scanned, valid = Signal.like(self.i, reset_less=True), Signal()
        threshold = Signal(signed(config.est_bits + 2), reset_less=True)
        m.d.sync += [valid.eq(self.i_valid), scanned.eq(self.i), threshold.eq(self._threshold())]

        compared, is_last = Signal(), Signal()
        group = Signal(group_layout(config), reset_less=True)
        visible = Signal(config.pairs_per_cycle, reset_less=True)
        m.d.sync += [
            compared.eq(valid), is_last.eq(scanned.row_last), visible.eq(scanned.visible),
            group.estimate.eq(scanned.estimate), group.key.eq(scanned.key), group.slot.eq(scanned.slot),
            group.bank.eq(scanned.bank), group.row_last.eq(0),
            group.keep.eq(Cat(scanned.visible[n] & (scanned.estimate[n] > threshold)
                              for n in range(config.pairs_per_cycle))),
        ]
        passed = [*row_mark_layout(config).members, *(["groups"] if config.group_bits else [])]
        m.d.sync += [group[name].eq(scanned[name]) for name in passed]
        m.d.comb += [
            self.probe.valid.eq(compared), self.probe.row_last.eq(is_last), self.probe.visible.eq(visible),
            self.probe.keep.eq(group.keep), self.probe.estimate.eq(group.estimate),
        ]

        # One group waits here until it is known whether another of its row follows.
        waiting, waiting_valid = Signal(group_layout(config), reset_less=True), Signal()
        arrives = compared & group.keep.any()
        leaves = waiting_valid & (waiting.row_last | arrives)
        m.d.sync += [self.o_valid.eq(leaves), self.o.eq(waiting)]
        with m.If(arrives):
            m.d.sync += [waiting.eq(group), waiting_valid.eq(1), waiting.row_last.eq(is_last)]
        with m.Elif(leaves):
            m.d.sync += waiting_valid.eq(0)
        with m.Elif(compared & is_last):
            m.d.sync += waiting.row_last.eq(1)
        return m

    def _threshold(self) -> Value:
        """Return the largest estimate of the row on offer that does not survive."""
        config, row = self.config, self.i
        if weighs_gaps(config):
            return row.threshold
        if not config.code_octaves:
            return row.row_max - row.tau
        code = row.code[:config.est_bits]
        # A row of one key has no code of its own.
        relative = row.row_max - Mux(code == 0, 1, code)
        absolute = Mux(code.as_signed() < row.row_max, code.as_signed(), row.row_max - 1)
        if len(config.threshold_kinds) > 1:
            return Mux(row.kind == list(ThresholdKind).index(ThresholdKind.ABSOLUTE), absolute, relative)
        return absolute
