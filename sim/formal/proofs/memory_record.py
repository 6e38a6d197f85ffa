"""The record of a sequence: what is read, what is counted on, and what is written back."""

import functools

from amaranth import Cat, Const, Mux, Signal, Value

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import HEADER_BYTES, SUM_BYTES, StateFormat
from latte.rtl.memory.sequence_record import SequenceRecord
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_LEAN, _GROUPED = small_build(), small_build(head_dim=16, key_groups=2)


class _Record:
    """What a record says, by golden's offsets, as it was read and with each key that was added.

    Attributes
    ----------
    came, gone
        Beats of it that have come; that were given, of the last time it was written, and all of them at first.
    here
        All have come.
    fields
        Of the header, and the keys of the groups: (offset in bits, value, the block's).
    number, sum
        Of the key at any `place` of the last page, its group; of one `element` of any `slice` and `group`, its sum.
    """

    def __init__(self, s: Setting, dut: SequenceRecord, inside: Inside, given: Value) -> None:
        self.s, self.dut, self.build, self.form = s, dut, dut.build, StateFormat(dut.build)
        self.beat_bits = 8 * dut.build.bus_bytes
        m = s.m
        self.came, self.gone = Signal(range(dut.beats + 1), name="came"), Signal(range(dut.beats + 1), init=dut.beats)
        begun = Signal()
        self.here = begun & (self.came == dut.beats)
        with m.If(dut.begin):
            m.d.sync += [begun.eq(1), self.came.eq(0)]
        with m.Else():
            m.d.sync += self.came.eq(self.came + dut.beat_valid)
        with m.If(dut.write):
            m.d.sync += self.gone.eq(0)
        with m.Else():
            m.d.sync += self.gone.eq(self.gone + given)
        s.assume("beats", ~dut.beat_valid | (begun & ~self.here & ~dut.begin))
        self.fields: list[tuple[int, Value, Value]] = []
        self.adds = dut.add_valid & dut.add.last
        for offset, theirs in ((0, dut.live), (2, dut.generation), (8, dut.table_address)):
            self._field(offset, theirs)
        self.length = self._field(4, dut.length)
        with m.If(self.adds):
            m.d.sync += self.length.eq(self.length + 1)
        self.row = self.length[:(dut.build.page_rows - 1).bit_length()]
        if dut.build.core.group_bits:
            self._group(inside)
            self._sum()

    def _field(self, offset: int, theirs: Value) -> Value:
        """Keep a field that begins at some byte."""
        value = Signal(len(Value.cast(theirs)), name=f"record_{offset}")
        self._take(value, 8 * offset)
        self.fields.append((8 * offset, value, Value.cast(theirs).as_unsigned()))
        return value

    def _take(self, value: Value, offset: Value | int) -> None:
        """Take a value, which may lie in several beats, from those that come; bytes lie in one each."""
        for bit in range(0, len(value), 8):
            at, width = offset + bit, min(8, len(value) - bit)
            with self.s.m.If(self.dut.beat_valid & (self.came == at // self.beat_bits)):
                self.s.m.d.sync += value[bit:bit + width].eq((self.dut.beat >> (at % self.beat_bits))[:width])

    def _group(self, inside: Inside) -> None:
        """Keep how keys are grouped, how many each group has, and the group of any key of the last page."""
        s, m, dut, core = self.s, self.s.m, self.dut, self.build.core
        used = [dut.new_groups.group_bits > n for n in range(core.group_bits)]
        for offset, theirs, new in (
                (16, dut.groups.group_bits, dut.new_groups.group_bits),
                *((17 + n, dut.groups.elements[n], Mux(used[n], dut.new_groups.elements[n], 0))
                  for n in range(core.group_bits)),
                *((20 + n, dut.groups.cuts[n], Mux(used[n], dut.new_groups.cuts[n], 0))
                  for n in range(core.group_bits))):
            field = self._field(offset, theirs)
            with m.If(dut.groups_set):
                m.d.sync += field.eq(new)
        self.counts = [self._field(HEADER_BYTES + 4 * n, inside["counts"][n]) for n in range(core.key_groups)]
        for n, count in enumerate(self.counts):
            with m.If(self.adds & (dut.add.group == n)):
                m.d.sync += count.eq(count + 1)
        self.place, self.number = s.constant("any_place", range(self.build.page_rows)), Signal(core.group_bits)
        self.number_at = 8 * self.form.numbers_offset + self.place * core.group_bits
        self._take(self.number, self.number_at)
        with m.If(self.adds & (self.row == self.place)):
            m.d.sync += self.number.eq(dut.add.group)
        with m.Elif(self.adds & (self.row == 0)):
            m.d.sync += self.number.eq(0)

    def _sum(self) -> None:
        s, m, dut, bus = self.s, self.s.m, self.dut, self.build.bus_bytes
        add, slices = dut.add, self.build.core.head_dim // bus
        self.group, self.slice = (s.constant(f"any_{name}", shape) for name, shape in
                                  (("group", dut.read_group.shape()), ("slice", dut.read_slice.shape())))
        # Elements of a slice are added alike; the bytes of this one lie in two beats.
        self.element, self.sum = Const(2, range(bus)), Signal(8 * SUM_BYTES, name="any_sum")
        s.assume("slice", (self.group < self.build.core.key_groups) & (self.slice < slices) & (add.slice < slices)
                 & (dut.read_slice < slices))
        self.word = self.group * slices + self.slice
        self.sum_at = 8 * (self.form.sums_offset + (self.word * bus + self.element) * SUM_BYTES)
        self._take(self.sum, self.sum_at)
        self.counted = dut.add_valid & (add.group == self.group) & (add.slice == self.slice)
        with m.If(self.counted):
            m.d.sync += self.sum.eq(self.sum + add.values.as_value().word_select(self.element, 8).as_signed())

    def says(self, beat: Value, value: Value, offset: Value | int) -> Value:
        """Return whether the beat that is given next has what there is of a value in it."""
        agrees: Value = Const(1)
        for bit in range(0, len(value), 8):
            at, width = offset + bit, min(8, len(value) - bit)
            agrees = agrees & ((self.gone != at // self.beat_bits)
                               | ((beat >> (at % self.beat_bits))[:width] == value[bit:bit + width]))
        return agrees


def _keeps(s: Setting, build: MemoryBuild) -> None:
    dut = SequenceRecord(build)
    inside, m, latency, beats = s.add(dut), s.m, SequenceRecord.latency, dut.beats
    queue = inside.part("queue")
    state, given = QueueState(s, queue.block, queue), queue.block.i
    record = _Record(s, dut, inside, given.valid)
    here, gone, came = record.here, record.gone, record.came
    # Who reads, adds or writes lets the one before end.
    taken = Signal(range(beats + 1), init=beats)
    with m.If(dut.write):
        m.d.sync += taken.eq(0)
    with m.Else():
        m.d.sync += taken.eq(taken + (dut.o.valid & dut.o.ready))
    changes = dut.add_valid | (dut.groups_set if build.core.group_bits else 0)
    s.assume("begin", ~dut.begin | (taken == beats))
    s.assume("changes", ~changes | (here & (taken == beats) & ~dut.begin))
    s.assume("write", ~dut.write | (here & (taken == beats) & ~dut.begin & ~changes))
    steps = [s.held("goes", inside["goes"], age) for age in range(1, latency + 1)]
    under_way = steps[0] + steps[1]
    for name, condition in {
            "number": (inside["number"] == came) & (came <= beats),
            "gives": Mux(inside["gives"], (inside["given"] == gone + under_way) & (inside["given"] < beats) & here,
                         gone + under_way == beats),
            "given": (gone <= beats) & (given.valid == steps[-1]) & (here | (gone == beats)),
            "items": (state.items + taken == gone) & (taken <= beats)}.items():
        s.invariant(name, condition)
    same: Value = Const(1)
    for offset, ours, theirs in record.fields:
        for bit in range(0, len(ours), 8):
            known = came > (offset + bit) // record.beat_bits
            s.invariant(f"field_{offset + bit}", ~known | (ours[bit:bit + 8] == theirs[bit:bit + 8]))
        same = same & (ours == theirs)
    s.claim("complete", "a record is here when all its beats have come, and not before", dut.complete == here,
            when=dut.complete | here)
    s.claim("fields", "it says what was read; its length, and each group's keys, with what was added", same, when=here)
    written = [(offset, ours) for offset, ours, _ in record.fields]
    known = sum(((1 << len(ours)) - 1) << offset for offset, ours in written)
    if build.core.group_bits:
        _groups(s, inside, record)
        written += [(record.number_at, Mux(record.row == 0, 0, record.number)), (record.sum_at, record.sum)]
        known |= ((1 << build.page_rows * build.core.group_bits) - 1) << 8 * record.form.numbers_offset
    s.claim("written_back", "each beat that is written is the record's, with what was added; behind a full page no "
            "group numbers stand", Cat(record.says(given.payload, ours, offset) for offset, ours in written).all(),
            when=given.valid)
    free = Signal(record.beat_bits, name="of_no_field")
    with m.Switch(gone):
        for n in range(record.form.sums_offset // build.bus_bytes):
            with m.Case(n):
                m.d.comb += free.eq(~known >> n * record.beat_bits & (1 << record.beat_bits) - 1)
    s.claim("zeros", "bits of the header that are of no field are written as zeros", (given.payload & free) == 0,
            when=given.valid & (free != 0))
    s.claim("whole_record", "as many beats as the record has, for each time that it is to be written",
            gone < beats, when=given.valid)
    s.claim("no_overflow", "none is lost: the queue has room for all that are under way", ~dut.overflow
            & given.ready, when=given.valid)
    s.within("in_time", "the first one is there in the sixth cycle, and all the others are", 5,
             waits=(taken != beats) & ~dut.o.valid)
    s.stable("stable", "a beat stands until it is taken", dut.o.valid, dut.o.ready, dut.o.payload)
    s.reach("last", dut.o.valid & dut.o.ready & (taken == beats - 1))


def _groups(s: Setting, inside: Inside, record: _Record) -> None:
    """Claim what holds of sums and group numbers, and say where a sum is while its word comes."""
    dut, build, came, latency = record.dut, record.build, record.came, SequenceRecord.latency
    bus, first = build.bus_bytes, record.form.sums_offset // build.bus_bytes
    m, gives, given = s.m, inside["gives"], inside["given"]
    window = inside.memory("memory").read_port(domain="comb")
    m.d.comb += window.addr.eq(record.word)
    kept = Value.cast(window.data).word_select(record.element, 8 * SUM_BYTES)
    added = inside["adds"] & (inside["address"] == record.word)
    value = inside["values"].as_value().word_select(record.element, 8).as_signed()
    at = Mux(gives, given, came)
    place = inside["word"] * SUM_BYTES + inside["part"]
    s.invariant("place", (record.here & ~gives) | (place == Mux(at > first, at - first, 0)))
    s.invariant("part", (record.here & ~gives) | (inside["part"] < SUM_BYTES))
    behind = first + record.word * SUM_BYTES
    s.invariant("sum", (came < behind + SUM_BYTES)
                | (record.sum == (kept + Mux(added, value, 0))[:8 * SUM_BYTES]))
    for byte in range(SUM_BYTES):
        beat = Signal(range(SUM_BYTES), name=f"beat_of_{byte}")
        spot = record.element * SUM_BYTES + byte
        m.d.comb += beat.eq(spot // bus)
        for part in range(1, SUM_BYTES):
            held = inside["first_beats"].word_select((SUM_BYTES - 1 - part + beat) * bus + spot % bus, 8)
            s.invariant(f"comes_{byte}_{part}", (came != behind + part) | (beat >= part)
                        | (record.sum[8 * byte:8 * byte + 8] == held))
    number = dut.numbers.word_select(record.place, build.core.group_bits)
    known = came > record.number_at // record.beat_bits
    s.invariant("numbers", ~known | (number == record.number))
    s.claim("numbers", "the group of any key of the last page, if it was added or read, and 0 behind the last key of a "
            "page that was begun", number == record.number, when=record.here)
    asks = record.here & ~dut.begin & ~dut.add_valid & ~gives
    asked = s.held("asks", asks & (dut.read_group == record.group), latency)
    count = Cat(record.counts).word_select(record.group, len(dut.keys))
    s.claim("keys", "keys of any group: those that were read, and those that were added", dut.keys
            == s.held("count", count, latency), when=asked)
    s.claim("sums", "sums of any group: the sum that was read, and all values that were added", dut.sums.as_value(
            ).word_select(record.element, 8 * SUM_BYTES) == s.held("sum", record.sum, latency),
            when=asked & s.held("of_slice", dut.read_slice == record.slice, latency))
    s.reach("added", asked & s.held("counted", record.counted, latency + 1))


PROOFS = (
    Proof("SequenceRecord", functools.partial(_keeps, build=_LEAN), "induction", 7, 20, "without groups of keys"),
    Proof("SequenceRecord", functools.partial(_keeps, build=_GROUPED), "induction", 7, 50,
          "2 key groups, values of 2 slices, of each its third element", "groups"),
)
