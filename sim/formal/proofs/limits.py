"""Limits of rows by the mass of their keys: tables of weights, and what a row's keys are compared with."""

from amaranth import Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from latte.golden.config import preset
from latte.golden.pruned_mass import GAP_TABLE_SIZE
from latte.golden.quantizer import MASS_CODE_BITS, MASS_KEEP_ALL
from latte.rtl.wide.gap_table import TABLES, FillTables, GapTable
from latte.rtl.wide.mass_scan import MassScan
from latte.rtl.wide.row_limiter import RowLimiter
from latte.rtl.wide.row_limits import MassThreshold
from latte.rtl.wide.row_scanner import RowScanner
from latte.sim.formal.followed import Followed
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_MASS = preset("small", head_dim=4, max_seq_len=4, heads=2, query_lanes=1, query_rows=4, weight_bits=4,
               bus_bytes=2).lean().replace(threshold_kinds=("relative", "mass", "absolute"))
_ROWS = preset("small", head_dim=4, max_seq_len=8, heads=2, query_lanes=2, query_rows=8, weight_bits=4, estimate_bits=2,
               threshold_kinds=("mass",), key_groups=0)
_HELD, _MOST = 8, 15
"""Groups of estimates that are held; rows under way."""


def _weights(s: Setting) -> None:
    dut = GapTable(_MASS)
    inside, m, fill, latency = s.add(dut), s.m, dut.fill, GapTable.latency
    table, gap = s.constant("any_table"), s.constant("any_gap", range(GAP_TABLE_SIZE))
    word, known = Signal.like(fill.weight), Signal()
    with m.If(fill.write & (fill.table == table) & (fill.gap == gap)):
        m.d.sync += [word.eq(fill.weight), known.eq(1)]
    ram = inside.part("memory")
    array = ram.memory("array_0")
    held = array.read_port(domain="comb")
    m.d.comb += held.addr.eq(Cat(gap, table))
    s.invariant("word", ~known | (held.data == word))
    # What is on its way from there.
    asked, words = known & (dut.gap == gap) & (dut.table == table), word
    for n, stage in enumerate((array.read_ports[0].data, ram["register"])):
        asked, words = s.held(f"asked_{n}", asked), s.held(f"word_{n}", words)
        s.invariant(f"stage_{n}", ~asked | (stage == words))
    asked, words = s.held("asked", asked), s.held("word", words)
    end = Mux(dut.table, fill.ends[1], fill.ends[0])
    counts = s.held("counts", dut.valid & (dut.gap < end), latency)
    s.claim("looked_up", "any gap below its table's end weighs what was filled in",
            dut.weight == words, when=counts & asked)
    s.claim("beyond", "behind the table, but below its end, a gap weighs one step", dut.weight == 1,
            when=counts & s.held("beyond", dut.gap >= GAP_TABLE_SIZE, latency))
    s.claim("nothing", "and from there on, or without being asked, nothing", dut.weight == 0, when=~counts)


def _fills(s: Setting) -> None:
    config = _MASS
    dut = FillTables(config)
    inside, m, job, ask, fill = s.add(dut), s.m, dut.job.payload, dut.ask, dut.fill
    s.assume_stable("job_stable", dut.job.valid, dut.job.ready, job)
    filling, handed = inside.state("FILL"), dut.table.valid & dut.table.ready
    asks, answers = ask.valid & ask.ready, dut.answer_valid
    # What the softmax has been asked for and not answered; jobs that use a table.
    pending = s.count("pending", asks, answers, 16)
    s.assume("answers", (~answers | (pending != 0)) & (~ask.ready | (pending != 15)))
    for n in range(TABLES):
        ours = handed & (dut.table.payload == n)
        released = dut.release & (dut.release_table == n)
        uses = s.count(f"uses_{n}", ours, released, 2 * config.query_rows - 1)
        s.assume(f"uses_{n}", (~released | (uses != 0)) & (~ours | (uses != 2 * config.query_rows - 1)))
        s.invariant(f"uses_{n}", (inside["in_use"][n] == uses) & (inside["idle"][n] == (uses == 0)))
        s.invariant(f"fills_{n}", ~filling | (fill.table != n) | (uses == 0))
        s.claim(f"out_of_use_{n}", f"table {n} is filled while no job uses it", uses == 0,
                when=fill.write & (fill.table == n))
    # Weights that have come, up to the first of 0; what the table is filled for.
    asked, weights, ended = (Signal(range(2 * GAP_TABLE_SIZE), name=name) for name in ("asked", "weights", "ended"))
    begun, done, filled = (Signal(name=name) for name in ("asks_begun", "weights_done", "any_filled"))
    scale = Signal(len(job.as_value()) - 1)
    with m.If(inside.state("JOB")):
        m.d.sync += [asked.eq(0), weights.eq(0), done.eq(0), begun.eq(0)]
    with m.If(asks):
        m.d.sync += [begun.eq(1), asked.eq(asked + 1), scale.eq(Cat(ask.payload.mantissa, ask.payload.shift))]
    with m.If(answers & ~done):
        m.d.sync += weights.eq(weights + 1)
        with m.If((dut.answer == 0) | (weights == 2 * GAP_TABLE_SIZE - 2)):
            m.d.sync += [done.eq(1), ended.eq(weights), filled.eq(1)]
    own = Cat(inside["scale"].mantissa, inside["scale"].shift)
    s.invariant("state", inside.state() & (filling | (pending == 0)) & ((inside["filled"] == filled) | filling))
    s.invariant("counters", ~filling | ((inside["asked"] == asked) & (inside["done"] == done)
                                        & ((asked - inside["answered"])[:len(asked)] == pending)
                                        & (done | (inside["answered"] == weights)) & (~done | filled)))
    s.invariant("pending", pending <= 15)
    s.invariant("weights", weights <= 2 * GAP_TABLE_SIZE - 1)
    s.invariant("scale", Mux(filling & ~begun, (asked == 0) & (weights == 0) & ~done & (pending == 0),
                           (own == scale) | ~(filling | filled)))
    s.invariant("waits", inside.state("JOB") | s.held("waits", dut.job.valid & ~dut.job.ready))
    s.invariant("job", ~(filling | inside.state("HAND OVER")) | ~job.used
                | (own == Cat(job.mantissa, job.shift)))
    s.invariant("filled", (~inside.state("HAND OVER") | ~job.used) | filled)
    end = Mux(fill.table, fill.ends[1], fill.ends[0])
    s.invariant("end", ~filled | (filling & ~done) | (end == ended))
    s.claim("asks_in_turn", "gaps are asked for in turn from 0 on", ask.payload.gap == asked, when=ask.valid)
    s.claim("fills_in_turn", "each answer is filled in at its gap, up to the first weight of 0",
            (fill.gap == weights) & (fill.weight == dut.answer) & answers & ~done, when=fill.write)
    s.claim("filled_whole", "all of them that the table has a place for", fill.write,
            when=answers & ~done & (weights < GAP_TABLE_SIZE))
    s.claim("table_of_job", "a job that weighs anything gets a table of its own scale, and the end of its weights",
            (scale == Cat(job.mantissa, job.shift)) & (end == ended) & (pending == 0), when=dut.table.valid & job.used)
    s.claim("one_table", "each job gets one table", dut.job.ready == dut.table.ready, when=dut.table.valid)


def _thresholds(s: Setting) -> None:
    config = _MASS
    dut = MassThreshold(config)
    inside = s.add(dut)
    row, o, code = dut.row.payload, dut.o.payload, dut.row.payload.code
    for name, port in (("row", dut.row), ("mass", dut.mass)):
        s.assume_stable(f"{name}_stable", port.valid, port.ready, port.payload)
        s.invariant(f"{name}_waits", inside.state("ROW") | s.held(f"{name}_waits", port.valid & ~port.ready))
    kinds = list(config.threshold_kinds)
    relative, by_mass, absolute = (row.kind == kinds.index(name) for name in ("relative", "mass", "absolute"))
    s.assume("kinds", row.kind < len(kinds))
    keeps_all = by_mass & (code[:MASS_CODE_BITS] == MASS_KEEP_ALL)
    searched = by_mass & ~keeps_all
    s.invariant("state", inside.state() & Mux(
        inside.state("MULTIPLY", "SHIFT", "SEARCH"), searched, inside.state("ROW") | ~searched))
    given = Mux(code[:config.est_bits] == 0, 1, code[:config.est_bits])
    above = row.row_max - code[:config.est_bits].as_signed()
    expected = Mux(by_mass, 1 << config.est_bits, Mux(absolute, Mux(above > 1, above, 1), given))
    s.invariant("limit", ~inside.state("HAND OVER") | (o.limit == expected))
    s.claim("searched", "the limit of a row by mass is searched for", o.search, when=dut.o.valid & searched)
    s.claim("keeps_all", "unless it keeps all", ~o.search & (o.limit == 1 << config.est_bits),
            when=dut.o.valid & keeps_all)
    s.claim("relative", "a relative threshold is a row's limit, if it is positive", ~o.search & (o.limit == given),
            when=dut.o.valid & relative)
    s.claim("absolute", "an absolute one how far it lies below the largest estimate, one at least",
            ~o.search & (o.limit == Mux(above > 1, above, 1)), when=dut.o.valid & absolute)
    s.claim("with_mass", "each row leaves once, as it came, with its mass", dut.row.valid & dut.mass.valid
            & (dut.row.ready == dut.o.ready) & (dut.mass.ready == dut.o.ready)
            & (o.row_max == row.row_max) & (o.slot == row.slot) & (o.bank == row.bank), when=dut.o.valid)
    s.claim("not_else", "and nothing is taken before", ~dut.row.ready & ~dut.mass.ready, when=~dut.o.valid)
    s.stable("stable", "what is offered stands until it is taken", dut.o.valid, dut.o.ready,
             Cat(o.search, Mux(o.search, o.least, o.limit)))


def _rows(s: Setting) -> None:
    dut = RowLimiter(_ROWS)
    dut.depth_of = lambda config: _HELD  # type: ignore[method-assign]
    inside, m, i, o = s.add(dut, without=("scan", "threshold", "search")), s.m, dut.i, dut.o
    held, rows, totals = (inside.part(name) for name in ("waiting", "rows", "totals"))
    scan, threshold, limit = inside["scan"], inside["threshold"], inside["search"].o
    groups, listed, summed = (QueueState(s, queue.block, queue, name) for queue, name in (
        (held, "groups"), (rows, "listed"), (totals, "summed")))
    pairs = _ROWS.pairs_per_cycle
    # RowScanner begins a group while there is room, and sees a row's keys from the first on.
    begun = [s.free("begins") & dut.room]
    for _ in range(RowScanner.latency):
        begun.append(s.held("begun", begun[-1]))
    m.d.comb += dut.i_valid.eq(begun[-1])
    s.assume("visible", Cat(i.visible[0], *(~i.visible[n] | i.visible[n - 1] for n in range(1, pairs)),
                            i.row_last | i.visible[-1]).all())
    # MassScan gives the mass of each row, MassThreshold and LimitSearch a limit for each row and mass that they take.
    ends = [dut.i_valid & i.row_last]
    for _ in range(MassScan.latency_of(_ROWS) + 1):
        ends.append(s.held("ended", ends[-1]))
    s.assume("masses", (scan.sum_valid == ends[-2]) & scan.sum_last)
    takes, gives = threshold.row.ready, limit.valid & limit.ready
    s.assume("taken", (takes == threshold.mass.ready) & (~takes | (threshold.row.valid & threshold.mass.valid)))
    limits = s.count("limits", takes, gives, _MOST)
    s.assume("limits", ~limit.valid | (limits != 0))
    s.assume_stable("limit_stable", limit.valid, limit.ready, limit.payload)
    under_way = sum(begun[1:], Const(0))
    for name, queue, behind in (("groups", held, []), ("rows", rows, ends[1:2]), ("totals", totals, ends[1:])):
        on_way = under_way + sum(behind, Const(0))
        s.invariant(f"{name}_room", queue.block.level + on_way + queue.block.room <= queue.block.depth - 1)
        s.invariant(f"{name}_come", queue.block.i.valid == (begun if name == "groups" else behind)[-1])
        s.claim(f"{name}_fit", f"no entry of the queue of {name} is lost behind a scanner that heeds `room`",
                ~queue.block.overflow, when=queue.block.i.valid)
    s.claim("overflow", "and so none is told of", ~dut.overflow, when=dut.i_valid)
    # Any row's entry, and any row's mass.
    fields = rows.block.i.payload
    row = Followed(s, rows.block.i.valid, s.held("fields", Cat(Value.cast(i[name]) for name in fields.shape().members)),
                   listed.items, takes, "row")
    listed.find(row)
    s.invariant("first", inside["first"])
    total = Followed(s, totals.block.i.valid, s.held("sum", scan.sum), summed.items, takes, "total")
    summed.find(total)
    s.claim("row", "each row comes to its limit's search in its turn, as it ended",
            threshold.row.payload.as_value() == row.item, when=row.here & (row.ahead == 0) & threshold.row.valid)
    s.claim("mass", "with the mass of its keys", threshold.mass.payload == total.item,
            when=total.here & (total.ahead == 0) & threshold.mass.valid)
    # Rows that have ended, and those whose last group has left: of any group, how many ended before it.
    ended, left, number = (Signal(range(_MOST + 1), name=name) for name in ("rows_ended", "rows_left", "row_of_group"))
    leaves = dut.o_valid
    came = Cat(Value.cast(i.estimate), i.row_last, i.visible[1])
    group = Followed(s, dut.i_valid, came, groups.items, leaves, "group")
    groups.find(group)
    s.invariant("all_seen", ~group.here | group.item[-2:].any())
    m.d.sync += [ended.eq(ended + ends[0]), left.eq(left + (leaves & o.row_last))]
    with m.If(~group.here):
        m.d.sync += number.eq(ended)
    inside_rows, ahead = Const(0), Const(0)
    for there, at, word in groups.slots():
        last = there & data.View(held.block.shape, word).row_last
        inside_rows, ahead = inside_rows + last, ahead + (last & (at < group.ahead))
    bits = len(ended)
    s.invariant("rows_inside", inside_rows[:bits] == (ended - left)[:bits])
    s.invariant("rows_ahead", ~group.here | (ahead[:bits] == (number - left)[:bits]))
    key = Signal.like(o.key)
    with m.If(leaves):
        m.d.sync += key.eq(Mux(o.row_last, 0, key + pairs))
    s.claim("group", "any group of estimates leaves in its turn, as it came, with the keys that its row sees",
            Cat(Value.cast(o.estimate), o.row_last, o.visible[1], o.visible[0], o.visible[1] | o.row_last)
            == Cat(group.item, Const(0b11, 2)), when=group.here & (group.ahead == 0) & leaves)
    s.claim("of_its_row", "its limit is that of its own row: as many limits went before as rows that ended before it",
            left == number, when=group.here & (group.ahead == 0) & leaves)
    s.claim("one_limit", "each row has one: it goes with the row's last group", gives == (leaves & o.row_last),
            when=gives | leaves)
    beside = [name for name in limit.payload.shape().members if name in o.shape().members]
    s.claim("beside", "each group has what the search says of its row", Cat(Value.cast(o[name]) for name in beside)
            == Cat(Value.cast(limit.payload[name]) for name in beside), when=leaves)
    s.invariant("key", inside["_judge.key"][:len(key)] == key)
    s.claim("keys", "keys count from the row's first on", o.key == key, when=leaves)
    s.claim("goes_on", "a group of a row whose limit is known waits for its consumer alone", leaves == dut.o_room,
            when=held.block.o.valid & limit.valid)
    s.claim("stalled", "which is told", dut.stalled == (held.block.o.valid & limit.valid & ~dut.o_room),
            when=dut.stalled | (held.block.o.valid & limit.valid))


PROOFS = (
    Proof("GapTable", _weights, "induction", 3, 7, "2 tables of 512 weights of 10 bits"),
    Proof("FillTables", _fills, "induction", 3, 14, "weights of 10 bits, at most 15 under way"),
    Proof("MassThreshold", _thresholds, "induction", 3, 14, "all kinds of threshold, a mass of 12 bits"),
    Proof("RowLimiter", _rows, "induction", 3, 20, f"2 keys at a time, {_HELD} groups held; masses are those of "
          "MassScan, limits those of LimitSearch"),
)
