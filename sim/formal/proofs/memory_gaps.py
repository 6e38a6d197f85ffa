"""Weights of the gaps below a row's largest estimate: their tables, masses and limits, and what is given back."""

from amaranth import Array, Cat, Const, Mux, Signal, Value, signed

from latte.golden.pruned_mass import GAP_TABLE_SIZE
from latte.golden.quantizer import MASS_CODE_BITS, MASS_KEEP_ALL
from latte.golden.thresholds import ThresholdKind
from latte.rtl.memory.estimate_histogram import EstimateHistogram
from latte.rtl.memory.gap_mass import GapMass
from latte.rtl.memory.limit_finder import LimitFinder
from latte.rtl.memory.row_tables import RowTables
from latte.rtl.wide.gap_table import TABLES, GapTable
from latte.rtl.wide.row_limits import LimitSearch
from latte.rtl.wide.weight_pipeline import FineWeightPipeline
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_BUILD = small_build(weight_bits=4, exp_frac_bits=4)
_KINDS = small_build(weight_bits=4, threshold_kinds=("relative", "absolute", "mass"))
_GROUPED = small_build(weight_bits=4, key_groups=2)


def _tables(s: Setting) -> None:
    dut = RowTables(_BUILD)
    inside, m = s.add(dut), s.m
    tables = inside.part("tables")
    job, fill, table = dut.job.payload, dut.fill, dut.table.payload
    s.assume_stable("job_stable", dut.job.valid, dut.job.ready, job)
    s.assume("scale", job.mantissa[-1])
    handed = dut.table.valid & dut.table.ready
    # Jobs that use each table: no more than rows can be under way.
    most = 2 * _BUILD.core.query_rows - 1
    uses = [s.count(f"uses_{n}", handed & (table == n), dut.release & (dut.release_table == n), most)
            for n in range(TABLES)]
    s.assume("release", ~dut.release | (Array(uses)[dut.release_table] != 0))
    s.assume("most", ~handed | (Array(uses)[table] != most))
    # Weights of a table that are written so far, and whether the last of them was none; the scale of the last job.
    written, ended = Signal(range(GAP_TABLE_SIZE + 1)), Signal()
    known, mantissa, shift, last_table = Signal(), Signal.like(job.mantissa), Signal.like(job.shift), Signal()
    with m.If(fill.write):
        m.d.sync += [written.eq(written + 1), ended.eq(fill.weight == 0)]
    with m.If(handed):
        m.d.sync += [written.eq(0), ended.eq(0), last_table.eq(table)]
        with m.If(job.used):
            m.d.sync += [known.eq(1), mantissa.eq(job.mantissa), shift.eq(job.shift)]
    same = known & (mantissa == job.mantissa) & (shift == job.shift)
    # What a pipeline says of a gap.
    golden, ask, latency = FineWeightPipeline(dut.config), tables.block.ask.payload, FineWeightPipeline.latency
    s.m.submodules.golden = golden
    m.d.comb += [golden.delta.eq(ask.gap << dut.config.estimate_shift), golden.scale_mantissa.eq(ask.mantissa),
                 golden.scale_shift.eq(ask.shift)]
    asked = [s.held("asks", tables.block.ask.valid, age) for age in range(1, latency + 1)]
    scale, state, answered = tables["scale"], tables.state, tables["answered"]
    filling = state("FILL")
    scaled = (scale.mantissa == job.mantissa) & (scale.shift == job.shift)
    for name, condition in {
            "any": state(), "job": state("JOB") | dut.job.valid,
            "asked": ~filling | (tables["asked"] == (answered + sum(asked))[:len(answered)]),
            "idle_pipeline": filling | ~Cat(asked).any(),
            "written": ~filling | tables["done"] | (~ended & (written == Mux(answered > GAP_TABLE_SIZE, GAP_TABLE_SIZE,
                                                                             answered))),
            "filling": ~filling | (scaled & job.used & ~same & (uses[0] + uses[1] <= 2 * most)),
            "free": ~filling | (Array(uses)[tables["latest"]] == 0),
            "nothing": ~state("JOB") | ((written == 0) & ~ended),
            "filled": ~state("HAND OVER") | Mux(written == 0, ~job.used | same,
                                                job.used & ~same & scaled & tables["filled"]),
            "known": filling | (written != 0) | (tables["filled"] == known),
            "scale": ~known | filling | (written != 0) | ((scale.mantissa == mantissa) & (scale.shift == shift)),
            "latest": tables["latest"] == last_table ^ (filling | (written != 0)),
            }.items():
        s.invariant(name, condition)
    for n in range(TABLES):
        s.invariant(f"uses_{n}", (tables["in_use"][n] == uses[n]) & (tables["idle"][n] == (uses[n] == 0)))
    s.claim("gap_weights", "what is written of a gap is its weight by the scale of the row",
            (fill.weight == golden.fine_weight) & (s.held("asked", ask.as_value(), latency) == Cat(
                fill.gap, Const(0, 1), job.mantissa, job.shift)), when=fill.write)
    s.claim("table_in_order", "gaps are written in order, each once, up to the first that weighs nothing",
            dut.job.valid & job.used & ~ended & (fill.gap == written), when=fill.write)
    end = fill.ends[table]
    s.claim("table_ends", "a table ends with the first gap that weighs nothing",
            Mux(ended, end == written - 1, (written == GAP_TABLE_SIZE) & (end >= GAP_TABLE_SIZE)),
            when=dut.table.valid & (written != 0))
    s.claim("table_free", "a table that a row uses is not written, and its end stands", Cat(
        (uses[n] == 0) | (~(fill.write & (fill.table == n)) & (fill.ends[n] == s.held(f"end_{n}", fill.ends[n])))
        for n in range(TABLES)).all(), when=Cat(s.held(f"used_{n}", uses[n] != 0) for n in range(TABLES)).any())
    s.claim("table_of_scale", "a row of the scale of the last one has its table, any other one that is filled "
            "behind it", Mux(same, (written == 0) & (table == last_table), (written != 0) & (table == ~last_table)),
            when=dut.table.valid & job.used)
    s.claim("table_each", "a table for each row", dut.job.ready == dut.table.ready, when=dut.table.valid)
    s.stable("table_stable", "a table stands until it is taken", dut.table.valid, dut.table.ready, table)
    s.within("table_soon", "a row that needs no other table has it in the next cycle", 1,
             waits=dut.job.valid & (~job.used | same) & ~dut.table.valid & (written == 0))


def _mass(s: Setting) -> None:
    dut = GapMass(_GROUPED)
    inside, m = s.add(dut), s.m
    table = inside.part("table").block
    s.assume("begin", ~(dut.begin & dut.busy))
    s.assume("stands", ~dut.busy | (dut.row_max == s.held("row_max", dut.row_max)))
    # Cycles since the last beginning: in each of them another gap is looked at, before the end.
    first, end, age = Signal.like(dut.first), Signal.like(dut.end), Signal(range(4 * GAP_TABLE_SIZE))
    gap = Signal.like(age)
    m.d.comb += gap.eq(first + age)
    looks = gap < end
    with m.If(dut.begin):
        m.d.sync += [first.eq(dut.first), end.eq(dut.end), age.eq(0)]
    with m.Elif(looks):
        m.d.sync += age.eq(age + 1)
    # The counts come when the weight is there.
    arrives, summed = 1 + EstimateHistogram.latency, 2
    adds, weight = s.held("adds", looks, arrives + summed), s.held("weight", table.weight, summed)
    groups = range(len(dut.counts))
    totals = [Signal.like(dut.masses[n], name=f"total_{n}") for n in groups]
    latest, some = Signal.like(dut.weight), Signal()
    for n, total in enumerate(totals):
        product = s.held(f"product_{n}", (dut.counts[n] * table.weight)[:len(total)], summed)
        with m.If(dut.begin):
            m.d.sync += total.eq(0)
        with m.Elif(adds):
            m.d.sync += total.eq(total + product)
        s.invariant(f"total_{n}", dut.masses[n] == total)
    with m.If(adds):
        m.d.sync += [latest.eq(weight), some.eq(1)]
    for name, condition in {
            "left": inside["left"] == Mux(looks, end - gap, 0), "gap": ~looks | (inside["gap"] == gap),
            "age": age < 2 * GAP_TABLE_SIZE, "latest": ~some | (dut.weight == latest)}.items():
        s.invariant(name, condition)
    under_way = [looks, *(s.held("looks", looks, age) for age in range(1, dut.latency))]
    s.claim("gaps", "one gap behind the other is looked at, from the first one on, before the end: its estimate in the "
            "histogram, itself in the table", (table.gap == s.held("gap", gap)) & (
                dut.estimate.as_unsigned() == (dut.row_max - table.gap)[:len(dut.estimate)]),
            when=s.held("looked", looks))
    s.claim("masses", "the mass of each group is the sum of its counts at these gaps times their weights",
            Cat(dut.masses[n] == total for n, total in enumerate(totals)).all(), when=~dut.busy & some)
    s.claim("mass", "and the mass that of all groups, but in the cycle behind a beginning",
            dut.mass == sum(totals)[:len(dut.mass)], when=~dut.busy & some & ~s.held("began", dut.begin))
    s.claim("last_weight", "the weight of the last gap stands", dut.weight == latest, when=~dut.busy & some)
    s.claim("mass_busy", "it is busy while a gap is looked at that is not in the mass, and no longer",
            dut.busy == Cat(under_way).any(), when=dut.busy | s.held("ends", dut.busy) | looks)
    s.reach("two", ~dut.busy & some & (age == 2))


def _question(s: Setting, dut: LimitFinder) -> tuple[Value, Value]:
    """Ask one question at a time; return that its row is judged, and that what is behind that is under way."""
    m, judged, sought = s.m, Signal(name="judged"), Signal(name="sought")
    asked = judged | sought
    standing = Cat(Value.cast(dut.row), dut.row_max, dut.mass, Array(dut.fill.ends)[dut.row.table])
    s.assume("one", ~(dut.begin & asked))
    s.assume("stands", ~s.held("asked", asked) | ~asked | (standing == s.held("standing", standing)))
    s.assume("table", ~(asked & dut.fill.write & (dut.fill.table == dut.row.table)))
    with m.If(dut.begin):
        m.d.sync += judged.eq(1)
    with m.If(dut.least_valid):
        m.d.sync += [judged.eq(0), sought.eq(~dut.stops)]
    with m.Elif(dut.valid):
        m.d.sync += sought.eq(0)
    return judged, sought


def _limits(s: Setting) -> None:
    dut = LimitFinder(_KINDS)
    inside, m = s.add(dut), s.m
    judge, search = inside.part("judge"), inside.part("search")
    table, queue_inside = search.part("table").block, search.part("queue")
    queue = QueueState(s, queue_inside.block, queue_inside)
    judged, sought = _question(s, dut)
    # What was found out of the row at hand, and for how long its limit is sought.
    least, searches, age = Signal.like(dut.least), Signal(), Signal(range(LimitSearch.latency + 1))
    latency = LimitSearch.latency
    with m.If(dut.least_valid & ~dut.stops):
        m.d.sync += [least.eq(dut.least), searches.eq(dut.searches), age.eq(1)]
    with m.Elif(age != 0):
        m.d.sync += age.eq(Mux(age == latency, 0, age + 1))
    # Any gap of the table, and what it weighs there: no gap before it weighs less, none behind it more.
    gap, end = s.constant("any_gap", range(GAP_TABLE_SIZE)), Array(dut.fill.ends)[dut.row.table]
    weight = s.constant("its_weight", len(dut.least))
    probe, probed = s.held("probe", table.gap, GapTable.latency), table.weight
    s.assume("monotone", ~sought | (((probe > gap) | (probed >= weight)) & ((probe < gap) | (probed <= weight))))
    s.assume("last_weight", (gap != GAP_TABLE_SIZE - 1) | (weight <= 1))
    s.assume("end", end != 0)
    # A question takes long: its witness is sought of one that comes at once.
    s.seek(~dut.fill.write & (dut.mass <= 1) & (dut.row_max == 0) & (dut.row.code == 0) & ~dut.stops
           & (dut.fill.ends.as_value() == 0x04040) & (dut.begin == s.after_reset))
    loop, probes = LimitSearch.loop_latency, (GAP_TABLE_SIZE - 1).bit_length()
    limit = Signal(range(4 << dut.build.core.est_bits))
    m.d.comb += limit.eq((dut.row_max - dut.threshold).as_unsigned())
    kind, code, above = dut.row.kind, dut.row.code[:dut.build.core.est_bits], Signal(signed(len(limit)))
    kinds = {kind: number for number, kind in enumerate(ThresholdKind)}
    is_mass = (kind == kinds[ThresholdKind.MASS]) & (dut.row.code[:MASS_CODE_BITS] != MASS_KEEP_ALL)
    m.d.comb += above.eq(Mux(kind == kinds[ThresholdKind.ABSOLUTE], dut.row_max - code.as_signed(), code))
    given = Mux(kind == kinds[ThresholdKind.MASS], 1 << len(code), Mux(above < 1, 1, above).as_unsigned())
    sizes = {"now": 1, "behind": loop}
    for name, start in sizes.items():
        here, row = search[name], search[name].row
        s.invariant(f"{name}_valid", here.valid == Cat(age == start + loop * k for k in range(probes)).any())
        for k in range(probes):
            step = GAP_TABLE_SIZE >> k + 1
            s.invariant(f"{name}_{k}", (age != start + loop * k) | (
                (here.step == step) & (here.position & 2 * step - 1 == 0) & (row.least == least)
                & (row.search == searches) & (searches | (row.limit == given))
                & (row.row_max == dut.row_max) & (row.table == dut.row.table)
                & (~searches | (least == 0) | (((gap >= here.position) | (weight > least)) & (
                    (gap < here.position + 2 * step - 1) | (weight <= least))))))
    ends = loop * probes
    for name, condition in {
            "asks": (inside["asks"] == (judged & judge.state("ROW"))) & ~(judged & sought), "any": judge.state(),
            "judges": judge.state("ROW") | judged,
            "by_mass": ~judge.state("MULTIPLY", "SHIFT", "SEARCH") | is_mass,
            "other": ~judge.state("HAND OVER") | (~is_mass & (judge["limit"] == given)),
            "held": search["held"] == sought, "sought": sought == (age != 0), "age": age <= latency,
            "items": queue.items == (age > ends + 1), "out": queue.out == (age == latency)}.items():
        s.invariant(name, condition)
    s.claim("least_once", "each question is judged once", judged, when=dut.least_valid)
    s.claim("least_searched", "a limit is sought for each threshold by mass, but one that keeps all",
            dut.searches == is_mass, when=dut.least_valid)
    s.claim("limit_searched", "by mass, a gap lies before the limit if, and only if, its weight is not too small; the "
            "first one does", Mux(gap == 0, limit != 0, (gap < limit) == (weight > least)),
            when=dut.valid & searches & (least != 0))
    s.claim("limit_end", "if no weight is too small, the limit is the end of the table", limit == end,
            when=dut.valid & searches & (least == 0))
    s.claim("limit_given", "of another threshold it is the code, or the distance to it, one at least; or all there are",
            limit == given, when=dut.valid & ~searches)
    s.claim("limit_in_time", "a question is answered once, as long behind its judgement as a search takes",
            dut.valid == (age == latency), when=dut.valid | (age == latency))


PROOFS = (
    Proof("RowTables", _tables, "induction", 11, 26, "weights of 4 bits, as FineWeightPipeline has them"),
    Proof("GapMass", _mass, "induction", 9, 16, "two key groups, weights of 4 bits"),
    Proof("LimitFinder", _limits, "induction", 7, 54, "thresholds of all kinds, weights of 4 bits"),
)
