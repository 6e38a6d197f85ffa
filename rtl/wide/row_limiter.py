"""Holds each row's estimates until its limit is known, which depends on the mass of all its keys."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_div, ceil_log2
from latte.rtl.common.payloads import key_shape
from latte.rtl.common.primitives import delay, register
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.gap_table import table_write_layout
from latte.rtl.wide.mass_scan import MassScan
from latte.rtl.wide.payloads import mass_bits, row_mark_layout, slot_shape
from latte.rtl.wide.row_limits import LimitSearch, MassThreshold, threshold_row_layout
from latte.rtl.wide.row_scanner import RowScanner, scanned_layout

__all__ = ["RowLimiter", "group_mass_layout", "limited_layout"]

_MASSES = 512
"""Sums of groups that wait for their row's survivors."""


def limited_layout(config: AttentionConfig) -> data.StructLayout:
    """``P`` consecutive keys' estimates of one row, and the `threshold` above which they survive."""
    pairs = config.pairs_per_cycle
    return data.StructLayout({
        "estimate": data.ArrayLayout(signed(config.est_bits), pairs), "visible": pairs,
        "threshold": signed(config.est_bits + 2), "key": key_shape(config), "slot": slot_shape(config), "bank": 1,
        "row_last": 1, **({"groups": data.ArrayLayout(config.group_bits, pairs)} if config.group_bits else {}),
        **row_mark_layout(config).members})


def group_mass_layout(config: AttentionConfig) -> data.StructLayout:
    """The mass of one group of a row's keys; `last` of the row."""
    return data.StructLayout({"mass": mass_bits(config), "last": 1})


def _held_layout(config: AttentionConfig) -> data.StructLayout:
    """A group of estimates while it waits: of a row's last one, `rest` keys are seen besides the first."""
    pairs = config.pairs_per_cycle
    return data.StructLayout({
        "estimate": data.ArrayLayout(signed(config.est_bits), pairs), "row_last": 1, "rest": ceil_log2(pairs),
        **({"groups": data.ArrayLayout(config.group_bits, pairs)} if config.group_bits else {})})


class RowLimiter(wiring.Component):
    r"""Between scanner and filter, in a build whose thresholds or compensation need the mass of a row's keys::

        i -+-> queue of estimates ---------------------------------------+-> o
           +-> MassScan -> total -> MassThreshold -> LimitSearch -> limit -^
           |           \-> queue of the groups' masses -> masses
           +-> queue of rows --------^

    The estimates leave at the rate at which they came, a row's length and the search's time later.

    Latency: as many cycles as `latency_of()` says of a build from a row's last estimates to its first at `o`; of a row
    by mass as many more as `MassThreshold` says. Throughput: one group per cycle.

    Members
    -------
    i_valid, i : In(scanned_layout)
        Never refused, so the scanner heeds `room`.
    room : Out(1)
    fill : In(table_write_layout)
    o_valid, o : Out(limited_layout)
        Never refused, so the consumer gives `o_room`.
    o_room : In(1)
    masses : Out(stream of group_mass_layout)
        Of all keys that a row sees, of rows whose head compensates; present in such a build.
    overflow : Out(1)
        A queue has lost an entry.
    stalled : Out(1)
        A limited row waits for `o_room`.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        ports = {"i_valid": In(1), "i": In(scanned_layout(config)), "room": Out(1),
                 "fill": In(table_write_layout(config)), "o_valid": Out(1), "o": Out(limited_layout(config)),
                 "o_room": In(1), "overflow": Out(1), "stalled": Out(1)}
        if config.key_groups:
            ports["masses"] = Out(stream.Signature(group_mass_layout(config)))
        super().__init__(ports)

    @staticmethod
    def latency_of(config: AttentionConfig) -> int:
        """Return the latency of a build but for `MassThreshold`."""
        return MassScan.latency_of(config) + 1 + StreamQueue.latency + LimitSearch.latency

    @staticmethod
    def depth_of(config: AttentionConfig) -> int:
        """Return the groups of estimates that are held: of a row of the greatest length, and while it is limited."""
        row = ceil_div(config.max_seq_len, config.pairs_per_cycle)
        under_way = StreamQueue.count_under_way(RowScanner.latency)
        return max(512, 1 << ceil_log2(row + RowLimiter.latency_of(config) + 2 * under_way))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.scan = scan = MassScan(config)
        m.submodules.threshold = threshold = MassThreshold(config)
        m.submodules.search = search = LimitSearch(config)
        sums_latency = RowScanner.latency + MassScan.latency_of(config) + max(1, config.key_groups)
        m.submodules.waiting = held = StreamQueue(_held_layout(config), self.depth_of(config),
                                               producer_latency=RowScanner.latency)
        m.submodules.rows = rows = StreamQueue(threshold_row_layout(config), producer_latency=RowScanner.latency + 1)
        m.submodules.totals = totals = StreamQueue(mass_bits(config), producer_latency=sums_latency)
        wiring.connect(m, rows.o, threshold.row)
        wiring.connect(m, totals.o, threshold.mass)
        wiring.connect(m, threshold.o, search.i)
        queues = [held, rows, totals]

        m.d.comb += [
            scan.i_valid.eq(self.i_valid), scan.i.eq(self.i), scan.fill.eq(self.fill), search.fill.eq(self.fill),
            held.i.valid.eq(self.i_valid), held.i.payload.estimate.eq(self.i.estimate),
            held.i.payload.row_last.eq(self.i.row_last),
            rows.i.valid.eq(delay(m, self.i_valid & self.i.row_last, 1, name="row_ends")),
        ]
        if config.group_bits:
            m.d.comb += held.i.payload.groups.eq(self.i.groups)
        # A row's code leaves its block RAM late, and has time: the row's mass comes cycles later.
        m.d.comb += [rows.i.payload[name].eq(register(m, Value.cast(self.i[name]), f"row_{name}"))
                     for name in rows.i.payload.shape().members]
        for n in range(1, config.pairs_per_cycle):
            with m.If(self.i.visible[n]):
                m.d.comb += held.i.payload.rest.eq(n)

        total = Signal(mass_bits(config), reset_less=True)
        first = Signal(init=1)
        with m.If(scan.sum_valid):
            m.d.sync += [total.eq(Mux(first, 0, total) + scan.sum), first.eq(scan.sum_last)]
        m.d.sync += totals.i.valid.eq(scan.sum_valid & scan.sum_last)
        m.d.comb += totals.i.payload.eq(total)
        if config.key_groups:
            m.submodules.masses = masses = StreamQueue(
                group_mass_layout(config), _MASSES, producer_latency=sums_latency, reserve=config.key_groups)
            wiring.connect(m, wiring.flipped(self.masses), masses.o)
            m.d.comb += [masses.i.valid.eq(scan.sum_valid & scan.sum_wanted), masses.i.payload.mass.eq(scan.sum),
                         masses.i.payload.last.eq(scan.sum_last)]
            queues.append(masses)
        m.d.comb += [self.room.eq(Cat(queue.room for queue in queues).all()),
                     self.overflow.eq(Cat(queue.overflow for queue in queues).any())]
        self._judge(m, held.o, search.o)
        return m

    def _judge(self, m: Module, held: stream.Interface, limit: stream.Interface) -> None:
        """Give the estimates of the rows whose limit is known."""
        config = self.config
        groups, row = held.payload, limit.payload
        step = held.valid & limit.valid & self.o_room
        key = Signal(range(config.max_seq_len + config.pairs_per_cycle + 1))
        with m.If(step):
            m.d.sync += key.eq(Mux(groups.row_last, 0, key + config.pairs_per_cycle))
        m.d.comb += [
            held.ready.eq(step), limit.ready.eq(step & groups.row_last), self.o_valid.eq(step),
            self.stalled.eq(held.valid & limit.valid & ~self.o_room),
            self.o.estimate.eq(groups.estimate), self.o.row_last.eq(groups.row_last), self.o.key.eq(key),
            # A row's last group has a first key.
            self.o.visible.eq(Cat(1, *(~groups.row_last | (n <= groups.rest)
                                       for n in range(1, config.pairs_per_cycle)))),
        ]
        m.d.comb += [self.o[name].eq(row[name]) for name in row.shape().members if name in self.o.shape().members]
        if config.group_bits:
            m.d.comb += [self.o.groups.eq(groups.groups)]
