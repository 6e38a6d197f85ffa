"""Last stage of the serial core: survivors in turn, then the elements of the row."""

from amaranth import Array, Mux, Signal

from latte.golden.config import preset
from latte.golden.softmax import exp2_table
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_BUILD = preset("tiny", head_dim=4, bus_bytes=2, dim_lanes=2, cross_lanes=2, value_lanes=2, max_seq_len=2, heads=2,
                query_rows=4, estimate_bits=2, weight_bits=4, exp_frac_bits=4, reciprocal_bits=4,
                fraction_bits=0).lean()
_ELEMENT = 4
"""Cycles of an element; the first one of a word takes one more."""


class _Finished:
    """The row that is being finished.

    Attributes
    ----------
    busy, survivors, job_last
        There is one; its survivors, and whether its job ends with it.
    taken, step
        Survivors whose values have been added; cycles since the next one was asked for.
    divides, element, wait
        All of them have; elements that have left; cycles until the next one is offered.
    values, last_value
        A slice of a value is read in this cycle; the row's last.
    """

    def __init__(self, s: Setting, dut: SerialFinisher) -> None:
        m, row, length = s.m, dut.row.payload, range(_BUILD.max_seq_len + 1)
        self.busy, self.divides, self.job_last = Signal(), Signal(), Signal()
        self.survivors, self.taken = Signal(length), Signal(length)
        self.step, self.element = Signal(range(dut.survivor_cycles)), Signal(range(_BUILD.head_dim))
        self.first = dut.division_cycles - _ELEMENT * _BUILD.head_dim - _BUILD.value_slices + _ELEMENT
        self.wait = Signal(range(self.first + 1))
        s.assume("survivors", ~dut.row.valid | ((row.survivors != 0) & (row.survivors < length.stop)))
        weighing, ends = self.busy & ~self.divides, self.step == dut.survivor_cycles - 1
        self.weighing = weighing
        self.values = weighing & (self.step >= dut.survivor_cycles - _BUILD.value_slices)
        self.last_value = weighing & ends & (self.taken == self.survivors - 1)
        leaves = dut.o.valid & dut.o.ready
        m.d.sync += self.wait.eq(Mux(self.wait == 0, 0, self.wait - 1))
        with m.If(weighing):
            m.d.sync += [self.step.eq(Mux(ends, 0, self.step + 1)), self.taken.eq(self.taken + ends)]
        with m.If(self.last_value):
            m.d.sync += [self.divides.eq(1), self.element.eq(0), self.wait.eq(self.first)]
        with m.If(leaves):
            m.d.sync += [self.element.eq(self.element + 1), self.busy.eq(~self.element.all()),
                         self.wait.eq(_ELEMENT - 1 + ((self.element + 1) % _BUILD.value_lanes == 0))]
        with m.If(dut.row.valid & dut.row.ready):
            m.d.sync += [self.busy.eq(1), self.divides.eq(0), self.taken.eq(0), self.step.eq(0),
                         self.survivors.eq(row.survivors), self.job_last.eq(row.job_last)]
        s.invariant("row", ~self.busy | ((self.survivors != 0) & (self.survivors < length.stop) & Mux(
            self.divides, self.taken == self.survivors, self.taken < self.survivors)))
        s.invariant("step", self.step < dut.survivor_cycles)
        s.invariant("wait", ~self.divides | (self.wait <= Mux(self.element == 0, self.first, _ELEMENT - 1 + (
            self.element % _BUILD.value_lanes == 0))))


def _finishes(s: Setting) -> None:
    dut = SerialFinisher(_BUILD)
    inside = s.add(dut)
    row, o = _Finished(s, dut), dut.o.payload
    _finish_states(s, inside, row)
    number = row.step - (dut.survivor_cycles - _BUILD.value_slices)
    s.claim("row_taken", "a row is taken when the last element of the one before has left", dut.row.ready == ~row.busy,
            when=dut.row.valid)
    s.claim("survivors", "its survivors are asked for one by one, each as long as it takes",
            dut.index == row.taken, when=row.busy & ~row.divides)
    s.claim("value_slices", "of each the slices of its value are read in turn, once, behind its weight, and none else",
            (dut.values.read == row.values) & (dut.step == row.values) & (~dut.values.read | (
                (dut.values.key == dut.score.key) & (dut.values.slice == number[:1]))),
            when=dut.values.read | row.values)
    s.claim("release", "with the last slice of a job's last row its keys and values are given free, and never else",
            dut.release == (row.last_value & row.job_last), when=dut.release | row.last_value)
    s.claim("probed", "each survivor's score and weight are told once", (dut.score_probe.valid == (
        row.weighing & (row.step == 1))) & (dut.weight_probe.valid == (row.weighing & (row.step == 4)))
        & (dut.score_probe.row_last == (row.taken == row.survivors - 1)),
        when=dut.score_probe.valid | dut.weight_probe.valid)
    s.claim("elements", "then its elements are offered, the first one behind the reciprocal, each of the others in the "
            "time of an element", dut.o.valid == (row.busy & row.divides & (row.wait == 0)),
            when=dut.o.valid | row.divides)
    s.claim("element_last", "as many as the head has, of which the last alone is marked, with the job's end",
            (o.row_last == row.element.all()) & (o.job_last == (row.element.all() & row.job_last)), when=dut.o.valid)
    s.stable("element_stable", "an element stands until it is taken", dut.o.valid, dut.o.ready, o)


def _finish_states(s: Setting, inside: Inside, row: _Finished) -> None:
    """Say where a row is."""
    dut, state, lanes = inside.block, inside.state, _BUILD.value_lanes
    divides = row.busy & row.divides
    names = ("READ", "SCALE", "EXPONENT", "POWER", "WEIGHT")
    begins = divides & (row.element % lanes == 0) & (row.wait == _ELEMENT)
    for name, condition in {
            "row": state("ROW") == ~row.busy, "states": state(),
            **{word.lower(): state(word) == (row.weighing & (row.step == n)) for n, word in enumerate(names)},
            "values": state("VALUES") == row.values, "word": state("WORD") == begins,
            "align_sum": state("ALIGN SUM") == (divides & (row.wait > _ELEMENT + 1)),
            "places": ~state("ALIGN SUM") | (inside["places"] == row.wait - _ELEMENT - 2),
            "reciprocal": state("RECIPROCAL") == (divides & (row.wait == _ELEMENT + 1)),
            **{word.lower(): state(word) == (divides & (row.wait == n)) for n, word in enumerate(
                ("SEND", "DIVIDE", "ALIGN", "ELEMENT"))},
            "taken": ~row.busy | ((inside["taken"] == row.taken) & (inside["row"].survivors == row.survivors)
                                  & (inside["row"].job_last == row.job_last)),
            "part": ~row.busy | (dut.values.slice == Mux(row.divides, row.element // lanes, Mux(
                row.values, row.step - len(names), 0))),
            "lane": inside["lane"] == Mux(divides, row.element % lanes, 0)}.items():
        s.invariant(f"at_{name}", condition)


def _weighs(s: Setting) -> None:
    dut = SerialFinisher(_BUILD)
    inside, m = s.add(dut), s.m
    mantissa, shift = s.constant("mantissa", len(dut.scale_mantissa)), s.constant("shift", len(dut.scale_shift))
    m.d.comb += [dut.scale_mantissa.eq(mantissa), dut.scale_shift.eq(shift)]
    state = inside.state
    largest = Signal.like(dut.row.payload.maximum)
    with m.If(dut.row.valid & dut.row.ready):
        m.d.sync += largest.eq(dut.row.payload.maximum)
    s.assume("largest", ~dut.score_probe.valid | (dut.score.score <= largest))
    # Step by step: distance and scale, the exponent, the entry of the table.
    delta = largest - dut.score.score
    scaled = Signal(len(delta) + len(mantissa) + _BUILD.low_bits)
    exponent, entry = Signal.like(scaled), Signal(_BUILD.weight_bits)
    most = _BUILD.weight_bits + 1
    octaves = Signal(range(most + 1))
    table = Array(exp2_table(_BUILD.weight_bits, _BUILD.exp_frac_bits).tolist())
    # The product of the same two numbers as the block's: no other one has to be compared with it.
    factor, multiplier, product = inside["factor"], inside["multiplier"], Signal(len(delta) + len(mantissa))
    m.d.comb += product.eq(factor * multiplier)
    now = Signal.like(scaled)
    m.d.comb += now.eq((scaled + ((1 << shift) >> 1)) >> shift)
    places, power = exponent >> _BUILD.exp_frac_bits, table[exponent[:_BUILD.exp_frac_bits]]
    m.d.sync += [scaled.eq(product << _BUILD.low_bits), exponent.eq(now), entry.eq(power),
                 octaves.eq(Mux(places > most, most, places))]
    for name, condition in {
            "row": state("ROW") | (inside["row"].maximum == largest),
            "factors": ~dut.score_probe.valid | ((factor == delta) & (multiplier == mantissa)),
            "scaled": ~state("EXPONENT") | ((inside["value"] == scaled) & (inside["amount"] == shift)),
            "exponent": ~state("POWER") | ((inside["amount"] == Mux(places > most, most, places)) & (
                inside["powers"].read_data == power)),
            "entry": ~state("WEIGHT") | ((inside["value"] == entry) & (inside["amount"] == octaves))}.items():
        s.invariant(f"weighs_{name}", condition)
    s.claim("weight", "a survivor's weight is the power of two of its scaled distance below the largest score, with "
            "every rounding as golden has it", dut.weight_probe.weight == (entry + ((1 << octaves) >> 1)) >> octaves,
            when=dut.weight_probe.valid)


PROOFS = (
    Proof("SerialFinisher", _finishes, "induction", 2, 20, "2 slices of 2 elements, one kind of threshold"),
    Proof("SerialFinisher", _weighs, "induction", 2, 8, "weights of 4 bits, a table of 16 powers"),
)
