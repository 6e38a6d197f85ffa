"""Whole cores: every job ends, and nothing stands still, whatever the data."""

import functools
from collections.abc import Callable

from amaranth import Array, Cat, Mux, Signal

from latte.golden.config import AttentionConfig
from latte.rtl.common.core import Core
from latte.rtl.dense.dense_core import DenseCore
from latte.rtl.serial.serial_core import SerialCore
from latte.rtl.wide.wide_core import WideCore
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_WIDE = AttentionConfig(
    head_dim=4, max_seq_len=2, heads=1, estimate_bits=2, weight_bits=4, exp_frac_bits=4, reciprocal_bits=4,
    fraction_bits=0, query_lanes=1, key_lanes=1, dim_lanes=4, cross_lanes=4, value_lanes=4, normalizer_lanes=4,
    bus_bytes=4, kv_banks=1, query_rows=4, survivor_fifo_depth=32, pe_structure="multiplier")
_SERIAL = _WIDE.replace(engine="serial", dim_lanes=2, cross_lanes=2, value_lanes=2, normalizer_lanes=1, bus_bytes=2)
_DENSE = _WIDE.replace(engine="dense", estimate_bits=4)
_ROWS = 2
"""Queries of a job, at most."""


def _wide(s: Setting, **said: int) -> None:
    core = WideCore(_WIDE)
    inside = s.add(core)
    s.cut(inside.part("score_estimator"), "dot_0_0")
    s.cut(inside.part("cross_product_unit"), "cross")
    s.cut(inside.part("softmax"), "pipeline")
    _core(s, core, inside, **said)


def _serial(s: Setting, **said: int) -> None:
    core = SerialCore(_SERIAL)
    inside = s.add(core)
    s.cut(inside.part("score_estimator"), "dot")
    _core(s, core, inside, **said)


def _dense(s: Setting, **said: int) -> None:
    core = DenseCore(_DENSE)
    inside = s.add(core)
    array = inside.part("score_array")
    for halves in ("high_high", "high_low", "low_high", "low_low"):
        s.cut(array.part(halves), "dot_0_0")
    s.cut(inside.part("softmax"), "pipeline_0")
    _core(s, core, inside, **said)


def _core(s: Setting, core: Core, inside: Inside, *, jobs: int, cycles: int, still: int, waits: int) -> None:
    """Say that so many `jobs` end within so many `cycles`, and that nothing moves for fewer than `still` at most."""
    m, job, o, sources = s.m, core.job, core.o, (core.q, core.k, core.v)
    # A job has any entry, or none, at any time; a threshold of 0, which keeps nothing, is held as 1 (`HeadRegisters`).
    registers = s.cut(inside, "head_registers")
    place = s.held("place", registers.index, registers.latency)
    s.assume("threshold", (place != len(registers.words) - 1) | (registers.word[:core.config.est_bits] != 0))
    s.reset_once()

    # Jobs of any shape are offered at once, and all that they ask for.
    taken, judged = (Signal(range(jobs + 1), name=name) for name in ("taken", "judged"))
    offered = [s.constant(f"job_{n}", job.payload.shape()) for n in range(jobs)]
    for n, shape in enumerate(offered):
        s.assume(f"shape_{n}", (shape.query_rows <= _ROWS) & (shape.load_rows <= core.config.max_seq_len + 1))
    m.d.comb += [job.valid.eq(~s.reset & (taken != jobs)),
                 job.payload.eq(Array(shape.as_value() for shape in offered)[taken])]
    waiting = Cat(*(source.ready & ~source.valid for source in sources), o.valid & ~o.ready).any()
    if waits:
        waited = Signal(range(waits + 1))
        m.d.sync += waited.eq(waited + waiting)
        s.assume("waits", ~waiting | (waited != waits))
    else:
        m.d.comb += [o.ready.eq(1), *(source.valid.eq(1) for source in sources)]

    # Rows that are due, and at which of them a job ends.
    refused = Cat(core.verdict[name] for name in core.verdict.shape().members if name != "valid").any()
    if jobs > 1:
        s.assume("first_refused", ~core.verdict.valid | (judged != 0) | refused)
    rows, ends = Signal(range(_ROWS + 1)), Signal(range(jobs + 1))
    due, came, ended = Signal(range(_ROWS + 1)), Signal(range(_ROWS + 1)), Signal(range(jobs + 1))
    with m.If(job.valid & job.ready):
        m.d.sync += [taken.eq(taken + 1), rows.eq(job.payload.query_rows)]
    with m.If(core.verdict.valid):
        m.d.sync += judged.eq(judged + 1)
        with m.If(~refused):
            m.d.sync += [due.eq(rows), ends.eq(rows != 0)]
    row = o.valid & o.ready & o.payload.row_last
    with m.If(row):
        m.d.sync += [came.eq(came + 1), ended.eq(ended + o.payload.job_last)]

    clock, gone = Signal(range(cycles + 1)), Signal(range(still + 1))
    moves = (job.valid & job.ready) | (o.valid & o.ready) | Cat(source.valid & source.ready for source in sources).any()
    stands = ((taken != judged) | (came != due) | job.valid) & ~moves
    over = clock == cycles
    m.d.sync += [clock.eq(Mux(over, cycles, clock + ~waiting)), gone.eq(Mux(stands, gone + ~waiting, 0))]
    # Each claim is asked once, in the last cycle: what was wrong before is kept until then.
    wrong_row, stood_still = Signal(), Signal()
    with m.If(row & ((came >= due) | (o.payload.job_last != (came + 1 == due)))):
        m.d.sync += wrong_row.eq(1)
    with m.If(stands & ~waiting & (gone == still - 1)):
        m.d.sync += stood_still.eq(1)
    what = "a job" if jobs == 1 else "a job that is refused, and one behind it,"
    counted = f"{cycles} cycles behind reset" + (", those that the core waits not counted" if waits else "")
    s.claim("ends", f"{what} of any shape and data is over {counted}, and the next can come",
            (judged == jobs) & (came == due) & (ended == ends) & job.ready, when=over)
    s.claim("rows", "a job gives as many rows as it asked for, none if it is refused, the last of them marked",
            ~wrong_row, when=over)
    s.claim("moves", f"while a job is under way, something is taken or given in any {still} cycles", ~stood_still,
            when=over)
    s.reach("most_rows", over & (due == _ROWS))
    s.reach("no_rows", over & (ends == 0))


_SHAPES = "any entry, up to 2 queries of 4 elements and 3 keys, of which 2 fit; "
_ANY = "any products and weights in place of the true ones"
_ESTIMATES = "any estimates in place of the true ones"


def _proofs(block: str, describe: Callable[..., None], anything: str, *, one: int, two: int, still: int,
            waits: int) -> list[Proof]:
    """Return the proofs of a core: one job, another behind a refused one, and one with sources and sink that wait."""
    return [
        Proof(block, functools.partial(describe, jobs=jobs, cycles=cycles, still=still, waits=most), "bounded",
              cycles + most + 2, cycles + most + 2, f"{_SHAPES}{patience}; {anything}", variant)
        for variant, jobs, cycles, most, patience in (
            ("", 1, one, 0, "nobody waits"), ("behind_refused", 2, two, 0, "nobody waits"),
            ("waits", 1, one, waits, f"up to {waits} cycles in which a source or the sink lets the core wait"))]


PROOFS = (
    *_proofs("WideCore", _wide, _ANY, one=128, two=150, still=110, waits=4),
    *_proofs("SerialCore", _serial, _ESTIMATES, one=116, two=150, still=60, waits=2),
    *_proofs("DenseCore", _dense, _ANY, one=102, two=125, still=85, waits=4),
)
