"""Jobs of a core with keys in memory: handed over, with their rows, brought to their end, each once."""

from amaranth import Cat, Mux, Signal, Value

from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.descriptors import STATUS_BYTES, STATUS_OFFSET
from latte.rtl.axi.payloads import STREAMS
from latte.rtl.memory.cache_completer import CacheCompleter
from latte.rtl.memory.cache_descriptors import cache_status_word_layout
from latte.rtl.memory.cache_dispatcher import CacheDispatcher
from latte.sim.formal.proofs.axi_master import MASTER
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


def _completes(s: Setting) -> None:
    dut = CacheCompleter(_ROW_BYTES, MASTER, 16)
    inside, m = s.add(dut), s.m
    bursts = inside.part("bursts")
    offer, ended, burst, write = dut.begun.payload, dut.ended.payload, dut.burst.payload, dut.write.payload
    for name in ("begun", "ended"):
        port = getattr(dut, name)
        s.assume_stable(f"{name}_stable", port.valid, port.ready, port.payload)
    s.assume("aligned", ~dut.begun.valid | ~Cat(offer.address[:3], offer.stride[:3]).any())
    begins, ends = dut.begun.valid & dut.begun.ready, dut.ended.valid & dut.ended.ready
    asks, gives = dut.burst.valid & dut.burst.ready, dut.write.valid & dut.write.ready
    # How far the descriptor is: it has begun, all its rows were given; its status is asked for, and written.
    opened, over, told, worded, faulty = (Signal(name=name) for name in (
        "is_open", "is_over", "is_told", "is_worded", "is_faulty"))
    begun, causes = Signal(offer.shape()), Signal(ended.shape(), name="its_causes")
    rowing = opened & begun.in_core & ~over
    # The engine: beats that are owed, bursts without an answer.
    owed = s.count("owed", asks, gives, 1)
    unanswered = s.count("unanswered", asks, dut.answered, MASTER.writes_in_flight)
    s.assume("engine", (~dut.burst.ready | (((owed == 0) | gives) & (unanswered != MASTER.writes_in_flight)))
             & (~dut.write.ready | (owed != 0)) & (~dut.answered | (unanswered > owed))
             & (dut.unanswered == (unanswered != 0)))
    leaves, comes = dut.beat.valid & dut.beat.ready, s.free("comes")
    level = s.count("level", comes, leaves, dut.depth)
    s.assume("level", (dut.level == level) & (~comes | (level != dut.depth)) & (~dut.beat.valid | (level != 0)))
    s.assume("address", ~s.held("its_status", dut.burst.valid) | (dut.address == s.held("address", dut.address)))
    # Rows that were given and not written: those of a job before it has ended.
    most = 15
    waiting = s.count("rows_waiting", dut.given, asks & rowing, most)
    s.assume("given", ~dut.given | (~dut.ended.valid & (waiting != most)))
    # Where the next one goes.
    head, row, position = Signal.like(begun.heads), Signal.like(begun.address), Signal.like(begun.address)
    following = [Mux(head + 1 == begun.heads, 0, head + 1), Mux(head + 1 == begun.heads, position, row + _ROW_BYTES),
                 Mux(head + 1 == begun.heads, position + begun.stride, position)]
    place = [head, row, position]
    with m.If(asks & rowing):
        m.d.sync += [at.eq(after) for at, after in zip(place, following, strict=True)]
    with m.If(dut.answered & dut.fault.as_value().any()):
        m.d.sync += faulty.eq(1)
    with m.If(ends):
        m.d.sync += [over.eq(1), causes.eq(ended)]
    m.d.sync += [told.eq(told | (asks & ~rowing)), worded.eq(worded | (gives & told))]
    with m.If(begins):
        m.d.sync += [opened.eq(1), begun.eq(offer), causes.eq(offer.causes), head.eq(0), row.eq(offer.address),
                     position.eq(offer.address + offer.stride), faulty.eq(0)]
    with m.If(dut.done):
        m.d.sync += [opened.eq(0), over.eq(0), told.eq(0), worded.eq(0)]
    state, busy = inside.state, ~bursts.state("IDLE")
    at = [inside["head"], inside["row_address"], inside["position_address"]]
    for name, condition in {
            "any": state() & bursts.state(), "open": opened == ~state("IDLE", "LEAVE"),
            "rows": state("ROWS") == rowing, "over": ~(over | told) | opened, "answers": ~state("ANSWERS") | over,
            "told": told == state("WORD", "ANSWER", "DONE"), "worded": worded == state("ANSWER", "DONE"),
            "over_told": ~state("STATUS", "WORD", "ANSWER", "DONE") | over | ~begun.in_core,
            "in_core": ~over | begun.in_core, "busy": ~busy | rowing,
            "waiting": waiting == (inside["rows"] + busy), "few": waiting <= most,
            "begun": ~opened | (inside["begun"].as_value() == begun.as_value()),
            "causes": ~opened | (inside["causes"].as_value() == causes.as_value()),
            "faulty": ~opened | ((inside["faulty"] == faulty) & ~causes.write_failed),
            "unanswered": (unanswered >= owed) & (unanswered <= MASTER.writes_in_flight),
            "level": level <= dut.depth,
            "owed": Mux(state("ROWS", "ANSWERS"), (owed == inside["writes"].owed) & (owed <= level),
                        inside["writes"].owed == 0),
            "none": ~state("STATUS", "DONE", "LEAVE", "IDLE") | (unanswered == 0),
            "word": ~state("WORD") | ((unanswered == 1) & (owed == 1)), "answer": ~state("ANSWER") | (owed == 0),
            "run": ~bursts.state("RUN") | ((bursts["rows"] == 1) & ~bursts["joined"]),
            "cut": ~bursts.state("CUT", "OFFER") | ((bursts["left"] == 1) & (bursts["rows"] == 0)),
            "beats": ~bursts.state("OFFER") | (bursts["beats"] == 1),
            "address": ~busy | (Mux(bursts.state("RUN"), bursts["row_address"], bursts["address"]) == row)}.items():
        s.invariant(name, condition)
    for name, here, now, after in zip(("head", "row", "position"), at, place, following, strict=True):
        s.invariant(f"its_{name}", ~rowing | (here == Mux(busy, after, now)[:len(now)]))
    s.claim("complete_rows", "each row that is given is written to the next place: a position's rows behind each "
            "other, positions a stride apart; when its beat is there", (burst.address == row) & (burst.beats == 1)
            & (waiting != 0) & (level > owed), when=dut.burst.valid & rowing)
    s.stable("complete_offer", "a burst stands until it is begun", dut.burst.valid, dut.burst.ready, burst)
    s.claim("complete_beats", "with the beats as they come", dut.beat.valid & (dut.beat.ready == dut.write.ready)
            & (Value.cast(write) == Value.cast(dut.beat.payload)), when=dut.write.valid & ~told)
    s.claim("complete_all", "a job is over when all its rows are on their way", rowing & (waiting == 0), when=ends)
    s.claim("complete_status", "its status is written behind that, when all of them are answered, to its descriptor",
            opened & ~told & (over | ~begun.in_core) & (unanswered == 0) & (burst.beats == 1)
            & (burst.address == (dut.address | STATUS_OFFSET)) & (dut.release == dut.burst.ready),
            when=dut.burst.valid & ~rowing)
    word = Signal(cache_status_word_layout())
    m.d.comb += [word[name].eq(causes[name]) for name in causes.shape().members]
    m.d.comb += [word.done.eq(1), word.error.eq(causes.as_value().any() | faulty), word.number.eq(dut.number)]
    with m.If(faulty):
        m.d.comb += word.write_failed.eq(1)
    s.assume("write_failed", ~(dut.begun.valid & offer.causes.write_failed) & ~(dut.ended.valid & ended.write_failed))
    s.claim("complete_word", "it says what became of the descriptor, and whether a write of its rows failed",
            ~worded & (write.data == word.as_value()) & (write.strobe == (1 << STATUS_BYTES) - 1),
            when=dut.write.valid & told)
    s.claim("complete_done", "a descriptor is done once, when that is answered", opened & worded & (unanswered == 0),
            when=dut.done)
    s.claim("complete_tells", "and then it is told what became of it", (dut.interrupt == begun.interrupt)
            & (dut.invalid == ~begun.in_core)
            & (dut.refused == Cat(causes[f"refused_{name}"] for name in REFUSALS).any())
            & (dut.failed == Cat(causes[f"failed_{name}"] for name in FAILURES).any()), when=dut.done)
    s.claim("complete_one", "the next one is taken behind that", ~opened & (unanswered == 0), when=begins)
    s.within("complete_soon", "within two cycles", 1, waits=~opened & ~dut.begun.ready)
    s.reach("two_rows", ends & (head == 2) & (begun.heads == 3))


PROOFS = (
    Proof("CacheDispatcher", _dispatches, "induction", 3, 16, "rows of 8 bytes"),
    Proof("CacheCompleter", _completes, "induction", 3, 14, "rows of a beat of 8 bytes"),
)
