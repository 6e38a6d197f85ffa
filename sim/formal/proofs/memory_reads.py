"""What a tile reads of a sequence: which pieces are asked for, and where each beat of them goes."""

import functools
import types

from amaranth import Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.page_format import PageFormat
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.memory.page_table import PagePart
from latte.rtl.memory.plane_unpacker import plane_lane
from latte.rtl.memory.spill_store import RECALLED_BEATS
from latte.rtl.memory.tile_reader import ReadCommand, TileReader
from latte.sim.formal.followed import Followed
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_MASTER = MasterParameters(burst_beats=8, reads_in_flight=1, writes_in_flight=1)
_BUILT = small_build(head_dim=16, estimate_bits=3, key_groups=2)
_MOST_BEATS = 15
_STEP = _MASTER.data_bytes.bit_length() - 1


class _Command:
    """A command that is carried out: what is asked for in this cycle, if anything is.

    Attributes
    ----------
    is_table, is_stream, is_key, is_recall
    part, page, row
        Of the page table's look-up.
    mark
        What is to be known of the piece.
    ends
        It is the command's last one.
    """

    def __init__(self, s: Setting, dut: TileReader, asks: Value, mark: data.StructLayout) -> None:
        m, build, form, command = s.m, dut.build, PageFormat(dut.build), dut.command.payload
        bus, rows_of_page = build.bus_bytes, build.page_rows
        # Pieces of a stream that were asked for; the high row of a key was.
        self.number, self.low = number, low = Signal(range(build.page_limit)), Signal()
        self.is_table, self.is_stream, self.is_key, self.is_recall = (
            command.command == kind for kind in (
                ReadCommand.TABLE, ReadCommand.STREAM, ReadCommand.KEY, ReadCommand.RECALL))
        keys, place = s.held("keys", command.keys), Signal.like(command.place)
        pages = ((command.keys - 1) // rows_of_page + 1)[:len(number) + 1]
        self.pages, begins = pages, number == 0
        # What is begun is ended, but for recalls that may come between both rows of a key.
        s.assume("stream_goes_on", begins | (dut.command.valid & self.is_stream & (command.keys == keys)))
        s.assume("key_goes_on", ~low | ~dut.command.valid | self.is_recall | (self.is_key & (command.place == place)))
        s.assume("commands", ~dut.command.valid | (command.command <= ReadCommand.RECALL))
        s.assume("keys", (command.keys != 0) & (command.keys <= build.core.max_seq_len))
        s.assume("place", command.place < build.core.max_seq_len)
        s.assume("recalls", (command.beats != 0) & (command.beats <= RECALLED_BEATS))
        self.ends = Mux(self.is_stream, number == pages - 1, low | ~self.is_key)
        with m.If(asks & self.is_stream):
            m.d.sync += number.eq(Mux(self.ends, 0, number + 1))
        with m.If(asks & self.is_key):
            m.d.sync += [low.eq(~low), place.eq(command.place)]
        self.page = Mux(self.is_stream, Mux(begins, pages, number) - 1, command.place // rows_of_page)
        self.row = Mux(self.is_stream, 0, command.place % rows_of_page)
        self.part = Mux(self.is_stream, PagePart.STREAM,
                        Mux(self.is_key, Mux(low, PagePart.LOW, PagePart.HIGH), PagePart.VALUE))
        streamed = Mux(begins, (command.keys - 1) % rows_of_page + 1, rows_of_page)
        # Bytes of the piece, from the beginning of its first beat on.
        first, last = Signal(16), Signal(16)
        self.mark = Signal(mark)
        m.d.comb += last.eq(first - 1)
        with m.If(self.is_table):
            m.d.comb += last.eq(pages * ENTRY_BYTES - 1)
        with m.Elif(self.is_recall):
            m.d.comb += last.eq(command.beats * bus - 1)
        with m.Elif(self.is_stream):
            m.d.comb += last.eq(build.padded(form.groups_bytes) + streamed * form.high_bytes - 1)
        with m.Else(), m.Switch(self.part):
            for part, offset, size in ((PagePart.HIGH, form.high_offset, form.high_bytes),
                                       (PagePart.LOW, form.low_offset, form.low_bytes),
                                       (PagePart.VALUE, 0, form.value_bytes)):
                with m.Case(part):
                    place_of_row = offset + self.row * size
                    m.d.comb += [first.eq(place_of_row % bus), last.eq(place_of_row % bus + size - 1)]
        m.d.comb += [
            self.mark.table.eq(self.is_table), self.mark.recall.eq(self.is_recall), self.mark.row.eq(command.row),
            self.mark.part.eq(self.part), self.mark.beats.eq(last // bus + 1),
            self.mark.rows.eq(Mux(self.is_stream, streamed, 1)), self.mark.skip.eq(first // plane_lane(build))]


def _asks(s: Setting, build: MemoryBuild) -> None:
    dut = TileReader(build, _MASTER)
    inside, m = s.add(dut), s.m
    queue = inside.part("found")
    found, table, pieces, latency = queue.block, inside["table"], inside["pieces"], inside["table"].latency
    state = QueueState(s, found, queue)
    asks = dut.command.valid & found.room
    command = _Command(s, dut, asks, found.i.payload.mark.shape())
    m.d.comb += dut.spill_address.eq(s.constant("any_spill", ADDRESS_BITS))
    asked = [asks] + [s.held("asked", asks, age) for age in range(1, latency + 2)]
    # Nothing is asked for behind a table before that is read.
    tables = [s.held("asked_table", asks & command.is_table, age) for age in range(1, latency + 1)]
    s.assume("table_first", ~dut.command.valid | ~Cat(tables).any())
    s.claim("asks_in_turn", "of a stream, the last page of its keys is looked up, then all others from the first on; "
            "of a key, its high row, then its low row; of a value, its row",
            Cat(table.look_up.part, table.look_up.page, table.look_up.row)
            == Cat(command.part[:2], command.page[:len(table.look_up.page)], command.row[:len(table.look_up.row)]),
            when=asks & ~command.is_table & ~command.is_recall)
    s.claim("takes_commands", "a command is taken with the last piece that it asks for, and not before",
            dut.command.ready == command.ends, when=asks)
    s.claim("waits", "without room none is", ~dut.command.ready, when=~asks)
    # What is found of it.
    mark, is_table, is_recall, begin, offset = (s.held(name, value, latency + 1) for name, value in {
        "mark": command.mark, "is_table": command.is_table, "is_recall": command.is_recall,
        "begin": dut.command.payload.address, "offset": dut.command.payload.offset}.items())
    base = Mux(is_table, begin, Mux(is_recall, dut.spill_address + offset, s.held("address", table.address)))
    item = Cat(Const(0, _STEP), base[_STEP:ADDRESS_BITS], mark.beats, mark)
    under_way = sum(asked[1:], Const(0))
    for name, condition in {
            "begun": inside["begun"] == (command.number != 0), "low": inside["low"] == command.low,
            "next_page": ~inside["begun"] | (inside["next_page"] + 1 == command.number),
            "stream": ~inside["begun"] | (command.number < command.pages),
            "room": found.level + under_way + found.room <= found.depth - 1,
            "found": found.i.valid == asked[-1]}.items():
        s.invariant(name, condition)
    s.claim("has_room", "nothing is lost between its look-up and its piece", ~found.overflow, when=found.i.valid)
    leaves = pieces.piece.valid & pieces.piece.ready
    given = Followed(s, found.i.valid, item, state.items, leaves)
    state.find(given)
    piece = pieces.piece.payload
    marks = inside["marks"].i
    s.invariant("item", ~given.here | (given.item[ADDRESS_BITS:ADDRESS_BITS + len(piece.beats)] != 0))
    s.claim("piece", "any piece is asked for once, behind all that were looked up before it: it begins in the beat in "
            "which lies what the look-up found, and has all beats of it", Cat(piece, marks.payload) == given.item,
            when=leaves & given.here & (given.ahead == 0))
    s.claim("no_other_piece", "no other piece is, and what it is goes to the queue of marks with it",
            (state.items != 0) & marks.valid & marks.ready, when=leaves)
    s.claim("no_other_mark", "and nothing else does", leaves, when=marks.valid & marks.ready)
    s.claim("pieces_have_beats", "no piece is empty", piece.beats != 0, when=given.here & leaves & (given.ahead == 0))
    known, pages = Signal(), Signal.like(table.pages)
    with m.If(asks & command.is_table):
        m.d.sync += [known.eq(1), pages.eq(command.pages)]
    s.invariant("pages", ~known | (table.pages == pages))
    s.claim("restarts_table", "the page table is restarted by the command that reads it, and by no other",
            table.restart == (asks & command.is_table), when=asks)
    s.claim("table_pages", "and knows from then on how many pages the keys of that have", table.pages == pages,
            when=known)


class _Beat:
    """Any beat of any piece, from the piece's coming to `PieceReader` until the beat leaves that.

    Attributes
    ----------
    here
        Its piece has come, and it has not left.
    number
        Of the beat in its piece.
    mark
        Of the piece.
    came, data, fault
        It is here from memory, as it came.
    top
        It is the next one, and has come.
    """

    def __init__(self, s: Setting, reader: Inside, marks: QueueState, number: Value) -> None:
        m, pieces, queue = s.m, reader.block, reader.part("queue")
        bursts = reader.part("bursts")
        state = QueueState(s, queue.block, queue, "beats")
        layout = marks.queue.shape
        piece, request = pieces.piece, pieces.request
        comes, takes = piece.valid & piece.ready, pieces.o.valid & pieces.o.ready
        mark = marks.queue.i.payload
        leaves = marks.queue.o.valid & marks.queue.o.ready
        # What is known of each piece: it has beats, as many as its mark says: see `_asks`.
        s.assume("piece", ~piece.valid | ((mark.beats == piece.payload.beats) & (mark.beats != 0)
                                          & (mark.beats <= _MOST_BEATS) & ~(mark.table & mark.recall)))
        # Beats that were asked for and have not come; those of all pieces that have not left.
        owed, rest = Signal(range(queue.block.depth + 1)), Signal(range(_MOST_BEATS * (marks.queue.depth + 2)))
        asked = request.valid & request.ready
        m.d.sync += [owed.eq(owed + Mux(asked, request.payload.beats, 0) - pieces.taken),
                     rest.eq(rest + Mux(comes, mark.beats, 0) - takes)]
        s.assume("asked_for", ~pieces.taken | (owed != 0))
        self.number = s.constant("any_beat", range(_MOST_BEATS))
        self.here, self.came, self.mark = Signal(name="here"), Signal(name="came"), Signal(layout, name="mark_of_beat")
        self.data, self.fault = Signal(len(pieces.data), name="came_data"), Signal(name="came_fault")
        ahead, place = Signal(range(_MOST_BEATS * (marks.queue.depth + 3))), Signal(range(marks.queue.depth + 2))
        fault = pieces.fault.as_value().any()
        with m.If(self.here):
            m.d.sync += [ahead.eq(ahead - takes), place.eq(place - leaves), self.here.eq(~takes | (ahead != 0)),
                         self.came.eq(self.came & (~takes | (ahead != 0)))]
            with m.If(pieces.taken & (ahead == state.items)):
                m.d.sync += [self.came.eq(1), self.data.eq(pieces.data), self.fault.eq(fault)]
        with m.Elif(comes & s.free("chosen") & (self.number < mark.beats)):
            m.d.sync += [self.here.eq(1), self.mark.eq(mark), ahead.eq(rest + self.number - takes),
                         place.eq(marks.items - leaves)]
        self.top = self.here & (ahead == 0) & pieces.o.valid
        state.find(types.SimpleNamespace(here=self.came, ahead=ahead, item=Cat(self.data, self.fault)))
        # Beats of all pieces that have marks, of those in front of its own, and whether that is where it should be.
        total, before, found = Const(0), Const(0), Const(0)
        for n, (there, at, word) in enumerate(marks.slots()):
            held = data.View(layout, word)
            s.invariant(f"mark_{n}", ~there | ((held.beats != 0) & (held.beats <= _MOST_BEATS)
                                               & ((at != 0) | (number < held.beats))))
            beats = Mux(there, held.beats[:_MOST_BEATS.bit_length()], 0)
            total, before = total + beats, before + Mux(at < place, beats, 0)
            found = found | (there & (at == place) & (word == self.mark.as_value()))
        left = bursts["left"]
        for name, condition in {
                "room": reader["room"] + owed + state.items == queue.block.depth,
                "cut": ~bursts.block.burst.valid | ((request.payload.beats != 0) & (request.payload.beats <= left)),
                "left": left <= _MOST_BEATS, "rest": rest == left + owed + state.items, "total": total == rest + number,
                "number": (marks.items != 0) | (number == 0), "place": ~self.here | found,
                "before": ~self.here | (before + self.number == ahead + number),
                "kind": ~self.here | ~(self.mark.table & self.mark.recall),
                "beat": ~self.here | ((self.number < self.mark.beats) & (ahead < rest)),
                "came": self.came == (self.here & (ahead < state.items))}.items():
            s.invariant(name, condition)


def _gives(s: Setting, build: MemoryBuild) -> None:
    dut = TileReader(build, _MASTER)
    inside, m = s.add(dut), s.m
    reader, queue = inside.part("pieces"), inside.part("marks")
    pieces, marks, table, unpacker, number = reader.block, queue.block, *(
        inside[name] for name in ("table", "unpacker", "number"))
    beat = _Beat(s, reader, QueueState(s, marks, queue, "marks"), number)
    mark, groups = beat.mark, ceil_div(PageFormat(build).groups_bytes, build.bus_bytes)
    takes, there = pieces.o.valid & pieces.o.ready, pieces.o.valid & marks.o.valid
    of_page = ~mark.table & ~mark.recall
    is_stream, is_value = of_page & (mark.part == PagePart.STREAM), of_page & (mark.part == PagePart.VALUE)
    is_group = is_stream & (beat.number < groups)
    goes = Cat(table.beat_valid, dut.recalled_valid, dut.value.valid, unpacker.i.valid)
    s.claim("knows", "any beat of any piece comes in its turn, when what is known of its piece is there",
            marks.o.valid & (marks.o.payload == mark) & (number == beat.number), when=beat.top)
    s.claim("to_table", "a beat of a page table goes to the page table", takes & (goes == 1)
            & (table.beat == beat.data), when=beat.top & mark.table)
    s.claim("to_spill", "one that was spilled leaves with its row", takes & (goes == 2)
            & (dut.recalled_beat == beat.data) & (dut.recalled_row == mark.row),
            when=beat.top & mark.recall)
    s.claim("to_value", "one of a value leaves with that, and waits until it is taken", (goes == 4)
            & (dut.value.payload.as_value() == beat.data) & (takes == dut.value.ready), when=beat.top & is_value)
    plane = unpacker.i.payload
    s.claim("to_plane", "one of a plane is unpacked, the first of its piece marked, with what is known of that",
            (goes == 8) & (plane.data == beat.data) & (takes == unpacker.i.ready)
            & (plane.first == (beat.number == Mux(is_stream, groups, 0))) & (plane.rows == mark.rows)
            & (plane.skip == mark.skip) & (plane.low == (mark.part == PagePart.LOW)),
            when=beat.top & of_page & ~is_value & ~is_group)
    s.claim("nowhere_else", "nothing goes anywhere that is not such a beat", there, when=goes.any())
    # What is told of it.
    restarts = dut.restart | table.restart
    ends = mark.table & (beat.number == mark.beats - 1)
    left, was_read = s.held("left", beat.top & takes), s.held("was_read", dut.table_read & ~restarts)
    s.claim("table_read", "the table is read when its last beat has come, and no other beat makes it so",
            dut.table_read == (was_read | s.held("ends", ends & ~restarts)), when=left)
    s.claim("table_stays", "it stays so until another one is asked for, or a restart",
            dut.table_read == was_read, when=~s.held("takes", takes))
    was_faulty = s.held("was_faulty", dut.memory_error & ~dut.restart)
    s.claim("memory_error", "a beat that came with a fault says so, and no other", dut.memory_error == (
        was_faulty | s.held("faulty", beat.fault & ~dut.restart)), when=left)
    s.claim("error_stays", "until a restart", dut.memory_error == was_faulty, when=~s.held("takes", takes))
    s.claim("finds_room", "every beat that comes finds room", ~pieces.overflow, when=pieces.taken)
    # The group of any key of a page; of the keys whose chunks have left.
    key, known, group = s.constant("any_key", range(build.page_rows)), Signal(), Signal(build.core.group_bits)
    gone, chunk = Signal(range(build.page_rows + 1)), dut.chunk
    comes = takes & inside["is_group"]
    with m.If(comes):
        m.d.sync += gone.eq(0)
        at = key * build.core.group_bits
        with m.If(number == at // (8 * build.bus_bytes)):
            m.d.sync += [known.eq(1), group.eq(pieces.o.payload.data.bit_select(
                (at % (8 * build.bus_bytes))[:6], build.core.group_bits))]
    with m.Elif(chunk.valid & chunk.ready & chunk.payload.last & (gone != build.page_rows)):
        m.d.sync += gone.eq(gone + 1)
    groups_held = inside["_distribute.groups"]
    s.invariant("gone", gone <= build.page_rows)
    s.invariant("group", ~known | (gone > key) | (groups_held.bit_select(
        ((key - gone) * build.core.group_bits)[:6], build.core.group_bits) == group))
    s.claim("groups_wait", "groups of a page come when all keys of the one before have left", unpacker.idle, when=comes)
    s.claim("group", "each key of the page leaves with its own", chunk.payload.group == group,
            when=known & chunk.valid & (gone == key))


_BUILD = "40 keys in pages of 16, 2 groups; rows of 16 elements, high parts of 3 bits; a read in flight"
PROOFS = (
    Proof("TileReader", functools.partial(_asks, build=_BUILT), "induction", 9, 14,
          f"{_BUILD}; addresses are those of PageTable"),
    Proof("TileReader", functools.partial(_gives, build=_BUILT), "induction", 2, 24,
          f"{_BUILD}; pieces have beats, as `piece` says"),
)
