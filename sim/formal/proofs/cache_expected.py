"""What is expected of the work list of a core with keys in memory: a job, and what the blocks around do for it."""

from amaranth import Cat, Const, Mux, Signal, Value

from latte.rtl.memory.cache_payloads import cache_job_layout
from latte.rtl.memory.cache_sequencer import CacheSequencer
from latte.sim.formal.setting import Setting

__all__ = ["ExpectedJob"]

_NUMBER_BITS = 34
"""Of numbers of keys: those of a record have 32."""


class ExpectedJob:
    """A job as it is offered, and what the blocks around the sequencer do for it, each in its own time.

    Attributes
    ----------
    job
        Under way, or the last one.
    under_way
        It was taken, and there was no verdict.
    owed, of_table
        Beats of the piece that is read and have not come; whether it is part of the page table.
    read, record_fault
        The record is here; a beat of it had an error.
    before, length, total
        Keys that it has; with those appended so far; with all of the job's.
    table_fault, unmapped
        Of the part of the page table that was read.
    asked, looked, needed
        An entry was asked for; entries that came to judge by, and how many there must be.
    unknown
        One of them is not known.
    appending, pending, left, append_fault
        Rows are being appended, and how many; rows that were neither appended nor dropped; an answer was an error.
    query, head
        Of the query that no tile has had and that was not dropped: its position in the job, and its head.
    tile, keys, rows, tile_memory, tile_unmapped
        A tile is under way; the keys that it sees; its rows that were not handed over; why one has failed.
    wrote, answers, write_fault
        The record is written; it is not answered; an answer was an error.
    """

    def __init__(self, s: Setting, dut: CacheSequencer) -> None:
        self.s, self.dut, self.build = s, dut, dut.build
        self.job = Signal(cache_job_layout())
        self.under_way = Signal()
        m, job = s.m, self.job
        begins, ends = dut.job.valid & dut.job.ready, dut.verdict.valid
        with m.If(begins):
            m.d.sync += [job.eq(dut.job.payload), self.under_way.eq(1)]
        with m.Elif(ends):
            m.d.sync += self.under_way.eq(0)
        self.asks = (job.queries != 0) & (job.heads != 0)
        self._read(begins)
        self._look_up(begins)
        self._append(begins)
        self._compute(begins)
        self.wrote, self.write_fault = Signal(name="wrote"), Signal(name="write_failed")
        with m.If(begins):
            m.d.sync += [self.wrote.eq(0), self.write_fault.eq(0)]
        with m.If(dut.record_piece.valid & dut.record_piece.ready):
            m.d.sync += self.wrote.eq(1)
        self.answers = Signal()
        with m.If(self.answers & dut.written):
            m.d.sync += [self.write_fault.eq(dut.write_fault), self.answers.eq(0)]
        with m.If(dut.record_piece.valid & dut.record_piece.ready):
            m.d.sync += self.answers.eq(1)

    def _read(self, begins: Value) -> None:
        """Give the beats of a piece; the record says what it likes until they have come."""
        s, m, dut = self.s, self.s.m, self.dut
        self.owed, self.of_table = Signal(16, name="owed"), Signal(name="of_table")
        self.read, self.record_fault, self.table_fault, self.unmapped = (
            Signal(name=name) for name in ("record_read", "record_fault", "table_fault", "table_unmapped"))
        self.length, self.before = Signal(32, name="record_keys"), Signal(32, name="keys_before")
        s.assume("beats", ~dut.read_beat | (self.owed != 0))
        asks = dut.piece.valid & dut.piece.ready
        with m.If(asks):
            m.d.sync += [self.owed.eq(dut.piece.payload.beats), self.of_table.eq(dut.reads_table)]
        with m.Else():
            m.d.sync += self.owed.eq(self.owed - dut.read_beat)
        last = dut.read_beat & (self.owed == 1)
        fields = Cat(dut.record_live, dut.record_generation, dut.record_table)
        kept = s.held("fields", fields)
        s.assume("record_stands", ~s.held("was_read", self.read) | (fields == kept))
        with m.If(dut.read_beat & self.of_table):
            m.d.sync += [self.table_fault.eq(self.table_fault | dut.read_fault),
                         self.unmapped.eq(self.unmapped | s.free("is_unmapped"))]
        with m.If(dut.read_beat & ~self.of_table):
            any_length = s.free("any_length", 32)
            m.d.sync += [self.length.eq(any_length), self.before.eq(any_length), self.read.eq(last),
                         self.record_fault.eq(self.record_fault | dut.read_fault)]
        with m.If(begins):
            m.d.sync += [signal.eq(0) for signal in (self.read, self.record_fault, self.table_fault, self.unmapped)]
        m.d.comb += [dut.record_complete.eq(self.read), dut.unmapped.eq(self.unmapped),
                     dut.record_length.eq(self.length)]

    def _look_up(self, begins: Value) -> None:
        """Give an entry for each that is asked for."""
        s, m, dut = self.s, self.s.m, self.dut
        self.asked, self.unknown = Signal(name="asked"), Signal(name="unknown")
        self.looked = Signal(17, name="looked")
        self.needed = Mux(self.asks, self.job.heads, 0)
        comes = dut.entry.valid & dut.entry.ready
        s.assume("entry_asked_for", ~dut.entry.valid | self.asked)
        s.assume_stable("entry", dut.entry.valid, dut.entry.ready, dut.entry.payload)
        with m.If(dut.ask.valid & dut.ask.ready):
            m.d.sync += self.asked.eq(1)
        with m.Elif(comes):
            m.d.sync += self.asked.eq(0)
        with m.If(comes & (self.looked != self.needed)):
            m.d.sync += [self.looked.eq(self.looked + 1), self.unknown.eq(self.unknown | ~dut.entry.payload.known)]
        with m.If(begins):
            m.d.sync += [self.looked.eq(0), self.unknown.eq(0)]

    def _append(self, begins: Value) -> None:
        """Append rows: the record counts them."""
        s, m, dut = self.s, self.s.m, self.dut
        self.appending, self.append_fault = Signal(name="appending"), Signal(name="append_failed")
        self.left, self.pending = Signal(16, name="rows_left"), Signal(16, name="pending")
        s.assume("appended", ~dut.appended | self.appending)
        gives = dut.append.valid & dut.append.ready
        with m.If(gives):
            m.d.sync += [self.appending.eq(1), self.pending.eq(dut.append.payload.rows),
                         self.left.eq(self.left - dut.append.payload.rows)]
        with m.Elif(dut.appended):
            m.d.sync += [self.appending.eq(0), self.length.eq(self.length + self.pending),
                         self.append_fault.eq(self.append_fault | dut.append_fault)]
        with m.If(begins):
            m.d.sync += [self.left.eq(dut.job.payload.rows), self.append_fault.eq(0)]
        with m.If(dut.drop.valid & dut.drop.ready):
            m.d.sync += self.left.eq(self.left - dut.drop.payload.keys)

    def _compute(self, begins: Value) -> None:
        """Take tiles and their rows; queries go by position, then by head."""
        m, dut, job = self.s.m, self.dut, self.job
        self.query, self.head = Signal(16, name="next_query"), Signal(16, name="next_head")
        self.tile, self.tile_memory, self.tile_unmapped = (
            Signal(name=name) for name in ("tile_under_way", "tile_memory_error", "tile_unmapped"))
        self.keys = Signal(dut.tile.payload.keys.shape(), name="tile_keys")
        self.rows = Signal(range(self.build.tile_rows + 1), name="tile_rows_left")
        self.hands = dut.row.valid & dut.row.ready
        drops = dut.drop.valid & dut.drop.ready & (self.query != job.queries)
        with m.If(drops | (self.hands & (self.head + 1 == job.heads))):
            m.d.sync += [self.query.eq(self.query + 1), self.head.eq(0)]
        with m.Elif(self.hands):
            m.d.sync += self.head.eq(self.head + 1)
        with m.If(begins):
            m.d.sync += [self.query.eq(0), self.head.eq(0), self.tile_memory.eq(0), self.tile_unmapped.eq(0)]
        # What the engine says of an end before it may have read the keys is of no account.
        self.over = self.tile & dut.complete & dut.ended
        with m.If(dut.tile.valid & dut.tile.ready):
            m.d.sync += [self.tile.eq(1), self.rows.eq(dut.tile.payload.rows), self.keys.eq(dut.tile.payload.keys)]
        with m.Elif(self.hands):
            m.d.sync += self.rows.eq(self.rows - 1)
        with m.Elif(self.over):
            m.d.sync += [self.tile.eq(0), self.tile_memory.eq(dut.failure.memory_error),
                         self.tile_unmapped.eq(dut.failure.page_unmapped & ~dut.failure.memory_error)]

        self.total = Signal(_NUMBER_BITS, name="total")
        m.d.comb += self.total.eq(self.before + job.rows)

    def refusals(self) -> dict[str, Value]:
        """Return golden's conditions by their names; of a job whose record was read the first that is true counts."""
        job, dut, total = self.job, self.dut, self.total
        return {"sequence_invalid": ~dut.record_live | (dut.record_generation != job.generation),
                "head_invalid": self.unknown, "no_keys": total == 0,
                "too_long": (total > self.build.core.max_seq_len) | (job.queries > Mux(job.rows == 0, 1, job.rows)),
                "groups_differ": Const(0)}  # of builds with key groups
