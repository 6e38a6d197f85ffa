"""What does not fit a tile's lists: candidates, and survivors' scores, in external memory."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.selection import SPILLED_BYTES
from latte.golden.memory.tile import SCORED_BYTES
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.axi.write_engine import writer_members
from latte.rtl.common.payloads import length_shape
from latte.rtl.common.primitives import next_modulo
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.payloads import listed_layout, spilled_layout
from latte.rtl.memory.place_merge import placed_layout
from latte.rtl.memory.tile_payloads import merged_layout, row_shape, score_shape

__all__ = ["RECALLED_BEATS", "SpillStore", "recall_layout", "spill_bytes"]

_NO_ESTIMATE = -(1 << (8 * SPILLED_BYTES // 2 - 1))
RECALLED_BEATS = 8
"""Of a list that is read back at once; a row has room for two of them."""


def _scored_layout() -> data.StructLayout:
    """A survivor with its score as it lies in memory."""
    return data.StructLayout({"place": 4 * SCORED_BYTES, "score": signed(4 * SCORED_BYTES)})


def spill_bytes(build: MemoryBuild) -> int:
    """Return the bytes that each row of a tile may spill to: its candidates in the lower half, scores in the upper."""
    return 2 << _half_bits(build)


def _half_bits(build: MemoryBuild) -> int:
    """Return the bits of an address within a half, which has room for candidates of lists that end in mid-beat, too."""
    return exact_log2(SCORED_BYTES) + (build.core.max_seq_len - 1).bit_length()


def recall_layout(build: MemoryBuild) -> data.StructLayout:
    """Beats of a row's list to read, and where they lie behind the address of what is spilled."""
    return data.StructLayout({"offset": range(spill_bytes(build) * build.tile_rows), "row": row_shape(build),
                              "beats": range(RECALLED_BEATS + 1)})


class SpillStore(wiring.Component):
    r"""Writes lists behind each other, beat by beat, and reads them back piece by piece, each row in its turn::

        spilled_<r> -> pack -+-> [queue] -> burst, beat
        scored ----> pack ---+
        recall <- rows that have room
        beat_row, recalled_beat -> [queue of row r] -> unpack -+-> candidate_<r>
                                                               +-> score_<r>

    A beat of candidates that is not full is filled up with an estimate that none has, which is passed over. A list is
    read when everything is written. Format: `latte.golden.memory.tile`; each list begins with a beat.

    Throughput: a beat in two cycles to memory; an entry per cycle from it.

    Parameters
    ----------
    build
    parameters
        Of the master.

    Members
    -------
    address : In(ADDRESS_BITS)
        Where `tile_rows` times `spill_bytes` are free.
    restart : In(1)
        Nothing is spilled; nothing is under way.
    spilled_<r> : In(stream of listed_layout)
        Of the row's selector. The lists of one row at a time.
    scored_valid, scored : In(merged_layout of scores)
        A key with scores, of which those of rows in which it was spilled are written; `items` of such keys are kept.
    scored_leaves : Out(1)
        One of these was written.
    recall_candidates, recall_scores : In(1)
        For one cycle each: the rows' lists of candidates are read from now on; all scores have come, and are read when
        they are written.
    burst, beat, write_idle, write_answered, write_fault
        As `writer_members` has them.
    faulty : Out(1)
        Since `restart`, a write was answered with an error.
    overflow : Out(1)
        A queue has lost something.
    recall : Out(stream of recall_layout)
    recalled_valid, recalled_row, recalled_beat : In
        What comes of it, in order.
    candidate_<r> : Out(stream of spilled_layout)
    score_<r> : Out(stream of placed_layout of scores)
        ``last`` of those that were spilled.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters) -> None:
        self.build = build
        self.parameters = parameters
        self.items = 2 * parameters.reads_in_flight
        rows = range(build.tile_rows)
        scores = placed_layout(build, score_shape(build))
        super().__init__({
            "address": In(ADDRESS_BITS), "restart": In(1),
            **{f"spilled_{row}": In(stream.Signature(listed_layout())) for row in rows},
            "scored_valid": In(1), "scored": In(merged_layout(build, score_shape(build))),
            "scored_leaves": Out(1), "recall_candidates": In(1),
            "recall_scores": In(1), **writer_members(parameters), "faulty": Out(1), "overflow": Out(1),
            "recall": Out(stream.Signature(recall_layout(build))), "recalled_valid": In(1),
            "recalled_row": In(row_shape(build)), "recalled_beat": In(8 * build.bus_bytes),
            **{f"candidate_{row}": Out(stream.Signature(spilled_layout())) for row in rows},
            **{f"score_{row}": Out(stream.Signature(scores)) for row in rows}})
        # Scores that each row has spilled so far.
        self._scores = Signal(data.ArrayLayout(length_shape(build.core), build.tile_rows))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, rows = self.build.core, self.build.tile_rows
        # Beats of each row's candidates.
        beats = Signal(data.ArrayLayout(length_shape(core), rows))
        line = data.StructLayout({"row": row_shape(self.build), "scores": 1, "place": length_shape(core),
                                  "data": 8 * self.build.bus_bytes})
        m.submodules.lines = lines = StreamQueue(line, 16)
        # What is written, and what is read, changes with the tile's phase.
        takes_scores, gives_scores, packed = Signal(), Signal(), Signal()
        with m.If(self.restart):
            m.d.sync += [beats.eq(0), self._scores.eq(0), takes_scores.eq(0), gives_scores.eq(0)]
        with m.If(self.recall_candidates):
            m.d.sync += takes_scores.eq(1)
        with m.If(self.recall_scores):
            m.d.sync += gives_scores.eq(1)
        self._pack_candidates(m, lines, beats, takes_scores)
        lost = self._pack_scores(m, lines, takes_scores, gives_scores, packed)
        written = Signal()
        self._write(m, lines, written)
        lost |= self._read(m, beats, gives_scores, written & packed)
        m.d.comb += self.overflow.eq(lost)
        return m

    def _pack_candidates(self, m: Module, lines: StreamQueue, beats: Signal, takes_scores: Signal) -> None:
        """Take a row's list to its end, then another's."""
        lists = [getattr(self, f"spilled_{row}") for row in range(self.build.tile_rows)]
        slots = self.build.bus_bytes // SPILLED_BYTES
        row, begun, slot = Signal(row_shape(self.build)), Signal(), Signal(range(slots))
        offer, offered = Signal(listed_layout()), Signal()
        packed = Signal(data.ArrayLayout(spilled_layout(), slots), reset_less=True)
        filler = spilled_layout().const({"place": 0, "estimate": _NO_ESTIMATE}).as_bits()
        taken = Signal()
        line, whole = Signal.like(packed), (slot == slots - 1) | offer.last
        m.d.comb += [offered.eq(Array(one.valid for one in lists)[row]),
                     offer.eq(Array(one.payload.as_value() for one in lists)[row]),
                     taken.eq(offered & ~takes_scores & (~whole | lines.i.ready))]
        m.d.comb += [one.ready.eq(taken & (row == n)) for n, one in enumerate(lists)]
        for n in range(slots):
            now = Cat(offer.place, offer.estimate)
            before = Mux(slot > n, packed[n].as_value(), filler) if n < slots - 1 else filler
            m.d.comb += line[n].eq(Mux(slot == n, now, before))
        with m.If(taken):
            m.d.sync += [packed.eq(line), slot.eq(Mux(whole, 0, slot + 1)), begun.eq(~offer.last)]
        with m.If(taken & whole):
            m.d.sync += beats[row].eq(beats[row] + 1)
        with m.If((taken & offer.last) | (~begun & ~offered)):
            m.d.sync += row.eq(next_modulo(row, len(lists)))
        with m.If(~takes_scores):
            m.d.comb += [lines.i.valid.eq(taken & whole), lines.i.payload.row.eq(row),
                         lines.i.payload.place.eq(beats[row]), lines.i.payload.data.eq(line)]

    def _pack_scores(self, m: Module, lines: StreamQueue, takes_scores: Signal, ends: Signal, packed: Signal) -> Value:
        """Take the scores of a key row by row; at the end, what beats are not full. Return whether one is lost."""
        rows, slots = self.build.tile_rows, self.build.bus_bytes // SCORED_BYTES
        m.submodules.scored = queue = StreamQueue(self.scored.shape(), self.items)
        m.d.comb += [queue.i.valid.eq(self.scored_valid & self.scored.spilled.any()), queue.i.payload.eq(self.scored)]
        item, done, held = queue.o.payload, Signal(rows), Signal(data.ArrayLayout(8 * SCORED_BYTES, rows))
        # In the end, rows whose last beat is half full; the last key may be in the queue, but not yet offered.
        halves = Cat(self._scores[n][0] for n in range(rows)) if slots > 1 else Const(0, rows)
        left = Mux(queue.o.valid, item.spilled, Mux(ends & (queue.level == 0), halves, 0)) & ~done
        row = Signal(row_shape(self.build))
        for n in reversed(range(rows)):
            with m.If(left[n]):
                m.d.comb += row.eq(n)
        score, count = Signal(score_shape(self.build)), self._scores[row]
        m.d.comb += score.eq(Array(item.values[n] for n in range(rows))[row])
        half = 4 * SCORED_BYTES
        wide = Cat(item.place, Const(0, half - len(item.place)), score, score[-1].replicate(half - len(score)))
        whole = (count[0] if slots > 1 else Const(1)) | ~queue.o.valid
        taken = Signal()
        m.d.comb += [taken.eq(takes_scores & left.any() & (~whole | lines.i.ready)),
                     queue.o.ready.eq(takes_scores & ~left.any()), self.scored_leaves.eq(queue.o.valid & queue.o.ready),
                     packed.eq(~queue.o.valid & ~left.any() & (queue.level == 0) & ~self.scored_valid)]
        with m.If(taken):
            m.d.sync += [done.eq(done | (1 << row)), held[row].eq(wide)]
            with m.If(queue.o.valid):
                m.d.sync += count.eq(count + 1)
        with m.Elif(self.scored_leaves | self.restart):
            m.d.sync += done.eq(0)
        first = Mux(queue.o.valid & (slots == 1), wide, held[row])
        with m.If(takes_scores):
            m.d.comb += [lines.i.valid.eq(taken & whole), lines.i.payload.row.eq(row), lines.i.payload.scores.eq(1),
                         lines.i.payload.place.eq(count >> exact_log2(slots)),
                         lines.i.payload.data.eq(Cat(first, wide) if slots > 1 else first)]
        return queue.i.valid & ~queue.i.ready

    def _write(self, m: Module, lines: StreamQueue, written: Signal) -> None:
        """Write a beat after the other."""
        begun = Signal()
        line = lines.o.payload
        m.d.comb += [
            self.burst.valid.eq(lines.o.valid & ~begun), self.burst.payload.beats.eq(1),
            self.burst.payload.address.eq(self.address + self._offset(line.row, line.scores, line.place)),
            self.beat.valid.eq(lines.o.valid & begun), self.beat.payload.data.eq(line.data),
            self.beat.payload.strobe.eq(~0), lines.o.ready.eq(begun & self.beat.ready),
            written.eq(~lines.o.valid & (lines.level == 0) & self.write_idle),
        ]
        with m.If(begun):
            m.d.sync += begun.eq(~self.beat.ready)
        with m.Elif(self.burst.valid & self.burst.ready):
            m.d.sync += begun.eq(1)
        with m.If(self.restart):
            m.d.sync += self.faulty.eq(0)
        with m.Elif(self.write_answered & self.write_fault.as_value().any()):
            m.d.sync += self.faulty.eq(1)

    def _offset(self, row: Value, scores: Value, beat: Value) -> Value:
        """Return where a beat of a row's list lies."""
        inside = Cat(Const(0, exact_log2(self.build.bus_bytes)), beat)
        return inside + Cat(Const(0, _half_bits(self.build)), scores, row)

    def _read(self, m: Module, beats: Signal, gives_scores: Signal, written: Value) -> Value:
        """Ask for what rows have room for, and unpack what comes; return whether some of it found no place."""
        build, rows = self.build, self.build.tile_rows
        depth = 2 * RECALLED_BEATS
        slots = build.bus_bytes // SCORED_BYTES
        left, place = Signal(beats.shape()), Signal(beats.shape())
        room = Signal(data.ArrayLayout(range(depth + 1), rows), init=[depth] * rows)
        waits, turn = Signal(), Signal(row_shape(build))
        count = Mux(left[turn] > RECALLED_BEATS, RECALLED_BEATS, left[turn])
        asks = self.recall.valid & self.recall.ready
        m.d.comb += [
            self.recall.valid.eq(~waits & (left[turn] != 0) & (room[turn] >= RECALLED_BEATS)),
            self.recall.payload.row.eq(turn), self.recall.payload.beats.eq(count),
            self.recall.payload.offset.eq(self._offset(turn, gives_scores, place[turn])),
        ]
        with m.If(self.recall_candidates | self.recall_scores):
            m.d.sync += waits.eq(1)
        with m.Elif(written):
            m.d.sync += waits.eq(0)
        with m.If(asks | ~self.recall.valid):
            m.d.sync += turn.eq(next_modulo(turn, rows))
        lost = []
        for row in range(rows):
            m.submodules[f"recalled_{row}"] = queue = StreamQueue(8 * build.bus_bytes, depth)
            asked, leaves = asks & (turn == row), queue.o.valid & queue.o.ready
            m.d.comb += [queue.i.valid.eq(self.recalled_valid & (self.recalled_row == row)),
                         queue.i.payload.eq(self.recalled_beat)]
            m.d.sync += room[row].eq(room[row] - Mux(asked, count, 0) + leaves)
            with m.If(asked):
                m.d.sync += [left[row].eq(left[row] - count), place[row].eq(place[row] + count)]
            with m.If(self.recall_candidates):
                m.d.sync += [left[row].eq(beats[row]), place[row].eq(0)]
            # Counted when the last one is written: scores may wait to be packed when all have come.
            with m.If(waits & written & gives_scores):
                m.d.sync += [left[row].eq((self._scores[row] + (slots - 1)) >> exact_log2(slots)), place[row].eq(0)]
            self._unpack(m, row, queue, gives_scores, waits)
            lost.append(queue.i.valid & ~queue.i.ready)
        return Cat(lost).any()

    def _unpack(self, m: Module, row: int, queue: StreamQueue, gives_scores: Signal, waits: Signal) -> None:
        """Give the entries of a row's beats; what fills up the last beat of candidates goes before scores come."""
        narrow, wide = self.build.bus_bytes // SPILLED_BYTES, self.build.bus_bytes // SCORED_BYTES
        slot = Signal(range(narrow), name=f"slot_{row}")
        given = Signal(length_shape(self.build.core), name=f"given_{row}")
        candidate, score = getattr(self, f"candidate_{row}"), getattr(self, f"score_{row}")
        entries = data.View(data.ArrayLayout(spilled_layout(), narrow), queue.o.payload)
        scores = data.View(data.ArrayLayout(_scored_layout(), wide), queue.o.payload)
        entry = data.View(spilled_layout(), Array(entries[n].as_value() for n in range(narrow))[slot])
        scored = data.View(_scored_layout(), Array(scores[n].as_value() for n in range(wide))[slot])
        filler = entry.estimate == _NO_ESTIMATE
        last_score = given + 1 == self._scores[row]
        step = Mux(gives_scores, score.ready, candidate.ready | filler) & queue.o.valid
        ends = Mux(gives_scores, last_score | (slot == wide - 1), slot == narrow - 1)
        m.d.comb += [
            candidate.valid.eq(queue.o.valid & ~gives_scores & ~filler), candidate.payload.eq(entry),
            score.valid.eq(queue.o.valid & gives_scores & ~waits), score.payload.place.eq(scored.place),
            score.payload.value.eq(scored.score), score.payload.last.eq(last_score),
            queue.o.ready.eq(waits | (step & ends)),
        ]
        with m.If(waits):
            m.d.sync += slot.eq(0)
        with m.Elif(step):
            m.d.sync += [slot.eq(Mux(ends, 0, slot + 1)), given.eq(given + gives_scores)]
        with m.If(self.restart):
            m.d.sync += given.eq(0)
