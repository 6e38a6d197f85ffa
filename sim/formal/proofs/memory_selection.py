"""Selection and sums of a tile's rows: candidates, counts of estimates, sums of values."""

from amaranth import Cat, Mux, Signal, signed

from latte.rtl.memory.candidate_filter import CandidateFilter
from latte.rtl.memory.estimate_histogram import EstimateHistogram
from latte.rtl.memory.row_sums import HALF_BITS, RowSums
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_LEAN = small_build()
_SUMS = small_build(head_dim=16, weight_bits=4)


def _candidates(s: Setting) -> None:
    build = _LEAN
    dut = CandidateFilter(build)
    inside, m, latency = s.add(dut), s.m, CandidateFilter.latency
    standing = Cat(dut.keys, dut.reach, dut.absolute, dut.code)
    s.assume("stands", ~dut.busy | (standing == s.held("standing", standing)))
    s.assume("restart", ~dut.restart | ~dut.busy)
    # The largest estimate of the row's keys so far.
    sees, begun = dut.valid & (dut.place < dut.keys), Signal()
    largest, estimate = Signal(dut.key.estimate.shape()), dut.key.estimate
    with m.If(sees):
        m.d.sync += [begun.eq(1), largest.eq(Mux(begun & ~dut.restart & (largest > estimate), largest, estimate))]
    with m.Elif(dut.restart):
        m.d.sync += begun.eq(0)
    latest = s.held("latest", largest)
    maximum = inside.part("maximum")
    for name, condition in {
            "fresh": inside["fresh"] == ~s.held("had", begun & ~dut.restart),
            "maximum": ~s.held("begun_before", begun) | (Mux(maximum["take"], maximum["latest"], maximum.block.maximum)
                                                         == latest)}.items():
        s.invariant(name, condition)
    was = [s.held(name, value, age) for name, value, age in (
        ("seen", sees, latency), ("place", dut.place, latency), ("key", dut.key.as_value(), latency))]
    o, row_max = dut.o, s.held("row_max", largest, latency - 1)
    came = s.held("estimate", estimate, latency)
    gap = row_max - came
    s.claim("gives", "each key that the row sees is given, as it came, and no other", dut.o_valid & (
        Cat(dut.o.place, *(dut.o[name] for name in dut.key.shape().members)) == Cat(was[1], was[2])),
        when=dut.o_valid | was[0])
    above = s.held("absolute", dut.absolute, latency) & (came > s.held("code", dut.code, latency))
    s.claim("candidate", "a candidate lies less than the reach below the largest estimate up to it, or above an "
            "absolute code; and above the floor", o.candidate == (((gap < s.held("reach", dut.reach, latency)) | above)
                                                         & (came > s.held("floor", dut.floor))), when=dut.o_valid)
    s.claim("window", "it counts if it lies in the window below that", o.counts == (gap < build.window),
            when=dut.o_valid)
    s.claim("largest", "the largest estimate stands until the next key", o.row_max == row_max,
            when=s.held("some", begun, latency - 1))
    s.claim("busy", "it is busy while a key is inside", dut.busy == Cat(
        s.held("inside", sees, age) for age in range(1, latency + 1)).any(), when=dut.busy)
    s.reach("below", dut.o_valid & ~o.candidate & (gap != 0))
    s.reach("above", dut.o_valid & o.candidate & (gap != 0))


def _counts(s: Setting) -> None:
    build = _LEAN
    dut = EstimateHistogram(build)
    inside, m, latency, writes = s.add(dut), s.m, EstimateHistogram.latency, EstimateHistogram.latency + 1
    bits = (build.window - 1).bit_length()
    s.assume("rows", ~(dut.valid & (~dut.ready | dut.restart)) & ~(dut.restart & (dut.busy | ~dut.ready)))
    # Any estimate, and the keys that have it. Others at its word are a window away: behind a larger one it is below the
    # window and gone, and no smaller one counts behind it.
    ours, gone = s.constant("any_estimate", dut.estimate.shape()), Signal()
    count = Signal(range(build.core.max_seq_len + 1))
    comes, other = dut.valid & (dut.estimate == ours), dut.valid & (dut.estimate[:bits] == ours[:bits])
    s.assume("window", ~(other & (dut.estimate < ours) & (count != 0)) & ~(comes & gone))
    s.assume("most", ~comes | (count != build.core.max_seq_len))
    m.d.sync += [count.eq(count + comes), gone.eq(gone | (other & (dut.estimate > ours)))]
    with m.If(dut.restart):
        m.d.sync += [count.eq(0), gone.eq(0)]
    under_way = [s.held("comes", comes, age) for age in range(1, writes + 1)]
    written = Signal.like(count)
    m.d.comb += written.eq(count - sum(under_way))
    # Behind reset all words are cleared in turn; later one of them behind each row.
    row, cleared, left, began = inside["row"], inside["cleared"], inside["left"], Signal(name="has_begun")
    steady = began | dut.ready
    with m.If(dut.ready):
        m.d.sync += began.eq(1)
    swept = steady | (ours[:bits] < cleared)
    s.invariant("sweep", Mux(steady, left <= 1, (cleared + left == build.window) & (row == 0) & (count == 0)))
    window = inside.part("words_0").memory("array_0").read_port(domain="comb")
    m.d.comb += window.addr.eq(ours[:bits])
    found = window.data
    age, since = (row - found.row)[:len(row)], (cleared - 1 - ours)[:bits]
    of_row = (found.row == row) & (found.tag == ours[bits:])
    s.invariant("old", ~swept | (found.count == 0) | (age <= since + left))
    s.invariant("count", gone | ~swept | (Mux(of_row, found.count, 0) == written))
    kept = s.held("written", written, latency)
    asks = s.held("asks", (dut.estimate == ours) & ~gone & dut.ready, latency) & ~Cat(
        s.held("ends", dut.restart, age) for age in range(1, latency + 1)).any()
    s.claim("counts", "the count of any estimate: the keys of the row that have it, but those on their way",
            dut.counts[0] == kept, when=asks)
    s.claim("busy", "it is busy while any is on its way", dut.busy | ~Cat(under_way).any(), when=Cat(under_way).any())
    s.claim("ready", "a row may begin in the second cycle behind another one", dut.ready,
            when=s.held("ended", dut.restart, 2))
    s.reach("two", asks & (kept == 2))
    s.reach("next_row", asks & (kept == 1) & (row == 1))


def _sums(s: Setting) -> None:
    dut = RowSums(_SUMS, 2)
    inside, m = s.add(dut), s.m
    step, weight, latency = dut.step, dut.weight, RowSums.latency
    row, part = s.constant("any_row", range(dut.rows)), s.constant("any_slice", step.slice.shape())
    lane = 0
    s.assume("steps", (step.valid | ~step.ends) & (weight.valid | ~weight.ends))
    # What any sum of values, and any sum of weights, is behind the step at hand.
    word, window = dut.word[lane], inside.memory("sums").read_port(domain="comb")
    total, weights = Signal(signed(len(word))), Signal.like(dut.weight_sum)
    known, weighed = Signal(), Signal()
    product = step.factor * Mux(step.begins, 1, dut.operands[lane])
    ours = step.valid & (step.row == row) & (step.slice == part)
    with m.If(ours):
        m.d.sync += [total.eq(Mux(step.begins, 0, total) + Mux(step.high, product << HALF_BITS, product)),
                     known.eq(known | step.begins)]
    theirs = weight.valid & (weight.row == row)
    with m.If(theirs):
        m.d.sync += [weights.eq(Mux(weight.begins, 0, weights) + weight.adds), weighed.eq(weighed | weight.begins)]
    slices = dut.config.value_slices
    m.d.comb += window.addr.eq(Cat(part[:(slices - 1).bit_length()], row))
    s.invariant("sum", ~s.held("was_known", known, latency - 1)
                | (window.data[lane] == s.held("was", total, latency - 1)))
    weight_window = inside.memory("weight_sums").read_port(domain="comb")
    m.d.comb += weight_window.addr.eq(row)
    s.invariant("weights", ~s.held("was_weighed", weighed) | (weight_window.data == s.held("weights_were", weights)))
    s.claim("value_sums", "any sum of values is that of its steps, from the one that begins it to the one that ends it",
            dut.word_valid & (word == s.held("total", total, latency - 1)),
            when=s.held("ends", ours & step.ends & (known | step.begins), latency))
    s.claim("words", "a word is given for each step that ends a sum, and for no other",
            s.held("any_ends", step.ends, latency) == dut.word_valid, when=dut.word_valid)
    s.claim("weights", "and any sum of weights as well", dut.sum_valid & (dut.weight_sum == s.held("sum", weights)),
            when=s.held("weight_ends", theirs & weight.ends & (weighed | weight.begins), RowSums.sum_latency))
    s.claim("weight_sums", "which is given for each step that ends one, and for no other",
            s.held("any_sum", weight.ends, RowSums.sum_latency) == dut.sum_valid, when=dut.sum_valid)


PROOFS = (
    Proof("CandidateFilter", _candidates, "induction", 7, 14, "thresholds by mass"),
    Proof("EstimateHistogram", _counts, "induction", 11, 30, "a window of 16 estimates"),
    Proof("RowSums", _sums, "induction", 6, 14, "2 rows of 2 slices, weights of 4 bits"),
)
