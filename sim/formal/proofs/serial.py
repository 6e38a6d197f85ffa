"""Memories of the serial core: what was written is what is read, and nothing that is needed is overwritten."""

from amaranth import Array, Cat, Const, Instance, Mux, Signal, Value, signed
from amaranth.lib.memory import Memory

from latte.golden.config import preset
from latte.rtl.serial.serial_memories import DualPortRam, SinglePortRam
from latte.rtl.serial.serial_query_ring import SerialQueryRing
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["BEAT", "BEATS", "BUILD", "PROOFS", "is_both", "is_high", "limited"]

BUILD = preset("tiny", head_dim=8, bus_bytes=2, dim_lanes=4, cross_lanes=2, value_lanes=2, max_seq_len=2, heads=2,
                query_rows=4).lean()
BEAT = BUILD.bus_bytes
BEATS = BUILD.head_dim // BEAT
_WORDS = 3
_TABLE = (2, 3, 1)


class _Word:
    """Any one word of a memory; unlike what else a model holds it survives reset, as the memory does.

    Attributes
    ----------
    due, expected
        It was read in the cycle before, or last; what it was then.
    """

    def __init__(self, s: Setting, memory: Memory, write_addr: Value, address: Value, reads: Value, meets: Value
                 ) -> None:
        width = len(memory.read_ports[0].data)
        m, first, known, word = s.m, Signal(), Signal(reset_less=True), Signal(width, reset_less=True)
        self.due, self.expected = Signal(reset_less=True), Signal(width, reset_less=True)
        m.submodules.begins = Instance("$initstate", o_Y=first)
        write, place, window = memory.write_ports[0], s.constant("place", len(address)), memory.read_port(domain="comb")
        s.assume("places", (place < _WORDS) & (write_addr < _WORDS) & (address < _WORDS))
        with m.If(reads):
            m.d.sync += [self.due.eq(known & (address == place) & ~meets), self.expected.eq(word)]
        with m.If(write.en & (write_addr == place)):
            m.d.sync += [known.eq(1), word.eq(write.data)]
        with m.If(first):
            m.d.sync += [known.eq(0), self.due.eq(0)]
        m.d.comb += window.addr.eq(place)
        s.invariant("word", ~known | (window.data == word))
        s.invariant("read", ~self.due | (memory.read_ports[0].data == self.expected))
        s.reach("survives", self.due & s.after_reset)


def _dual(s: Setting) -> None:
    dut = DualPortRam(2, _WORDS)
    memory = s.add(dut).memory("array_0")
    meets = dut.write_en & (dut.write_addr == dut.read_addr)
    word = _Word(s, memory, dut.write_addr, dut.read_addr, Const(1), meets)
    s.claim("read", "a word is read as it was written last, a cycle behind its address, also when reset came since",
            dut.read_data == word.expected, when=word.due)


def _table(s: Setting) -> None:
    dut = DualPortRam(2, _WORDS, _TABLE)
    s.add(dut)
    address = Signal.like(dut.read_addr, reset_less=True)
    s.m.d.sync += address.eq(dut.read_addr)
    s.assume("places", dut.read_addr < _WORDS)
    s.claim("table", "a table's word is read a cycle behind its address", dut.read_data == Array(_TABLE)[address])


def _single(s: Setting) -> None:
    dut = SinglePortRam(2, _WORDS)
    word = _Word(s, s.add(dut).memory("single_port_array_0"), dut.address, dut.address, ~dut.write_en, Const(0))
    wrote = Signal(reset_less=True)
    s.m.d.sync += wrote.eq(dut.write_en)
    s.claim("read", "a word is read as it was written last, a cycle behind its address, also when reset came since",
            dut.read_data == word.expected, when=word.due & ~wrote)
    s.claim("stands", "what was read stands while words are written", dut.read_data == word.expected,
            when=word.due & wrote)


def is_high(high: Value, value: Value) -> Value:
    """Return whether this is the nearest high part of an element: the low part has its range."""
    rest, half = value - (high << BUILD.low_bits), 1 << (BUILD.low_bits - 1)
    return (rest >= -half) & (rest < half)


def is_both(parts: Value, value: Value) -> Value:
    """Return whether these are the halves of an element."""
    low = BUILD.low_bits
    return value == (parts[low:].as_signed() << low) + parts[:low].as_signed()


def limited(element: Value) -> Value:
    """Return what an element of a query or of a key is limited to."""
    return Mux(element > BUILD.qk_max, BUILD.qk_max, element)


class _Ring:
    """What is expected of the ring of queries.

    Attributes
    ----------
    left, drop, beat
        Rows and beats of the command that are still to come; they are dropped.
    kept
        The last beat of a row comes that is not dropped.
    held, due, passed
        Rows that are complete and not scored; of them, those not estimated; the others.
    """

    def __init__(self, s: Setting, dut: SerialQueryRing, accepted: Value) -> None:
        m, load = s.m, dut.load.payload
        self.left, self.drop, self.beat = Signal(16), Signal(), Signal(range(BEATS))
        ends = accepted & (self.beat == BEATS - 1)
        m.d.sync += [self.beat.eq(self.beat + accepted), self.left.eq(self.left - ends)]
        with m.If(dut.load.valid & dut.load.ready):
            m.d.sync += [self.left.eq(load.rows), self.drop.eq(load.drop)]
        most, self.kept = BUILD.query_rows, ends & ~self.drop
        self.held = s.count("held", self.kept, dut.scored, most)
        self.due = s.count("due", self.kept, dut.estimated, most)
        self.passed = s.count("passed", dut.estimated, dut.scored, most)
        s.assume("estimated", ~dut.estimated | dut.available)
        s.assume("scored", ~dut.scored | (self.passed != 0))
        self.kept_beat = Mux(self.drop, 0, self.beat)


class _Element:
    """Any element of a row that is kept, until the row is scored.

    Attributes
    ----------
    here, waits
        Its row is not scored; nor estimated.
    front, ahead
        Rows before it that are not scored; not estimated.
    at, lane, value
        Beat of the row, place in the beat; the element, limited.
    age, stored
        Cycles since it was taken, 2 at most; its word of high parts is written.
    """

    def __init__(self, s: Setting, dut: SerialQueryRing, ring: _Ring, accepted: Value, written: Value) -> None:
        m = s.m
        self.here, self.waits, self.stored = (Signal(name=name) for name in ("here", "waits", "stored"))
        self.front, self.ahead = Signal.like(ring.held, name="front"), Signal.like(ring.held, name="ahead")
        self.at, self.lane, self.age = Signal(range(BEATS)), s.constant("lane"), Signal(2)
        self.value = Signal(signed(8))
        element = dut.q.payload.as_value().word_select(self.lane, 8).as_signed()
        m.d.sync += [self.age.eq(Mux(self.age == 2, 2, self.age + 1)),
                     self.front.eq(self.front - dut.scored), self.ahead.eq(self.ahead - dut.estimated)]
        with m.If(dut.scored & (self.front == 0)):
            m.d.sync += self.here.eq(0)
        with m.If(dut.estimated & (self.ahead == 0)):
            m.d.sync += self.waits.eq(0)
        with m.If(written & (self.age != 0)):
            m.d.sync += self.stored.eq(1)
        with m.If(~self.here & accepted & ~ring.drop & s.free("chosen")):
            m.d.sync += [self.here.eq(1), self.waits.eq(1), self.stored.eq(0), self.age.eq(0), self.at.eq(ring.beat),
                         self.front.eq(ring.held - dut.scored), self.ahead.eq(ring.due - dut.estimated),
                         self.value.eq(limited(element))]


def _queries(s: Setting) -> None:
    dut = SerialQueryRing(BUILD)
    inside = s.add(dut)
    packers = [inside.part(f"{name}_packer") for name in ("high", "halves")]
    memories = [inside.part(f"{name}_ring").memory("array_0") for name in ("high", "halves")]
    accepted = dut.q.valid & dut.q.ready
    ring = _Ring(s, dut, accepted)
    item = _Element(s, dut, ring, accepted, packers[0].block.word_valid)
    _locate(s, inside, ring, item, packers, memories)
    value, at = s.held("value", item.value), s.held("at", item.at)
    seen = item.here & item.waits & (item.ahead == 0) & dut.available & (dut.high_slice == item.at[1])
    s.claim("estimated", "the estimator sees of any element of its row the nearest high part, a cycle behind its slice",
            is_high(dut.high.as_value().word_select(Cat(item.lane, at[0]), 4).as_signed(), value),
            when=s.held("seen", seen))
    s.claim("scored", "the scorer sees both its halves, which add up to it, as long as its row is not scored",
            is_both(dut.halves.as_value().word_select(item.lane, 8), value),
            when=s.held("asked", item.here & ~item.waits & (item.front == 0) & (dut.halves_slice == item.at)))
    s.claim("load_ready", "a command is taken when all rows of the one before have come", dut.load.ready == (
        ring.left == 0), when=dut.load.valid)
    s.claim("takes", "a beat is taken of each row that was commanded, if it is dropped or a row is free",
            dut.q.ready == ((ring.left != 0) & (ring.drop | (ring.held != BUILD.query_rows))), when=dut.q.valid)
    s.claim("saturated", "it is told a cycle behind a beat with an element that was limited", dut.saturated == s.held(
        "limited", accepted & Cat(element > BUILD.qk_max for element in dut.q.payload).any()), when=dut.saturated)
    recent = Cat(s.held("kept", ring.kept, n) for n in range(1, dut.latency)).any()
    s.claim("available", "a row that is kept is there as many cycles behind its last beat as the latency, until the "
            "estimator goes on", dut.available == (ring.due > recent), when=dut.available | recent)


def _locate(s: Setting, inside: Inside, ring: _Ring, item: _Element, packers: list[Inside], memories: list[Memory]
            ) -> None:
    """Say where rows are, and the element."""
    m, arrived, kept_beat = s.m, inside["arrived"], ring.kept_beat
    [high_write, halves_write], [high_row, halves_row] = inside.each("_ring.write"), inside.each("_ring.read_row")
    [high, halves], [high_window, halves_window] = packers, [memory.read_port(domain="comb") for memory in memories]
    wrote = high.block.word_valid
    # In beats, from the beginning of the memory.
    end, begin = (ring.held << 2) + kept_beat, (item.front << 2) + item.at
    behind = (end - arrived)[:2]
    start = Signal(len(end) + 3)
    m.d.comb += start.eq(halves_row << 2)
    position = start + begin
    m.d.comb += [high_window.addr.eq(position[1:]), halves_window.addr.eq(position)]
    where = Cat(item.lane, item.at[0])
    elements = Array(inside["elements"])[item.lane].as_value()
    newest = begin + 1 == end
    for name, condition in {
            "rows": inside["rows"] == ring.left - 1,
            "beats": (inside["beat"] == ring.beat) & ((ring.beat == 0) | (ring.left != 0))
                     & (inside["drop"] == ring.drop),
            "held": (inside["held"] == ring.held) & (ring.held == ring.due + ring.passed)
                    & (ring.held <= BUILD.query_rows) & ((kept_beat == 0) | (ring.held != BUILD.query_rows)),
            "waiting": ring.due == inside["waiting"] + (arrived & (high.block.beat_valid & (high["in_row"] == 3)))
                       + (wrote & high.block.row_last),
            "packers": (high["in_row"] == behind) & (halves["in_row"] == behind)
                       & (high["here"] == Mux(behind[0], 2, 1)) & (halves["here"] == 1),
            "marks": (~wrote | ((behind[0] == 0) & (high.block.row_last == (behind == 0)))),
            "rows_read": high_row == (halves_row + ring.passed)[:2],
            "writes": (high_write == ((start + end - arrived)[1:] - wrote)[:3])
                      & (halves_write == (start + end - arrived - halves.block.word_valid)[:4]),
            "item": ~item.here | ((begin < end) & Mux(item.waits, item.front == item.ahead + ring.passed,
                                                      item.front < ring.passed)),
            "newest": ~item.here | (item.age != 0) | (newest & arrived & ~item.stored),
            "word": ~item.here | item.stored | (item.age == 0) | ((high_write == position[1:4]) & (wrote | (
                (begin + 1 + arrived == end) & ~begin[0]))),
            "stored": ~(item.here & item.stored) | (((begin >> 1) + wrote < (end - arrived) >> 1) & (item.age != 0)),
            "second": ~item.here | (item.age != 1) | ((begin + 1 + arrived == end) & halves.block.word_valid),
            "high": ~item.here | is_high(Mux(
                item.age == 0, elements[BUILD.low_bits:], Mux(item.stored, high_window.data.as_value(),
                                                               high.block.word.as_value())
                .word_select(where, BUILD.estimate_bits)).as_signed(), item.value),
            "halves": ~item.here | is_both(Mux(item.age == 0, elements, Mux(
                item.age == 1, halves.block.word.as_value(), halves_window.data.as_value())
                .word_select(item.lane, 8)), item.value),
            }.items():
        s.invariant(name, condition)


PROOFS = (
    Proof("DualPortRam", _dual, "induction", 1, 8, f"{_WORDS} words"),
    Proof("DualPortRam", _table, "induction", 1, 4, "a table"),
    Proof("SinglePortRam", _single, "induction", 1, 8, f"{_WORDS} words"),
    Proof("SerialQueryRing", _queries, "induction", 2, 16, "4 rows, words of 2 and of 1 beats"),
)
