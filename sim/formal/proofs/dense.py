"""The dense baseline: scores of four arrays, weights and sums of several keys at a time."""

from amaranth import Cat, Const, Mux, Signal, signed

from latte.golden.config import preset
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.dense.dense_softmax import DenseSoftmax
from latte.rtl.dense.dense_value_accumulator import DenseValueAccumulator
from latte.rtl.dense.score_array import ScoreArray
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_CONFIG = preset("small", head_dim=4, max_seq_len=8, heads=2, query_lanes=2, query_rows=8, dim_lanes=4, weight_bits=4,
                 exp_frac_bits=4, reciprocal_bits=4, pe_structure="multiplier").dense()


def _scores(s: Setting) -> None:
    dut = ScoreArray(_CONFIG)
    arrays = s.add(dut)["arrays"]
    row, lane = 1, 0
    # What the four arrays give is their own proof's: the sums of products of each pair of halves.
    sums = {halves: array.est[row][lane] for halves, array in arrays.items()}
    exact = ((sums["high", "high"] << 8) + ((sums["high", "low"] + sums["low", "high"]) << 4) + sums["low", "low"])
    valid = s.held("valid", dut.k_valid, dut.latency)
    behind = dut.latency - ScoreEstimator.latency_of(_CONFIG)
    s.claim("exact", "a score is the sum of its four products of halves, each with its weight",
            dut.score[row][lane] == s.held("exact", exact[:_CONFIG.score_bits].as_signed(), behind), when=valid)
    s.claim("one_score", "each beat of keys has its scores, `latency` cycles later, and nothing else has",
            dut.score_valid == valid, when=dut.score_valid | valid)
    for halves, array in arrays.items():
        name = "_".join(halves)
        s.claim(f"in_step_{name}", f"the array of {halves[0]} and {halves[1]} halves takes those of all rows and keys",
                (array.q.ready == dut.q.ready) & (array.q.valid == dut.q.valid)
                & (array.k_valid == dut.k_valid) & (array.k_bank == dut.k_bank)
                & Cat(array.q.payload.hi[n] == dut.q.payload.hi[n][halves[0]] for n in range(_CONFIG.head_dim)).all()
                & Cat(array.k_hi[lane][n] == dut.k[lane][n][halves[1]] for n in range(_CONFIG.dim_lanes)).all(),
                when=dut.q.valid & dut.k_valid)


def _softmax(s: Setting) -> None:
    dut = DenseSoftmax(_CONFIG)
    inside, m = s.add(dut), s.m
    lead = RowScanner.latency - RowScanner.row_latency
    # The row whose scores come, and which group of it.
    kept, group = Signal.like(dut.row), Signal.like(dut.o.group)
    row = Signal.like(kept)
    m.d.comb += row.eq(Mux(s.held("begins", dut.row_valid, lead), s.held("row", dut.row.as_value(), lead),
                           kept.as_value()))
    m.d.sync += kept.eq(row)
    with m.If(dut.i_valid):
        m.d.sync += group.eq(Mux(dut.i.row_last, 0, group + 1))
    s.invariant("row", inside["held"] == kept)
    s.invariant("group", inside["group"] == group)
    came = s.held("came", dut.i_valid, dut.latency)
    s.claim("one_group", "each group of scores has one of weights, `latency` cycles later, and nothing else has",
            dut.o_valid == came, when=dut.o_valid | came)
    s.claim("group_beside", "with its number in the row, the bank, and the ends of row and job",
            Cat(dut.o.group, dut.o.bank, dut.o.row_last, dut.o.job_last) == s.held("beside", Cat(
                group, dut.i.bank, dut.i.row_last, row.job_last & dut.i.row_last), dut.latency), when=came)
    lane = 1
    s.claim("unseen", "a key that the row may not see weighs nothing", dut.o.weights[lane] == 0,
            when=s.held("unseen", dut.i_valid & ~dut.i.visible[lane], dut.latency))
    s.claim("largest_score", "a row's largest score has the largest weight",
            dut.o.weights[lane] == (1 << _CONFIG.weight_bits) - 1, when=s.held("largest", (
                dut.i_valid & dut.i.visible[lane] & (dut.i.estimate[lane] == dut.i.row_max)), dut.latency))


def _accumulator(s: Setting) -> None:
    dut = DenseValueAccumulator(_CONFIG)
    inside, m = s.add(dut), s.m
    item, step, pairs, dim = dut.i.payload, dut.step, _CONFIG.pairs_per_cycle, _CONFIG.head_dim - 1
    # Products are the multiplier's; here is what is added to what.
    s.assume("weights", Cat(weight < 2 for weight in item.weights).all())
    arrives, adds = 1 + RAM_LATENCY, dut.latency - 1
    weights = s.held("weights", Cat(weight[0] for weight in item.weights), arrives)
    products = sum((Mux(weights[n], dut.values[n][dim], 0) for n in range(pairs)), Const(0))
    total, row_total = Signal(signed(_CONFIG.acc_bits)), Signal(signed(_CONFIG.acc_bits))
    m.d.comb += total.eq(row_total + s.held("products", products, adds - arrives))
    row_ends = step & item.row_last
    ends = s.held("ends", row_ends, adds)
    with m.If(s.held("adds", step, adds)):
        m.d.sync += row_total.eq(Mux(ends, 0, total))
    s.invariant("accumulator", inside["accumulator"] == row_total)
    left = s.held("left", row_ends, dut.latency)
    s.claim("row_word", "an element's sum is that of the row's values, of all groups, each times its weight",
            dut.word[dim] == s.held("total", total), when=left)
    s.claim("one_word", "each row has one word, `latency` cycles behind its last group, and nothing else has",
            dut.word_valid == left, when=dut.word_valid | left)
    weight_sum, begun = Signal.like(dut.weight_sum), Signal()
    with m.If(step):
        m.d.sync += [weight_sum.eq(Mux(begun, weight_sum, 0) + sum(item.weights[n] for n in range(pairs))),
                     begun.eq(~item.row_last)]
    behind = dut.sum_latency - 1
    s.invariant("begun", inside["first"] == ~begun)
    ended = s.held("ended", row_ends, dut.sum_latency)
    s.invariant("weights", ~(s.held("begun_then", begun, behind) | ended)
                | (dut.weight_sum == s.held("weight_sum", weight_sum, behind)))
    s.claim("row_weights", "the row's sum of weights is that of its groups, given once, with the job's end",
            (dut.sum_valid == ended) & (dut.weight_sum == s.held("sum_then", weight_sum, behind))
            & (dut.job_last == s.held("job_ends", item.job_last, dut.sum_latency)), when=dut.sum_valid | ended)
    s.claim("row_room", "a row's last group waits for room, and takes it; nothing else waits",
            (step == (dut.row_room | ~item.row_last)) & (dut.row_reserve == row_ends), when=dut.i.valid)
    done = s.held("done", step & item.job_last, RAM_LATENCY)
    s.claim("released", "a bank is given back once for each job, when its last values are read",
            (dut.release == done) & (dut.release_bank == s.held("its_bank", item.bank, RAM_LATENCY)),
            when=dut.release | done)


PROOFS = (
    Proof("ScoreArray", _scores, "induction", 9, 14, "2 rows of 4 elements, portable dot products"),
    Proof("DenseSoftmax", _softmax, "induction", 13, 20, "2 keys at a time"),
    Proof("DenseValueAccumulator", _accumulator, "induction", 10, 16, "2 keys at a time, weights of 0 and 1"),
)
