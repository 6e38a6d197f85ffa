"""Arithmetic and order on the way of an estimate: split, maximum, threshold, reciprocal."""

import functools
from typing import Any

from amaranth import Cat, Mux, Signal, Value, signed

from latte.golden.config import AttentionConfig, preset
from latte.golden.normalizer import RECIPROCAL_FRAC_BITS
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.operand_split import SplitBeat
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.sim.formal.followed import Followed
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_SIZES = {"head_dim": 4, "max_seq_len": 8, "heads": 2, "query_lanes": 2, "query_rows": 8, "dim_lanes": 4,
          "cross_lanes": 4, "value_lanes": 4, "weight_bits": 4, "reciprocal_bits": 4}
_LEAN = preset("small", **_SIZES).lean()


def _split(s: Setting, config: AttentionConfig) -> None:
    dut = SplitBeat(config)
    s.add(dut)
    step = 1 << config.low_bits
    balanced = config.split == "balanced"
    for n in range(1):
        x, limited = dut.beat[n], dut.limited[n]
        high, low = dut.elements[n].high, dut.elements[n].low
        s.claim("saturates", "an element is itself, or the largest whose high part fits if it is above it",
                limited == Mux(x > config.qk_max, config.qk_max, x))
        s.claim("whole", "high and low part add up to the element", limited == (high << config.low_bits) + low)
        least = -(step // 2) if balanced else 0
        s.claim("ranges", "both parts are in their ranges, so they are the only ones that add up to it",
                (low >= least) & (low < least + step) & (high >= -(1 << (config.estimate_bits - 1)))
                & (high < 1 << (config.estimate_bits - 1)))
    s.claim("told", "saturation is told, of valid elements alone",
            dut.saturated == (dut.valid & Cat(x > config.qk_max for x in dut.beat).any()))
    s.reach("saturated", dut.saturated)


def _maximum(s: Setting) -> None:
    width = 6
    dut = RunningMaximum(width)
    inside, m = s.add(dut), s.m
    # The maximum as mathematics has it: of the value that was valid a cycle ago, and of those before.
    largest = Signal(signed(width))
    begun = Signal()
    with m.If(dut.valid & (dut.first | begun)):
        m.d.sync += [begun.eq(1), largest.eq(Mux(dut.first | (dut.value > largest), dut.value, largest))]
    s.invariant("maximum", ~begun | (Mux(inside["take"], inside["latest"], dut.maximum) == largest))
    s.claim("maximum", "the largest of all values since the last first one, two cycles later",
            dut.maximum == s.held("largest", largest), when=s.held("begun", begun))


def _filter(s: Setting, config: AttentionConfig) -> None:
    dut = ThresholdFilter(config)
    inside, m = s.add(dut), s.m
    row, pairs = dut.i, config.pairs_per_cycle
    # A row has one largest estimate, and its key is among the visible ones.
    estimates = [(row.visible[n], row.estimate[n]) for n in range(pairs)]
    best = Cat(visible & (estimate == row.row_max) for visible, estimate in estimates).any()
    inside_row = Signal()
    seen = Signal()
    largest = Signal(signed(config.est_bits))
    with m.If(dut.i_valid):
        m.d.sync += [inside_row.eq(~row.row_last), seen.eq(~row.row_last & (seen | best)), largest.eq(row.row_max)]
    s.assume("row_max", ~dut.i_valid | (
        (~row.row_last | seen | best) & (~inside_row | (row.row_max == largest))
        & Cat(~visible | (estimate <= row.row_max) for visible, estimate in estimates).all()))
    gap = [row.row_max - estimate for _, estimate in estimates]
    if config.code_octaves:
        code = row.code[:config.est_bits]
        relative = [distance < Mux(code == 0, 1, code) for distance in gap]
        absolute = [(row.estimate[n] > code.as_signed()) | (distance == 0) for n, distance in enumerate(gap)]
        is_absolute = row.kind == list(ThresholdKind).index(ThresholdKind.ABSOLUTE)
        keeps = Cat(row.visible[n] & Mux(is_absolute, absolute[n], relative[n]) for n in range(pairs))
    else:
        s.assume("tau", row.tau != 0)
        keeps = Cat(row.visible[n] & (gap[n] < row.tau) for n in range(pairs))
    # What the row's group is, one and two cycles later; the block's registers hold it with what was decided.
    stages = [{name: s.held(f"{name}_{n}", value, n) for name, value in {
        "valid": dut.i_valid, "last": row.row_last, "keeps": keeps,
        "rest": Cat(row.key, row.slot, row.bank, row.estimate, keeps)}.items()} for n in range(dut.probe_latency + 1)]
    scanned, group = inside["scanned"], inside["group"]
    decided = Cat(scanned.visible[n] & (scanned.estimate[n] > inside["threshold"]) for n in range(pairs))
    for n, valid, last, rest in (
            (1, inside["valid"], scanned.row_last, Cat(scanned.key, scanned.slot, scanned.bank, scanned.estimate,
                                                       decided)),
            (2, inside["compared"], inside["is_last"], Cat(group.key, group.slot, group.bank, group.estimate,
                                                           group.keep))):
        s.invariant(f"stage_{n}", (valid == stages[n]["valid"])
                    & (~valid | ((last == stages[n]["last"]) & (rest == stages[n]["rest"]))))
    arrived = stages[-1]
    s.claim("rule", "a visible key survives if, and only if, its row's threshold keeps it; the best one always does",
            (dut.probe.keep == arrived["keeps"]) & dut.probe.valid, when=arrived["valid"])
    rest, compared = arrived["rest"], arrived["valid"] & arrived["keeps"].any()
    out = Cat(dut.o.key, dut.o.slot, dut.o.bank, dut.o.estimate, dut.o.keep)
    items = s.count("items", compared, dut.o_valid, 3)
    item = Followed(s, compared, rest, items, dut.o_valid)
    waiting = inside["waiting"]
    held = Cat(waiting.key, waiting.slot, waiting.bank, waiting.estimate, waiting.keep)
    s.invariant("items", items == inside["waiting_valid"] + dut.o_valid)
    s.invariant("item", ~item.here | ((item.ahead < items) & (item.item == Mux(item.ahead < dut.o_valid, out, held))))
    s.claim("order", "each group with survivors leaves once, as it came, in order; no other does", (items != 0) & (
        ~item.here | (item.ahead != 0) | (out == item.item)), when=dut.o_valid)
    s.claim("never_empty", "no group without a survivor leaves", dut.o.keep.any(), when=dut.o_valid)
    s.invariant("never_empty", ~inside["waiting_valid"] | waiting.keep.any())
    # Rows that have ended behind the comparison and whose last group has not left.
    ends = arrived["valid"] & arrived["last"]
    rows = s.count("rows", ends, dut.o_valid & dut.o.row_last, 3)
    waits_last = inside["waiting_valid"] & waiting.row_last
    s.invariant("rows", rows == waits_last + (dut.o_valid & dut.o.row_last))
    survived = Signal()
    with m.If(arrived["valid"]):
        m.d.sync += survived.eq(~ends & (survived | compared))
    s.invariant("survived", survived == (inside["waiting_valid"] & ~waiting.row_last))
    so_far = survived
    for stage in reversed(stages[1:]):
        so_far = Mux(stage["valid"], ~stage["last"] & (so_far | stage["keeps"].any()), so_far)
    s.invariant("seen", ~seen | so_far)
    s.claim("row_ends", "each row ends exactly once: a mark for each row",
            rows != 0, when=dut.o_valid & dut.o.row_last)
    s.claim("row_goes_on", "behind a group that is not its row's last another one of it follows at once", items == 2,
            when=dut.o_valid & ~dut.o.row_last)
    s.within("row_leaves", "a row's last group leaves two cycles behind the row's end", 2, waits=(rows != 0) & ~ends)


def _reciprocal(s: Setting, config: AttentionConfig, error: int) -> None:
    dut = Reciprocal(config)
    s.add(dut)
    least = (1 << config.weight_bits) - 1
    s.assume("least", dut.weight_sum >= least)
    weight_sum = s.held("weight_sum", dut.weight_sum, dut.latency)
    valid = s.held("valid", Value.cast(1), dut.latency)
    exponent = Signal(range(len(weight_sum)))
    s.m.d.comb += exponent.eq(dut.exponent + config.weight_bits - 1)
    one = 1 << (RECIPROCAL_FRAC_BITS + len(weight_sum))
    product = (dut.mantissa * weight_sum) << (len(weight_sum) - exponent)[:len(weight_sum).bit_length()]
    s.claim("exponent", "the exponent is the place of the sum's leading one", (weight_sum >> exponent) == 1, when=valid)
    distance = product - one
    s.claim("reciprocal", f"mantissa times sum is a power of two but for less than 2**-{error} of it",
            (distance < one >> error) & (distance > -(one >> error)), when=valid)


def _config(**changes: Any) -> AttentionConfig:
    return _LEAN.replace(**changes)


_SPLITS: dict[str, dict[str, Any]] = {
    "": {}, "slice": {"split": "slice"}, "3_bits": {"estimate_bits": 3}, "2_bits": {"estimate_bits": 2}}
PROOFS = (
    *(Proof("SplitBeat", functools.partial(_split, config=_config(**changes)), "induction", 1, 3,
            f"{_config(**changes).split} split, estimates of {_config(**changes).estimate_bits} bits", name)
      for name, changes in _SPLITS.items()),
    Proof("RunningMaximum", _maximum, "induction", 2, 8, "values of 6 bits"),
    Proof("ThresholdFilter", functools.partial(_filter, config=_LEAN), "induction", 4, 12,
          f"relative thresholds, estimates of {_LEAN.est_bits} bits, two keys at a time"),
    Proof("ThresholdFilter", functools.partial(_filter, config=_config(threshold_kinds=("relative", "absolute"))),
          "induction", 4, 12, "relative and absolute thresholds", "kinds"),
    Proof("Reciprocal", functools.partial(_reciprocal, config=_LEAN, error=9), "induction", 11, 14,
          f"sums of {_LEAN.sum_bits} bits, a table of {1 << _LEAN.reciprocal_bits} entries"),
)
