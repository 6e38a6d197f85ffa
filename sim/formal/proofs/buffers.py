"""Memories, and what is built of them: what was written is what is read."""

import functools

from amaranth import Array, Cat, Mux, Signal, Value, unsigned
from amaranth.lib import data

from latte.golden.config import AttentionConfig, preset
from latte.rtl.common.ram import Ram, part_sizes
from latte.rtl.wide.operand_plane import OperandPlane
from latte.rtl.wide.query_memory import QueryMemory
from latte.rtl.wide.row_memory import RowMemory, RowRegister
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.sim.formal.followed import Followed
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_LEAN = preset("small", head_dim=4, max_seq_len=8, heads=2, query_rows=8, weight_bits=4, bus_bytes=2).lean()
_SLICES = _LEAN.replace(dim_lanes=2, pe_structure="multiplier", value_lanes=2, normalizer_lanes=1)
_FEW_BITS = _LEAN.replace(estimate_bits=2, max_seq_len=2)
_TABLE = (3, 1, 0, 2, 1)


def _ram(s: Setting, depth: int) -> None:
    dut = Ram(unsigned(2), depth)
    inside, m = s.add(dut), s.m
    at = s.constant("any_address", range(depth))
    s.assume("address", at < depth)
    word, known, writes = Signal(2), Signal(), dut.write_en & (dut.write_addr == at)
    with m.If(writes):
        m.d.sync += [word.eq(dut.write_data), known.eq(1)]
    first = 0
    for n, size in enumerate(part_sizes(depth)):
        held = s.window(inside.memory(f"array_{n}"), at - first)
        s.invariant(f"word_{n}", ~known | (at < first) | (at >= first + size) | (held == word))
        first += size
    asked = s.held("asked", known & (dut.read_addr == at), Ram.latency)
    s.claim("read_back", "any word is read as it was written last, and by an address of the same cycle as before that",
            dut.read_data == s.held("word", word, Ram.latency), when=asked)
    s.reach("again", asked & s.held("written_again", writes & known, Ram.latency))


def _table(s: Setting) -> None:
    dut = Ram(unsigned(2), len(_TABLE), _TABLE)
    s.add(dut)
    address = s.held("address", dut.read_addr, Ram.latency)
    s.claim("initial", "a table is read as it was given, whatever is written", dut.read_data == Array(_TABLE)[address],
            when=s.held("asked", dut.read_addr < len(_TABLE), Ram.latency))


def _row_memory(s: Setting, config: AttentionConfig) -> None:
    _leaving_row(s, RowMemory(config))


def _row_register(s: Setting) -> None:
    _leaving_row(s, RowRegister(_LEAN.replace(value_lanes=4, normalizer_lanes=1)), one_word=True)


def _leaving_row(s: Setting, dut: RowMemory | RowRegister, *, one_word: bool = False) -> None:
    """Follow the elements of any beat, of the row that arrives and of the one that leaves."""
    config, inside, m = dut.config, s.add(dut), s.m
    width, beats = len(Value.cast(dut.elements)), config.head_dim // config.normalizer_lanes
    in_word = len(Value.cast(dut.write_data)) // width
    beat = s.constant("any_beat", range(beats))
    part, chunk = beat // in_word, beat % in_word
    arriving, leaving, arrived, there = Signal(width), Signal(width), Signal(), Signal()
    steps = Signal(range(beats + 1))
    comes, given = dut.write_en & (dut.write_slice == part), Value.cast(dut.write_data).word_select(chunk, width)
    s.assume("slices", dut.write_slice < config.value_slices)
    s.assume("steps", ~(dut.step & (dut.hand_over | (steps == beats))))
    with m.If(comes):
        m.d.sync += [arriving.eq(given), arrived.eq(1)]
    with m.If(dut.hand_over):
        m.d.sync += [leaving.eq(arriving), there.eq(arrived), arrived.eq(0), steps.eq(0)]
        with m.If(comes):
            m.d.sync += [leaving.eq(given), there.eq(1)]
    with m.Elif(dut.step):
        m.d.sync += steps.eq(steps + 1)
    if one_word:
        before = s.held("data_before", Value.cast(dut.write_data))
        s.assume("stands", dut.write_en | (Value.cast(dut.write_data) == before))
        held, place = inside["row"], inside["beat"]
        s.invariant("arriving", ~arrived | (before.word_select(chunk, width) == arriving))
    else:
        s.invariant("in_word", inside["in_word"] < in_word)
        half, place = inside["write_half"], (inside["in_word"] + inside["read_slice"] * in_word)[:len(steps)]
        word = s.window(inside.memory("array"), Cat(part[:len(dut.write_slice)], half))
        held = s.window(inside.memory("array"), Cat(part[:len(dut.write_slice)], ~half))
        s.invariant("arriving", ~arrived | (word.word_select(chunk, width) == arriving))
    s.invariant("place", (place == steps) | (steps == beats))
    s.invariant("steps", steps <= beats)
    s.invariant("leaving", ~there | (Value.cast(held).word_select(chunk, width) == leaving))
    asked = s.held("asked", dut.step & (steps == beat) & there, dut.latency)
    name = "row_elements" if one_word else "elements"
    s.claim(name, "a step gives the next elements of the row that was handed over, whatever of the next one "
            "arrives", Value.cast(dut.elements) == s.held("elements", leaving, dut.latency), when=asked)
    s.reach("next_row", asked & arrived)


def _query_rows(s: Setting) -> None:
    dut = QueryMemory(_SLICES)
    inside, m, q = s.add(dut), s.m, dut.q
    width, slices = _SLICES.estimate_bits * _SLICES.dim_lanes, dut.slices
    row, bank = s.constant("any_row", range(dut.rows)), s.constant("any_bank")
    part = s.constant("any_slice", range(slices))
    takes = q.valid & q.ready
    ours = takes & (q.payload.row == row) & (q.payload.bank == bank)
    word, known = Signal(width), Signal()
    with m.If(ours):
        m.d.sync += [word.eq(Value.cast(q.payload.hi).word_select(part, width)), known.eq(1)]
    loading = Cat(s.held("loading", ours, age) for age in range(1, dut.load_cycles + 1)).any()
    waits = inside["busy"] & (inside["row"] == row) & (inside["bank"] == bank) & (inside["step"] <= part)
    waiting = Value.cast(inside["words"]).word_select(part, width)
    for n in range(dut.rows):
        held = s.window(inside.memory(f"array_{n}"), Cat(part, bank))
        s.invariant(f"row_{n}", ~known | (row != n) | waits | (held == word))
    s.invariant("step", inside["busy"] | (inside["step"] == 0))
    s.invariant("waits", ~known | ~waits | (waiting == word))
    s.claim("query_read", "what is read of a row is what was loaded last, once its slices are in place",
            Value.cast(dut.hi).word_select(row, width) == s.held("word", word),
            when=s.held("asked", known & ~loading & (dut.k_bank == bank) & (dut.k_slice == part)))
    s.claim("loads", "a row is taken in as many cycles as it has slices: then it is ready again",
            q.ready == ~Cat(s.held("taken", takes, age) for age in range(1, dut.load_cycles)).any())


def _plane(s: Setting) -> None:
    dim, words, lanes, rows = 3, 2, 2, 5
    dut = OperandPlane(unsigned(2), beat_lanes=1, word_lanes=words, head_dim=dim, row_lanes=lanes, rows=rows, banks=2)
    inside, m = s.add(dut), s.m
    packer = inside.part("packer")
    memories = [inside.part(f"memory_{n}") for n in range(lanes)]
    row, place, bank = s.constant("any_row", range(rows)), s.constant("any_place", range(dim)), s.constant("any_bank")
    s.assume("any", (row < rows) & (place < dim))
    # Where the next beat goes.
    at_row, at_place, at_bank = Signal(range(rows + 1)), Signal(range(dim)), Signal()
    last = at_place == dim - 1
    s.assume("fits", ~dut.beat_valid | (at_row != rows))
    s.assume("restart", ~dut.restart | (~dut.beat_valid & (at_place == 0)))
    with m.If(dut.beat_valid):
        m.d.sync += [at_place.eq(at_place + 1), at_row.eq(at_row + last)]
        with m.If(last):
            m.d.sync += at_place.eq(0)
    with m.If(dut.restart):
        m.d.sync += [at_row.eq(0), at_bank.eq(dut.restart_bank)]
    here = dut.beat_valid & (at_row == row) & (at_bank == bank)
    coming, word, known = Signal(2), Signal(2), Signal()
    with m.If(here & (at_place == place)):
        m.d.sync += coming.eq(dut.beat[0])
    word_ends = last | (at_place % words == words - 1)
    packed = s.held("packed", here & (at_place // words == place // words) & word_ends)
    with m.If(packed):
        m.d.sync += [word.eq(coming), known.eq(1)]
    spot = Cat(at_row, (at_place // words)[0], at_bank)
    was = s.held("spot", spot)
    s.invariant("rows", at_row <= rows)
    s.invariant("spot", Cat((inside["elaborate.group"] * lanes + inside["lane"])[:len(at_row)],
                            inside["elaborate.part"], inside["elaborate.bank"])
                == Mux(s.held("restarted", dut.restart), spot, was))
    collects = (at_row == row) & (at_bank == bank) & (at_place // words == place // words) & (at_place > place)
    s.invariant("packer", (packer["in_row"] == at_place) & (packer["here"] == 1 << (at_place % words))
                & (packer.block.word_valid == s.held("word_ended", dut.beat_valid & word_ends)))
    s.invariant("coming", ~(collects | packed) | (Value.cast(packer["word"]).word_select(place % words, 2) == coming))
    s.invariant("packed", ~packed | (was == Cat(row, (place // words)[0], bank)))
    address = dut._address(bank, (row // lanes)[:len(dut.group)], (place // words)[:len(dut.slice)])
    for n, of in enumerate(memories):
        held = s.window(of.memory("array_0"), address)
        s.invariant(f"word_{n}", ~known | (row % lanes != n) | (held.word_select(place % words, 2) == word))
    s.claim("row_read", "any element of any row is read where it was written last, in the order of the rows",
            Value.cast(dut.data).word_select(row % lanes * words + place % words, 2)
            == s.held("word", word, dut.latency), when=s.held(
                "asked", known & (dut.bank == bank) & (dut.group == row // lanes) & (dut.slice == place // words),
                dut.latency))


def _survivors(s: Setting) -> None:
    config = _FEW_BITS
    dut = SurvivorQueue(config)
    inside, m, i, o = s.add(dut), s.m, dut.i, dut.o.payload
    queue = inside.part("queue")
    state = QueueState(s, queue.block, queue)
    s.assume("room_heeded", ~dut.overflow)
    s.assume("some", ~dut.i_valid | i.keep.any())
    taken, valid, group = dut.o.valid & dut.o.ready, inside["valid"], inside["group"]
    ends = taken & inside["only"]
    groups = s.count("groups", dut.i_valid, ends, queue.block.depth + 2)
    # Any group: in the queue, then in front with those of its survivors that have not left.
    pulled = queue.block.o.valid & queue.block.o.ready
    queued = s.count("queued", dut.i_valid, pulled, queue.block.depth + 1)
    item = Followed(s, dut.i_valid, i, queued, pulled)
    state.find(item)
    s.invariant("groups", groups == queued + valid)
    s.invariant("queued", queued == state.items)
    front, rest, view = Signal(), Signal.like(i.keep), Signal(i.shape())
    with m.If(item.here & (item.ahead == 0) & pulled):
        m.d.sync += [front.eq(1), view.eq(item.item), rest.eq(data.View(i.shape(), item.item).keep)]
    with m.Elif(taken):
        m.d.sync += [front.eq(front & ~inside["only"]), rest.eq(rest & (rest - 1)[:len(rest)])]
    index = Mux(rest[0], 0, 1)
    s.invariant("front", ~front | (valid & (Value.cast(group) == view.as_value()) & (inside["left"] == rest)))
    s.invariant("some", ~item.here | data.View(i.shape(), item.item).keep.any())
    s.claim("taken_out", "any group's survivors leave in the order of the groups, lowest key first, as they came",
            Cat(o.estimate, o.key, o.slot, o.bank) == Cat(
                Value.cast(view.estimate).word_select(index, config.est_bits), (view.key + index)[:len(o.key)],
                view.slot, view.bank), when=front & dut.o.valid)
    s.claim("each_once", "each once, and the group with the last of them", rest.any(), when=front)
    s.claim("group_kept", "no group is lost", item.ahead < groups, when=item.here)
    s.claim("last_survivor", "the last survivor of a row's last group is marked, and no other",
            o.row_last == (view.row_last & ((rest & (rest - 1)) == 0)), when=front & dut.o.valid)
    s.claim("only_groups", "nothing leaves that did not come", groups != 0, when=dut.o.valid)
    s.stable("stable", "a survivor stands until it is taken", dut.o.valid, dut.o.ready, o)
    s.reach("two", front & taken & (rest == 3))


def _survivor_room(s: Setting) -> None:
    dut = SurvivorQueue(_FEW_BITS)
    inside = s.add(dut)
    queue = inside.part("queue")
    state = QueueState(s, queue.block, queue)
    s.m.d.comb += dut.i_valid.eq(s.held("begun", s.free("begins") & dut.room, dut.producer_latency))
    groups = s.count("groups", dut.i_valid, dut.o.valid & dut.o.ready & inside["only"], queue.block.depth + 2)
    s.invariant("groups", groups == state.items + inside["valid"])
    s.within("in_time", "a group is offered within the queue's latency", SurvivorQueue.latency - 1,
             waits=(groups != 0) & ~dut.o.valid)
    s.claim("no_loss", "no group is lost behind a scanner that begins one only while there is room", ~dut.overflow,
            when=dut.i_valid)


def _scores(s: Setting) -> None:
    dut = ScoreQueue(_LEAN)
    inside, m, i = s.add(dut), s.m, dut.i
    scores, maxima, maximum = (inside.part(name) for name in ("scores", "maxima", "maximum"))
    states = [QueueState(s, of.block, of, name) for of, name in ((scores, "scores"), (maxima, "maxima"))]
    s.assume("room_heeded", ~dut.overflow)
    # The largest score of the row so far.
    within, largest = Signal(), Signal(i.score.shape())
    with m.If(dut.i_valid):
        m.d.sync += [within.eq(~i.row_last), largest.eq(Mux(within & (largest > i.score), largest, i.score))]
    begun = Signal()
    with m.If(dut.i_valid):
        m.d.sync += begun.eq(1)
    s.invariant("within", (inside["first"] == ~within) & (begun | ~within))
    s.invariant("maximum", ~begun | (Mux(maximum["take"], maximum["latest"], maximum["maximum"]) == largest))
    complete = s.held("complete", dut.i_valid & i.row_last, RunningMaximum.latency)
    s.invariant("begun", ~Cat(s.held("completes", dut.i_valid & i.row_last, n) for n in (1, 2)).any() | begun)
    for name, state, comes, item, o, meaning in (
            ("score", states[0], dut.i_valid, i, dut.o, "scores leave in the order in which they came"),
            ("row_max", states[1], complete, s.held("largest", largest), dut.row_max,
             "each complete row's largest score leaves, in the order of the rows")):
        leaves = o.valid & o.ready
        count = s.count(f"{name}s", comes, leaves, state.queue.depth + 1)
        s.invariant(f"{name}s", count == state.items)
        followed = Followed(s, comes, item, count, leaves, name)
        state.find(followed)
        s.claim(f"{name}_order", meaning, Value.cast(o.payload).as_unsigned() == followed.item,
                when=followed.here & (followed.ahead == 0) & o.valid)
        s.claim(f"{name}_kept", "each once, and nothing else",
                (count != 0) & (~followed.here | (followed.ahead < count)), when=o.valid)
        s.stable(f"{name}_stable", "and stands until it is taken", o.valid, o.ready, o.payload)


PROOFS = (
    Proof("Ram", functools.partial(_ram, depth=5), "induction", 3, 8, "5 words"),
    Proof("Ram", functools.partial(_ram, depth=1026), "induction", 3, 8, "1026 words of two memories", "deep"),
    Proof("Ram", _table, "induction", 3, 6, "a table of 5 words"),
    Proof("RowMemory", functools.partial(_row_memory, config=_SLICES), "induction", 4, 12,
          "rows of 2 words, LUT RAM"),
    Proof("RowMemory", functools.partial(_row_memory, config=_LEAN.replace(
        head_dim=10, bus_bytes=1, dim_lanes=2, pe_structure="multiplier", value_lanes=1, normalizer_lanes=1)),
        "induction", 4, 12, "rows of 10 words, block RAM", "block"),
    Proof("RowRegister", _row_register, "induction", 4, 12, "rows of 4 elements, one a beat"),
    Proof("QueryMemory", _query_rows, "induction", 4, 10, "2 rows of 2 slices"),
    Proof("SurvivorQueue", _survivors, "induction", 1, 12,
          "16 groups of 2 keys"),
    Proof("SurvivorQueue", _survivor_room, "induction", 12, 30, "16 groups of 2 keys"),
    Proof("ScoreQueue", _scores, "induction", 3, 12, "rows of up to 8 keys"),
    Proof("OperandPlane", _plane, "induction", 4, 12, "rows of 3 elements in words of 2, 2 rows side by side, 2 banks"),
)
