"""The sequencer of a core with keys in memory between neighbours that do as they are told, and what it should ask."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.common.payloads import groups_layout
from latte.rtl.common.primitives import delay
from latte.rtl.memory.cache_payloads import cache_job_layout
from latte.rtl.memory.cache_sequencer import CacheSequencer
from latte.rtl.memory.row_appender import append_layout
from latte.rtl.memory.sequence_record import SequenceRecord
from latte.rtl.memory.tile_front import failure_layout

EVENTS = ("job", "record", "table", "groups", "tile", "row", "append", "complete", "write", "drop", "through",
          "verdict")
WAIT_BITS = 4
BEATS_BITS = 16
NEIGHBOURS = ("APPEND", "TILE", "WRITE", "DROP")
SUM_BITS = 24
SUM_FACTORS = (0x2F_4B1D, 0x51_9A37, 0x1C_E2F9, 0x6D_0853)
"""By which length, group, slice and element make a sum."""


def end_layout(build: MemoryBuild) -> data.StructLayout:
    """How a neighbour's work ends: after `wait` cycles, with a `fault`, which beat number `at` has, if it is read."""
    groups = {"groups": groups_layout(build.core)} if build.core.group_bits else {}
    record = data.StructLayout({"live": 1, "generation": 16, "length": 32, "table": ADDRESS_BITS, **groups})
    return data.StructLayout({"wait": WAIT_BITS, "fault": 1, "at": BEATS_BITS, "unmapped": 1,
                              "failure": failure_layout(), "record": record})


class SequencerBench(wiring.Component):
    """The sequencer, what is read for it, and neighbours that are through when they are told to be.

    Keys and sums of groups follow from length, group and slice. What stands beside a bit that is not set is wrong.

    Parameters
    ----------
    build

    Members
    -------
    job, entry, end : In(stream)
        ``end``: bits of an `end_layout`.
    piece, append, ask, tile, row, record_piece, drop, sums : Out(stream)
    event : Out
        A push: a bit of `EVENTS`, ``through`` if a neighbour is; behind them that the sequencer is busy, and of what
        was read the beats that were those of a page table.
    verdict, groups : Out
        Pushes.
    early, overflow : Out(1)
        A tile is complete before it is; the queue of sums has lost one.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.sequencer = sequencer = CacheSequencer(build)
        members = sequencer.signature.members
        table = {"first": members["table_first"].shape, "pages": members["table_pages"].shape}
        self.direct = [name for name in ("ask", "entry", "tile", "row", "sums", "record_piece", "drop")
                       if name in members]
        ports = {
            "job": In(stream.Signature(data.StructLayout({"job": cache_job_layout(), "records": ADDRESS_BITS}))),
            "end": In(stream.Signature(end_layout(build).size)),
            "piece": Out(stream.Signature(data.StructLayout({
                "piece": members["piece"].signature.members["payload"].shape, "table": 1, **table}))),
            "append": Out(stream.Signature(data.StructLayout({"append": append_layout(build), **table}))),
            **{name: members[name] for name in self.direct},
            "event": Out(len(EVENTS) + 1 + BEATS_BITS),
            "verdict": Out(data.StructLayout(dict.fromkeys((*REFUSALS, *FAILURES), 1))),
            "event_valid": Out(1), "verdict_valid": Out(1), "early": Out(1), "overflow": Out(1)}
        if build.core.group_bits:
            ports |= {"groups": Out(groups_layout(build.core)), "groups_valid": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.sequencer = dut = self.sequencer
        for name in self.direct:
            outer, inner = wiring.flipped(getattr(self, name)), getattr(dut, name)
            wiring.connect(m, *((outer, inner) if name == "entry" else (inner, outer)))
        records = Signal(ADDRESS_BITS)
        table = [("first", dut.table_first), ("pages", dut.table_pages)]
        for name in ("piece", "append"):
            ours, theirs = getattr(self, name), getattr(dut, name)
            m.d.comb += [ours.valid.eq(theirs.valid), theirs.ready.eq(ours.ready),
                         ours.payload[name].eq(theirs.payload),
                         *(ours.payload[field].eq(value) for field, value in table)]
        m.d.comb += [
            dut.job.payload.eq(self.job.payload.job), dut.job.valid.eq(self.job.valid),
            self.job.ready.eq(dut.job.ready), dut.records.eq(records), self.piece.payload.table.eq(dut.reads_table),
            self.overflow.eq(dut.overflow), self.verdict_valid.eq(dut.verdict.valid),
            *(self.verdict[name].eq(dut.verdict[name]) for name in (*REFUSALS, *FAILURES)),
        ]
        with m.If(dut.job.valid & dut.job.ready):
            m.d.sync += records.eq(self.job.payload.records)
        taken = {name: getattr(dut, name).valid & getattr(dut, name).ready
                 for name in ("job", "piece", "tile", "row", "append", "record_piece", "drop")}
        through, completes, table_beats = self._work(m, taken)
        bits = taken | {
            "record": dut.record_begin, "table": dut.table_restart, "complete": completes, "write": dut.record_write,
            "groups": dut.groups_set if self.build.core.group_bits else 0, "through": through,
            "verdict": dut.verdict.valid}
        events = Cat(Value.cast(bits[name])[0] for name in EVENTS)
        m.d.comb += [self.event.eq(Cat(events, dut.busy, table_beats)), self.event_valid.eq(events.any()),
                     self.early.eq(dut.complete & (bits["tile"] | bits["row"] | bits["append"] | bits["write"]))]
        if self.build.core.group_bits:
            m.d.comb += [self.groups.eq(dut.new_groups), self.groups_valid.eq(dut.groups_set)]
        return m

    def _work(self, m: Module, taken: dict) -> tuple:
        """Carry out what the sequencer asks for; return (a neighbour is through, complete rises, beats of tables)."""
        dut, end = self.sequencer, data.View(end_layout(self.build), self.end.payload)
        kept = Signal(end.record.shape())
        doing, left, number, waited = Signal(range(4)), Signal(BEATS_BITS), Signal(BEATS_BITS), Signal(WAIT_BITS)
        rows, tables, through, was_complete = Signal(16), Signal(BEATS_BITS), Signal(), Signal()
        completes, unmapped, faulty, failure = Signal(), Signal(), Signal(), Signal(dut.failure.shape())
        ended = Signal(init=1)
        busy = Signal()
        append, tile, write, drop = range(len(NEIGHBOURS))
        m.d.sync += was_complete.eq(dut.complete)
        m.d.comb += [
            completes.eq(dut.complete & ~was_complete), self.end.ready.eq(through), dut.ended.eq(ended),
            dut.failure.eq(Mux(ended, failure, ~failure.as_value())), dut.unmapped.eq(unmapped),
            dut.written.eq(~(busy & (doing == write))), dut.write_fault.eq(~dut.written | faulty),
            dut.dropped.eq(~(busy & (doing == drop))), dut.append_fault.eq(~dut.appended | end.fault),
            dut.read_fault.eq(~dut.read_beat | (end.fault & (end.at == number))),
            dut.record_live.eq(kept.live), dut.record_generation.eq(kept.generation),
            dut.record_length.eq(kept.length), dut.record_table.eq(kept.table),
        ]
        if self.build.core.group_bits:
            m.d.comb += dut.groups.eq(kept.groups)
        if self.build.core.key_groups:
            self._sum(m, kept.length)
        with m.If(taken["tile"]):
            m.d.sync += ended.eq(0)
        with m.If(dut.record_begin):
            m.d.sync += [dut.record_complete.eq(0), kept.eq(~kept.as_value())]
        with m.If(dut.table_restart):
            m.d.sync += unmapped.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += waited.eq(0)
                with m.If(taken["piece"]):
                    m.d.sync += [left.eq(dut.piece.payload.beats), number.eq(0), tables.eq(0)]
                    m.next = "READ"
                for n, begins in enumerate((taken["append"], completes, taken["record_piece"], taken["drop"])):
                    with m.If(begins):
                        m.d.sync += [doing.eq(n), rows.eq(dut.append.payload.rows)]
                        m.next = "WORK"
            with m.State("READ"), m.If(self.end.valid):
                m.d.sync += waited.eq(Mux(waited[:2] == end.wait[:2], 0, waited + 1))
                with m.If(waited[:2] == end.wait[:2]):
                    m.d.comb += [dut.read_beat.eq(1), through.eq(left == 1)]
                    m.d.sync += [left.eq(left - 1), number.eq(number + 1), tables.eq(tables + dut.reads_table)]
                    with m.If(left == 1):
                        m.d.sync += unmapped.eq(end.unmapped)
                        with m.If(~dut.reads_table):
                            m.d.sync += [dut.record_complete.eq(1), kept.eq(end.record)]
                        m.next = "IDLE"
            with m.State("WORK"):
                m.d.comb += busy.eq(1)
                with m.If(self.end.valid):
                    m.d.sync += waited.eq(waited + 1)
                    with m.If(waited == end.wait):
                        m.d.comb += [through.eq(1), dut.appended.eq(doing == append)]
                        m.d.sync += faulty.eq(end.fault)
                        with m.If(doing == append):
                            m.d.sync += kept.length.eq(kept.length + rows)
                        with m.If(doing == tile):
                            m.d.sync += [ended.eq(1), failure.eq(end.failure)]
                        m.next = "IDLE"
        return through, completes, Mux(through & ~busy, tables + dut.reads_table, 0)[:BEATS_BITS]

    def _sum(self, m: Module, length: Signal) -> None:
        """Answer look-ups of groups."""
        dut, latency = self.sequencer, SequenceRecord.latency
        group = delay(m, dut.read_group, latency, name="group")
        part = delay(m, dut.read_slice, latency, name="slice")
        now = delay(m, length, latency, name="length")
        factors = SUM_FACTORS
        m.d.comb += dut.keys.eq(now + 3 * group + 5 * part)
        m.d.comb += [dut.record_sums[n].eq(now * factors[0] + group * factors[1] + part * factors[2] + n * factors[3])
                     for n in range(self.build.bus_bytes)]

