"""What a tile spills to memory: each entry lies in its beat, is read back behind that, and leaves once."""

from amaranth import Cat, Const, Mux, Signal, Value

from latte.golden.memory.selection import SPILLED_BYTES
from latte.golden.memory.tile import SCORED_BYTES
from latte.rtl.memory.spill_store import RECALLED_BEATS, SpillStore, spill_bytes
from latte.sim.formal.followed import Followed
from latte.sim.formal.proofs.axi_master import MASTER
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_BUILD = small_build()
_ROWS, _BUS = _BUILD.tile_rows, _BUILD.bus_bytes
_ROW = _ROWS - 1
"""The row that is looked at."""
_SLOTS = _BUS // SPILLED_BYTES
_ENTRY = 8 * SPILLED_BYTES
_NO_ESTIMATE = 1 << _ENTRY // 2 - 1
"""What fills up a beat: an estimate that none has, as bits."""


class _Tile:
    """How far the tile is since its restart, as the blocks around the store have it.

    Attributes
    ----------
    scores, gives
        Candidates are read from now on; scores are.
    safe
        What is read now was all written and answered.
    failed
        A write was answered with an error.
    lines, owed, unanswered
        Beats that wait to be written; those of which the burst was begun; bursts without an answer.
    open, slot
        Rows in the middle of a list; where the next candidate of the row goes.
    beats, scored, keys
        Of the row, beats of candidates, and of scores, that are packed; of all, scored keys that are kept.
    rest, read, due
        Of the row, beats that are to be asked for, that were, and that have not come.
    """

    def __init__(self, s: Setting, dut: SpillStore, pushed: Value, line: Value) -> None:
        m = s.m
        names = ("takes_scores", "gives_scores", "is_safe", "has_failed")
        self.scores, self.gives, self.safe, self.failed = (Signal(name=name) for name in names)
        writes, self.open, self.slot = range(MASTER.writes_in_flight + 1), Signal(_ROWS), Signal(range(_SLOTS))
        self.lines, self.owed, self.unanswered = (
            s.count("lines_waiting", pushed, dut.beat.valid & dut.beat.ready, 31),
            s.count("beat_owed", dut.burst.valid & dut.burst.ready, dut.beat.valid & dut.beat.ready, 1),
            s.count("unanswered", dut.burst.valid & dut.burst.ready, dut.write_answered, writes.stop - 1))
        s.assume("engine", (~dut.beat.ready | (self.owed != 0)) & (~dut.write_answered | (self.unanswered > self.owed))
                 & (~dut.burst.ready | (self.unanswered != writes.stop - 1))
                 & (dut.write_idle == (self.unanswered == 0)))
        length = range(_BUILD.core.max_seq_len + 1)
        self.beats, self.scored, self.rest, self.read = (Signal(length, name=f"{name}_of_row") for name in (
            "beats", "scored", "rest", "read"))
        mine = pushed & (line.row == _ROW)
        m.d.sync += [self.beats.eq(self.beats + (mine & ~line.scores)),
                     self.scored.eq(self.scored + (mine & line.scores))]
        s.assume("length", (~mine | (Mux(line.scores, self.scored, self.beats) != length.stop - 1)))
        came = dut.scored_valid & dut.scored.spilled.any()
        self.keys = s.count("keys", came, dut.scored_leaves, dut.items)
        s.assume("keys", ~came | ((self.keys != dut.items) & ~self.gives & ~dut.restart))
        for n in range(_ROWS):
            port = getattr(dut, f"spilled_{n}")
            s.assume_stable(f"spilled_{n}", port.valid, port.ready, port.payload)
            s.assume(f"estimate_{n}", ~port.valid | (port.payload.estimate.as_unsigned() != _NO_ESTIMATE))
            s.assume(f"phase_{n}", ~port.valid | ~(self.scores | dut.recall_candidates | dut.restart))
            with m.If(port.valid & port.ready):
                m.d.sync += self.open[n].eq(~port.payload.last)
                if n == _ROW:
                    m.d.sync += self.slot.eq(Mux(mine, 0, self.slot + 1))
        self._read(s, dut)

    def _read(self, s: Setting, dut: SpillStore) -> None:
        m, beats = s.m, dut.recall.payload.beats
        asks = dut.recall.valid & dut.recall.ready & (dut.recall.payload.row == _ROW)
        comes = dut.recalled_valid & (dut.recalled_row == _ROW)
        self.due = Signal(range(2 * RECALLED_BEATS + 1))
        s.assume("recalled", ~comes | (self.due != 0))
        m.d.sync += self.due.eq(self.due + Mux(asks, beats, 0) - comes)
        begins, through = dut.recall_candidates | dut.recall_scores, (self.rest == 0) & (self.due == 0)
        # Phases follow each other when the last one is through; `left` says so of what has come.
        self.through = through
        s.assume("phases", ~(begins | dut.restart) | (through & (self.open == 0) & ~(dut.recall_candidates
                                                                                     & dut.recall_scores)))
        s.assume("restart", ~dut.restart | ((self.lines == 0) & (self.unanswered == 0) & (self.keys == 0) & ~begins
                                            & (self.safe | ~self.scores)))
        s.assume("candidates_first", (~dut.recall_candidates | ~self.scores)
                 & (~dut.recall_scores | (self.scores & self.safe & ~self.gives)))
        with m.If(asks):
            m.d.sync += [self.rest.eq(self.rest - beats), self.read.eq(self.read + beats)]
        written = (self.lines == 0) & (self.unanswered == 0) & (self.keys == 0) & ~dut.scored_valid
        with m.If(~self.safe & self.scores & written):
            m.d.sync += self.safe.eq(1)
            with m.If(self.gives):
                m.d.sync += [self.rest.eq(self.scored), self.read.eq(0)]
        with m.If(dut.recall_candidates):
            m.d.sync += [self.scores.eq(1), self.safe.eq(0), self.rest.eq(self.beats), self.read.eq(0)]
        with m.If(dut.recall_scores):
            m.d.sync += [self.gives.eq(1), self.safe.eq(0)]
        with m.If(dut.restart):
            m.d.sync += [signal.eq(0) for signal in (self.scores, self.gives, self.safe, self.failed, self.beats,
                                                     self.scored)]
        with m.Elif(dut.write_answered & dut.write_fault.as_value().any()):
            m.d.sync += self.failed.eq(1)


def _spills(s: Setting) -> None:
    dut = SpillStore(_BUILD, MASTER)
    inside = s.add(dut)
    parts = {name: inside.part(name) for name in ("lines", "scored", f"recalled_{_ROW}")}
    lines, scored, recalled = (QueueState(s, part.block, part, name) for name, part in parts.items())
    push, head = lines.queue.i, lines.queue.o
    line, pushed = push.payload, push.valid & push.ready
    tile = _Tile(s, dut, pushed, line)
    _pack(s, dut, inside, tile, line, pushed)
    _score(s, dut, inside, tile, scored, line, pushed)

    # Any line, until its beat is taken.
    gives = dut.beat.valid & dut.beat.ready
    item = Followed(s, pushed, line, tile.lines, gives)
    lines.find(item)
    ours = line.shape()(item.item)
    offset = Cat(Const(0, (_BUS - 1).bit_length()), ours.place) + ours.scores * (spill_bytes(_BUILD) // 2) + (
        ours.row * spill_bytes(_BUILD))
    burst, beat = dut.burst.payload, dut.beat.payload
    first = item.here & (item.ahead == 0)
    for name, condition in {
            "lines": lines.items == tile.lines,
            "begun": (inside["_write.begun"] == tile.owed) & (tile.owed <= tile.lines),
            "answers": (tile.unanswered >= tile.owed) & (tile.unanswered <= MASTER.writes_in_flight),
            "head": (tile.owed == 0) | head.valid, "faulty": dut.faulty == tile.failed}.items():
        s.invariant(name, condition)
    s.claim("written", "each beat is written whole, by a burst of its own at its place in the list of its row",
            Mux(dut.burst.valid, (burst.address == (dut.address + offset)[:len(burst.address)]) & (burst.beats == 1), 1)
            & Mux(dut.beat.valid, (beat.data == ours.data) & beat.strobe.all(), 1),
            when=first & (dut.burst.valid | dut.beat.valid))
    s.claim("burst_first", "its burst is begun before, and no other behind it", Mux(dut.beat.valid, tile.owed == 1, 1)
            & Mux(dut.burst.valid, tile.owed == 0, 1), when=dut.burst.valid | dut.beat.valid)
    s.claim("faulty", "a write that was answered with an error is told until the restart", dut.faulty == tile.failed,
            when=dut.faulty | tile.failed)
    _recall(s, dut, inside, tile, recalled)


def _pack(s: Setting, dut: SpillStore, inside: Inside, tile: _Tile, line: Value, pushed: Value) -> None:
    """Claim that candidates are in their beats."""
    m, offer = s.m, getattr(dut, f"spilled_{_ROW}")
    takes, mine = offer.valid & offer.ready, pushed & (line.row == _ROW) & ~line.scores
    entry = Cat(offer.payload.place, offer.payload.estimate)
    here, spot, item = Signal(name="entry_here"), Signal(range(_SLOTS)), Signal(_ENTRY)
    with m.If(mine):
        m.d.sync += here.eq(0)
    with m.Elif(takes & s.free("entry_chosen")):
        m.d.sync += [here.eq(1), spot.eq(tile.slot), item.eq(entry)]
    slot, row, packed = (inside[f"_pack_candidates.{name}"] for name in ("slot", "row", "packed"))
    at = row == _ROW
    for name, condition in {
            "row": row < _ROWS, "open": tile.open == Mux(inside["_pack_candidates.begun"], 1 << row, 0)[:_ROWS],
            "slot": Mux(tile.open[_ROW], slot == tile.slot, tile.slot == 0),
            "slots": inside["_pack_candidates.begun"] | (slot == 0),
            "beats": inside["elaborate.beats"][_ROW] == tile.beats,
            "entry": ~here | (tile.open[_ROW] & at & (spot < tile.slot)
                              & (packed.as_value().word_select(spot, _ENTRY) == item))}.items():
        s.invariant(f"pack_{name}", condition)
    s.claim("packed", "a candidate is in the beat of its list, at its place", (
        ~here | (line.data.word_select(spot, _ENTRY) == item)) & (line.data.word_select(tile.slot, _ENTRY) == entry)
        & takes, when=mine)
    s.claim("filled_up", "behind a list's last one its beat is filled up with what no candidate is", Cat(
        (n <= tile.slot) | (line.data.word_select(n, _ENTRY)[_ENTRY // 2:] == _NO_ESTIMATE)
        for n in range(_SLOTS)).all(), when=mine)
    s.claim("ends", "a beat is written when it is full, or with the last candidate of its list",
            mine == ((tile.slot == _SLOTS - 1) | offer.payload.last), when=takes)
    s.claim("lists", "beats of a row's lists lie behind each other", line.place == tile.beats, when=mine)
    s.reach("half", mine & (tile.slot == 0))


def _score(s: Setting, dut: SpillStore, inside: Inside, tile: _Tile, scored: QueueState, line: Value, pushed: Value
           ) -> None:
    """Claim that scores are in theirs: in this build each is one."""
    m, o = s.m, scored.queue.o
    mine, done = pushed & (line.row == _ROW) & line.scores, Signal(name="score_done")
    with m.If(dut.scored_leaves):
        m.d.sync += done.eq(0)
    with m.Elif(mine):
        m.d.sync += done.eq(1)
    half = 4 * SCORED_BYTES
    value = o.payload.values[_ROW]
    for name, condition in {
            "keys": scored.items == tile.keys, "most": tile.keys <= dut.items,
            "done": (inside["_pack_scores.done"][_ROW] == done) & (~done | (o.valid & o.payload.spilled[_ROW])),
            "others": (inside["_pack_scores.done"] == 0) | o.valid,
            "count": dut._scores[_ROW] == tile.scored}.items():
        s.invariant(f"score_{name}", condition)
    s.claim("scores", "a score of a candidate that was spilled is written once, behind the row's others", o.valid
            & ~done & o.payload.spilled[_ROW] & (line.place == tile.scored) & (line.data[:half] == o.payload.place)
            & (line.data[half:].as_signed() == value), when=mine)
    s.claim("scores_leave", "before its key leaves", done == o.payload.spilled[_ROW], when=dut.scored_leaves)
    s.claim("keeps", "no score is lost", scored.queue.i.ready, when=scored.queue.i.valid)


def _recall(s: Setting, dut: SpillStore, inside: Inside, tile: _Tile, recalled: QueueState) -> None:
    """Claim that what was written is read, and each entry leaves."""
    m, ask, back = s.m, dut.recall.payload, recalled.queue
    candidate, score = getattr(dut, f"candidate_{_ROW}"), getattr(dut, f"score_{_ROW}")
    comes, leaves = dut.recalled_valid & (dut.recalled_row == _ROW), back.o.valid & back.o.ready
    item = Followed(s, comes, dut.recalled_beat, recalled.items, leaves, "recalled_beat")
    recalled.find(item)
    slot, given = Signal(range(_SLOTS), name="entry_slot"), Signal.like(tile.scored, name="scores_given")
    entry = item.item.word_select(slot, _ENTRY)
    now = back.o.payload.word_select(slot, _ENTRY)
    filler = now[_ENTRY // 2:] == _NO_ESTIMATE
    step = back.o.valid & Mux(tile.gives, score.ready, candidate.ready | filler)
    with m.If(step):
        m.d.sync += [slot.eq(Mux(tile.gives, 0, slot + 1)), given.eq(given + tile.gives)]
    with m.If(dut.restart):
        m.d.sync += given.eq(0)
    # Phases end when all that has come has left.
    s.assume("left", ~(dut.recall_candidates | dut.recall_scores | dut.restart) | (recalled.items == 0))
    at, waits = inside["_read.left"][_ROW], inside["waits"]
    for name, condition in {
            "phases": (inside["takes_scores"] == tile.scores) & (inside["elaborate.gives_scores"] == tile.gives)
                      & (tile.scores | ~tile.gives) & (tile.scores | ~tile.safe),
            "open": ~tile.scores | (tile.open == 0),
            "waits": waits == (tile.scores & ~tile.safe), "rest": at == tile.rest,
            "nothing_read": tile.safe | ((tile.due == 0) & (recalled.items == 0)),
            "not_before": tile.safe | tile.scores | (tile.rest == 0),
            "scores_not_before": tile.safe | ~tile.gives | (tile.rest == 0),
            "scores_written": ~(tile.safe & tile.gives) | ((tile.keys == 0) & (tile.lines == 0)),
            "place": (tile.rest == 0) | (inside["_read.place"][_ROW] == tile.read),
            "total": (tile.rest == 0) | (tile.read + tile.rest == Mux(tile.gives, tile.scored, tile.beats)),
            "room": inside["room"][_ROW] + tile.due + recalled.items == back.depth,
            "slot": (inside.each("_unpack.slot")[_ROW] == slot) & ((slot == 0) | back.o.valid)
                    & ((slot == 0) | (tile.safe & ~tile.gives)),
            "given": inside.each("_unpack.given")[_ROW] == given}.items():
        s.invariant(f"recall_{name}", condition)
    half = spill_bytes(_BUILD) // 2
    s.claim("behind_writes", "nothing is read before all of it was written and answered", tile.safe,
            when=dut.recall.valid & (ask.row == _ROW))
    s.claim("recalls", "beats of a row's lists are read in turn, each once, those of scores behind candidates",
            (ask.offset == _ROW * spill_bytes(_BUILD) + tile.gives * half + tile.read * _BUS)
            & (ask.beats != 0) & (ask.beats <= RECALLED_BEATS) & (ask.beats <= tile.rest),
            when=dut.recall.valid & (ask.row == _ROW))
    s.claim("finds_room", "all that is asked for finds room", back.i.ready, when=comes)
    first = item.here & (item.ahead == 0) & back.o.valid
    s.claim("entries", "the candidates of a beat leave one after the other, as they came, but not what fills it up",
            Mux(filler, ~candidate.valid, candidate.valid & (candidate.payload.as_value() == entry)) & ~score.valid,
            when=first & ~tile.gives)
    s.claim("score_entries", "and scores, of which the last is marked", score.valid & ~candidate.valid
            & (score.payload.place == item.item[:len(score.payload.place)])
            & (score.payload.value.as_unsigned() == item.item[8 * _BUS // 2:][:len(score.payload.value)])
            & (score.payload.last == (given + 1 == tile.scored)), when=first & tile.gives)
    s.claim("beat_leaves", "a beat leaves with its last entry", leaves == (step & (tile.gives | (slot == _SLOTS - 1))),
            when=back.o.valid)
    s.claim("nothing_else", "nothing leaves that was not read", back.o.valid, when=candidate.valid | score.valid)


PROOFS = (
    Proof("SpillStore", _spills, "induction", 3, 20, f"2 rows, {_SLOTS} candidates and one score in a beat"),
)
