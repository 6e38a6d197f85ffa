"""Work list of a core with keys in memory: checks each job, has its rows appended and its queries computed."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.sequence_state import StateFormat
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.common.payloads import groups_layout, length_shape
from latte.rtl.common.primitives import delay, times
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.cache_payloads import GENERATION_BITS, cache_job_layout, cache_verdict_layout, drop_layout
from latte.rtl.memory.entry_reader import entry_ask_layout, entry_layout
from latte.rtl.memory.piece_bursts import piece_layout
from latte.rtl.memory.row_appender import append_layout
from latte.rtl.memory.sequence_record import SequenceRecord, slice_shape
from latte.rtl.memory.sequence_record import group_sum_layout as record_sums_layout
from latte.rtl.memory.tile_engine import engine_row_layout, engine_tile_layout, group_sum_layout
from latte.rtl.memory.tile_front import failure_layout
from latte.rtl.memory.tile_payloads import group_shape, row_shape

__all__ = ["CacheSequencer"]


class CacheSequencer(wiring.Component):
    r"""`latte.golden.memory.jobs.carry_out`, one job at a time::

        job -> record -> entries of its heads -> refused? -> page table of what is appended
          +-> tile, rows -> [engine] -> its positions: append up to each -> its sums of groups  ... -> record
          +-> rows of a job that is refused, or fails, are dropped

    A tile has as many positions as its rows hold heads, or some of the heads of one position. The engine prepares it
    while its keys are appended, and begins to read them behind that. Keys of later positions are appended when the
    tiles before are through: each position's sums are those of the keys that it sees.

    Parameters
    ----------
    build

    Members
    -------
    job : In(stream of cache_job_layout)
    records : In(ADDRESS_BITS)
        Address of the record of slot 0; stands.
    piece : Out(stream of piece_layout)
        The record, or part of the page table, to read; `reads_table` : Out(1) says which. `read_beat` : In(1): a beat
        of it has come; `read_fault` : In(1): with an error.
    record_begin, record_complete, record_live, record_generation, record_length, record_table
        Of `SequenceRecord`, as are `groups_set`, `new_groups`, `groups`, `read_group`, `read_slice`, `keys` and, as
        `record_sums`, its sums.
    table_restart, table_first, table_pages, unmapped
        Of the `PageTable` of the appended rows.
    append : Out(stream of append_layout), appended, append_fault : In(1)
        Of `RowAppender`.
    ask : Out(stream of entry_ask_layout), entry : In(stream of entry_layout)
        Of `EntryReader`.
    tile, row, sums : Out(stream), complete : Out(1), ended : In(1), failure : In
        Of `TileEngine`.
    record_write : Out(1), record_piece : Out(stream of piece_layout), written, write_fault : In(1)
        The record is to be written there; everything is answered, an answer was an error.
    drop : Out(stream of drop_layout), dropped : In(1)
        Rows to drop; they are gone.
    verdict : Out(cache_verdict_layout)
        When the job is through: its outputs are all on their way.
    busy : Out(1)
    overflow : Out(1)
        The queue of sums has lost one.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        core = build.core
        grouped = {"groups_set": Out(1), "new_groups": Out(groups_layout(core)),
                   "groups": In(groups_layout(core))} if core.group_bits else {}
        summed = {"read_group": Out(group_shape(build)), "read_slice": Out(slice_shape(build)),
                  "keys": In(group_sum_layout(build)["keys"].shape), "record_sums": In(record_sums_layout(build)),
                  "sums": Out(stream.Signature(group_sum_layout(build)))} if core.key_groups else {}
        super().__init__({
            "job": In(stream.Signature(cache_job_layout())), "records": In(ADDRESS_BITS),
            "piece": Out(stream.Signature(piece_layout())), "reads_table": Out(1), "read_beat": In(1),
            "read_fault": In(1), "record_begin": Out(1), "record_complete": In(1), "record_live": In(1),
            "record_generation": In(GENERATION_BITS), "record_length": In(32), "record_table": In(ADDRESS_BITS),
            **grouped, **summed,
            "table_restart": Out(1), "table_first": Out(range(build.page_limit)),
            "table_pages": Out(range(build.page_limit + 1)), "unmapped": In(1),
            "append": Out(stream.Signature(append_layout(build))), "appended": In(1), "append_fault": In(1),
            "ask": Out(stream.Signature(entry_ask_layout(build))), "entry": In(stream.Signature(entry_layout(build))),
            "tile": Out(stream.Signature(engine_tile_layout(build))),
            "row": Out(stream.Signature(engine_row_layout(build))), "complete": Out(1), "ended": In(1),
            "failure": In(failure_layout()),
            "record_write": Out(1), "record_piece": Out(stream.Signature(piece_layout())), "written": In(1),
            "write_fault": In(1), "drop": Out(stream.Signature(drop_layout())), "dropped": In(1),
            "verdict": Out(cache_verdict_layout()), "busy": Out(1), "overflow": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        at = _Job(self.build)
        record_beats = StateFormat(self.build).state_bytes // self.build.bus_bytes
        record_at = self.records + times(at.job.slot, StateFormat(self.build).state_bytes)
        m.d.comb += [
            self.verdict.eq(at.status), self.record_piece.payload.beats.eq(record_beats),
            self.record_piece.payload.address.eq(record_at),
        ]
        with m.If(self.read_beat & self.read_fault):
            m.d.sync += at.faulty.eq(1)
        self._describe(m, at)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("JOB"))
            self._check(m, at, record_at, record_beats)
            self._prepare(m, at)
            self._compute(m, at)
            self._end(m, at)
        return m

    def _check(self, m: Module, at: "_Job", record_at: Value, record_beats: int) -> None:
        """Read the record, look the entries up, and judge: states of the machine."""
        core, job, status = self.build.core, at.job, at.status
        length, grouped = self.record_length, core.group_bits > 0
        with m.State("JOB"):
            m.d.comb += self.job.ready.eq(1)
            m.d.sync += [
                job.eq(self.job.payload), status.eq(0), at.head.eq(0), at.unknown.eq(0), at.differs.eq(0),
                at.query.eq(0), at.left.eq(self.job.payload.rows), at.positions.eq(1), at.fitting.eq(0),
                at.faulty.eq(0),
            ]
            with m.If(self.job.valid):
                m.next = "FIT"
        # Positions whose heads fit in a tile together; one if those of a single one do not.
        with m.State("FIT"):
            m.d.sync += at.fitting.eq(at.fitting + job.heads)
            with m.If((at.fitting + job.heads + job.heads <= self.build.tile_rows) & (job.heads != 0)):
                m.d.sync += at.positions.eq(at.positions + 1)
            with m.Else():
                m.next = "RECORD"
            with m.If(job.slot >= self.build.slots):
                m.d.sync += status.sequence_invalid.eq(1)
                m.next = "DROP"
        with m.State("RECORD"):
            m.d.comb += [self.piece.valid.eq(1), self.piece.payload.address.eq(record_at),
                         self.piece.payload.beats.eq(record_beats), self.record_begin.eq(self.piece.ready)]
            with m.If(self.piece.ready):
                m.next = "AWAIT RECORD"
        with m.State("AWAIT RECORD"), m.If(self.record_complete):
            m.d.sync += at.total.eq(length + job.rows)
            m.next = "CHECK"
        with m.State("CHECK"):
            m.next = "JUDGE"
            with m.If(at.faulty):
                m.d.sync += status.memory_error.eq(1)
                m.next = "DROP"
            with m.Elif(~self.record_live | (self.record_generation != job.generation)):
                m.d.sync += status.sequence_invalid.eq(1)
                m.next = "DROP"
            with m.Elif(at.asks | (Const(grouped) & (job.rows != 0))):
                m.next = "ASK"
        with m.State("ASK"):
            m.d.comb += [self.ask.valid.eq(1), self.ask.payload.head.eq(job.head + at.head)]
            with m.If(self.ask.ready):
                m.next = "ENTRY"
        with m.State("ENTRY"):
            m.d.comb += self.entry.ready.eq(1)
            with m.If(self.entry.valid):
                m.d.sync += [at.unknown.eq(at.unknown | ~self.entry.payload.known), at.head.eq(at.head + 1)]
                m.next = "ASK"
                with m.If(~at.asks | (at.head + 1 == job.heads)):
                    m.next = "JUDGE"
            if grouped:
                # The first key's groups are those of the first head's entry.
                theirs = self.entry.payload.groups
                with m.If(self.entry.valid & (length == 0) & (at.head == 0)):
                    m.d.sync += self.new_groups.eq(theirs)
                with m.Elif(self.entry.valid):
                    ours = data.View(theirs.shape(), Mux(length == 0, self.new_groups.as_value(),
                                                         self.groups.as_value()))
                    used = [ours.group_bits > n for n in range(core.group_bits)]
                    m.d.sync += at.differs.eq(at.differs | (ours.group_bits != theirs.group_bits) | Cat(
                        used[n] & ((ours.elements[n] != theirs.elements[n]) | (ours.cuts[n] != theirs.cuts[n]))
                        for n in range(core.group_bits)).any())
        with m.State("JUDGE"):
            m.d.sync += at.head.eq(0)
            m.next = "DROP"
            with m.If(at.unknown):
                m.d.sync += status.head_invalid.eq(1)
            with m.Elif(at.total == 0):
                m.d.sync += status.no_keys.eq(1)
            with m.Elif((at.total > core.max_seq_len) | (job.queries > Mux(job.rows == 0, 1, job.rows))):
                m.d.sync += status.too_long.eq(1)
            with m.Elif(at.differs):
                m.d.sync += status.groups_differ.eq(1)
            with m.Else():
                m.next = "TILE"
                with m.If(job.rows != 0):
                    m.next = "TABLE"
                    if grouped:
                        m.d.comb += self.groups_set.eq(length == 0)

    def _prepare(self, m: Module, at: "_Job") -> None:
        """Read the entries of the pages that get rows: states of the machine."""
        bus, rows = exact_log2(self.build.bus_bytes), exact_log2(self.build.page_rows)
        word = exact_log2(self.build.bus_bytes // ENTRY_BYTES)
        first, last = Signal(self.table_first.shape()), Signal(self.table_first.shape())
        beats = Signal(range((self.build.page_limit >> word) + 2))
        m.d.comb += [
            first.eq(self.record_length >> rows), last.eq((at.total - 1) >> rows), self.table_first.eq(at.first_page),
            self.table_pages.eq(at.last_page + 1),
        ]
        with m.State("TABLE"):
            m.d.sync += [at.first_page.eq(first), at.last_page.eq(last),
                         beats.eq((last >> word) - (first >> word) + 1)]
            m.next = "TABLE PIECE"
        with m.State("TABLE PIECE"):
            m.d.comb += [
                self.piece.valid.eq(1), self.piece.payload.beats.eq(beats), self.table_restart.eq(self.piece.ready),
                self.piece.payload.address.eq(self.record_table + ((at.first_page >> word) << bus)),
                self.reads_table.eq(1),
            ]
            with m.If(self.piece.ready):
                m.next = "AWAIT TABLE"
        with m.State("AWAIT TABLE"):
            m.d.comb += self.reads_table.eq(1)
            with m.If(self.read_beat):
                m.d.sync += beats.eq(beats - 1)
            with m.If(beats == 0):
                m.next = "TILE"
                with m.If(at.faulty):
                    m.d.sync += at.status.memory_error.eq(1)
                    m.next = "DROP"
                with m.Elif(self.unmapped):
                    m.d.sync += at.status.page_unmapped.eq(1)
                    m.next = "DROP"

    def _describe(self, m: Module, at: "_Job") -> None:
        """Say what the tile at hand, and its row, are."""
        job, tile, row, entry = at.job, self.tile.payload, self.row.payload, self.entry.payload
        rest = job.heads - at.head
        m.d.comb += [
            at.behind.eq(job.queries - at.query), at.seen.eq(at.total - at.behind + 1 + at.number),
            tile.keys.eq(at.total - at.behind + at.count), tile.table_address.eq(self.record_table),
            self.tile.valid.eq(at.offers), self.complete.eq(at.complete),
            self.append.payload.place.eq(self.record_length),
            *(row[name].eq(entry.row[name]) for name in entry.row.shape().members), row.keys.eq(at.seen),
        ]
        # As many heads of one position as there is room for, or all of some positions.
        m.d.comb += tile.rows.eq(Mux(rest > self.build.tile_rows, self.build.tile_rows, rest))
        if self.build.tile_rows > 1:
            with m.If(at.positions > 1):
                m.d.comb += tile.rows.eq(at.count * job.heads[:len(tile.rows)])
        # Octave of the row's length: the place of its leading one.
        for bit in range(len(at.seen)):
            with m.If(at.seen[bit]):
                m.d.comb += at.octave.eq(bit)
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += at.offers.eq(0)
        if self.build.core.key_groups:
            m.d.comb += row.position.eq(at.number)
            self._sum(m, at)

    def _compute(self, m: Module, at: "_Job") -> None:
        """Hand a tile over, and append up to its positions: states of the machine."""
        job = at.job
        with m.State("TILE"):
            m.d.sync += [at.number.eq(0), at.count.eq(Mux(at.behind < at.positions, at.behind, at.positions)),
                         at.complete.eq(0)]
            with m.If(self.ended):
                m.next = "APPEND LAST"
                with m.If(at.asks & (at.query != job.queries)):
                    m.d.sync += [at.offers.eq(1), at.first_of.eq(at.head == 0)]
                    m.next = "HAND OVER"
        with m.State("HAND OVER"), m.If(~at.offers):
            m.d.sync += at.rows.eq(self.tile.payload.rows)
            m.next = "ASK ROW"
        with m.State("ASK ROW"):
            m.d.comb += [self.ask.valid.eq(1), self.ask.payload.head.eq(job.head + at.head),
                         self.ask.payload.octave.eq(at.octave)]
            with m.If(self.ask.ready):
                m.next = "ROW"
        with m.State("ROW"):
            m.d.comb += [self.row.valid.eq(self.entry.valid), self.entry.ready.eq(self.row.ready)]
            with m.If(self.entry.valid & self.row.ready):
                m.d.sync += [at.rows.eq(at.rows - 1), at.head.eq(at.head + 1)]
                with m.If(at.head + 1 == job.heads):
                    m.d.sync += [at.head.eq(0), at.number.eq(at.number + 1), at.done.eq(at.number + 1)]
                with m.Else():
                    m.d.sync += at.done.eq(0)
                m.next = "ASK ROW"
                with m.If(at.rows == 1):
                    m.d.sync += at.number.eq(0)
                    m.next = "APPEND"
                    with m.If(~at.first_of):
                        m.next = "COMPLETE"
        # While the engine reads its page table and fills its rows' tables.
        with m.State("APPEND"):
            rows = (at.seen - self.record_length)[:COUNT_BITS]
            m.d.comb += [self.append.payload.rows.eq(rows), self.append.valid.eq(rows != 0)]
            with m.If(rows == 0):
                m.next = "SUMS"
            with m.Elif(self.append.ready):
                m.d.sync += at.left.eq(at.left - rows)
                m.next = "AWAIT APPEND"
        # A job whose rows cannot be written goes on, and leaves the record as it was.
        with m.State("AWAIT APPEND"), m.If(self.appended):
            m.d.sync += at.status.memory_error.eq(at.status.memory_error | self.append_fault)
            m.next = "SUMS"
        with m.State("SUMS"):
            m.d.comb += at.sums_begin.eq(1)
            m.next = "AWAIT SUMS"
        with m.State("AWAIT SUMS"), m.If(~at.summing):
            m.d.sync += at.number.eq(at.number + 1)
            m.next = "APPEND"
            with m.If(at.number + 1 == at.count):
                m.next = "COMPLETE"
        with m.State("COMPLETE"):
            m.d.sync += at.complete.eq(1)
            m.next = "AWAIT TILE"
        with m.State("AWAIT TILE"), m.If(self.ended):
            m.d.sync += at.query.eq(at.query + at.done)
            m.next = "TILE"
            with m.If(self.failure.memory_error):
                m.d.sync += at.status.memory_error.eq(1)
                m.next = "DROP"
            with m.Elif(self.failure.page_unmapped):
                # If rows could not be written, that is the reason: it was first.
                m.d.sync += at.status.page_unmapped.eq(~at.status.memory_error)
                m.next = "DROP"

    def _sum(self, m: Module, at: "_Job") -> None:
        """Send the record's sums of all groups to the engine."""
        groups, slices = self.build.core.key_groups, self.build.core.head_dim // self.build.bus_bytes
        m.submodules.sums = queue = StreamQueue(group_sum_layout(self.build), producer_latency=SequenceRecord.latency)
        wiring.connect(m, queue.o, wiring.flipped(self.sums))
        m.d.comb += self.overflow.eq(queue.overflow)
        group, part, step = Signal(group_shape(self.build)), Signal(slice_shape(self.build)), Signal()
        last = part == slices - 1
        m.d.comb += [step.eq(at.summing & queue.room), self.read_group.eq(group), self.read_slice.eq(part)]
        with m.If(at.sums_begin):
            m.d.sync += [at.summing.eq(1), group.eq(0), part.eq(0)]
        with m.Elif(step):
            m.d.sync += [part.eq(Mux(last, 0, part + 1)), at.summing.eq(~last | (group != groups - 1))]
            with m.If(last):
                m.d.sync += group.eq(group + 1)
        item = queue.i.payload
        beside = delay(m, Cat(at.number, group, part), SequenceRecord.latency, name="beside", reset_less=True)
        m.d.comb += [
            queue.i.valid.eq(delay(m, step, SequenceRecord.latency, name="summed")),
            Cat(item.position, item.group, item.slice).eq(beside), item.keys.eq(self.keys),
            item.sums.eq(self.record_sums),
            self.tile.payload.sums.eq(Mux(at.head == 0, times(at.count, groups * slices), 0)),
        ]

    def _end(self, m: Module, at: "_Job") -> None:
        """Append what no query waits for, write the record, drop what is left of a job that failed: states."""
        job = at.job
        with m.State("APPEND LAST"):
            m.d.comb += [self.append.payload.rows.eq(at.left), self.append.valid.eq(at.left != 0)]
            with m.If(at.left == 0):
                m.next = "DONE"
                with m.If((job.rows != 0) & ~at.status.memory_error):
                    m.next = "WRITE"
            with m.Elif(self.append.ready):
                m.d.sync += at.left.eq(0)
                m.next = "AWAIT LAST"
        with m.State("AWAIT LAST"), m.If(self.appended):
            m.d.sync += at.status.memory_error.eq(at.status.memory_error | self.append_fault)
            m.next = "APPEND LAST"
        with m.State("WRITE"):
            m.d.comb += [self.record_piece.valid.eq(1), self.record_write.eq(self.record_piece.ready)]
            with m.If(self.record_piece.ready):
                m.next = "AWAIT WRITE"
        with m.State("AWAIT WRITE"), m.If(self.written):
            m.d.sync += at.status.memory_error.eq(self.write_fault)
            m.next = "DONE"
        with m.State("DROP"):
            # Of the position at hand, heads that no tile has had; then those of the others.
            m.d.comb += [self.drop.valid.eq(1), self.drop.payload.keys.eq(at.left),
                         self.drop.payload.queries.eq(Mux(at.query == job.queries, 0, job.heads - at.head))]
            with m.If(self.drop.ready):
                m.d.sync += [at.left.eq(0), at.head.eq(0)]
                with m.If(at.query != job.queries):
                    m.d.sync += at.query.eq(at.query + 1)
                m.next = "DROPPED"
        with m.State("DROPPED"), m.If(self.dropped):
            m.next = "DROP"
            with m.If(at.query == job.queries):
                m.next = "DONE"
        with m.State("DONE"):
            m.d.comb += self.verdict.valid.eq(1)
            m.next = "JOB"


class _Job:
    """The present job.

    Attributes
    ----------
    job
        As it was offered; `asks`: it has queries.
    status
        Why it is refused or failed.
    total
        Keys behind it.
    head
        Heads looked up; later, heads of the position at hand that tiles have had.
    unknown, differs
        Of an entry: it does not exist, its groups are others.
    query, left
        Positions that are through; rows that are not appended.
    positions, fitting
        That fit in a tile, and their rows, while that is found out.
    count, number, behind
        Positions of the tile, and the one of them that is at hand; positions of the job from the tile's first on.
    seen, octave
        Keys that this position sees; the octave of their number.
    first_of
        The tile has the first heads of its positions, up to which nothing is appended yet.
    offers, complete
        The tile is on offer; all is given of it.
    sums_begin, summing
        Sums of groups are sent, from the first on; are being sent.
    rows, done
        Of a tile: rows that are not handed over; positions that it ends.
    first_page, last_page
        That get rows.
    faulty
        A read had an error.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.job = Signal(cache_job_layout(), reset_less=True)
        self.asks = (self.job.queries != 0) & (self.job.heads != 0)
        self.status = Signal(cache_verdict_layout())
        self.total = Signal(33)
        self.head, self.query, self.left = (Signal(COUNT_BITS, name=name) for name in ("heads", "query", "left"))
        self.unknown, self.differs, self.faulty = (Signal(name=name) for name in ("unknown", "differs", "faulty"))
        self.positions = Signal(range(build.tile_rows + 1))
        self.fitting = Signal(COUNT_BITS + 1)
        self.count, self.rows, self.done = (Signal(range(build.tile_rows + 1), name=name)
                                            for name in ("count", "rows", "done"))
        self.number, self.behind = Signal(row_shape(build)), Signal(COUNT_BITS)
        self.seen = Signal(length_shape(build.core))
        self.octave = Signal(range(build.core.max_seq_len.bit_length()))
        self.first_of, self.offers, self.complete, self.sums_begin, self.summing = (
            Signal(name=name) for name in ("first_of", "offers", "complete", "sums_begin", "summing"))
        self.first_page, self.last_page = (Signal(range(build.page_limit), name=name)
                                           for name in ("first_page", "last_page"))
