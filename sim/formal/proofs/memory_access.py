"""Pieces of memory, pages, records and entries: what is asked for, where it lies, and what became of it."""

import functools

from amaranth import Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.page_format import PageFormat
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.memory.entry_reader import EntryReader
from latte.rtl.memory.page_table import PagePart, PageTable
from latte.rtl.memory.piece_bursts import PIECE_BITS, PieceBursts
from latte.rtl.memory.piece_reader import PieceReader
from latte.sim.formal.proofs.axi_master import MASTER, is_legal
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_LEAN, _GROUPED = small_build(), small_build(key_groups=2)
_STEP = MASTER.data_bytes.bit_length() - 1


def _bursts(s: Setting) -> None:
    dut = PieceBursts(MASTER)
    inside, m = s.add(dut), s.m
    piece, burst = dut.piece.payload, dut.burst.payload
    s.assume_stable("piece_stable", dut.piece.valid, dut.piece.ready, piece)
    s.assume("aligned", piece.address[:_STEP] == 0)
    comes, leaves = dut.piece.valid & dut.piece.ready, dut.burst.valid & dut.burst.ready
    # Beats of the piece that no burst has had, and where they lie.
    left, at = Signal(PIECE_BITS), Signal(ADDRESS_BITS)
    with m.If(leaves):
        m.d.sync += [left.eq(left - burst.beats), at.eq(at + (burst.beats << _STEP))]
    with m.If(comes):
        m.d.sync += [left.eq(piece.beats), at.eq(piece.address)]
    for name, condition in {
            "left": inside["left"] == left, "place": (left == 0) | ((burst.address == at) & (at[:_STEP] == 0)),
            "cut": ~dut.burst.valid | ((left != 0) & is_legal(burst.address, burst.beats) & (burst.beats <= left)),
            }.items():
        s.invariant(name, condition)
    s.stable("bursts_stable", "a burst stands until it is taken", dut.burst.valid, dut.burst.ready, burst)
    s.claim("bursts_legal", "none is empty, none longer than the master's, none crosses 4 KB",
            is_legal(burst.address, burst.beats), when=dut.burst.valid)
    s.claim("all_beats", "the bursts of a piece have as many beats as it, in all; the next one is taken with the last",
            Mux(dut.piece.ready, left == Mux(dut.burst.valid, burst.beats, 0), left >= burst.beats),
            when=dut.burst.valid | dut.piece.ready)
    s.claim("places", "each begins where the one before it ended, the first where the piece does", burst.address == at,
            when=dut.burst.valid)
    s.within("bursts_in_time", "a burst is offered in the second cycle behind the one before, or behind its piece", 1,
             waits=~dut.burst.valid & (left != 0))
    s.reach("cut", leaves & (burst.beats < MASTER.burst_beats) & (burst.beats < left))


def _reads(s: Setting) -> None:
    dut = PieceReader(MASTER)
    inside, m = s.add(dut), s.m
    queue, bursts = inside.part("queue"), inside.part("bursts")
    state = QueueState(s, queue.block, queue)
    piece, request, room = dut.piece.payload, dut.request, inside["room"]
    s.assume_stable("piece_stable", dut.piece.valid, dut.piece.ready, piece)
    s.assume("aligned", piece.address[:_STEP] == 0)
    # Beats that were asked for and have not come.
    owed = Signal(range(queue.block.depth + 1))
    asked = request.valid & request.ready
    m.d.sync += owed.eq(owed + Mux(asked, request.payload.beats, 0) - dut.taken)
    s.assume("asked_for", ~dut.taken | (owed != 0))
    s.invariant("room", room + owed + state.items == queue.block.depth)
    s.invariant("cut", ~bursts.block.burst.valid | ((request.payload.beats != 0)
                                                    & (request.payload.beats <= bursts["left"])))
    s.claim("finds_room", "every beat that comes finds room: RREADY never has to be low", ~dut.overflow, when=dut.taken)
    s.claim("asks_for_room", "no burst is asked for without room for all of it", request.payload.beats <= room,
            when=request.valid)
    s.stable("request_stable", "a request stands until it is granted", request.valid, request.ready, request.payload)
    s.claim("beats_stable", "a beat stands until it is taken", dut.o.valid & (
        dut.o.payload.as_value() == s.held("beat", dut.o.payload.as_value())),
        when=s.held("beat_waits", dut.o.valid & ~dut.o.ready))
    s.reach("full", room == 0)


def _table(s: Setting, build: MemoryBuild, from_middle: bool) -> None:
    dut = PageTable(build, from_middle=from_middle)
    inside, m = s.add(dut), s.m
    form, entries, limit = PageFormat(build), build.bus_bytes // ENTRY_BYTES, build.page_limit
    pages, first = s.constant("any_pages", len(dut.pages)), Const(0)
    m.d.comb += [dut.pages.eq(pages), dut.first_page.eq(s.constant("any_place", ADDRESS_BITS))]
    s.assume("pages", (pages != 0) & (pages <= limit))
    if from_middle:
        first = s.constant("any_first", len(dut.first))
        m.d.comb += dut.first.eq(first)
        s.assume("first", first < pages)
    # The beat that comes next; of any page, the entry that came last.
    words = (limit - 1) // entries + 1
    number, here, missing, entry = Signal(range(words + 1)), Signal(), Signal(), Signal(8 * ENTRY_BYTES)
    page = s.constant("any_page", range(limit))
    s.assume("page", (page < pages) & (page >= first))
    s.assume("beats", ~dut.beat_valid | (number * entries < pages))
    with m.If(dut.beat_valid):
        m.d.sync += number.eq(number + 1)
        for n in range(entries):
            at, value = number * entries + n, dut.beat.word_select(n, 8 * ENTRY_BYTES)
            with m.If(at == page):
                m.d.sync += [entry.eq(value), here.eq(1)]
            with m.If((at >= first) & (at < pages) & (value == 0)):
                m.d.sync += missing.eq(1)
    with m.If(dut.restart):
        m.d.sync += [number.eq(first // entries), missing.eq(0), here.eq(0)]
    table = inside.part("table")
    window = table.memory("array_0").read_port(domain="comb")
    m.d.comb += window.addr.eq(page // entries)
    word = Value.cast(window.data)
    s.invariant("number", (inside["number"] == number) & (number <= words))
    s.invariant("missing", dut.unmapped == missing)
    s.invariant("entry", ~here | (word.word_select((page % entries)[:max(1, (entries - 1).bit_length())], 32) == entry))
    s.claim("unmapped", "unmapped says that a page that was asked for has no entry, and nothing else",
            dut.unmapped == missing, when=dut.unmapped | missing)
    row, part = dut.look_up.row, dut.look_up.part
    offset = Signal(ADDRESS_BITS)
    with m.Switch(part):
        for this, begin, size in (
                (PagePart.STREAM, form.groups_offset, build.bus_bytes),
                (PagePart.HIGH, form.high_offset, form.high_bytes), (PagePart.LOW, form.low_offset, form.low_bytes),
                (PagePart.VALUE, 0, form.value_bytes)):
            with m.Case(this):
                m.d.comb += offset.eq(begin + row * size)
    known = here & (entry != 0) & (dut.look_up.page == page)
    s.claim("address", "an address is that of the row and part in the page whose number the last entry holds",
            dut.address == (dut.first_page + s.held("number", entry - 1, dut.latency)[:32] * form.page_bytes
                            + s.held("offset", offset, dut.latency))[:ADDRESS_BITS],
            when=s.held("known", known, dut.latency))


def _entries(s: Setting, build: MemoryBuild) -> None:
    dut = EntryReader(build)
    inside, m = s.add(dut), s.m
    names, latency = list(dut.words), HeadRegisters.latency
    first = next(n for n, name in enumerate(names) if name.startswith("code_"))
    octaves = build.core.code_octaves
    # Of the entry that is read: what was asked, words that were looked up, and what they said.
    ask, under_way = Signal(dut.ask.payload.shape()), Signal()
    looked, said = Signal(range(first + 2)), [Signal(len(dut.word), name=f"said_{n}") for n in range(first + 1)]
    s.assume("octave", ~dut.ask.valid | (dut.ask.payload.octave < octaves.stop))
    with m.If(dut.ask.valid & dut.ask.ready):
        m.d.sync += [under_way.eq(1), looked.eq(0), ask.eq(dut.ask.payload)]
    with m.Elif(dut.o.valid & dut.o.ready):
        m.d.sync += under_way.eq(0)
    with m.If(dut.look_up):
        m.d.sync += looked.eq(looked + 1)
    came = s.held("came", Cat(dut.look_up, looked), latency)
    for n, word in enumerate(said):
        with m.If(came == Cat(Const(1, 1), Const(n, len(looked)))):
            m.d.sync += word.eq(dut.word)
    row = dut.o.payload.row
    agrees = row.code == said[first][:len(row.code)]
    for n, name in enumerate(names[:first]):
        layout = dut.words[name]
        word = data.View(layout, said[n][:layout.size])
        for field in row.shape().members:
            if field in layout.members:
                agrees = agrees & (row[field] == word[field])
    code = first + Mux(ask.octave > octaves.start, ask.octave - octaves.start, 0)
    for name, condition in {
            "any": inside.state(), "idle": inside.state("ASK") == ~under_way,
            "head": inside.state("ASK") | ((dut.head == ask.head[:len(dut.head)]) & (inside["octave"] == ask.octave)
                                           & (inside["exists"] == ~ask.head[-1])),
            "looked": inside.state("ASK") | ((inside["asked"] == looked)
                                             & Mux(inside.state("WORDS"), looked <= first, looked == first + 1)),
            "given": ~inside.state("GIVE") | agrees}.items():
        s.invariant(name, condition)
    s.claim("in_turn", "the words in front of the codes are looked up, then the code of the row's octave, or the first",
            under_way & (dut.index == Mux(looked == first, code, looked)) & (dut.head == ask.head[:len(dut.head)]),
            when=dut.look_up)
    s.claim("entry", "an entry says what its words say, in each of its fields", agrees, when=dut.o.valid)
    s.claim("known", "it is known if its head is, and exists", dut.o.payload.known == (dut.known & ~ask.head[-1]),
            when=dut.o.valid)
    s.claim("nothing_else", "one entry for each that is asked for", under_way & ~dut.ask.ready, when=dut.o.valid)
    s.within("in_time", "an entry is given a cycle behind its last word", first + 1 + latency,
             waits=under_way & ~dut.o.valid)
    s.stable("stable", "and stands until it is taken", dut.o.valid, dut.o.ready, row)


PROOFS = (
    Proof("PieceBursts", _bursts, "induction", 2, 12, f"bursts of {MASTER.burst_beats} beats"),
    Proof("PieceReader", _reads, "induction", 2, 24, f"bursts of {MASTER.burst_beats} beats, "
          f"{MASTER.reads_in_flight} in flight"),
    Proof("PageTable", functools.partial(_table, build=_LEAN, from_middle=False), "induction", 7, 14, "3 pages"),
    Proof("PageTable", functools.partial(_table, build=_GROUPED, from_middle=True), "induction", 7, 14,
          "3 pages, with group numbers, from any page on", "from_middle"),
    Proof("EntryReader", functools.partial(_entries, build=_LEAN), "induction", 12, 16, "thresholds by mass"),
)
