"""Weights on their way through softmax, P·V and the normaliser: arithmetic, latency, one of each for each row."""

import functools
from typing import Any

from amaranth import Array, Cat, Const, Mux, Signal, Value, signed
from amaranth.utils import exact_log2

from latte.golden.config import AttentionConfig, preset
from latte.golden.normalizer import NUMERATOR_FRAC_BITS, RECIPROCAL_FRAC_BITS
from latte.golden.pruned_mass import MASS_FRAC_BITS
from latte.golden.softmax import exp2_table
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.payloads import value_sum_bits, word_bits
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_memory import ROW_LATENCY
from latte.rtl.wide.row_scaler import RowScaler
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.rtl.wide.weight_pipeline import FineWeightPipeline, WeightPipeline
from latte.sim.formal.followed import Followed
from latte.sim.formal.proofs.products import claim_later
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_SIZES = {"head_dim": 4, "max_seq_len": 8, "heads": 2, "query_lanes": 2, "query_rows": 8, "dim_lanes": 4,
          "cross_lanes": 4, "value_lanes": 2, "normalizer_lanes": 1, "weight_bits": 4, "exp_frac_bits": 4,
          "reciprocal_bits": 4, "estimate_bits": 2}


def _config(**changes: Any) -> AttentionConfig:
    return preset("small", **_SIZES).lean().replace(**changes)


def _half_up(value: Value, places: Value) -> Value:
    """Return ``value / 2**places``, rounded half up."""
    return (value + ((1 << places) >> 1)) >> places


def _product(s: Setting) -> None:
    left, bits = 1, [2, 3]
    dut = ScaledProduct(4, 3, left, 9, bits)
    s.add(dut)
    exact = _half_up((dut.a * dut.b) << left, dut.shift)
    most = Mux(dut.limit == 0, (1 << bits[0]) - 1, (1 << bits[1]) - 1)
    s.assume("limit", dut.limit < len(bits))
    claim_later(s, "scaled", "the product, shifted and rounded half up, or the largest number of its bits",
                dut.o, Mux(exact > most, most, exact), dut.latency)
    s.reach("limited", exact > most)


def _scaler(s: Setting) -> None:
    config = _config()
    dut = RowScaler(config)
    s.add(dut)
    numerator, exponent = dut.numerator[0], dut.exponent
    # A product of 17 bits is too much for a solver: powers of two, and one step more, show where its bits go.
    s.assume("mantissa", (dut.mantissa == 1 << (RECIPROCAL_FRAC_BITS - 1)) | (dut.mantissa == 3))
    s.assume("exponent", exponent <= config.sum_bits - config.weight_bits)
    operand = (numerator << NUMERATOR_FRAC_BITS) >> (exponent + (config.weight_bits - 1))
    most = 1 << (8 + NUMERATOR_FRAC_BITS)
    s.assume("mean", (operand >= -most) & (operand < most))
    drop = RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits
    exact = ((operand * dut.mantissa) + (1 << (drop - 1))) >> drop
    limit = 1 << (config.out_bits - 1)
    expected = Mux(exact < -limit, -limit, Mux(exact > limit - 1, limit - 1, exact))
    claim_later(s, "quotient", "an element times its row's reciprocal, rounded half up, limited to the output's bits",
                dut.quotient[0], expected, dut.latency)


def _weight(s: Setting, fine: bool) -> None:
    config = _config(threshold_kinds=("mass",)) if fine else _config()
    dut = (FineWeightPipeline if fine else WeightPipeline)(config)
    s.add(dut)
    frac, bits = config.exp_frac_bits, config.weight_bits
    # Small factors, or one that is 1: where the product's bits go, and how they are rounded, is the same for all.
    least = -(1 << 4) if fine else 0
    small = (dut.delta >= least) & (dut.delta < 1 << 4) & (dut.scale_mantissa < 1 << 3)
    s.assume("factors", small | (dut.scale_mantissa == 1))
    product = Mux(small, dut.delta[:5].as_signed() * dut.scale_mantissa[:3], dut.delta)
    exponent = Signal(signed(len(product) + 1))
    s.m.d.comb += exponent.eq(_half_up(product, dut.scale_shift))
    power = Array(Const(int(entry), bits) for entry in exp2_table(bits, frac))[exponent[:frac]]
    octaves, most = exponent >> frac, bits + 1 + MASS_FRAC_BITS
    places = Mux(octaves > most, most, octaves)[:most.bit_length()]
    meaning = "a distance weighs the power of two of what the scale makes of it: its octaves' shift, rounded half up"
    claim_later(s, "coarse_weight" if fine else "weight", meaning, dut.weight, _half_up(power, places), dut.latency,
                when=exponent >= 0)
    if fine:
        claim_later(s, "fine_weight", "and with more fraction bits as well", dut.fine_weight,
                    _half_up(power << MASS_FRAC_BITS, places), dut.latency, when=exponent >= 0)
        limit = config.sum_bits
        right = Mux(octaves < -limit, -limit, Mux(octaves > limit, limit, octaves)) + (MASS_FRAC_BITS + bits)
        claim_later(s, "rescaling", "any distance has a power, and the places by which a mass goes right, limited",
                    Cat(dut.power, dut.mass_shift), Cat(power, right[:len(dut.mass_shift)]), dut.latency)


def _softmax(s: Setting) -> None:
    config = _config()
    dut = Softmax(config)
    inside, m = s.add(dut), s.m
    queue, score, latency = inside["queue"], dut.i.payload, dut.weight_latency
    for name in ("row", "row_max"):
        port = getattr(dut, name)
        s.assume_stable(f"{name}_stable", port.valid, port.ready, Value.cast(port.payload))
    step, begins = dut.i.valid & dut.i.ready, dut.row.ready
    # The row whose scores come: from the cycle in which it is taken.
    within, kept, most = Signal(), Signal.like(dut.row.payload), Signal.like(dut.row_max.payload)
    row, largest = Signal.like(kept), Signal.like(most)
    m.d.comb += [row.eq(Mux(begins, dut.row.payload.as_value(), kept.as_value())),
                 largest.eq(Mux(begins, dut.row_max.payload, most))]
    m.d.sync += [kept.eq(row), most.eq(largest), within.eq((within | begins) & ~(step & score.row_last))]
    s.invariant("within", inside["active"] == (within | begins))
    s.invariant("fetch", ~inside["fetch"] | (dut.row.valid & dut.row_max.valid & ~within))
    s.invariant("row", ~within | ((inside["row"] == kept) & (inside["row_max"] == most)))
    s.claim("row_taken", "a row's description and largest score are taken together, behind the last row's last score",
            dut.row_max.ready & dut.row.valid & dut.row_max.valid & ~within, when=begins | dut.row_max.ready)
    s.claim("in_row", "a score is taken only of a row that has begun", within | begins, when=dut.i.ready)
    came = s.held("came", step, latency)
    s.claim("one_weight", "each score has one weight, `weight_latency` cycles later, and nothing else has",
            queue.i.valid == came, when=queue.i.valid | came)
    item = queue.i.payload
    s.claim("beside", "with its key, the row's bank, and the ends of row and job",
            Cat(item.key, item.bank, item.row_last, item.job_last) == s.held("beside", Cat(
                score.key, row.bank, score.row_last, row.job_last & score.row_last), latency), when=came)
    s.claim("largest", "a row's largest score has the largest weight", item.weight == (1 << config.weight_bits) - 1,
            when=s.held("is_largest", step & (score.score == largest), latency))


def _chosen_value(s: Setting, dut: ValueAccumulator, inside: Inside, part: Signal, lane: int) -> Value:
    """Return what is multiplied in a build that compensates, when it comes: a value, or the sum of its group's."""
    item, arrives, m, address = dut.i.payload, 1 + RAM_LATENCY, s.m, Cat(part, dut.i.payload.group)
    known = Signal(1 << len(address))
    uses = item.virtual | (item.adds & ~item.first)
    s.assume("kinds", ~(item.virtual & item.adds) & (~item.adds | (item.weight == 0)))
    s.assume("begun", ~uses | known.bit_select(address, 1))
    with m.If(dut.step & item.adds):
        m.d.sync += known.eq(known | (1 << address))
    at = s.held("sum_at", address, arrives)
    sums = Array(Signal(signed(value_sum_bits(dut.config)), name=f"group_sum_{n}") for n in range(1 << len(at)))
    value = Signal(sums[0].shape())
    m.d.comb += value.eq(Mux(s.held("uses", uses, arrives), sums[at], 0)
                         + Mux(s.held("is_virtual", item.virtual, arrives), 0, dut.values[lane]))
    with m.If(s.held("adds_value", dut.step & item.adds, arrives)):
        m.d.sync += sums[at].eq(value)
    known = s.held("known", known, arrives)
    for n, of_group in enumerate(sums):
        window = inside.memory("group_sums").read_port(domain="comb")
        m.d.comb += window.addr.eq(n)
        s.invariant(f"group_sum_{n}", ~known[n] | (window.data[lane] == of_group))
    return value


def _accumulator(s: Setting, value_lanes: int, key_groups: int = 0) -> None:
    config = _config(value_lanes=value_lanes, key_groups=key_groups)
    dut = ValueAccumulator(config)
    inside, m = s.add(dut), s.m
    item, taken, slices = dut.i.payload, dut.i.valid & dut.i.ready, config.value_slices
    part = Signal(range(max(2, slices)))
    first, last = part == 0, part == slices - 1
    with m.If(dut.step):
        m.d.sync += part.eq(Mux(last, 0, part + 1))
    s.invariant("part", (inside["elaborate.part"] == part) & (part < slices))
    s.assume("stands", first | (Value.cast(item) == s.held("item_before", Value.cast(item))))
    # Products are the multiplier's; here is what is added to what.
    s.assume("weight", (item.weight == 0) | (item.weight == 1 << dut.fraction_bits))
    # Any element of a row's sum, by slice, at the ring: so many cycles behind a step, or behind its value.
    lane, arrives = 0, 1 + RAM_LATENCY
    single = slices == 1
    ring = dut.latency - (1 if single else 2)
    value = _chosen_value(s, dut, inside, part, lane) if key_groups else dut.values[lane]
    value = s.held("product", Mux(s.held("weight", item.weight.any(), arrives), value, 0), ring - arrives)
    adds, at = s.held("adds", dut.step, ring), s.held("at", part, ring)
    ends = s.held("ends", dut.step & item.row_last, ring)
    sums = Array(Signal(signed(word_bits(config)), name=f"sum_{n}") for n in range(slices))
    total = Signal(signed(word_bits(config)))
    m.d.comb += total.eq(sums[at] + value)
    with m.If(adds):
        m.d.sync += sums[at].eq(Mux(ends, 0, total))
    oldest, newest = ((sums[place] << dut.fraction_bits) + dut.half for place in (at, ~at))
    registers = inside["_registers.ring"]
    s.invariant("oldest", s.after_reset | (registers[-1][lane] == oldest))
    if not single:
        s.invariant("newest", s.after_reset | s.held("left", ends) | (registers[0][lane] == newest))
    left = s.held("words", dut.step & item.row_last, dut.latency)
    s.claim("word", "an element's sum is that of its row's values, each times its weight", dut.word[lane] == s.held(
        "total", total, dut.latency - ring), when=left)
    s.claim("one_word", "each slice of a row has one word, `latency` cycles behind its last survivor, no other has",
            dut.word_valid == left, when=dut.word_valid | left)
    weights, begun, ended = Signal.like(dut.weight_sum), Signal(), s.held("ended", dut.row_reserve)
    weight, counts = item.weight.any(), dut.step & first
    if key_groups:
        survives = ~item.virtual & ~item.adds
        weight, counts = Mux(survives, weight, dut.denominator), counts & (survives | item.row_last)
    with m.If(counts):
        m.d.sync += [weights.eq(Mux(begun, weights, 0) + weight), begun.eq(~item.row_last)]
    s.invariant("weights", (~begun & ~ended) | (dut.weight_sum == weights))
    s.invariant("begun", inside["_sum_weights.first"] == ~begun)
    s.claim("weight_sum", "and the row's sum of weights is that of its survivors", dut.weight_sum == weights,
            when=dut.sum_valid)
    s.claim("one_sum", "given once for each row, with the job's end", (dut.sum_valid == ended) & (
        dut.job_last == s.held("job_ends", item.job_last)), when=dut.sum_valid | ended)
    s.claim("room", "a row's last survivor waits for room, and nothing else does: one that was begun goes on",
            dut.step == (dut.row_room | ~item.row_last | ~first), when=dut.i.valid)
    s.claim("reserves", "and it takes the room, once for each row",
            dut.row_reserve == (dut.step & first & item.row_last), when=dut.row_reserve | taken)
    s.claim("releases", "a bank is given back once for each job, when its last value was read",
            (dut.release == s.held("job_done", taken & item.row_last & item.job_last, 2))
            & (~dut.release | (dut.release_bank == s.held("its_bank", item.bank, 2))),
            when=dut.release | s.held("any_done", taken, 2))


def _rows(s: Setting, value_lanes: int) -> None:
    config = _config(value_lanes=value_lanes)
    dut = Normalizer(config)
    inside, m = s.add(dut), s.m
    rows = inside.part("rows")
    queue, scaler, step, beat, hand = (inside[name] for name in ("queue", "scaler", "step", "beat", "hand_over"))
    latency, beats, words = dut.beat_latency, config.head_dim, config.value_slices
    # A row that is reserved has its sum in the next cycle, and its words behind that.
    arriving, came, ready = Signal(), Signal(range(words + 1)), Signal()
    s.assume("reserves", ~dut.row_reserve | dut.row_room)
    s.assume("sum", dut.sum_valid == s.held("reserved", dut.row_reserve))
    s.assume("words", ~dut.word_valid | (arriving & (came != words)))
    s.assume("stands", dut.word_valid | (Value.cast(dut.word) == s.held("word_before", Value.cast(dut.word))))
    m.d.sync += [arriving.eq((arriving & ~hand) | dut.row_reserve), came.eq(Mux(hand, 0, came + dut.word_valid))]
    sums = [s.held(f"sum_{n}", dut.sum_valid, n) for n in range(Reciprocal.latency + 1)]
    m.d.sync += ready.eq((ready & ~hand) | sums[-1])
    leaving, place = inside["leaving_valid"], Signal(range(beats))
    s.invariant("sums", sum(sums) + ready == arriving)
    s.invariant("arrives", (inside["reserved"] == arriving) & (inside["words"] == came) & (came <= words)
                & (inside["reciprocal_ready"] == ready) & (arriving | (came == 0)))
    given, last = queue.i.valid, queue.i.payload.row_last
    with m.If(given):
        m.d.sync += place.eq(place + 1)
    s.invariant("place", (place == s.held("beat_then", beat, latency)) & (leaving | (beat == 0)))
    under_way = sum(s.held(f"row_{n}", step & (beat == beats - 1), n) for n in range(1, latency + 1))
    count = s.count("rows", dut.row_reserve, given & last, 7)
    s.invariant("rows", count == arriving + leaving + under_way)
    s.claim("room_for_one", "there is room for a row until one is on its way, and again when all of it has come",
            dut.row_room == ~arriving, when=Const(1))
    s.claim("beats", "each row leaves in as many beats as it has, the last one marked",
            last == (place == beats - 1), when=given)
    s.claim("rows", "and nothing leaves of a row that did not come", count != 0, when=given)
    row = Followed(s, dut.sum_valid, dut.job_last, count - 1, given & last)
    s.invariant("followed", ~row.here | (row.ahead < count))
    s.invariant("arriving", ~(row.here & arriving & (row.ahead == count - 1))
                | (inside["arriving"].job_last == row.item))
    s.invariant("leaving", ~(row.here & leaving & (row.ahead == count - 1 - arriving))
                | (inside["leaving"].job_last == row.item))
    s.claim("job_end", "a job's last row alone has its end, with its last beat, in order",
            queue.i.payload.job_last == (last & row.item), when=row.here & (row.ahead == 0) & given)
    # Any element of a row.
    any_place = s.constant("any_place", range(beats))
    in_word = exact_log2(value_lanes)
    at, within = any_place[in_word:], any_place[:in_word]
    arrived, left = Signal(signed(word_bits(config))), Signal(signed(word_bits(config)))
    with m.If(dut.word_valid & (came == at)):
        m.d.sync += arrived.eq(dut.word[within])
    with m.If(hand):
        m.d.sync += left.eq(arrived)
    if words == 1:
        s.invariant("element_arrives", (came == 0) | (dut.word[within] == arrived))
        s.invariant("element_leaves", ~leaving | (rows["row"].word_select(any_place, len(left)).as_signed() == left))
        s.invariant("reads", rows["beat"] == beat)
    else:
        for name, half, there, value in (("arrives", rows["write_half"], came > at, arrived),
                                         ("leaves", ~rows["write_half"], leaving, left)):
            window = rows.memory("array").read_port(domain="comb")
            m.d.comb += window.addr.eq(Cat(at, half))
            s.invariant(f"element_{name}", ~there | (window.data[within] == value))
        s.invariant("reads", Cat(rows["in_word"], rows["read_slice"]) == beat)
    s.claim("elements", "each beat has the row's next element, while another row comes",
            scaler.numerator[0] == s.held("left", left, ROW_LATENCY),
            when=s.held("steps", step & (beat == any_place), ROW_LATENCY))
    s.reach("both", arriving & leaving & (came != 0))


PROOFS = (
    Proof("ScaledProduct", _product, "induction", 7, 10, "factors of 4 and 3 bits, limits of 2 and 3"),
    Proof("RowScaler", _scaler, "induction", 7, 10, "two mantissas, any exponent and numerator"),
    *(Proof("FineWeightPipeline" if fine else "WeightPipeline", functools.partial(_weight, fine=fine), "induction",
            WeightPipeline.latency + 1, 14, "weights of 4 bits; small factors, or any distance with a scale of 1")
      for fine in (False, True)),
    Proof("Softmax", _softmax, "induction", 13, 20, "lean: a weight for each score"),
    Proof("ValueAccumulator", functools.partial(_accumulator, value_lanes=2), "induction", 10, 16,
          "lean: 2 slices of 2 elements"),
    Proof("ValueAccumulator", functools.partial(_accumulator, value_lanes=4), "induction", 10, 16,
          "lean: a single slice of 4 elements", "single"),
    Proof("ValueAccumulator", functools.partial(_accumulator, value_lanes=2, key_groups=2), "induction", 11, 18,
          "2 slices of 2 elements, 2 key groups", "groups"),
    Proof("Normalizer", functools.partial(_rows, value_lanes=2), "induction", 14, 30,
          "lean: rows of 2 words, 4 beats of an element"),
    Proof("Normalizer", functools.partial(_rows, value_lanes=4), "induction", 14, 30,
          "lean: rows of a single word, 4 beats of an element", "single"),
)
