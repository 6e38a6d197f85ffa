"""Jobs of a core with keys in memory: handed over, with their rows, brought to their end, each once."""

from amaranth import Cat, Signal, Value

from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.payloads import STREAMS
from latte.rtl.memory.cache_dispatcher import CacheDispatcher
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_ROW_BYTES = 8


def _dispatches(s: Setting) -> None:
    dut = CacheDispatcher(_ROW_BYTES)
    inside, m = s.add(dut), s.m
    asked, fields, begun, ended = dut.asked.payload, dut.asked.payload.fields, dut.begun.payload, dut.ended.payload
    s.assume_stable("asked_stable", dut.asked.valid, dut.asked.ready, asked)
    rows = {name: getattr(dut, f"rows_{name}") for name in STREAMS}
    takes = {name: port.valid & port.ready for name, port in {
        "begun": dut.begun, "job": dut.job, "k": rows["k"], "v": rows["v"]}.items()}
    # What has become of the descriptor that is asked for.
    went = {name: Signal(name=f"went_{name}") for name in takes}
    queries, place = Signal.like(fields.queries), Signal.like(fields.q_address)
    said, lost_rows, lost_query = Signal.like(dut.verdict), Signal(), Signal()
    s.assume("verdict", ~dut.verdict.valid | (went["job"] & ~said.valid))
    s.assume("lost", ~(dut.lost_k | dut.lost_v | dut.lost_q) | (went["job"] & ~dut.ended.valid))
    s.assume("drained", ~(s.held("drained", dut.drained) & dut.ended.valid) | dut.drained)
    query, over = rows["q"].valid & rows["q"].ready, dut.asked.valid & dut.asked.ready
    with m.If(query):
        m.d.sync += [queries.eq(queries + 1), place.eq(place + fields.q_stride)]
    with m.If(dut.verdict.valid):
        m.d.sync += said.eq(dut.verdict)
    m.d.sync += [lost_rows.eq(lost_rows | dut.lost_k | dut.lost_v), lost_query.eq(lost_query | dut.lost_q)]
    for name, take in takes.items():
        with m.If(take):
            m.d.sync += went[name].eq(1)
    with m.If(over):
        m.d.sync += [signal.eq(0) for signal in (*went.values(), queries, place, said, lost_rows, lost_query)]
    state, left = inside.state, fields.queries - queries
    steps = Cat(*went.values())
    for name, condition in {
            "any": state(), "asked": state("IDLE") | dut.asked.valid,
            "valid": state("IDLE", "BEGUN") | ~asked.invalid,
            "steps": steps == ((1 << state("JOB") + 2 * state("ROWS k") + 3 * state("ROWS v") + 4 * state(
                "QUERIES", "VERDICT", "ENDED")) - 1)[:len(steps)],
            "queries": state("QUERIES", "VERDICT", "ENDED") | (queries == 0),
            "left": state("IDLE") | (inside["left"] == left), "all": ~state("VERDICT", "ENDED") | (left == 0),
            "most": queries <= fields.queries,
            "place": state("IDLE") | (inside["address"] == (fields.q_address + place)[:len(place)]),
            "nothing": ~state("IDLE", "BEGUN", "JOB") | ~(said.as_value().any() | lost_rows | lost_query | queries.any()
                                                          | place.any()),
            "said": state("IDLE") | (inside["verdict"].as_value() == said.as_value()),
            "lost": state("IDLE") | ((dut.rows_failed == lost_rows) & (inside["query_failed"] == lost_query)),
            "ended": ~state("ENDED") | (said.valid & dut.drained)}.items():
        s.invariant(name, condition)
    has_begun = s.held("had_begun", dut.begun.valid)
    s.claim("dispatch_begins", "a descriptor begins once, before all else, not before the register file is settled "
            "unless it is invalid", dut.asked.valid & ~steps.any() & (begun.in_core == ~asked.invalid)
            & (begun.causes.as_value() == asked.causes.as_value())
            & (asked.invalid | has_begun | s.held("settled", dut.settled)), when=dut.begun.valid)
    s.claim("dispatch_outputs", "it says where the outputs go",
            Cat(begun.address, begun.stride, begun.heads, begun.interrupt) == Cat(
                fields.o_address, fields.o_stride, fields.heads, fields.interrupt), when=dut.begun.valid)
    s.claim("dispatch_job", "then its job is handed over once, as it was asked for, if it is valid",
            went["begun"] & ~went["job"] & ~asked.invalid
            & Cat(dut.job.payload[name] == fields[name] for name in dut.job.payload.shape().members).all(),
            when=dut.job.valid)
    for name, before in (("k", "job"), ("v", "k")):
        ask = rows[name].payload
        s.claim(f"dispatch_rows_{name}", f"then the rows of {name.upper()}, once", went[before] & ~went[name] & (
            Cat(ask.address, ask.stride, ask.rows) == Cat(fields[f"{name}_address"], fields.kv_stride, fields.rows)),
            when=rows[name].valid)
    ask = rows["q"].payload
    s.claim("dispatch_queries", "then those of Q, of one position after the other, a stride apart",
            went["v"] & (queries < fields.queries) & (ask.rows == fields.heads) & (ask.stride == _ROW_BYTES)
            & (ask.address == (fields.q_address + place)[:len(place)]), when=rows["q"].valid)
    s.claim("dispatch_ends", "a job ends behind its verdict, when all its rows are asked for and all outputs have left",
            went["v"] & (queries == fields.queries) & said.valid & dut.drained, when=dut.ended.valid)
    s.claim("dispatch_says", "with what the verdict said, and whether a read of its rows failed, of this job alone",
            Cat(ended[f"refused_{name}"] == said[name] for name in REFUSALS).all()
            & Cat(ended[f"failed_{name}"] == said[name] for name in FAILURES).all()
            & (ended.read_failed == (lost_rows | lost_query)), when=dut.ended.valid)
    s.claim("dispatch_over", "a descriptor is over when it has ended, or has begun and is invalid",
            (dut.ended.valid & dut.ended.ready) | (dut.begun.ready & dut.begun.valid & asked.invalid), when=over)
    s.claim("dispatch_rows_failed", "a fault of K or V is told until then", dut.rows_failed == lost_rows,
            when=went["job"])
    offers = [dut.begun, dut.job, *rows.values(), dut.ended]
    for name, port in zip(("begun", "job", *(f"rows_{name}" for name in STREAMS), "ended"), offers, strict=True):
        s.stable(f"dispatch_{name}_stable", f"`{name}` stands until it is taken", port.valid, port.ready,
                 Value.cast(port.payload))
    waits_for_core = went["v"] & (queries == fields.queries) & ~(said.valid & dut.drained)
    s.within("dispatch_prompt", "but for the core, and the register file, nothing is waited for",
             2, waits=dut.asked.valid & ~Cat(port.valid for port in offers).any() & ~waits_for_core
             & (dut.settled | asked.invalid | steps.any()))
    s.reach("two_queries", dut.ended.valid & (queries == 2))


PROOFS = (
    Proof("CacheDispatcher", _dispatches, "induction", 3, 16, "rows of 8 bytes"),
)
