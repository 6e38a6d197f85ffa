"""Keys and values on their way in, and what is counted of them: rows, groups, sums of weights."""

import functools

from amaranth import Cat, Mux, Signal, Value

from latte.golden.config import AttentionConfig, ceil_div, preset
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.key_value_loader import KeyValueLoader, RowLoader
from latte.rtl.wide.group_sums import GroupSums
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_LEAN = preset("small", head_dim=4, max_seq_len=8, heads=2, query_lanes=2, query_rows=8, weight_bits=4,
               bus_bytes=2).lean()
_GROUPS = _LEAN.replace(key_groups=4)


class _Rows:
    """Rows that a command has left, on one stream.

    Attributes
    ----------
    left, place
        Rows that have not come whole; beats of the first of them that have.
    drop
        The command is not to keep them.
    takes
        A beat is taken.
    """

    def __init__(self, s: Setting, name: str, loader: RowLoader, inside: Inside, begins: Value, takes: Value) -> None:
        m, command, beats = s.m, loader.command.payload, loader.beats
        self.left, self.place = Signal(COUNT_BITS, name=f"{name}_left"), Signal(range(beats), name=f"{name}_place")
        self.drop, self.takes = Signal(name=f"{name}_drop"), takes
        with m.If(begins):
            m.d.sync += [self.left.eq(command.rows), self.drop.eq(command.drop)]
        with m.If(takes):
            m.d.sync += self.place.eq(Mux(self.place == beats - 1, 0, self.place + 1))
            with m.If(self.place == beats - 1):
                m.d.sync += self.left.eq(self.left - 1)
        idle, rows = inside.state("IDLE"), inside["rows"]
        s.invariant(f"{name}_state", inside.state())
        s.invariant(f"{name}_rows", Mux(inside.state("LOAD"), rows == self.left - 1, self.left == 0))
        s.invariant(f"{name}_place", (inside["beat"] == self.place) & (idle | (inside["drop"] == self.drop))
                    & ((self.left != 0) | (self.place == 0)))


def _row_loader(s: Setting) -> None:
    dut = RowLoader(_LEAN)
    inside, m = s.add(dut), s.m
    begins, takes = dut.command.valid & dut.command.ready, dut.i.valid & dut.i.ready
    rows = _Rows(s, "rows", dut, inside, begins, takes)
    busy = Signal()
    with m.If(begins):
        m.d.sync += busy.eq(1)
    with m.Elif(dut.finished):
        m.d.sync += busy.eq(0)
    s.invariant("busy", busy == ~inside.state("IDLE"))
    s.claim("row_count", "as many rows are taken as were commanded, and no beat behind them",
            dut.i.ready == (rows.left != 0), when=busy | dut.i.ready)
    s.claim("kept_beats", "each beat is kept, of a command that keeps", dut.beat_valid == (takes & ~rows.drop),
            when=takes | dut.beat_valid)
    s.claim("finished", "a command ends once, two cycles behind its last beat",
            busy & (rows.left == 0) & ~s.held("took", takes), when=dut.finished)
    s.within("ends_in_time", "and in the second cycle at the latest", 1,
             waits=busy & (rows.left == 0) & ~dut.finished)
    s.claim("next_command", "the next command is taken behind that, and not before", dut.command.ready == ~busy)
    s.claim("begins", "it is told when a command is taken", dut.started == begins, when=dut.started | begins)
    s.reach("two_rows", dut.finished & s.held("two", rows.left == 2, 6))


def _loads(s: Setting) -> None:
    config = _LEAN
    dut = KeyValueLoader(config)
    inside, m = s.add(dut), s.m
    loaders = [inside.part("keys"), inside.part("values")]
    begins, command = dut.load.valid & dut.load.ready, dut.load.payload
    keys, values = (_Rows(s, name, of.block, of, begins, port.valid & port.ready)
                    for name, of, port in zip(("keys", "values"), loaders, (dut.k, dut.v), strict=True))
    busy = Signal()
    with m.If(begins):
        m.d.sync += busy.eq(1)
    with m.Elif(dut.loaded):
        m.d.sync += busy.eq(0)
    for n, of in enumerate(loaders):
        s.invariant(f"state_{n}", Mux(busy, of.state("IDLE") == inside["finished"][n], of.state("IDLE")
                                      & ~inside["finished"][n]))
    s.claim("loaded", "a command ends once: when all rows of both streams have come, and are in the planes",
            busy & (keys.left == 0) & (values.left == 0) & ~dut.key_valid & ~dut.value_valid, when=dut.loaded)
    s.within("loads_in_time", "and in the second cycle behind its last beat at the latest", 1,
             waits=busy & (keys.left == 0) & (values.left == 0) & ~dut.loaded)
    s.claim("next_load", "the next command is taken behind that, and not before", dut.load.ready == ~busy)
    s.claim("rows_of_both", "beats are taken of each stream while rows of it are left, and no others",
            (dut.k.ready == (keys.left != 0)) & (dut.v.ready == (values.left != 0)))
    s.claim("starts_over", "the planes start over a cycle behind a command for their first row, in its bank",
            Mux(s.held("start", begins & (command.start == 0)), dut.restart
                & (dut.restart_bank == s.held("bank", command.bank)), ~dut.restart),
            when=dut.restart | s.held("begun", begins))
    kept = [s.held(f"kept_{n}", rows.takes & ~rows.drop) for n, rows in enumerate((keys, values))]
    lane = s.constant("any_lane", range(config.bus_bytes))
    came = [s.held(f"came_{n}", Value.cast(port.payload).word_select(lane, 8)).as_signed()
            for n, port in enumerate((dut.k, dut.v))]
    element = Value.cast(dut.key_elements).word_select(lane, 8)
    low, high = element[:config.low_bits].as_signed(), element[config.low_bits:].as_signed()
    s.claim("key_beats", "each key element comes to the planes a cycle later, in two parts, limited to what both hold",
            dut.key_valid & ((high << config.low_bits) + low == Mux(came[0] > config.qk_max, config.qk_max, came[0])),
            when=kept[0])
    s.claim("value_beats", "each value element as it came",
            dut.value_valid & (Value.cast(dut.value_elements).word_select(lane, 8) == came[1].as_unsigned()),
            when=kept[1])
    s.claim("no_others", "and nothing that was not taken, or is dropped", (~dut.key_valid | kept[0])
            & (~dut.value_valid | kept[1]), when=dut.key_valid | dut.value_valid)
    s.reach("dropped", s.held("takes", keys.takes & keys.drop))


def _membership(s: Setting) -> None:
    config = _GROUPS
    dut = KeyMembership(config)
    inside, m, latency = s.add(dut), s.m, KeyMembership.latency
    beats = config.head_dim // config.bus_bytes
    place = Signal(range(beats))
    last = place == beats - 1
    groups = Value.cast(dut.groups)
    s.assume("stands", ~s.held("under_way", dut.beat_valid | (place != 0) | s.held("came", dut.beat_valid))
             | (groups == s.held("groups", groups)))
    with m.If(dut.beat_valid):
        m.d.sync += place.eq(Mux(last, 0, place + 1))
    s.invariant("place", inside["beat"] == place)
    # Any comparison, by what its element was.
    bit = s.constant("any_comparison", range(config.group_bits))
    element = Value.cast(dut.groups.elements).word_select(bit, 2)
    cut = Value.cast(dut.groups.cuts).word_select(bit, 8).as_signed()
    above, was_above = Signal(), Signal()
    here = element // config.bus_bytes == place
    given = Value.cast(dut.beat).word_select(element % config.bus_bytes, 8).as_signed()
    m.d.comb += above.eq(Mux(here, given > cut, was_above & (place != 0)))
    with m.If(dut.beat_valid):
        m.d.sync += was_above.eq(above)
    came = s.held("last_came", dut.beat_valid & last, latency)
    expected = s.held("above", above & (bit < dut.groups.group_bits), latency)
    s.invariant("passed", ~was_above | (element // config.bus_bytes < place) | (place == 0))
    so_far = s.held("so_far", was_above & (bit < dut.groups.group_bits), latency - 1)
    s.invariant("so_far", ~s.held("within", place != 0, latency - 1) | (dut.group.bit_select(bit, 1) == so_far))
    s.claim("member", "a key's bit says whether the element of any comparison in use was above its cut",
            dut.group.bit_select(bit, 1) == expected, when=came)
    s.claim("one_group", "a key has its group three cycles behind its last beat, and there is no other",
            dut.valid == came, when=dut.valid | came)
    s.reach("first_beat", came & expected & s.held("before", was_above, latency))


def _sums(s: Setting, config: AttentionConfig) -> None:
    lanes = 2
    dut = GroupSums(config, lanes)
    inside, m = s.add(dut), s.m
    weight_bits, many = len(dut.weights[0]), config.group_bits
    group = s.constant("any_group", range(config.key_groups)) if many else Value.cast(0)
    beats = ceil_div(config.max_seq_len, lanes)
    beat, ends = Signal(range(beats + 1)), dut.valid & dut.row_last
    s.assume("row", ~dut.valid | (beat != beats - 1) | dut.row_last)
    with m.If(dut.valid):
        m.d.sync += beat.eq(Mux(dut.row_last, 0, beat + 1))
    # The sums of the group, of the row that comes and of the one whose sums leave.
    groups = max(2, config.key_groups)
    left, place, wanted = Signal(range(groups + 1)), Signal(range(groups)), Signal()
    if many:
        s.assume("groups", dut.group_bits <= config.group_bits)
    s.assume("apart", ~ends | (left <= 1))
    with m.If(ends):
        m.d.sync += [left.eq(1 << dut.group_bits if many else 1), place.eq(0), wanted.eq(dut.wanted)]
    with m.Elif(left != 0):
        m.d.sync += [left.eq(left - 1), place.eq(place + 1)]
    totals, complete = [], []
    for n in range(lanes):
        total, done = (Signal(dut.lane_bits, name=f"{name}_{n}") for name in ("total", "done"))
        adds = total + Mux(dut.groups[n] == group if many else 1, dut.weights[n], 0)
        with m.If(dut.valid):
            m.d.sync += total.eq(Mux(dut.row_last, 0, adds))
        with m.If(ends):
            m.d.sync += done.eq(adds)
        s.invariant(f"total_{n}", total <= beat * ((1 << weight_bits) - 1))
        s.invariant(f"done_{n}", done <= beats * ((1 << weight_bits) - 1))
        if many:
            memory, bank = inside.memory(f"sums_{n}"), inside["bank"]
            present, ended = memory.read_port(domain="comb"), memory.read_port(domain="comb")
            m.d.comb += [present.addr.eq(Cat(group, bank)), ended.addr.eq(Cat(group, ~bank))]
            touched, full = (inside.each(f"_lane.{name}")[n] for name in ("touched", "complete"))
            s.invariant(f"sum_{n}", (Mux(touched.bit_select(group, 1), present.data, 0) == total)
                        & (Mux(full.bit_select(group, 1), ended.data, 0) == done))
        else:
            s.invariant(f"sum_{n}", (inside.each("_lane.total")[n] == total)
                        & (inside.each("_lane.complete")[n] == done))
        totals.append(total)
        complete.append(done)
    s.invariant("beat", beat < beats)
    last = inside["last_group"]
    s.invariant("drains", (inside["draining"] == (left != 0))
                & ((left == 0) | ((inside["elaborate.group"] == place) & (place + left == last + 1))))
    leaves = s.held("leaves", left != 0, dut.latency - 1)
    s.claim("sums_leave", "each row's sums leave behind its end, one in a cycle, of each of its groups in order",
            dut.sum_valid == leaves, when=dut.sum_valid | leaves)
    s.claim("group_sum", "the sum of any group is that of the weights of its keys, of all lanes of the row",
            dut.sum == s.held("sum", sum(complete), dut.latency - 1),
            when=s.held("ours", (left != 0) & (place == group), dut.latency - 1))
    s.claim("sum_last", "a row's last sum is marked, and with all of them whether they are wanted",
            (dut.sum_last == s.held("last", left == 1, dut.latency - 1))
            & (dut.sum_wanted == s.held("wanted", wanted, dut.latency - 1)), when=leaves)
    s.reach("meanwhile", s.held("sums", (left != 0) & (place == group) & (done != 0) & dut.valid, dut.latency - 1))


PROOFS = (
    Proof("RowLoader", _row_loader, "induction", 3, 14, "rows of 2 beats"),
    Proof("KeyValueLoader", _loads, "induction", 4, 14, "rows of 2 beats"),
    Proof("KeyMembership", _membership, "induction", 5, 12, "2 comparisons, keys of 2 beats"),
    Proof("GroupSums", functools.partial(_sums, config=_GROUPS), "induction", 5, 14, "4 groups, 2 keys at a time"),
    Proof("GroupSums", functools.partial(_sums, config=_LEAN.replace(threshold_kinds=("mass",))), "induction", 5, 12,
          "one group, 2 keys at a time", "one"),
)
