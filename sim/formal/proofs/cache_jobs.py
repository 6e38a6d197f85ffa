"""The work list of a core with keys in memory: what is refused, what is done of a job, in which order, and its end."""

import functools

from amaranth import Cat, Const, Mux, Signal, Value

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.golden.memory.sequence_state import StateFormat
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.memory.cache_sequencer import CacheSequencer
from latte.sim.formal.proofs.cache_expected import ExpectedJob
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_BUILD = small_build()


def _carry_out(s: Setting, build: MemoryBuild) -> None:
    dut = CacheSequencer(build)
    inside = s.add(dut)
    s.m.d.comb += dut.records.eq(s.constant("any_place", ADDRESS_BITS))
    golden = ExpectedJob(s, dut)
    job, verdict = golden.job, dut.verdict
    bad_slot, fault = job.slot >= build.slots, golden.record_fault
    # The reason to refuse a job, or to give it up, as golden has it.
    earlier, expected, refused = bad_slot | fault, {}, bad_slot
    for name, applies in golden.refusals().items():
        expected[name] = applies & ~earlier
        earlier = earlier | applies
        refused = refused | expected[name]
    expected["sequence_invalid"] |= bad_slot
    goes_on = Signal()
    s.m.d.comb += goes_on.eq(~earlier)
    failed = golden.table_fault | golden.append_fault | golden.tile_memory | golden.write_fault
    expected["memory_error"] = (~bad_slot & fault) | (goes_on & failed)
    expected["page_unmapped"] = goes_on & ~failed & (golden.unmapped | golden.tile_unmapped)
    judged = golden.read & (golden.looked == golden.needed)
    _invariants(s, inside, dut, golden, goes_on, expected)

    writes = dut.record_piece
    s.claim("one_verdict", "a job that is taken ends with one verdict, and no other is taken before",
            golden.under_way & ~dut.job.ready, when=verdict.valid)
    s.claim("busy", "busy from a job to its verdict", dut.busy == golden.under_way,
            when=dut.busy | golden.under_way)
    s.claim("refuses", "a job is refused by golden's rule, and for golden's reason",
            Cat(verdict[name] == expected[name] for name in REFUSALS).all(), when=verdict.valid)
    s.claim("fails", "one that is not refused fails if a page is missing or an answer was an error, and never else",
            Cat(verdict[name] == expected[name] for name in FAILURES).all(), when=verdict.valid)
    said = verdict.as_value()[1:]
    s.claim("one_reason", "a verdict has one reason, or none", (said & (said - 1)) == 0, when=verdict.valid)
    for name in expected:
        if name != "groups_differ":
            s.reach(name, verdict.valid & verdict[name])
    does = dut.append.valid | dut.tile.valid | dut.row.valid | writes.valid | (dut.piece.valid & dut.reads_table)
    s.claim("record_first", "the record is read before an entry is looked up or anything else is read", golden.read,
            when=dut.ask.valid | does)
    s.claim("untouched", "nothing is appended, computed or written of a job before all is known by which it is judged, "
            "or if it is refused", judged & goes_on, when=does)
    s.claim("looks_up", "entries are looked up by which a job is judged: of its heads, one after the other",
            dut.ask.payload.head == job.head + golden.looked, when=dut.ask.valid & (golden.looked != golden.needed))
    s.claim("one_piece", "a piece is asked for when all of the last one has come", golden.owed == 0,
            when=dut.piece.valid)
    s.claim("whose_beats", "and its beats go where they belong", dut.reads_table == golden.of_table,
            when=dut.read_beat)
    size, entries = StateFormat(build).state_bytes, build.page_rows * build.bus_bytes // ENTRY_BYTES
    first, last = golden.before // entries, (golden.total - 1) // entries
    place, table = dut.records + job.slot * size, dut.piece.payload
    for name, port, valid in (("record", dut.piece, dut.piece.valid & ~dut.reads_table),
                              ("written", writes, writes.valid)):
        s.claim(f"{name}_place", "it is the whole record of the job's slot",
                (port.payload.address == place[:ADDRESS_BITS]) & (port.payload.beats == size // build.bus_bytes),
                when=valid)
    s.claim("table_place", "of the page table, entries of the pages that get rows are read",
            (table.address == (dut.record_table + first * build.bus_bytes)[:ADDRESS_BITS])
            & (table.beats == last - first + 1), when=dut.piece.valid & dut.reads_table)
    s.claim("appends", "rows are appended behind those that are there, no more than the job has",
            (dut.append.payload.place == golden.length) & (dut.append.payload.rows <= golden.left)
            & (dut.append.payload.rows != 0), when=dut.append.valid)
    _computes(s, dut, golden)
    s.claim("record_last", "the record is written last: of a job that has rows, when all are appended, all its queries "
            "are computed, and nothing has failed", (job.rows != 0) & (golden.left == 0) & ~golden.appending
            & (~golden.asks | (golden.query == job.queries)) & ~golden.tile & ~failed & ~golden.unmapped
            & ~golden.tile_unmapped & ~golden.wrote, when=writes.valid)
    s.claim("nothing_behind", "nothing is done behind it", ~golden.wrote,
            when=does | dut.ask.valid | dut.drop.valid | dut.piece.valid)
    done = ~said.any()
    s.claim("carried_out", "of a job without a reason all rows are appended, all queries are computed, and the record "
            "is written if there were rows", (golden.left == 0) & (golden.wrote == (job.rows != 0))
            & (~golden.asks | (golden.query == job.queries)), when=verdict.valid & done)
    s.reach("appended_alone", verdict.valid & done & ~golden.asks & (job.rows != 0))
    s.claim("drops", "what a job that fails has not taken is dropped, position by position",
            (dut.drop.payload.keys == golden.left)
            & (dut.drop.payload.queries == Mux(golden.query == job.queries, 0, job.heads - golden.head)),
            when=dut.drop.valid)
    s.claim("streams_in_step", "when a job ends, each of its rows was appended or dropped, each query computed or "
            "dropped, once", (golden.left == 0) & ((golden.query == job.queries) | (job.heads == 0)),
            when=verdict.valid)
    for name in ("piece", "append", "ask", "tile", "row", "record_piece", "drop"):
        port = getattr(dut, name)
        s.stable(f"{name}_stable", "what is asked of a neighbour stands until it is taken", port.valid, port.ready,
                 port.payload)
    _ends(s, inside, dut, golden)
    # A witness: one job of few rows and queries, neighbours of which each takes a cycle.
    offer = dut.job.payload
    ports = {name: getattr(dut, name) for name in ("piece", "append", "ask", "tile", "row", "record_piece", "drop")}
    prompt = Cat(port.ready == s.held(f"{name}_came", port.valid) for name, port in ports.items()).all()
    s.seek((offer.slot[2:] == 0) & (offer.generation == 0) & (offer.head == 0) & (offer.heads == build.tile_rows)
           & (offer.rows[1:] == 0) & (offer.queries[2:] == 0) & (dut.records == 0) & (dut.record_table == 0)
           & (golden.length[2:] == 0) & (dut.record_generation[1:] == 0) & (dut.entry.payload.row.as_value() == 0)
           & dut.job.valid & (dut.appended == golden.appending) & (dut.ended | s.held("not_ended", dut.ended))
           & dut.written & dut.dropped & prompt
           & (dut.read_beat == (golden.owed != 0)) & (dut.entry.valid == golden.asked))


def _computes(s: Setting, dut: CacheSequencer, golden: ExpectedJob) -> None:
    """Claim that tiles and rows are golden's."""
    job, tile, row, rows = golden.job, dut.tile.payload, dut.row.payload, golden.build.tile_rows
    positions: Value = Const(1)
    for heads in range(1, rows + 1):
        positions = Mux(job.heads == heads, rows // heads, positions)
    count, behind = Signal(range(rows + 1)), job.queries - golden.query
    s.m.d.comb += count.eq(Mux(behind < positions, behind, positions))
    rest = job.heads - golden.head
    s.claim("tiles", "a tile has the heads of as many positions as it has room for, or some of the heads of one, and "
            "the keys up to its last one", (tile.keys == golden.total - behind + count)
            & (tile.rows == Mux(positions > 1, count * job.heads[:len(count)], Mux(rest > rows, rows, rest)))
            & (tile.rows != 0) & ~golden.tile, when=dut.tile.valid)
    s.claim("rows", "its rows go by position, then by head; each sees the keys up to its own position",
            golden.tile & (golden.rows != 0) & (row.keys == golden.total - behind + 1), when=dut.row.valid)
    s.claim("row_entry", "and has the entry of its head", dut.ask.payload.head == job.head + golden.head,
            when=dut.ask.valid & (golden.looked == golden.needed))
    s.claim("appended_before", "the engine is told to read a tile's keys when all that its rows see are in the record, "
            "and all its rows are handed over", (golden.length == golden.keys) & ~golden.appending & (golden.rows == 0),
            when=golden.tile & dut.complete)
    s.claim("not_before", "nothing says so of a tile that is on offer", ~dut.complete, when=dut.tile.valid)
    s.claim("stays_complete", "and it is said until the tile ends", dut.complete,
            when=s.held("is_complete", golden.tile & dut.complete & ~golden.over))


def _invariants(s: Setting, inside: Inside, dut: CacheSequencer, golden: ExpectedJob, goes_on: Value,
                expected: dict[str, Value]) -> None:
    """Say how the sequencer's registers belong to the job."""
    at, job, state, build = inside["at"], golden.job, inside.state, dut.build
    fits = state("FIT", "RECORD", "AWAIT RECORD", "CHECK")
    looks, tables = state("ASK", "ENTRY"), state("TABLE", "TABLE PIECE", "AWAIT TABLE")
    begins = fits | looks | state("JUDGE") | tables
    sums = state("APPEND", "AWAIT APPEND", "SUMS", "AWAIT SUMS")
    hands = state("HAND OVER", "ASK ROW", "ROW")
    handed = sums | state("COMPLETE", "AWAIT TILE")
    inside_tile = hands | handed
    tiles = state("TILE") | inside_tile
    last, writes, drops = state("APPEND LAST", "AWAIT LAST"), state("WRITE", "AWAIT WRITE"), state("DROP", "DROPPED")
    failed = Cat(golden.tile_memory, golden.tile_unmapped, golden.write_fault)
    table_failed = golden.table_fault | golden.unmapped
    status = at.status.as_value()[1:]
    agrees = Cat(at.status[name] == expected[name] for name in (*REFUSALS, *FAILURES)).all()
    number = Mux(state("ASK ROW", "ROW"), at.number, Mux(handed, at.done, 0))
    many, heads = at.positions > 1, job.heads[:len(at.count)]
    behind = job.queries - at.query
    # Keys that the last position sees for which rows are appended, at the beginning of a tile, and in it.
    unseen = golden.total - behind
    first_of = Mux(state("TILE"), at.head == 0, at.first_of)
    shown = Mux((at.query == 0) & first_of, golden.before, unseen + ~first_of)
    seen = unseen + at.number + 1
    for name, condition in {
            "any": state() & ~at.status.valid, "idle": state("JOB") == ~golden.under_way,
            "job": state("JOB") | ((at.job.as_value() == job.as_value()) & (at.left == golden.left)
                                   & (at.faulty == (golden.record_fault | golden.table_fault))),
            "begins": ~begins | (~status.any() & ~golden.append_fault & ~failed.any() & (at.query == 0)
                                 & (golden.query == 0) & (golden.head == 0) & (golden.left == job.rows)
                                 & (~golden.read | (golden.length == golden.before))),
            "fits": ~fits | ((at.head == 0) & (golden.looked == 0) & ~golden.unknown & ~at.unknown
                             & ~at.differs & ~table_failed),
            "slot": state("JOB", "FIT", "DROP", "DROPPED", "DONE") | (job.slot < build.slots),
            "read": state("JOB", "AWAIT RECORD")
                    | (golden.read == ~(state("FIT", "RECORD") | (job.slot >= build.slots))),
            "owed": Mux(state("AWAIT RECORD"), (golden.owed != 0) == ~golden.read,
                        state("AWAIT TABLE") | (golden.owed == 0)),
            "table": ~state("AWAIT TABLE") | ((inside["beats"] == golden.owed)
                                              & (golden.of_table | (golden.owed == 0))),
            "of_table": ~state("AWAIT RECORD") | ~golden.of_table | (golden.owed == 0),
            "table_failed": ~(state("JUDGE", "TABLE", "TABLE PIECE") | looks | tiles | last | writes) | ~table_failed,
            "record_fault": ~(looks | state("JUDGE") | tables | tiles | last | writes) | ~golden.record_fault,
            "total": ~(state("CHECK") | looks | state("JUDGE") | tables | tiles | last | writes)
                     | (at.total == golden.total),
            "sequence": ~(looks | state("JUDGE")) | (dut.record_live & (dut.record_generation == job.generation)),
            "looked": Mux(looks, (at.head == golden.looked) & (golden.looked < golden.needed),
                          fits | state("JOB", "DROP", "DROPPED", "DONE") | (golden.looked == golden.needed)),
            "asked": golden.asked == state("ENTRY", "ROW"),
            "unknown": ~(looks | state("JUDGE")) | ((at.unknown == golden.unknown) & ~at.differs),
            "goes_on": ~(tables | tiles | last | writes) | (goes_on & (golden.looked == golden.needed)),
            "heads": ~(tables | last) | (at.head == 0) | (last & ~golden.asks),
            "positions": state("JOB", "DROP", "DROPPED", "DONE") | last | writes | Mux(
                many, (at.positions * heads <= build.tile_rows) & (job.heads <= build.tile_rows) & (job.heads != 0),
                at.positions == 1),
            "fitting": ~state("FIT") | ((at.fitting + job.heads) == at.positions * job.heads),
            "most": ~(state("RECORD", "AWAIT RECORD", "CHECK", "JUDGE") | looks | tables | tiles) | (job.heads == 0)
                    | ((at.positions + 1) * job.heads > build.tile_rows),
            "status": ~(tiles | last) | (~failed.any() & ~Cat(at.status[name] for name in REFUSALS).any()
                                         & ~at.status.page_unmapped & (at.status.memory_error == golden.append_fault)),
            "appending": golden.appending == state("AWAIT APPEND", "AWAIT LAST"),
            "rows": ~(tables | tiles | last | writes) | (
                golden.length + golden.left + Mux(golden.appending, golden.pending, 0) == golden.total),
            "query": ~(tiles | drops) | (at.query <= job.queries),
            "next": ~(tiles | drops) | ((golden.head == at.head) & (golden.query == at.query + number)),
            "head": ~tiles | Mux(golden.asks, at.head < job.heads, (at.head == 0) & (at.query == 0)),
            "dropped_head": ~drops | (at.head == 0) | ((at.head < job.heads) & (at.query != job.queries)),
            "tile_asks": ~inside_tile | (golden.asks & (at.query < job.queries)),
            "last": ~(last | writes) | (golden.query == Mux(golden.asks, job.queries, 0)),
            "count": ~inside_tile | (at.count == Mux(behind < at.positions, behind, at.positions)),
            "number": ~(sums | state("ASK ROW", "ROW")) | (at.number < at.count),
            "first": ~state("HAND OVER") | ((at.number == 0) & (at.first_of == (at.head == 0))),
            "many": ~many | Mux(state("TILE", "HAND OVER"), at.head == 0, ~inside_tile | at.first_of),
            "sums": ~sums | at.first_of,
            "tile": golden.tile == (state("ASK ROW", "ROW") | handed | (state("HAND OVER") & ~at.offers)),
            "offers": ~at.offers | state("HAND OVER"),
            "complete": ~inside_tile | (at.complete == state("AWAIT TILE")),
            "keys": ~golden.tile | (golden.keys == (unseen + at.count)),
            "handed": Mux(state("ASK ROW", "ROW"), (golden.rows == at.rows) & (at.rows != 0),
                          Mux(handed, golden.rows == 0, ~golden.tile | (golden.rows == dut.tile.payload.rows))),
            "tile_rows": ~state("ASK ROW", "ROW") | Mux(
                many, at.rows + at.head == (at.count - at.number)[:len(at.count)] * heads,
                (at.rows <= job.heads - at.head) & (at.number == 0)),
            "done": ~handed | Mux(many, (at.done == at.count) & (at.head == 0), at.done == (at.head == 0)),
            "length_tile": ~((state("TILE") & golden.asks) | hands) | (golden.length == shown),
            "length_append": ~state("APPEND") | ((golden.length <= seen) & ((at.number == 0)
                                                                            | (golden.length == seen - 1))),
            "length_appended": ~state("AWAIT APPEND") | (golden.length + golden.pending == seen),
            "length_summed": ~state("SUMS", "AWAIT SUMS") | (golden.length == seen),
            "length_complete": ~state("COMPLETE", "AWAIT TILE") | (golden.length == unseen + at.count),
            "ends": ~(drops | state("DONE")) | (agrees & ~golden.asked & ~golden.tile & ~at.offers),
            "reason": ~drops | status.any(),
            "dropped": ~state("DROPPED") | (golden.left == 0),
            "wrote": state("JOB", "DONE") | (golden.wrote == state("AWAIT WRITE")),
            "answers": golden.answers == state("AWAIT WRITE"),
            "writes": ~writes | (~status.any() & ~golden.append_fault & ~failed.any() & (golden.left == 0)
                                 & (job.rows != 0)),
            "left": ~last | (golden.left == 0) | ~golden.asks,
            "done_left": ~state("DONE") | ((golden.left == 0) & ((golden.query == job.queries) | (job.heads == 0)) & (
                status.any() | (golden.wrote == (job.rows != 0)))),
            }.items():
        s.invariant(name, condition)


def _ends(s: Setting, inside: Inside, dut: CacheSequencer, golden: ExpectedJob) -> None:
    """Claim that a job comes to its end but for its neighbours: a number that cannot be negative becomes smaller."""
    at, job, state, build = inside["at"], golden.job, inside.state, dut.build

    def rank(*groups: str | tuple[str, ...]) -> Value:
        """Return a number for the present state, the larger the earlier it comes in the list."""
        number: Value = Const(0, range(len(groups)))
        for place, names in enumerate(reversed(groups)):
            number = Mux(state(*((names,) if isinstance(names, str) else names)), place, number)
        return number

    # Of the beginning: how many positions fit, beats, entries; and of a look-up, whether it is asked for.
    fields = Signal(17)
    s.m.d.comb += fields.eq(Mux(state("FIT"), build.tile_rows - at.positions, Mux(
        state("ASK", "ENTRY"), golden.needed - at.head, golden.owed)))
    begins = Cat(state("ASK"), fields, rank("FIT", "RECORD", "AWAIT RECORD", "CHECK", ("ASK", "ENTRY"), "JUDGE",
                                            "TABLE", "TABLE PIECE", "AWAIT TABLE"))
    # Of tiles: positions and heads, then the way through a tile; its first state follows a position or a head.
    positions, heads = Signal(16), Signal(16)
    s.m.d.comb += [positions.eq(job.queries - golden.query), heads.eq(job.heads - golden.head)]
    here, left_of_tile = state("APPEND", "AWAIT APPEND", "SUMS", "AWAIT SUMS"), Signal(3)
    s.m.d.comb += left_of_tile.eq(Mux(here, at.count - at.number, at.offers))
    tiles = Cat(rank("APPEND", "AWAIT APPEND", "SUMS", "AWAIT SUMS"), left_of_tile,
                rank(("APPEND", "AWAIT APPEND", "SUMS", "AWAIT SUMS"), "COMPLETE", "AWAIT TILE", "TILE", "HAND OVER",
                     "ASK ROW", "ROW"), heads, positions)
    drops = Cat(Mux(state("DROP"), Mux(golden.query == job.queries, 2, 0), state("DROPPED")), positions)
    ends = Cat(rank("AWAIT LAST", "APPEND LAST", "WRITE", "AWAIT WRITE", "DONE"), golden.left != 0)
    measure = Signal(64)
    s.m.d.comb += measure.eq(Mux(
        state("FIT", "RECORD", "AWAIT RECORD", "CHECK", "ASK", "ENTRY", "JUDGE", "TABLE", "TABLE PIECE", "AWAIT TABLE"),
        Cat(begins, Const(0, 61 - len(begins)), Const(4, 3)),
        Mux(state("DROP", "DROPPED"), Cat(drops, Const(0, 61 - len(drops)), Const(1, 3)),
            Mux(state("APPEND LAST", "AWAIT LAST", "WRITE", "AWAIT WRITE", "DONE"),
                Mux(state("DONE"), 0, Cat(ends, Const(0, 61 - len(ends)), Const(1, 3))),
                Cat(tiles, Const(0, 61 - len(tiles)), Const(2, 3))))))
    waits = [(golden.owed != 0) & ~dut.read_beat, golden.asked & ~dut.entry.valid, golden.appending & ~dut.appended,
             (state("TILE") | (golden.tile & dut.complete)) & ~dut.ended, golden.answers & ~dut.written,
             state("DROPPED") & ~dut.dropped,
             state("HAND OVER") & dut.tile.valid & ~dut.tile.ready]
    for name in ("piece", "append", "ask", "row", "record_piece", "drop"):
        port = getattr(dut, name)
        waits.append(port.valid & ~port.ready)
    goes = s.held("goes", dut.busy & ~Cat(waits).any() & ~dut.verdict.valid)
    s.claim("returns", "in each cycle in which no neighbour lets it wait a job comes nearer to its end, so that it has "
            "one", dut.busy & (measure < s.held("measure", measure)), when=goes)


PROOFS = (
    Proof("CacheSequencer", functools.partial(_carry_out, build=_BUILD), "induction", 1, 36,
          "40 keys, tiles of 2 rows, thresholds by mass"),
)
