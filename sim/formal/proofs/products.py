"""Products of queries and keys: equal to mathematics, in step with what goes beside them."""

import functools
from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Const, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data

from latte.golden.config import AttentionConfig, preset
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.bit_plane_dot import BitPlaneDot
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.cross_product import BitPlaneCrossDot, PairedCrossDot, cross_product_latency
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.packed_dsp_dot import PackedDspDot
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS", "claim_later"]


def _dot(a: Sequence[Value], b: Sequence[Value]) -> Value:
    """Return the dot product, as mathematics has it."""
    return sum((x * y for x, y in zip(a, b, strict=True)), Const(0))


def claim_later(s: Setting, name: str, meaning: str, result: Value, expected: Value, latency: int, *,
                when: Value | None = None) -> None:
    """Claim that a result is what is expected of the inputs of `latency` cycles ago, or of those of `when`."""
    case = s.free(f"{name}_chosen") & (Const(1) if when is None else when)
    s.claim(name, meaning, result == s.held(f"{name}_expected", expected, latency),
            when=s.held(f"{name}_chosen", case, latency))


def _tree(s: Setting, count: int, shape: Shape, carries: bool) -> None:
    dut = AdderTree(count, shape, carries=carries)
    s.add(dut)
    total = sum((dut.terms[n] for n in range(count)), Const(0))
    result = dut.sum
    if carries:
        total = total + sum(dut.carry_a[n] & dut.carry_b[n] for n in range(count))
        result = dut.sum + dut.carry
    claim_later(s, "sum", "the terms' sum, with the carries that they owe, a cycle for each level later", result, total,
                AdderTree.latency_of(count))


def _planes(s: Setting) -> None:
    dut = BitPlaneDot(3, 3)
    s.add(dut)
    claim_later(s, "plane_dot", "the vectors' dot product", dut.sum, _dot(dut.q, dut.k), dut.latency)


def _pairs(s: Setting, dims: int, bits: int, planes: int) -> None:
    dut = PairTableDot(dims, bits, planes)
    s.add(dut)
    q = s.free("q", data.ArrayLayout(signed(bits), dims))
    k = s.free("k", data.ArrayLayout(signed(planes), dims))
    for n, entry in enumerate(dut.entries):
        q0, q1 = q[2 * n], q[2 * n + 1]
        s.m.d.comb += [entry.half_sum.eq((q0 + q1) >> 1), entry.half_diff.eq((q0 - q1) >> 1),
                       entry.even.eq(~(q0 + q1)[0])]
        for bit in range(planes):
            s.m.d.comb += [dut.first[bit][n].eq(k[2 * n][bit]), dut.second[bit][n].eq(k[2 * n + 1][bit])]
    half_sums = sum((entry.half_sum for entry in dut.entries), Const(0))
    s.m.d.comb += dut.offset.eq(s.held("half_sums", half_sums, dut.offset_delay))
    claim_later(s, "pair_dot", "the vectors' dot product, of elements in pairs",
                dut.sum, _dot(q, k), dut.latency)


def _packed(s: Setting) -> None:
    dims, bits = 2, 3
    dut = PackedDspDot(dims, bits)
    s.add(dut)
    keys = [s.free(f"k{n}", data.ArrayLayout(signed(bits), dims)) for n in range(2)]
    s.m.d.comb += [dut.packed[d].eq(dut.pack(keys[0][d], keys[1][d])) for d in range(dims)]
    for name, result, key in zip(("lower", "upper"), dut.sums, keys, strict=True):
        claim_later(s, f"{name}_dot", f"the {name} key's dot product, whatever the other key is", result,
                    _dot(dut.q, key), dut.latency)
    s.reach("corner", dut.sums[0] == dims << (2 * bits - 2))


_SIZES = {"head_dim": 4, "max_seq_len": 8, "heads": 2, "query_lanes": 2, "query_rows": 8, "dim_lanes": 4,
          "cross_lanes": 1, "value_lanes": 4, "weight_bits": 4, "reciprocal_bits": 4}


def _config(**changes: Any) -> AttentionConfig:
    return preset("small", **_SIZES).lean().replace(**changes)


def _cross(s: Setting, paired: bool, whole: str, changes: dict[str, Any]) -> None:
    config = _config(cross_lanes=2 if whole == "none" else 1, **changes)
    dut = (PairedCrossDot if paired else BitPlaneCrossDot)(config)
    s.add(dut)
    q, k = dut.query, dut.keys
    # All parts of a pair of elements at once are too many bits for a solver: one product's are whole at a time.
    if whole != "all":
        product = {"high": (q[0].high, k[0].low), "low": (q[0].low, k[0].high), "none": ()}[whole]
        for n in range(dut.lanes):
            for name, part in (("q_high", q[n].high), ("q_low", q[n].low), ("k_high", k[n].high), ("k_low", k[n].low)):
                if not any(part is of for of in product):
                    values = 2 if whole == "none" and name[0] == "k" else 4
                    least = -values // 2 if part.shape().signed else 0
                    s.assume(f"{name}_{n}", (part >= least) & (part < least + values))
    crossed = sum((q[n].high * k[n].low + q[n].low * k[n].high for n in range(dut.lanes)), Const(0))
    claim_later(s, "paired_cross" if paired else "plane_cross", "the sum of high times low and low times high parts",
                dut.sum, crossed, dut.latency)


def _estimator(s: Setting, structure: str) -> None:
    tiny = {"table": {}, "multiplier": {"dim_lanes": 2}, "dsp": {"key_lanes": 2}}[structure]
    config = _config(pe_structure=structure, estimate_bits=2, **tiny)
    dut = ScoreEstimator(config)
    inside, m = s.add(dut), s.m
    rows = inside.part("rows")
    q, row, lane = dut.q.payload, config.query_lanes - 1, 0
    accepts = dut.q.valid & dut.q.ready
    # A load keeps its bank from keys.
    left, filling = Signal(range(dut.load_cycles)), Signal()
    with m.If(accepts):
        m.d.sync += [left.eq(dut.load_cycles - 1), filling.eq(q.bank)]
    with m.Elif(left != 0):
        m.d.sync += left.eq(left - 1)
    key, bank = dut.k_valid, dut.k_bank
    s.assume("key_bank", ~key | ~Mux(accepts, bank == q.bank, (left != 0) & (bank == filling)))
    # Slices of a group of keys, all for one bank.
    slices = config.dim_slices
    part, group_bank = Signal(range(slices + 1)), Signal()
    first, last = part == 0, part == slices - 1
    with m.If(key):
        m.d.sync += [part.eq(Mux(last, 0, part + 1)), group_bank.eq(bank)]
    s.invariant("part", part < slices)
    if slices > 1:
        s.assume("first", dut.k_first == first)
        s.invariant("slice", first | (inside["expected"] == part))
        s.assume("one_bank", first | ((~key | (bank == group_bank)) & ~(accepts & (q.bank == group_bank))))
    # Any row, by bank, and whether it counts: what was loaded into a bank that is no longer in use does not.
    known, content, in_use, ours = Signal(2), Signal(2), Signal(), q.row == row
    for n in range(2):
        loaded = accepts & (q.bank == n)
        with m.If(loaded & ours):
            m.d.sync += [known[n].eq(1), content[n].eq(q.hi.as_value().any())]
        with m.Elif((loaded & (in_use == n)) | (key & (bank != n) & (in_use == n))):
            m.d.sync += known[n].eq(0)
    with m.If(key):
        m.d.sync += in_use.eq(bank)
    with m.Elif(accepts & (q.bank == in_use)):
        m.d.sync += in_use.eq(~in_use)
    # Sums are proved of the dot products; rows and keys with one element alone show which of them meet.
    element = s.constant("any_element", range(config.head_dim))
    for n in range(config.head_dim):
        s.assume(f"row_{n}", (q.hi[n] == 0) | ((q.hi[n] == 1) & (element == n)))
    for n, of_key in enumerate(dut.k_hi[lane]):
        s.assume(f"key_{n}", (of_key == 0) | ((of_key == 1) & (element == part * config.dim_lanes + n)))
    held = Signal()
    m.d.comb += held.eq(content.bit_select(bank, 1))
    product = held & dut.k_hi[lane].as_value().any()
    result = dut.est[row][lane]
    total, so_far, counts, counted = Signal.like(result), Signal.like(result), Signal(), Signal()
    m.d.comb += [total.eq(Mux(first, 0, so_far) + product), counts.eq(known.bit_select(bank, 1) & (first | counted))]
    with m.If(key):
        m.d.sync += [so_far.eq(total), counted.eq(counts)]
    if slices > 1:
        s.invariant("so_far", ~s.held("counted", counted & ~first, dut.latency - 1)
                    | (inside["total"] == s.held("so_far", so_far, dut.latency - 1)))
    # Where the rows are when they were loaded, and moved: behind these cycles.
    settles, moves = dut.load_cycles + 1, 3
    ages = [Signal(range(settles + 1), name=f"age_{n}") for n in range(2)]
    for n, age in enumerate(ages):
        m.d.sync += age.eq(Mux(accepts & ours & (q.bank == n), 0, Mux(age == settles, settles, age + 1)))
    elements = [[content[n] & (element == e) for e in range(config.head_dim)] for n in range(2)]
    if structure == "table":
        moved, used_before = Signal(range(moves + 1)), s.held("used_before", in_use)
        m.d.sync += moved.eq(Mux(in_use != used_before, 0, Mux(moved == moves, moves, moved + 1)))
        s.invariant("load", ~rows["busy"] | (rows["step"] == dut.load_cycles - 1 - left))
        s.invariant("in_use", rows["taken"] | (rows["bank"] == in_use))
        for n in range(2):
            pairs = [(elements[n][2 * i], elements[n][2 * i + 1]) for i in range(2)]
            entries = Cat(Cat(((a + b) >> 1)[:2], ((a - b) >> 1)[:2], a[0] == b[0]) for a, b in pairs)
            offset = sum(((a + b) >> 1 for a, b in pairs), Const(0))
            s.invariant(f"waits_{n}", ~(known[n] & (in_use != n) & (ages[n] == settles)) | (
                (Value.cast(rows["shadow"]) == entries) & (rows["shadow_offset"] == offset)))
            s.invariant(f"used_{n}", ~(known[n] & (in_use == n) & (used_before == n) & (moved == moves)) | (
                (Value.cast(rows.block.entries[row]) == entries) & (rows.block.offset[row] == offset)))
    else:
        s.invariant("load", rows["step"] == Mux(rows["busy"], dut.load_cycles - 1 - left, 0))
        stored = rows.memory(f"array_{row}")
        for n in range(2):
            for at in range(slices):
                window = stored.read_port(domain="comb")
                m.d.comb += window.addr.eq(Cat(Const(at, (slices - 1).bit_length()), Const(n, 1)))
                s.invariant(f"stored_{n}_{at}", ~(known[n] & (ages[n] == settles)) | (
                    Value.cast(window.data) == Cat(Cat(e, Const(0, 1)) for e in elements[n]).word_select(
                        at, 2 * config.dim_lanes)))
    s.claim("estimate", "the sum of products of high parts, of the row that was loaded last",
            result == s.held("total", total, dut.latency), when=s.held("counts", key & last & counts, dut.latency))
    ended = s.held("ended", key & last, dut.latency)
    s.claim("one_each", "a group of keys has its estimates `latency` cycles behind its last beat, and nothing else has",
            dut.est_valid == ended, when=dut.est_valid | ended)
    s.claim("load", "a row is accepted `load_cycles` behind another one, and not before", dut.q.ready == (left == 0))
    s.reach("both_banks", known.all() & s.held("other", key & known.all()))


def _unit(s: Setting) -> None:
    config = _config(cross_lanes=2, estimate_bits=2)
    dut = CrossProductUnit(config)
    inside, m = s.add(dut), s.m
    survivor, taken, slices = dut.i.payload, dut.i.valid & dut.i.ready, config.cross_slices
    part = Signal(range(slices))
    last = part == slices - 1
    with m.If(dut.step):
        m.d.sync += part.eq(Mux(last, 0, part + 1))
    s.invariant("part", inside["part"] == part)
    s.assume("stands", (part == 0) | (Value.cast(survivor) == s.held("survivor_before", Value.cast(survivor))))
    s.assume("estimate", (survivor.estimate >= -2 * config.head_dim) & (survivor.estimate <= 4 * config.head_dim))
    # Sums are proved of the cross products; a single small product shows which operands meet.
    for n in range(dut.query.shape().length):
        query, key = dut.query[n], dut.keys[n]
        s.assume(f"product_{n}", (query.low == 0) & (key.high == 0) & ((key.low == 0) | (key.low == 1)))
        s.assume(f"single_{n}", (n == 0) | (query.high == 0))
    arrives = 1 + RAM_LATENCY
    added = cross_product_latency(config)
    begun = s.held("part_then", part, arrives)
    so_far, total = Signal(signed(config.cross_bits)), Signal(signed(config.cross_bits))
    m.d.comb += total.eq(Mux(begun == 0, 0, so_far) + Mux(dut.keys[0].low[0], dut.query[0].high, 0))
    with m.If(s.held("step_then", dut.step, arrives)):
        m.d.sync += so_far.eq(total)
    s.invariant("so_far", (s.held("begun", begun, added) == 0) | (inside["total"] == s.held("so_far", so_far, added)))
    cross = s.held("total", total, dut.latency - arrives)
    done = s.held("done", taken, dut.latency)
    estimate = s.held("estimate", survivor.estimate, dut.latency)
    s.claim("score", "a survivor's score: its estimate and the cross products of all its slices, scaled",
            dut.o.score == (estimate << config.estimate_shift) + (cross << config.low_bits), when=done)
    s.claim("one_score", "each survivor has one, `latency` cycles behind its last slice, and nothing else has",
            dut.o_valid == done, when=dut.o_valid | done)
    s.claim("names", "its key, and the row's end, go with it",
            Cat(dut.o.key, dut.o.row_last) == s.held("names", Cat(survivor.key, survivor.row_last), dut.latency),
            when=done)
    s.claim("reads", "each slice is read from the survivor's query and key, a cycle behind its begin",
            Cat(dut.slot, dut.key, dut.bank, dut.slice) == s.held("reads", Cat(survivor.slot, survivor.key,
                                                                              survivor.bank, part)),
            when=s.held("stepped", dut.step))
    s.claim("begins", "a survivor is begun only while there is room, and one that was begun goes on without",
            dut.step == (dut.i.valid & (dut.room | (part != 0))), when=dut.i.valid)
    s.claim("retires", "a query row is given back once, when its last survivor has read it",
            dut.retire == s.held("row_done", taken & survivor.row_last, CrossProductUnit.retire_latency),
            when=dut.retire | s.held("any_done", taken, CrossProductUnit.retire_latency))


_TREES = {"": (5, signed(3), False), "wide": (2, signed(6), False), "carries": (5, signed(3), True),
          "chained": (7, unsigned(2), True)}
_PAIRS = {"": (4, 2, 2), "3_planes": (2, 3, 3), "4_planes": (2, 3, 4)}
_WHOLE = {"high": "any high part of the query and low part of the key",
          "low": "any low part of the query and high part of the key",
          "none": "2 elements, parts of a bit or two", "all": "any parts"}
_CROSSES: tuple[tuple[bool, str, dict[str, Any], str], ...] = (
    *((paired, whole, {}, whole) for paired in (True, False) for whole in ("high", "low", "none")),
    (True, "all", {"estimate_bits": 2}, "2_bits"), (False, "high", {"split": "slice"}, "slice"),
    (False, "low", {"split": "slice"}, "slice_low"))
_ESTIMATORS = {"table": (17, "2 rows of 4 elements"), "multiplier": (12, "2 rows of 2 slices of 2 elements"),
               "dsp": (12, "2 rows of 4 elements, 2 keys")}
PROOFS = (
    *(Proof("AdderTree", functools.partial(_tree, count=count, shape=shape, carries=carries), "induction",
            AdderTree.latency_of(count) + 1, 8,
            f"{count} terms of {shape.width} bits{', with carries' * carries}", name)
      for name, (count, shape, carries) in _TREES.items()),
    Proof("BitPlaneDot", _planes, "induction", 5, 8, "3 elements of 3 bits"),
    *(Proof("PairTableDot", functools.partial(_pairs, dims=dims, bits=bits, planes=planes), "induction",
            PairTableDot.latency_of(dims) + 1, 10,
            f"{dims} elements of {bits} bits with as many of {planes} bits", name)
      for name, (dims, bits, planes) in _PAIRS.items()),
    Proof("PackedDspDot", _packed, "induction", 4, 8, "two keys of 2 elements of 3 bits"),
    *(Proof("PairedCrossDot" if paired else "BitPlaneCrossDot",
            functools.partial(_cross, paired=paired, whole=whole, changes=changes), "induction", 7, 10,
            f"{_config(**changes).split} split, estimates of {_config(**changes).estimate_bits} bits; {_WHOLE[whole]}",
            name) for paired, whole, changes, name in _CROSSES),
    *(Proof("ScoreEstimator", functools.partial(_estimator, structure=structure), "induction", depth, 20,
            f"{build}, high parts of 2 bits, rows and keys with one element that is not zero", structure)
      for structure, (depth, build) in _ESTIMATORS.items()),
    Proof("CrossProductUnit", _unit, "induction", 14, 20,
          "2 slices of 2 elements, parts of 2 and 6 bits; a single product that is not zero"),
)
