"""Weights of keys by their estimates, in the serial core: each is found, and sums are those of their keys."""

from amaranth import Array, Cat, Const, Mux, Signal, signed

from latte.golden.config import preset
from latte.golden.pruned_mass import GAP_TABLE_SIZE
from latte.golden.thresholds import ThresholdKind
from latte.rtl.serial.serial_gap_table import SerialGapTable
from latte.rtl.serial.serial_group_sums import SerialGroupSums
from latte.rtl.serial.serial_pruned_mass import SerialPrunedMass
from latte.rtl.serial.serial_row_limiter import SerialRowLimiter
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_BUILD = preset("tiny", head_dim=4, bus_bytes=2, dim_lanes=2, cross_lanes=2, value_lanes=2, max_seq_len=2, heads=2,
                query_rows=4, weight_bits=4, key_groups=2)
_LIMITED = _BUILD.replace(threshold_kinds=("relative", "absolute"), max_seq_len=7)
_KINDS = [kind.value for kind in ThresholdKind]


def _table(s: Setting) -> None:
    dut = SerialGapTable(_BUILD)
    inside, m, fill = s.add(dut), s.m, dut.fill
    memory = inside.part("memory").memory("array_0")
    window = memory.read_port(domain="comb")
    # Gaps come from 0 on; those beyond the table weigh one step or nothing.
    next_gap, end, complete = Signal.like(fill.gap), Signal.like(fill.gap), Signal()
    beyond = fill.gap >= GAP_TABLE_SIZE
    s.assume("in_turn", ~fill.valid | ((fill.gap == next_gap) & (~beyond | (fill.weight <= 1))
                                       & (~fill.gap.all() | (fill.weight == 0))))
    at, word = s.constant("at", len(dut.gap)), Signal.like(fill.weight)
    with m.If(fill.valid):
        m.d.sync += [next_gap.eq(next_gap + 1), complete.eq(0)]
        with m.If(fill.gap == at):
            m.d.sync += word.eq(fill.weight)
        with m.If(fill.weight == 0):
            m.d.sync += [next_gap.eq(0), end.eq(next_gap), complete.eq(1)]
    m.d.comb += window.addr.eq(at)
    begun = (at < next_gap) | (complete & (at <= end))
    for name, condition in {
            "end": ~complete | ((dut.end == end) & (next_gap == 0)),
            "word": ~begun | (word == Mux(at < GAP_TABLE_SIZE, window.data, ~complete | (at != end))),
            "some": ~complete | (at >= end) | (word != 0), "none": ~complete | (at != end) | (word == 0),
            "so_far": (at >= next_gap) | (word != 0)}.items():
        s.invariant(name, condition)
    s.claim("weight", "any gap weighs what it was filled with, a cycle later, and nothing from the first one without "
            "weight on", dut.weight == s.held("expected", Mux(at < end, word, 0)),
            when=s.held("asked", complete & ~fill.valid & (dut.gap == at)))
    s.claim("end", "the first gap without weight is told", dut.end == end, when=complete)


def _mass(s: Setting) -> None:
    dut = SerialPrunedMass(_BUILD)
    inside, m = s.add(dut), s.m
    sums, last_sums = (inside.part(name).memory("array_0") for name in ("sums", "last_sums"))
    now, kept, before = (memory.read_port(domain="comb") for memory in (sums, last_sums, last_sums))
    s.assume("every_other", ~dut.add | ~s.held("add", dut.add))
    s.assume("group", ~dut.add | (dut.group == s.held("group", dut.group)))
    s.assume("apart", ~dut.add | ~dut.row_ends)
    # The mass of any group: of this row so far, and of the last one.
    at, total, last = s.constant("at", len(dut.group)), Signal.like(dut.mass), Signal.like(dut.mass)
    with m.If(dut.add & (dut.group == at)):
        m.d.sync += total.eq(total + dut.weight)
    with m.If(dut.row_ends):
        m.d.sync += [last.eq(total), total.eq(0)]
    half = inside["half"]
    m.d.comb += [now.addr.eq(at), kept.addr.eq(Cat(at, half)), before.addr.eq(Cat(at, ~half))]
    for name, condition in {
            "total": total == Mux(inside["present"].bit_select(at, 1), now.data, 0),
            "kept": total == Mux(inside["present"].bit_select(at, 1), kept.data, 0),
            "last": last == Mux(inside["last_present"].bit_select(at, 1), before.data, 0)}.items():
        s.invariant(name, condition)
    s.claim("mass", "of the row that ended last the mass of any group is read a cycle later: the sum of the weights "
            "that were added for it", dut.mass == s.held("expected", last),
            when=s.held("asked", dut.read_group == at))
    s.reach("summed", (last != 0) & (total != 0) & s.held("two", total != 0, 3))


def _sums(s: Setting) -> None:
    dut = SerialGroupSums(_BUILD)
    inside, m, keys = s.add(dut), s.m, _BUILD.max_seq_len
    memory = inside.part("memory").memory("array_0")
    summed, counted = memory.read_port(domain="comb"), memory.read_port(domain="comb")
    # Of any element the value of each key, and its group, until other keys are loaded.
    lane, part, at = s.constant("lane"), s.constant("part"), s.constant("at")
    values, groups = [Signal(signed(8), name=f"value_{n}") for n in range(keys)], Signal(keys)
    with m.If(dut.restart | s.after_reset):
        m.d.sync += [groups.eq(s.free("groups", keys)), *(value.eq(s.free(f"new_{n}", signed(8)))
                                                          for n, value in enumerate(values))]
    reads = s.held("reads", dut.values.read)
    asked, asked_part = s.held("key", dut.values.key), s.held("part_read", dut.values.slice)
    read = Mux(lane, dut.values.data[1], dut.values.data[0])
    s.assume("values", ~reads | (asked_part != part) | (read == Array(values)[asked]))
    s.assume("groups", dut.group == groups.bit_select(s.held("index", dut.index), 1))
    s.assume("asks", ~s.held("waits", dut.ask & ~dut.done) | (dut.ask & (dut.keys == s.held("keys", dut.keys))))
    s.assume("keys", (dut.keys <= keys) & ~(dut.restart & dut.ask) & ~(s.after_reset & dut.ask))
    # What the first `known` keys add up to: their number in the group, and the sum of their elements.
    known, steps = Signal.like(dut.keys), Signal(range(dut.key_cycles + 1))
    mine = [(n < known) & (groups[n] == at) for n in range(keys)]
    total, number = Signal(signed(8 + keys)), Signal.like(dut.count)
    m.d.comb += [total.eq(sum(Mux(here, value, 0) for here, value in zip(mine, values, strict=True))),
                 number.eq(sum(mine))]
    new = dut.keys > known
    with m.If(dut.ask & (steps == 0)):
        m.d.sync += [steps.eq(Mux(new, dut.key_cycles - 1, 0)), known.eq(Mux(dut.keys < known, 0, known))]
    with m.If(steps != 0):
        m.d.sync += [steps.eq(steps - 1), known.eq(known + (steps == 1))]
    with m.If(dut.restart):
        m.d.sync += known.eq(0)
    adds, key, pending = steps == 1, dut.values.key, s.held("pending", steps == 1)
    group, groups_of = inside["group"], groups.bit_select(known, 1)
    half_added = adds & (part == 0) & (groups_of == at)
    last_mine = pending & (groups.bit_select((known - 1)[0], 1) == at)
    m.d.comb += [summed.addr.eq(Cat(part, Const(0, 1), at)), counted.addr.eq(Cat(Const(0b10, 2), at))]
    read_now = (steps == 3) | (steps == 2)
    for name, condition in {
            "states": inside.state() & (inside.state("CHECK") == (steps == 0)) & (inside.state("GROUP") == (steps == 4))
                      & (inside.state("ADD") == read_now) & (inside.state("COUNT") == (steps == 1)),
            "known": (inside["covered"] == known) & (known <= keys) & (steps < dut.key_cycles)
                     & ((steps == 0) | (dut.ask & (known < dut.keys))),
            "part": (steps == 0) | (dut.values.slice == (steps == 2)), "pending": ~pending | (dut.ask & (steps == 0)),
            "group": Mux(pending, (known != 0) & (group == groups.bit_select((known - 1)[0], 1)),
                         (steps == 0) | (steps == 4) | (group == groups_of)),
            "sum": ((number == 0) & ~half_added) | (Array(summed.data)[lane] == total + Mux(
                half_added, Array(values)[known], 0)),
            "count": (number == last_mine) | (counted.data[0] == number - last_mine),
            "present": inside["present"].bit_select(at, 1) == (number != last_mine)}.items():
        s.invariant(f"sums_{name}", condition)
    rests = (steps == 0) & ~dut.ask
    mean = rests & (dut.read_group == at) & (dut.read_slice == part) & ~dut.read_count & (number != 0)
    counts = rests & (dut.read_group == at) & (dut.read_slice == 0) & dut.read_count
    s.claim("done", "the sums are brought to a number of keys in the time that its new keys take",
            dut.done == (dut.ask & (steps == 0) & (known == dut.keys)), when=dut.done | (dut.ask & (steps == 0)))
    s.claim("slices", "each slice of each new key is read once, in turn", (dut.values.read == read_now) & (
        ~dut.values.read | ((key == known) & (dut.values.slice == (steps == 2)))),
        when=dut.values.read | (steps != 0))
    s.claim("group_sum", "then any element of any group's sum is that of the values of its keys",
            Array(dut.sums)[lane] == s.held("total", total), when=s.held("mean", mean))
    s.claim("group_count", "and its count is that of its keys, and 1 if it has none",
            dut.count == s.held("number", Mux(number == 0, 1, number)), when=s.held("counts", counts))
    s.reach("two_keys", s.held("mean", mean & (number == 2)))


def _limit(s: Setting) -> None:
    dut = SerialRowLimiter(_LIMITED)
    inside, m, bits = s.add(dut), s.m, _LIMITED.est_bits
    codes = inside.part("codes").memory("array_0").read_port(domain="comb")
    # Of any octave the code that was written last, while no row is looked at.
    octave, code, known = s.constant("octave", len(dut.code.octave)), Signal.like(dut.code.code), Signal()
    age, keys, maximum, kind = Signal(2), Signal.like(dut.keys), Signal.like(dut.maximum), Signal.like(dut.kind)
    limit, due = Signal.like(dut.threshold), Signal()
    is_absolute, of_octave = kind == _KINDS.index("absolute"), (keys >> octave) == 1
    with m.If(dut.code_valid & (dut.code.octave == octave)):
        m.d.sync += [known.eq(1), code.eq(dut.code.code)]
    m.d.sync += age.eq(Mux((age == 0) | (age == dut.latency), 0, age + 1))
    with m.If(dut.start):
        m.d.sync += age.eq(1)
    # What a row is stands from the cycle behind its start on, until the next one begins.
    with m.If((age == 0) | dut.start):
        m.d.sync += [value.eq(new) for value, new in ((keys, s.free("new_keys", len(keys))), (
            maximum, s.free("new_maximum", signed(bits))), (kind, s.free("new_kind", len(kind))))]
    m.d.comb += [dut.keys.eq(keys), dut.maximum.eq(maximum), dut.kind.eq(kind), codes.addr.eq(octave)]
    s.assume("one_row", ~dut.start | (age == 0))
    s.assume("codes", ~dut.code_valid | ((age == 0) & ~dut.start))
    s.assume("row", (age == 0) | ((keys != 0) & (keys <= _LIMITED.max_seq_len) & ((kind == 0) | is_absolute)))
    with m.If(age == dut.latency):
        m.d.sync += [limit.eq(Mux(is_absolute, code[:bits].as_signed(), maximum - code[:bits])),
                     due.eq(known & of_octave)]
    for name, condition in {
            "states": inside.state() & (inside.state("IDLE") == (age == 0)) & (inside.state("CODE") == (age == 1))
                      & (age <= dut.latency),
            "code": ~known | (codes.data == code), "limit": ~due | (dut.threshold == limit)}.items():
        s.invariant(name, condition)
    s.claim("done", "it is done as many cycles behind a row's start as its latency", dut.done == (age == dut.latency),
            when=dut.done | (age == dut.latency))
    s.claim("threshold", "then the threshold stands until the next row's: the code of the octave of the row's length, "
            "or so much less than its largest estimate, as its kind says", dut.threshold == limit, when=due)
    s.reach("absolute", due & s.held("absolute", is_absolute & (age == dut.latency) & (code != 0)))


PROOFS = (
    Proof("SerialRowLimiter", _limit, "induction", 3, 12, "relative and absolute thresholds, rows of 7 keys at most"),
    Proof("SerialGapTable", _table, "induction", 1, 4, "gaps of 10 bits"),
    Proof("SerialGroupSums", _sums, "induction", 3, 16, "2 keys of 2 slices, 2 groups"),
    Proof("SerialPrunedMass", _mass, "induction", 2, 10, "2 groups"),
)
