"""Masses of keys by group: each row has those of its groups, and nothing else has."""

import functools
import operator

from amaranth import Array, Cat, Const, Mux, Signal, Value

from latte.golden.config import AttentionConfig, preset
from latte.rtl.common.payloads import length_shape
from latte.rtl.common.primitives import lowest
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.gap_table import GapTable
from latte.rtl.wide.key_counts import KeyCounts
from latte.rtl.wide.mass_compensation import MassCompensation
from latte.rtl.wide.mass_product import GAIN, MASS, SUM, UNIT
from latte.rtl.wide.mass_scan import MassScan
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.survivor_mass import SurvivorMass
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_CONFIG = preset("small", head_dim=4, max_seq_len=8, heads=2, query_lanes=2, query_rows=8, weight_bits=4,
                 estimate_bits=2, threshold_kinds=("relative",), key_groups=2)


def _groups(s: Setting, name: str, ends: Value, group_bits: Value, latency: int) -> tuple[Value, Value]:
    """Return whether a row's sums come in this cycle, one for each group, and whether it is the last of them."""
    come = [s.held(f"{name}_{n}", ends & (n >> group_bits == 0), latency + n) for n in range(_CONFIG.key_groups)]
    last = [s.held(f"{name}_last_{n}", ends & ((n + 1) >> group_bits == 1), latency + n)
            for n in range(_CONFIG.key_groups)]
    return functools.reduce(operator.or_, come), functools.reduce(operator.or_, last)


def _apart(s: Setting, ends: Value, group_bits: Value) -> Signal:
    """Return the cycles in which the row that has ended still has groups whose sums have not begun."""
    left = Signal(range(_CONFIG.key_groups))
    s.m.d.sync += left.eq(Mux(ends, (1 << group_bits) - 1, Mux(left == 0, 0, left - 1)))
    return left


def _scan(s: Setting) -> None:
    dut = MassScan(_CONFIG)
    sums = s.add(dut)["sums"]
    i, latency = dut.i, MassScan.weight_latency
    s.assume("group_bits", i.group_bits <= _CONFIG.group_bits)
    ends = dut.i_valid & i.row_last
    s.assume("apart", ~ends | (_apart(s, ends, i.group_bits) == 0))
    come, last = _groups(s, "sums", ends, i.group_bits, dut.latency)
    s.claim("row_sums", "each row has as many sums as it has groups, from `latency` cycles behind its end, no more",
            dut.sum_valid == come, when=dut.sum_valid | come)
    s.claim("last_sum", "the last of them, and no other, is marked", dut.sum_last == last, when=dut.sum_valid)
    wanted, _ = _groups(s, "wanted", ends & i.compensated, i.group_bits, dut.latency)
    s.claim("wanted", "they are wanted if the row's head compensates", dut.sum_wanted == wanted, when=dut.sum_valid)
    came = s.held("came", dut.i_valid, latency)
    s.claim("keys_beside", "a key's weight is added to the sum of its own group and row",
            sums.valid & (Cat(sums.row_last, Value.cast(sums.groups)) == s.held(
                "beside", Cat(i.row_last, Value.cast(i.groups)), latency)), when=came)
    s.claim("unseen_key", "a key that the row may not see weighs nothing", sums.weights[1] == 0,
            when=s.held("unseen", dut.i_valid & ~i.visible[1], latency))


def _survivors(s: Setting) -> None:
    dut = SurvivorMass(_CONFIG)
    inside = s.add(dut)
    survivor, taken = dut.i.payload, dut.i.valid & dut.i.ready
    ends = taken & survivor.row_last
    s.assume("group_bits", survivor.group_bits <= _CONFIG.group_bits)
    s.claim("passes", "a survivor passes in the cycle in which it is taken, as it is",
            (taken == (dut.o.valid & dut.o.ready)) & (Value.cast(dut.o.payload) == Value.cast(survivor)),
            when=dut.o.valid | dut.i.ready)
    left = _apart(s, ends, survivor.group_bits)
    s.invariant("left", inside["wait"] == left)
    s.claim("waits_for_sums", "a row's last survivor waits until the last row's groups have had their turns",
            dut.o.valid == ((left == 0) & inside["queue"].room), when=dut.i.valid & survivor.row_last)
    s.claim("goes_through", "no other survivor waits", dut.o.valid, when=dut.i.valid & ~survivor.row_last)
    behind = 1 + GapTable.latency + 2
    come, last = _groups(s, "masses", ends & survivor.compensated, survivor.group_bits, behind)
    s.claim("masses_taken", "a row of a head that compensates takes as many masses as it has groups, no other any",
            dut.masses.ready == come, when=dut.masses.ready | come)
    queue, come, last = inside["queue"], s.held("come", come), s.held("last", last)
    s.claim("pruned", "and gives as many, the last one marked", queue.i.valid & (queue.i.payload.last == last),
            when=come)
    s.claim("no_other", "and no other", come, when=queue.i.valid)
    done = s.held("done", ends & survivor.job_last, SurvivorMass.release_latency)
    s.claim("table_released", "a table is given back once for each job, behind its last survivor",
            (dut.release == done)
            & (dut.release_table == s.held("table", survivor.table, SurvivorMass.release_latency)),
            when=dut.release | done)


def _compensation(s: Setting) -> None:
    dut = MassCompensation(_CONFIG)
    inside, m = s.add(dut), s.m
    queue, denominators, back = inside["queue"].i, inside["denominators"].i, inside["back"]
    enters, sums, passes, waits, feeds = (inside[name] for name in ("enters", "sums", "passes", "waits", "feeds"))
    mass, turn = dut.pruned.payload, dut.loop_latency
    # A row has no more masses than there are groups.
    group = Signal(range(_CONFIG.key_groups))
    s.assume("masses", ~dut.pruned.valid | mass.last | (group < _CONFIG.key_groups - 1))
    with m.If(enters):
        m.d.sync += group.eq(Mux(mass.last, 0, group + 1))
    s.invariant("group", inside["entered"] == group)
    # Where each mass is, from its entry to its third round; and the sums.
    came, beside = enters, Cat(group, mass.last)
    for n, stage in enumerate((MASS, GAIN, UNIT), start=1):
        came, beside = s.held(f"entered_{n}", came, turn), s.held(f"beside_{n}", beside, turn)
        here = back.valid & (back.stage == stage)
        s.invariant(f"round_{n}", (here == came) & (~here | (Cat(back.group, back.last) == beside)))
    summed = s.held("summed", sums, turn)
    s.invariant("sum", (back.valid & (back.stage == SUM)) == summed)
    s.claim("virtual_survivors", "each mass becomes one virtual survivor, three rounds later, and nothing else does",
            (queue.valid & queue.payload.virtual) == came, when=came | (queue.valid & queue.payload.virtual))
    s.claim("of_its_group", "of its group, the last one of its row marked",
            Cat(queue.payload.group, queue.payload.last) == beside, when=came)
    passed = s.held("passed", passes)
    s.claim("passes_alone", "a row of a head that does not compensate has a single item that says so, in its turn",
            queue.valid & ~queue.payload.virtual & queue.payload.last & (denominators.payload == 0), when=passed)
    s.claim("no_more", "no other item is given", came | passed, when=queue.valid)
    rows = s.count("rows", inside["taken"], denominators.valid, 15)
    under_way = sum(s.held(f"sum_{n}", sums, n) for n in range(1, turn + 1))
    s.invariant("states", inside.state(machine="preparation") & inside.state(machine="masses")
                & (waits | inside.state("ROW", machine="preparation")))
    s.invariant("rows", rows == waits + feeds + under_way + passed)
    s.claim("denominators", "each row gives one denominator, behind its own rescaling, and no other is given",
            (rows != 0) & (summed ^ passed), when=denominators.valid)
    s.claim("row_room", "a row is taken when the last one has left its preparation", ~waits, when=dut.row.ready)
    s.reach("virtual", came)


def _counts(s: Setting, config: AttentionConfig) -> None:
    dut = KeyCounts(config)
    inside, m, added, divided = s.add(dut), s.m, dut.added, dut.divided
    groups = range(config.key_groups)
    group = dut.group if config.group_bits else Const(0)
    # A row sees a key at least (`TileSequencer`).
    s.assume("keys", (dut.keys != 0) & (dut.keys <= config.max_seq_len))
    # The row under way: its keys, those that are still to be addressed, the cycles from there until it is counted.
    active, row, bank, other = Signal(), Signal.like(dut.row), Signal(), Signal()
    keys, left, wait = (Signal(length_shape(config), name=name) for name in ("keys", "left", "wait"))
    numbers = Array(Signal(length_shape(config), name=f"number_{n}") for n in groups)
    some = Cat(number != 0 for number in numbers)
    dividing, asks, side = Signal(), Signal(len(groups)), Signal()
    begins, steps = dut.begin & dut.ready, (left != 0) & dut.added_room
    came, asked = s.held("came", steps, RAM_LATENCY), divided.valid & divided.ready
    counted = active & (left == 0) & (wait == 0) & ~dividing
    with m.If(left != 0):
        m.d.sync += left.eq(left - steps)
    with m.Elif(wait != 0):
        m.d.sync += wait.eq(wait - 1)
    with m.If(came):
        m.d.sync += numbers[group].eq(numbers[group] + 1)
    with m.If(counted & dut.divide):
        m.d.sync += [dividing.eq(1), asks.eq(Mux(other, some, 0)), side.eq(side ^ other)]
    with m.If(asked):
        m.d.sync += asks.eq(asks & (asks - 1)[:len(asks)])
    with m.If(dividing & (asks == 0)):
        m.d.sync += [active.eq(0), dividing.eq(0)]
    with m.If(begins):
        m.d.sync += [active.eq(1), keys.eq(dut.keys), row.eq(dut.row), bank.eq(dut.bank), other.eq(0),
                     left.eq(dut.keys - keys), wait.eq(0)]
        with m.If(dut.restart | (dut.keys != keys)):
            m.d.sync += [other.eq(1), wait.eq(dut.latency - 1)]
        with m.If(dut.restart | (dut.keys < keys)):
            m.d.sync += [left.eq(dut.keys), *(number.eq(0) for number in numbers)]
    # The normaliser's reciprocals (`Normalizer.counted`); that of any group on any side.
    s.assume("answers", dut.divided_valid == s.held("asked", asked, Reciprocal.latency))
    at, of_side = s.constant("any_group", range(max(2, len(groups)))), s.constant("any_side")
    answer, known = Signal.like(dut.divided_by.as_value()), Signal()
    ours = s.held("ours", asked & (lowest(asks) == 1 << at) & (side == of_side), Reciprocal.latency)
    with m.If(ours):
        m.d.sync += [answer.eq(dut.divided_by), known.eq(1)]

    for n in groups:
        s.invariant(f"number_{n}", (numbers[n] == 0) | (s.window(inside.memory("numbers"), n) == numbers[n]))
    s.invariant("reciprocal", ~known | (s.window(inside.memory("reciprocals"), Cat(at, of_side)) == answer))
    late = Cat(s.held(f"step_{n}", steps, n) for n in range(1, RAM_LATENCY + 1))
    waits = Mux(left != 0, wait == RAM_LATENCY + 1, Array([late == 0, late == 0, late == 2, late[0]])[wait])
    s.invariant("state", inside.state() & (inside.state("ROW") == ~active) & (inside.state("DIVIDE") == dividing)
                & (inside.state("COUNTED") == counted) & (inside.state("WAIT") == ((wait == 1) | (wait == 2))))
    s.invariant("wait", waits & (wait <= RAM_LATENCY + 1) & ((wait == 0) | (active & ~dividing & other))
                & (active | ~dividing) & (dividing | (asks == 0)))
    s.invariant("row", (inside["counted"] == keys - left) & (left <= keys) & (keys <= config.max_seq_len)
                & (~active | ((inside["row"] == row) & (inside["bank"] == bank) & (inside["wanted"] == keys))))
    counts = active & other & ~dividing
    s.invariant("changed", Mux(inside["changed"], counts, ~counts | (wait > 1)))
    s.invariant("numbers", (sum(numbers) == keys - left - late[0] - late[1]) & (inside["some"] == some)
                & (inside["asks"] == asks) & ((asks & ~some) == 0) & (dut.side == side))
    s.claim("next_row", "the next row may begin when the last one's reciprocals are asked for, not before",
            dut.ready == ~active)
    s.claim("counted_in_time", "a row is counted `latency` cycles behind the last of its new keys, each of which takes "
            "a cycle with room, or at once if it has none", dut.counted == counted, when=dut.counted | counted)
    s.claim("addressed", "its new keys are addressed in turn, of the bank that it has", (dut.group_key == keys - left)
            & (dut.group_bank == bank), when=steps)
    s.claim("added", "each is told once, for the row, with the group that it was asked for",
            (dut.added_valid == came) & (added.key == s.held("key", keys - left, RAM_LATENCY)[:len(added.key)])
            & (added.row == row) & (added.bank == bank) & (added.group == group if config.group_bits else 1),
            when=dut.added_valid | came)
    s.claim("first", "the first of its group in the sequence is marked, and no other", added.first == (
        numbers[group] == 0), when=dut.added_valid)
    s.claim("number", "of a row whose keys are not the last one's the number of keys of each group that has any is "
            "asked for, once, in the order of the groups", (divided.valid == asks.any()) & (
                divided.payload == sum(Mux(lowest(asks)[n], numbers[n], 0) for n in groups)),
            when=divided.valid | asks.any())
    s.claim("side", "its reciprocals take the other side", dut.side == side, when=dividing & other)
    s.claim("side_kept", "a row of the same keys uses the last one's", ~divided.valid & (dut.side == side),
            when=dividing & ~other)
    s.claim("reciprocal", "a reciprocal is read of the group and side that its number was asked for",
            dut.reciprocal.as_value() == answer, when=known & (dut.which == at) & (dut.which_side == of_side))
    s.reach("second_side", known & (side != of_side) & dividing)


PROOFS = (
    Proof("MassScan", _scan, "induction", 10, 14, "2 keys at a time, up to 2 groups"),
    Proof("SurvivorMass", _survivors, "induction", 10, 14, "up to 2 groups"),
    Proof("MassCompensation", _compensation, "induction", 11, 40, "up to 2 groups"),
    Proof("KeyCounts", functools.partial(_counts, config=_CONFIG), "induction", 11, 20, "up to 8 keys of 2 groups"),
    Proof("KeyCounts", functools.partial(_counts, config=_CONFIG.replace(key_groups=1)), "induction", 11, 20,
          "up to 8 keys of one group", "one_group"),
)
