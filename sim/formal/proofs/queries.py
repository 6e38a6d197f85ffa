"""Queries on their way in, until the cross products are done with them; those that the array holds as tables."""

import functools

from amaranth import Array, Cat, Mux, Signal, Value

from latte.golden.config import AttentionConfig, preset
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.query_tables import QueryTables
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_QUERIES = preset("small", head_dim=4, max_seq_len=4, heads=2, query_lanes=1, query_rows=4, weight_bits=4, bus_bytes=4,
                  estimate_bits=2, cross_lanes=4, value_lanes=4).lean()
_TABLES = _QUERIES.replace(query_lanes=2, query_rows=8)
_LONG = _TABLES.replace(head_dim=18, bus_bytes=2, cross_lanes=2, dim_lanes=18, value_lanes=2, normalizer_lanes=2)
_MOST = 7
"""Rows that are counted."""


def _queries(s: Setting) -> None:
    config = _QUERIES
    dut = QueryBuffer(config)
    s.add(dut)
    m, load, q, o = s.m, dut.load, dut.q, dut.o
    number, place = s.constant("any_row", range(6)), s.constant("any_element", range(config.head_dim))
    beats, step = config.head_dim // config.bus_bytes, 1 << config.low_bits
    # Rows that the command has left; rows that have come to be kept, left, and are no longer needed.
    left, drop, beat = Signal(COUNT_BITS), Signal(), Signal(range(beats))
    came, gone, retired = (Signal(range(_MOST + 1), name=name) for name in ("came", "gone", "retired"))
    takes = q.valid & q.ready
    ends = takes & (beat == beats - 1)
    s.assume("most", ~ends | drop | (came != _MOST))
    s.assume("retire", ~dut.retire | (retired < gone))
    with m.If(load.valid & load.ready):
        m.d.sync += [left.eq(load.payload.rows), drop.eq(load.payload.drop)]
    with m.If(takes):
        m.d.sync += [beat.eq(Mux(ends, 0, beat + 1)), left.eq(left - ends), came.eq(came + (ends & ~drop))]
    m.d.sync += [gone.eq(gone + (o.valid & o.ready)), retired.eq(retired + dut.retire)]
    given = Value.cast(q.payload).word_select(place % config.bus_bytes, 8).as_signed()
    element = Signal(given.shape())
    with m.If(takes & ~drop & (came == number) & (beat == place // config.bus_bytes)):
        m.d.sync += element.eq(Mux(given > config.qk_max, config.qk_max, given))
    s.claim("commanded", "rows are taken while the command has any left, and the next command behind them",
            (load.ready == (left == 0)) & (~q.ready | (left != 0)))
    high = Value.cast(o.payload).word_select(place, config.estimate_bits).as_signed()
    rest = element - (high << config.low_bits)
    s.claim("high_parts", "any row's high parts leave, in the order of the rows, each once",
            (rest >= -(step // 2)) & (rest < step // 2) & (came > gone), when=o.valid & (gone == number))
    s.claim("only_rows", "and nothing that is not kept", came > gone, when=o.valid)
    address = (dut.cross_slot == number % config.query_rows) & (dut.cross_slice == place // config.cross_lanes)
    data = Value.cast(dut.cross_data).word_select(place % config.cross_lanes, 8)
    low, top = data[:config.low_bits].as_signed(), data[config.low_bits:].as_signed()
    kept = (gone > number) & (retired <= number)
    s.claim("kept_whole", "both parts of any row that has left are read until it is retired",
            (top << config.low_bits) + low == s.held("element", element, RAM_LATENCY),
            when=s.held("asked", address & kept, RAM_LATENCY))
    s.claim("row_room", "a row begins only while there is a place for it", came - retired < config.query_rows,
            when=takes & ~drop & (beat == 0))


def _tables(s: Setting, config: AttentionConfig) -> None:
    follows = PairTableDot.offset_delay_of(config.head_dim)
    dut = QueryTables(config, follows)
    inside, m, q = s.add(dut), s.m, dut.q
    row, pair = s.constant("any_row", range(dut.rows)), s.constant("any_pair", range(dut.pairs))
    s.assume("any", (row < dut.rows) & (pair < dut.pairs) & (q.payload.row < dut.rows))
    takes, bank, loaded = q.valid & q.ready, q.payload.bank, inside["row_bank"]
    ours = takes & (q.payload.row == row)
    loads = Cat(s.held(f"taken_{n}", takes, n) for n in range(1, dut.load_cycles)).any()
    # A key is of a bank that is not loaded (`TileSequencer`).
    s.assume("not_loaded", ~dut.k_valid | (dut.k_bank != Mux(takes, bank, loaded)) | ~(takes | loads))
    # Any row of each bank, until the bank is given up: by a key of the other one, or by a load of one in use.
    use, known = Signal(), Array(Signal(name=f"known_{n}") for n in range(2))
    tables = [Signal(len(dut.entries[0][0].as_value()), name=f"table_{n}") for n in range(2)]
    sums = [Signal(len(dut.offset[0]), name=f"sum_{n}") for n in range(2)]
    pairs = [(q.payload.hi[n], q.payload.hi[n + 1]) for n in range(0, config.head_dim, 2)]
    halves = Array(Cat(((x + y) >> 1)[:dut.bits], ((x - y) >> 1)[:dut.bits], x[0] == y[0]) for x, y in pairs)
    with m.If(dut.k_valid):
        m.d.sync += use.eq(dut.k_bank)
        with m.If(dut.k_bank != use):
            m.d.sync += known[use].eq(0)
    with m.If(takes):
        m.d.sync += [use.eq(~bank), known[bank].eq(ours | (known[bank] & (bank != use)))]
    for n in range(2):
        with m.If(ours & (bank == n)):
            m.d.sync += [tables[n].eq(halves[pair]), sums[n].eq(sum((x + y) >> 1 for x, y in pairs))]
    s.invariant("loads", (inside["busy"] == loads) & (inside["taken"] == s.held("taken", takes)))
    s.invariant("use", use == Mux(inside["taken"], ~loaded, inside["bank"]))
    # What is in use, and what stands beside it: of the other bank, unless it moves to where it is used.
    arrives = Cat(s.held(f"ours_{n}", ours, n) for n in range(1, dut.load_cycles + 1)).any()
    moves = inside["switch"] | (inside["bank"] != use)
    beside = use ^ ~moves
    there = known[use] & ~moves, known[beside] & ~(arrives & (loaded == beside))
    for name, of, place, late, meaning in (
            ("entries", tables, pair, 0, "two cycles behind a key, any pair of any row of its bank is half the sum and "
             "half the difference of what was loaded last, and whether these are exact"),
            ("offset", sums, 0, follows, "`offset_delay` cycles later the offset is the sum of these half sums")):
        registers = ("active", "shadow") if name == "entries" else ("active_offset", "shadow_offset")
        active, shadow = (Array(Value.cast(inside.named(f"{register}_{n}")) for n in range(dut.rows))[row].word_select(
            place, len(of[0])) for register in registers)
        for what, register, holds, of_bank in (("used", active, there[0], use), ("beside", shadow, there[1], beside)):
            s.invariant(f"{name}_{what}", ~s.held(f"{name}_{what}", holds, late) | (
                register == s.held(f"{name}_{what}_value", Mux(of_bank, of[1], of[0]), late)))
        s.claim(name, meaning, active == s.held(f"{name}_loaded", Mux(dut.k_bank, of[1], of[0]), 2 + late),
                when=s.held(f"{name}_asked", dut.k_valid & known[dut.k_bank], 2 + late))
    s.claim("table_loads", "a row is taken at once, and the next one when all its slices are in place",
            q.ready == ~loads)
    s.reach("both", known[0] & known[1])


PROOFS = (
    Proof("QueryTables", functools.partial(_tables, config=_TABLES), "induction", 9, 14,
          "2 rows of 2 pairs in 2 slices"),
    Proof("QueryTables", functools.partial(_tables, config=_LONG), "induction", 13, 18,
          "2 rows of 9 pairs in 5 slices", "long"),
    Proof("QueryBuffer", _queries, "bounded", 14, 16, "a ring of 4 rows of one beat"),
)
