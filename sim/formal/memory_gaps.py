"""Weights of the gaps below a row's largest estimate: their tables, masses and limits, and what is given back."""

from amaranth import Array, Cat, Const, Mux, Signal, Value

from latte.golden.memory.build import MemoryBuild
from latte.golden.pruned_mass import GAP_TABLE_SIZE, MASS_FRAC_BITS
from latte.golden.softmax import exp2_table
from latte.rtl.memory.estimate_histogram import EstimateHistogram
from latte.rtl.memory.gap_mass import GapMass
from latte.rtl.memory.row_tables import RowTables
from latte.rtl.memory.tile_payloads import tile_config
from latte.rtl.wide.gap_table import TABLES
from latte.rtl.wide.weight_pipeline import FineWeightPipeline
from latte.sim.formal.memory_builds import small_build
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_BUILD = small_build(weight_bits=4, exp_frac_bits=4)
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
            "written": Mux(filling & ~tables["done"], (written == Mux(answered > GAP_TABLE_SIZE, GAP_TABLE_SIZE, answered)) & ~ended, 1),
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
    s.claim("table_of_scale", "a row of the scale of the last one has its table, any other one that is filled behind it",
            Mux(same, (written == 0) & (table == last_table), (written != 0) & (table == ~last_table)),
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
    s.claim("mass", "and the mass that of all groups, but in the cycle behind a beginning", dut.mass == sum(totals)[:len(dut.mass)],
            when=~dut.busy & some & ~s.held("began", dut.begin))
    s.claim("last_weight", "the weight of the last gap stands", dut.weight == latest, when=~dut.busy & some)
    s.claim("mass_busy", "it is busy while a gap is looked at that is not in the mass, and no longer",
            dut.busy == Cat(under_way).any(), when=dut.busy | s.held("ends", dut.busy) | looks)
    s.reach("two", ~dut.busy & some & (age == 2))


PROOFS = (
    Proof("RowTables", _tables, "induction", 10, 24, "weights of 4 bits"),
    Proof("GapMass", _mass, "induction", 9, 16, "two key groups, weights of 4 bits"),
)
