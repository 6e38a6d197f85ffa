"""Stages of the serial core: a row's keys in turn, its arithmetic, and what it leaves to the next stage."""

from amaranth import Array, Cat, Mux, Signal, Value, signed

from latte.golden.config import preset
from latte.rtl.serial.serial_estimator import SerialEstimator
from latte.rtl.serial.serial_scorer import SerialScorer
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_BUILD = preset("tiny", head_dim=4, bus_bytes=2, dim_lanes=2, cross_lanes=2, value_lanes=2, max_seq_len=2, heads=2,
                query_rows=4, estimate_bits=2).lean()
_KEYS = _BUILD.max_seq_len


def _largest(values: list[Value], count: Value) -> Value:
    """Return the largest of the first `count` values, one at least."""
    largest = values[0]
    for n, value in enumerate(values[1:], start=1):
        largest = Mux((n < count) & (value > largest), value, largest)
    return largest


class _Job:
    """The job that is being estimated, and its present row.

    Attributes
    ----------
    busy, left, keys
        There is one; rows that have not left, keys that the present one sees.
    age
        Cycles since the row's query was found; 0: it is looked for.
    ready_at
        The age at which the row is offered.
    """

    def __init__(self, s: Setting, dut: SerialEstimator) -> None:
        m, job, slices = s.m, dut.compute.payload, _BUILD.dim_slices
        self.busy, self.left, self.keys, causal = Signal(), Signal(16), Signal(range(_KEYS + 1)), Signal()
        s.assume("job", (job.rows != 0) & (job.keys != 0) & (job.keys <= _KEYS)
                 & (~job.causal | (job.rows <= job.keys)))
        s.assume("job_stands", ~self.busy | (job.causal == causal))
        self.ready_at = self.keys * slices + dut.latency + 1
        self.age = Signal(range(_KEYS * slices + dut.latency + 2))
        leaves = dut.row.valid & dut.row.ready
        with m.If(self.busy & Mux(self.age == 0, dut.query_available, self.age != self.ready_at)):
            m.d.sync += self.age.eq(self.age + 1)
        with m.If(leaves):
            m.d.sync += [self.age.eq(0), self.left.eq(self.left - 1), self.keys.eq(self.keys + causal),
                         self.busy.eq(self.left != 1)]
        with m.If(dut.compute.valid & dut.compute.ready):
            m.d.sync += [self.busy.eq(1), self.left.eq(job.rows), causal.eq(job.causal),
                         self.keys.eq(Mux(job.causal, job.keys - job.rows + 1, job.keys))]
        s.invariant("job", ~self.busy | ((self.left != 0) & (self.keys != 0) & (self.keys <= _KEYS) & Mux(
            causal, self.keys + self.left <= _KEYS + 1, 1)))
        s.invariant("age", Mux(self.busy, self.age <= self.ready_at, self.age == 0))


def _estimates(s: Setting) -> None:
    dut = SerialEstimator(_BUILD)
    inside, m, lanes = s.add(dut), s.m, _BUILD.dim_lanes * _BUILD.estimate_bits
    job, width = _Job(s, dut), _BUILD.head_dim * _BUILD.estimate_bits
    # Keys are always the same, each row has a query of its own.
    keys, query = [s.constant(f"key_{n}", width) for n in range(_KEYS)], Signal(width)
    leaves, row = dut.row.valid & dut.row.ready, dut.row.payload
    with m.If(~job.busy | leaves):
        m.d.sync += query.eq(s.free("query", width))
    reads, key, part = (s.held(name, value) for name, value in (
        ("reads", dut.keys.read), ("key", dut.keys.key), ("part", dut.keys.slice)))
    m.d.comb += [dut.query.eq(query.word_select(s.held("query_part", dut.query_slice), lanes)),
                 dut.keys.data.eq(Mux(reads, Array(keys)[key].word_select(part, lanes), s.free("other", lanes)))]
    products = [sum(query.word_select(n, _BUILD.estimate_bits).as_signed()
                    * one.word_select(n, _BUILD.estimate_bits).as_signed() for n in range(_BUILD.head_dim))
                for one in keys]
    dots = [Signal(signed(_BUILD.est_bits), name=f"estimate_{n}") for n in range(_KEYS)]
    m.d.comb += [dot.eq(product) for dot, product in zip(dots, products, strict=True)]
    # Any key of the row that left last.
    at, last, last_keys = s.constant("at", range(_KEYS)), Signal.like(dots[0]), Signal.like(job.keys)
    with m.If(leaves):
        m.d.sync += [last.eq(Array(dots)[at]), last_keys.eq(job.keys)]
    _progress(s, inside, job, dots, at, last, last_keys)
    steps = job.age - 1
    s.claim("job_ready", "a job is taken when all rows of the one before have left", dut.compute.ready == ~job.busy,
            when=dut.compute.valid)
    s.claim("reads", "each slice of each key that the row sees is read once, in turn, with that of the query",
            dut.keys.read == ((job.age != 0) & (job.age <= job.keys * _BUILD.dim_slices)),
            when=dut.keys.read | (job.age != 0))
    s.claim("addresses", "key by key, slice by slice, from 0 on",
            (dut.keys.key == steps[1:]) & (dut.keys.slice == steps[0]) & (dut.query_slice == steps[0]),
            when=dut.keys.read)
    s.claim("offered", "a row is offered when its keys and the latency have passed, and stands until it is taken",
            dut.row.valid == (job.age == job.ready_at), when=dut.row.valid | (job.age != 0))
    s.claim("sees", "as many rows leave as the job has, each with the keys that it sees, the last alone marked",
            job.busy & (row.keys == job.keys) & (row.job_last == (job.left == 1)), when=dut.row.valid)
    s.claim("maximum", "with the largest dot product of the query and a key that it sees",
            row.maximum == _largest(dots, job.keys), when=dut.row.valid)
    s.claim("estimate", "of the row that left last, the dot product with any key is read until the next one leaves",
            dut.estimate == s.held("last", last), when=s.held("asked", (dut.index == at) & (at < last_keys)))
    s.claim("waits", "it is told why no slice is read", (dut.waiting_for_query == (
        job.busy & (job.age == 0) & ~dut.query_available)) & (dut.waiting_for_row == (dut.row.valid & ~dut.row.ready)),
        when=dut.waiting_for_query | dut.waiting_for_row)


def _progress(s: Setting, inside: Inside, job: _Job, dots: list[Signal], at: Value, last: Value, last_keys: Value
              ) -> None:
    """Say how far the row is."""
    dut, m = inside.block, s.m
    memory, half, written = inside.part("memory").memory("array_0"), inside["half"], Signal(range(_KEYS + 1))
    m.d.comb += written.eq(Mux(job.age > dut.latency, (job.age - dut.latency - 1) >> 1, 0))
    now, before = memory.read_port(domain="comb"), memory.read_port(domain="comb")
    m.d.comb += [now.addr.eq(Cat(at, half)), before.addr.eq(Cat(at, ~half))]
    ends, steps = job.keys * _BUILD.dim_slices, job.age - 1
    reads = (job.age != 0) & (job.age <= ends)
    whole = job.busy & (written == job.keys)
    for name, condition in {
            "job": inside.state("JOB") == ~job.busy, "query": inside.state("QUERY") == (job.busy & (job.age == 0)),
            "states": inside.state(),
            "offer": inside.state("OFFER") == (job.busy & (job.age == job.ready_at)),
            "address": ~reads | ((dut.keys.key == steps[1:]) & (dut.keys.slice == steps[0])),
            "row": ~job.busy | ((inside["rows_left"] == job.left) & (inside["visible"] == job.keys)),
            "written": (inside["written"] == Mux(whole, 0, written))
                       & (inside["first_key"] == (whole | (written == 0))),
            "maximum": (written == 0) | (dut.row.payload.maximum == _largest(dots, written)),
            "estimate": (at >= written) | (now.data == Array(dots)[at]),
            "last": (last_keys <= _KEYS) & ((at >= last_keys) | (before.data == last))}.items():
        s.invariant(f"progress_{name}", condition)


class _Filtered:
    """The row that is being filtered.

    Attributes
    ----------
    busy, keys
        There is one; keys that it sees.
    judged, kept
        Keys that have passed the filter; survivors among them.
    wait
        Cycles until the next key is judged, or the row is offered.
    judging, scoring, done
        A key is judged in this cycle; a survivor is scored; the row is offered.
    """

    def __init__(self, s: Setting, dut: SerialScorer) -> None:
        m, row, length = s.m, dut.row.payload, range(_KEYS + 1)
        self.busy, self.keys, self.judged, self.kept = Signal(), *(Signal(length, name=name) for name in (
            "keys", "judged", "kept"))
        self.wait, self.limit, self.job_last = Signal(range(dut.score_cycles + 1)), Signal(signed(12)), Signal()
        self.judging = self.busy & (self.wait == 0) & (self.judged != self.keys)
        self.scoring = self.busy & (self.wait != 0) & (self.judged != 0)
        self.done = self.busy & (self.wait == 0) & (self.judged == self.keys)
        self.keep = dut.estimate > self.limit
        s.assume("keys", (row.keys != 0) & (row.keys <= _KEYS))
        m.d.sync += self.wait.eq(Mux(self.wait == 0, 0, self.wait - 1))
        with m.If(self.judging):
            m.d.sync += [self.judged.eq(self.judged + 1), self.kept.eq(self.kept + self.keep),
                         self.wait.eq(Mux(self.keep, dut.score_cycles, 0))]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += self.busy.eq(0)
        with m.If(dut.row.valid & dut.row.ready):
            m.d.sync += [self.busy.eq(1), self.judged.eq(0), self.kept.eq(0), self.wait.eq(dut.latency - 1),
                         self.keys.eq(row.keys), self.limit.eq(row.maximum - dut.tau), self.job_last.eq(row.job_last)]
        s.invariant("row", ~self.busy | ((self.judged <= self.keys) & (self.kept <= self.judged) & (self.keys != 0)
                                         & (self.keys <= _KEYS) & (self.wait <= dut.score_cycles)))
        s.invariant("begins", ~(self.busy & (self.judged == 0)) | ((self.wait < dut.latency) & (self.kept == 0)))
        s.invariant("scores", ~self.scoring | (self.kept != 0))


def _scores(s: Setting) -> None:
    dut = SerialScorer(_BUILD)
    inside, m, low = s.add(dut), s.m, _BUILD.low_bits
    memory = inside.part("memory").memory("array_0")
    now, before = memory.read_port(domain="comb"), memory.read_port(domain="comb")
    row, o = _Filtered(s, dut), dut.o.payload
    # The sum of a slice's products, and of those of the survivor's slices so far.
    slice_sum, total = Signal(signed(_BUILD.cross_bits)), Signal(signed(_BUILD.cross_bits))
    m.d.comb += slice_sum.eq(sum(inside["_cross_products.terms"]))
    came = s.held("read", row.scoring & (row.wait > 2))
    with m.If(came):
        m.d.sync += total.eq(Mux(row.wait == dut.score_cycles - 1, 0, total) + slice_sum)
    score, largest = Signal(signed(len(o.maximum))), Signal(signed(len(o.maximum)))
    estimate = Signal.like(dut.estimate)
    stores, key = row.scoring & (row.wait == 1), row.judged - 1
    m.d.comb += score.eq((estimate << low) + total)
    with m.If(row.judging):
        m.d.sync += estimate.eq(dut.estimate)
    asked = s.held("index", dut.index)
    s.assume("estimate", ~row.scoring | (asked != key) | (dut.estimate == estimate))
    # Any survivor, by its place among them; of the row that left last as well.
    at, leaves = s.constant("at", range(_KEYS)), dut.o.valid & dut.o.ready
    entry, last, last_kept = Signal(dut.stored), Signal(dut.stored), Signal.like(row.kept)
    with m.If(stores):
        with m.If((row.kept == 1) | (score > largest)):
            m.d.sync += largest.eq(score)
        with m.If(row.kept - 1 == at):
            m.d.sync += [entry.score.eq(score), entry.key.eq(key)]
    with m.If(leaves):
        m.d.sync += [last.eq(entry), last_kept.eq(row.kept)]
    _score_states(s, inside, row, total)
    half = inside["elaborate.half"]
    m.d.comb += [now.addr.eq(Cat(at, half)), before.addr.eq(Cat(at, ~half))]
    stored = row.kept - row.scoring
    for name, condition in {
            "largest": (stored == 0) | ~row.busy | (o.maximum == largest),
            "kept": o.survivors == Mux(row.busy, stored, 0),
            "entry": ~row.busy | (at >= stored) | (now.data.as_value() == entry.as_value()),
            "last": (last_kept <= _KEYS) & ((at >= last_kept) | (before.data.as_value() == last.as_value()))}.items():
        s.invariant(name, condition)
    s.claim("row_taken", "a row is taken when the one before it has left", dut.row.ready == ~row.busy,
            when=dut.row.valid)
    s.claim("judged", "each key is judged once, in turn: it survives if its estimate, asked for a cycle before, is "
            "above the largest one less tau", (dut.probe.valid == row.judging) & (~row.judging | (
                (asked == row.judged) & (dut.probe.keep == row.keep)
                & (dut.probe.row_last == (row.judged == row.keys - 1)))), when=dut.probe.valid | row.judging)
    s.claim("slices", "of a survivor each slice is read once, in turn, with that of the query; of other keys none",
            (dut.keys.read == (row.scoring & (row.wait > 2))) & (~dut.keys.read | (
                (dut.keys.key == key) & (dut.keys.slice == (row.wait == 3)) & (dut.query_slice == dut.keys.slice))),
            when=dut.keys.read | row.scoring)
    s.claim("row_offered", "a row is offered when the latency, its keys and the cycles of its survivors have passed, "
            "and stands until it is taken", dut.o.valid == row.done, when=dut.o.valid | row.done)
    s.claim("row_tells", "with the number of its survivors and its job's end",
            (o.survivors == row.kept) & (o.job_last == row.job_last), when=dut.o.valid)
    s.claim("largest", "and the largest score", o.maximum == largest, when=dut.o.valid & (row.kept != 0))
    s.claim("score", "of the row that left last any survivor is read in its turn, with its score: its estimate "
            "and the sum of its slices' products", dut.score.as_value() == s.held("last", last.as_value()),
            when=s.held("asked", (dut.score_index == at) & (at < last_kept)))
    s.claim("query_free", "its query is needed until it leaves, no longer", dut.scored == leaves,
            when=dut.scored | leaves)


def _score_states(s: Setting, inside: Inside, row: _Filtered, total: Value) -> None:
    """Say where a row is."""
    dut = inside.block
    key, part = dut.keys.key, dut.keys.slice
    for name, condition in {
            "row": inside.state("ROW") == ~row.busy, "filter": inside.state("FILTER") == row.judging,
            "read": inside.state("READ") == (row.busy & (row.wait != 0) & (row.judged == 0)),
            "score": inside.state("SCORE") == (row.scoring & (row.wait > 2)),
            "product": inside.state("LAST PRODUCT") == (row.scoring & (row.wait == 2)),
            "store": inside.state("STORE") == (row.scoring & (row.wait == 1)), "states": inside.state(),
            "key": key == Mux(row.busy, row.judged - (row.scoring | row.done), 0),
            "part": part == (row.scoring & (row.wait == 3)), "job": ~row.busy | (
                (inside["elaborate.keys"] == row.keys) & (dut.o.payload.job_last == row.job_last)
                & (inside["threshold"] == row.limit)),
            "total": ~row.scoring | (row.wait > 2) | (inside["_cross_products.total"] == total)}.items():
        s.invariant(f"at_{name}", condition)


PROOFS = (
    Proof("SerialEstimator", _estimates, "induction", 7, 13, "2 keys of 2 slices, elements of 2 bits"),
    Proof("SerialScorer", _scores, "induction", 2, 12,
          "2 keys of 2 slices, one threshold; products as the block has them"),
)
