"""The accelerator whose keys and values lie in memory."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.golden.memory.sequence_state import StateFormat
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, prefixed, read_members, write_members
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.core import COUNTER_BITS
from latte.rtl.common.entry_words import parameter_layout
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.key_value_loader import RowLoader
from latte.rtl.common.payloads import output_layout
from latte.rtl.memory.cache_payloads import cache_job_layout, cache_verdict_layout
from latte.rtl.memory.cache_sequencer import CacheSequencer
from latte.rtl.memory.entry_reader import EntryReader
from latte.rtl.memory.page_table import PageTable
from latte.rtl.memory.piece_bursts import PieceBursts
from latte.rtl.memory.piece_reader import PieceReader
from latte.rtl.memory.row_appender import RowAppender
from latte.rtl.memory.sequence_record import SequenceRecord
from latte.rtl.memory.tile_engine import TileEngine
from latte.rtl.memory.tile_payloads import tile_config

__all__ = ["CacheCore", "cache_counters_layout", "cache_status_layout", "master_of"]


def master_of(build: MemoryBuild) -> MasterParameters:
    """Return the master that suits a build: as many bursts in flight as hide 60 cycles behind rows of 32 bytes."""
    return MasterParameters(data_bits=8 * build.bus_bytes, burst_beats=16, reads_in_flight=2 * build.bus_bytes,
                            writes_in_flight=16)


def cache_status_layout() -> data.StructLayout:
    """Sticky bits, cleared by `clear` or reset: why jobs were refused or failed, and what befell entries and elements.

    Names as in `latte.golden.memory.jobs`, and ``qk_saturated``, ``entry_invalid``, ``overflow`` as in
    `latte.rtl.common.core`.
    """
    return data.StructLayout(dict.fromkeys(("qk_saturated", "entry_invalid", "overflow", *REFUSALS, *FAILURES), 1))


def cache_counters_layout() -> data.StructLayout:
    """Counters of 32 bits: cycles of jobs, beats read and written, keys and values of survivors that were fetched."""
    return data.StructLayout(dict.fromkeys(("cycles", "beats_read", "beats_written", "keys_fetched", "values_fetched"),
                                           COUNTER_BITS))


class CacheCore(wiring.Component):
    r"""Attention over sequences in external memory (`latte.golden.memory`), behind an AXI4 master::

        parameter -> HeadRegisters -> EntryReader --+
        job -------------------------> CacheSequencer <-> SequenceRecord
        k, v --> RowAppender -> pages               |        ^ |
        q -----> TileEngine <-----------------------+        | |
                   ^  |  \-> o                               | |
        memory ----+--+--------------------------------------+-+

    Parameters
    ----------
    build
        With thresholds by mass or key groups.
    parameters
        Of the master, as wide as the build's bus.

    Members
    -------
    records, first_page, spill : In(ADDRESS_BITS)
        Where the record of slot 0 and page 0 lie, and `tile_rows` times `spill_bytes` that nothing else uses; multiples
        of a beat. They stand.
    parameter : In(stream of parameter_layout)
    job : In(stream of cache_job_layout)
    k, v : In(stream of ArrayLayout(signed(8), bus_bytes))
        Rows that jobs append.
    q : In(stream of ArrayLayout(signed(8), bus_bytes))
        Their queries: of each position in turn those of all heads.
    o : Out(stream of output_layout)
        In the same order, but for queries of a tile that failed. ``job_last`` with the last row of each tile.
    rows_failed : In(1)
        A row of K or V of the present job could not be had: it ends with ``memory_error`` and leaves the record as it
        was. From before the row is taken to the verdict.
    verdict : Out(cache_verdict_layout)
    drained : Out(1)
        With the verdict or later: all outputs of the job have left.
    busy : Out(1)
    status : Out(cache_status_layout), counters : Out(cache_counters_layout), clear : In(1)
    clear_status : In(cache_status_layout)
        Bits to clear alone.
    stop : In(1)
        Begin nothing more on the bus. The core then stands, and only a reset helps.
    idle : Out(1)
        Everything that was begun on the bus has ended.
    m_axi_* : AXI4
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters) -> None:
        self.build = build
        self.parameters = parameters
        beat = data.ArrayLayout(signed(8), build.bus_bytes)
        super().__init__({
            "records": In(ADDRESS_BITS), "first_page": In(ADDRESS_BITS), "spill": In(ADDRESS_BITS),
            "parameter": In(stream.Signature(parameter_layout())), "job": In(stream.Signature(cache_job_layout())),
            "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)), "q": In(stream.Signature(beat)),
            "o": Out(stream.Signature(output_layout(tile_config(build)))), "rows_failed": In(1),
            "verdict": Out(cache_verdict_layout()), "drained": Out(1), "busy": Out(1),
            "status": Out(cache_status_layout()), "counters": Out(cache_counters_layout()), "clear": In(1),
            "clear_status": In(cache_status_layout()), "stop": In(1), "idle": Out(1),
            **prefixed("m_axi", read_members(parameters) | write_members(parameters))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, parameters = self.build, self.parameters
        m.submodules.sequencer = sequencer = CacheSequencer(build)
        m.submodules.registers = registers = HeadRegisters(build.core)
        m.submodules.entries = entries = EntryReader(build)
        m.submodules.record = record = SequenceRecord(build)
        m.submodules.appender = appender = RowAppender(build, parameters)
        m.submodules.engine = engine = TileEngine(build, parameters)
        m.submodules.reads = reads = ReadEngine(parameters, 2)
        m.submodules.writes = writes = WriteEngine(parameters)
        for axi, members in ((reads, read_members(parameters)), (writes, write_members(parameters))):
            for name, member in members.items():
                ours, theirs = getattr(self, f"m_axi_{name}"), getattr(axi, name)
                m.d.comb += ours.eq(theirs) if member.flow == Out else theirs.eq(ours)
        wiring.connect(m, wiring.flipped(self.parameter), registers.parameter)
        wiring.connect(m, wiring.flipped(self.job), sequencer.job)
        wiring.connect(m, wiring.flipped(self.o), engine.o)
        wiring.connect(m, sequencer.ask, entries.ask)
        wiring.connect(m, entries.o, sequencer.entry)
        wiring.connect(m, sequencer.append, appender.command)
        wiring.connect(m, sequencer.tile, engine.tile)
        wiring.connect(m, sequencer.row, engine.row)
        wiring.connect(m, engine.request, reads.request_0)
        m.d.comb += [
            registers.look_up.eq(entries.look_up), registers.head.eq(entries.head), registers.index.eq(entries.index),
            entries.word.eq(registers.word), entries.known.eq(registers.known),
            sequencer.records.eq(self.records), sequencer.ended.eq(engine.ended),
            engine.complete.eq(sequencer.complete),
            sequencer.failure.eq(engine.failure), sequencer.appended.eq(appender.done),
            sequencer.append_fault.eq(appender.fault | self.rows_failed), self.verdict.eq(sequencer.verdict),
            self.busy.eq(sequencer.busy), self.drained.eq(engine.drained), reads.stop.eq(self.stop),
            writes.stop.eq(self.stop), self.idle.eq(reads.idle & writes.idle),
            engine.first_page.eq(self.first_page), engine.spill_address.eq(self.spill),
            engine.taken.eq(reads.taken_0), engine.data.eq(reads.data), engine.fault.eq(reads.fault),
        ]
        lost = self._keep_record(m, sequencer, record, appender, engine, reads)
        self._write(m, sequencer, record, appender, engine, writes)
        self._take_rows(m, sequencer, appender, engine)
        self._count(m, sequencer, registers, appender, engine, reads, writes, lost)
        return m

    def _keep_record(self, m: Module, sequencer: CacheSequencer, record: SequenceRecord, appender: RowAppender,
                     engine: TileEngine, reads: ReadEngine) -> Value:
        """Read the record, and entries of pages that get rows; return whether a queue overflows."""
        core = self.build.core
        m.submodules.pieces = pieces = PieceReader(self.parameters)
        m.submodules.table = table = PageTable(self.build, from_middle=True)
        wiring.connect(m, sequencer.piece, pieces.piece)
        wiring.connect(m, pieces.request, reads.request_1)
        comes = pieces.o.valid
        m.d.comb += [
            pieces.taken.eq(reads.taken_1), pieces.data.eq(reads.data), pieces.fault.eq(reads.fault),
            pieces.o.ready.eq(1), sequencer.read_beat.eq(comes), sequencer.read_fault.eq(pieces.o.payload.fault),
            record.begin.eq(sequencer.record_begin), record.beat_valid.eq(comes & ~sequencer.reads_table),
            record.beat.eq(pieces.o.payload.data), table.beat_valid.eq(comes & sequencer.reads_table),
            table.beat.eq(pieces.o.payload.data), table.first_page.eq(self.first_page),
            table.restart.eq(sequencer.table_restart), table.first.eq(sequencer.table_first),
            table.pages.eq(sequencer.table_pages), sequencer.unmapped.eq(table.unmapped),
            table.look_up.eq(appender.look_up), appender.address.eq(table.address),
            sequencer.record_complete.eq(record.complete), sequencer.record_live.eq(record.live),
            sequencer.record_generation.eq(record.generation), sequencer.record_length.eq(record.length),
            sequencer.record_table.eq(record.table_address),
            record.add_valid.eq(appender.add_valid), record.add.eq(appender.add),
        ]
        if core.group_bits:
            m.d.comb += [
                record.groups_set.eq(sequencer.groups_set), record.new_groups.eq(sequencer.new_groups),
                sequencer.groups.eq(record.groups), appender.groups.eq(record.groups),
                appender.numbers.eq(record.numbers),
            ]
        if core.key_groups:
            wiring.connect(m, sequencer.sums, engine.sums)
            m.d.comb += [
                record.read_group.eq(sequencer.read_group), record.read_slice.eq(sequencer.read_slice),
                sequencer.keys.eq(record.keys), sequencer.record_sums.eq(record.sums),
            ]
        return pieces.overflow | record.overflow | sequencer.overflow | appender.overflow

    def _write(self, m: Module, sequencer: CacheSequencer, record: SequenceRecord, appender: RowAppender,
               engine: TileEngine, writes: WriteEngine) -> None:
        """Let rows, the record, or what a tile spills to memory: one of them at a time."""
        m.submodules.record_bursts = bursts = PieceBursts(self.parameters)
        wiring.connect(m, sequencer.record_piece, bursts.piece)
        beats = StateFormat(self.build).state_bytes // self.build.bus_bytes
        left, faulty = Signal(range(beats + 1)), Signal()
        takes_record, record_beat = left != 0, Signal()
        m.d.comb += [
            record.write.eq(sequencer.record_write), record_beat.eq(takes_record & writes.beat.ready & record.o.valid),
            record.o.ready.eq(takes_record & writes.beat.ready),
            sequencer.written.eq(~takes_record & writes.idle), sequencer.write_fault.eq(faulty),
            *(value for writer in (appender, engine) for value in (
                writer.write_idle.eq(writes.idle), writer.write_answered.eq(writes.answered),
                writer.write_fault.eq(writes.fault))),
        ]
        with m.If(sequencer.record_write):
            m.d.sync += [left.eq(beats), faulty.eq(0)]
        with m.Elif(record_beat):
            m.d.sync += left.eq(left - 1)
        with m.If(writes.answered & writes.fault.as_value().any()):
            m.d.sync += faulty.eq(1)
        with m.If(takes_record):
            m.d.comb += [
                writes.burst.valid.eq(bursts.burst.valid), writes.burst.payload.eq(bursts.burst.payload),
                bursts.burst.ready.eq(writes.burst.ready), writes.beat.valid.eq(record.o.valid),
                writes.beat.payload.data.eq(record.o.payload), writes.beat.payload.strobe.eq(~0),
            ]
        with m.Else():
            for name in ("burst", "beat"):
                into = getattr(writes, name)
                rows, spilled = getattr(appender, name), getattr(engine, name)
                m.d.comb += [
                    into.valid.eq(Mux(appender.idle, spilled.valid, rows.valid)),
                    into.payload.eq(Mux(appender.idle, spilled.payload.as_value(), rows.payload.as_value())),
                    rows.ready.eq(~appender.idle & into.ready), spilled.ready.eq(appender.idle & into.ready),
                ]

    def _take_rows(self, m: Module, sequencer: CacheSequencer, appender: RowAppender, engine: TileEngine) -> None:
        """Give rows to whom they are for; those of a job that failed to nobody."""
        config = tile_config(self.build)
        drop, left, ready = sequencer.drop.payload, Signal(3), Signal(3)
        m.d.comb += [sequencer.drop.ready.eq((left == 0) & ready.all()), sequencer.dropped.eq(left == 0)]
        begins = sequencer.drop.valid & sequencer.drop.ready
        finished = []
        for n, (name, taker, rows) in enumerate((("k", appender.k, drop.keys), ("v", appender.v, drop.keys),
                                                 ("q", engine.q, drop.queries))):
            m.submodules[f"drop_{name}"] = dropper = RowLoader(config)
            offer = getattr(self, name)
            command = dropper.command.payload
            m.d.comb += [
                dropper.command.valid.eq(begins), command.rows.eq(rows), command.drop.eq(1),
                ready[n].eq(dropper.command.ready), dropper.i.payload.eq(offer.payload),
                dropper.i.valid.eq(left[n] & offer.valid), taker.payload.eq(offer.payload),
                taker.valid.eq(~left[n] & offer.valid), offer.ready.eq(Mux(left[n], dropper.i.ready, taker.ready)),
            ]
            finished.append(dropper.finished)
        m.d.sync += left.eq(Mux(begins, ~0, left & ~Cat(finished)))

    def _count(self, m: Module, sequencer: CacheSequencer, registers: HeadRegisters, appender: RowAppender,
               engine: TileEngine, reads: ReadEngine, writes: WriteEngine, lost: Value) -> None:
        """Keep sticky bits and counters."""
        verdict = sequencer.verdict
        events = {name: verdict.valid & verdict[name] for name in (*REFUSALS, *FAILURES)}
        events["head_invalid"] |= registers.head_invalid
        events |= {"qk_saturated": appender.saturated | engine.events.saturated,
                   "entry_invalid": registers.entry_invalid, "overflow": engine.overflow | lost}
        increments = {"cycles": sequencer.busy, "beats_read": reads.beat, "beats_written": writes.moved,
                      "keys_fetched": engine.events.key, "values_fetched": engine.events.value}
        for name, event in events.items():
            m.d.sync += self.status[name].eq((self.status[name] & ~self.clear & ~self.clear_status[name]) | event)
        for name, increment in increments.items():
            m.d.sync += self.counters[name].eq(Mux(self.clear, 0, self.counters[name]) + increment)
