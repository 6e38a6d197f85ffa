"""P·V of a tile: weighted sums of the values of all its rows, one beat of V for two rows per cycle."""

import functools
import operator

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import SUM_BYTES
from latte.rtl.common.primitives import bit_number, choose, delay, lowest, next_modulo, register
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.memory.row_sums import HALF_BITS, RowSums, fraction_bits
from latte.rtl.memory.tile_payloads import (
    group_shape,
    row_denominator_layout,
    row_shape,
    tile_config,
    unit_layout,
    weighed_layout,
)
from latte.rtl.wide.payloads import factor_bits, weight_sum_bits, word_bits

__all__ = ["TileValues"]


class _Step:
    """What is done with sums in a cycle, of one kind at most.

    Attributes
    ----------
    weighs, returns, begins, ends
        A beat is weighed; half of a group's sum is added; a row's sum begins, leaves.
    divides
        A row's denominator is added to its sum of weights; beside no other kind.
    weighed
        Of each bank: row, slice and factor of what is weighed; `has`: banks with a row that weighs it; `weights`.
    returned, walked
        Row, slice and factor of what is returned, of what begins or leaves.
    high
        What is returned is the high half.
    """

    def __init__(self, build: MemoryBuild, banks: int) -> None:
        config = tile_config(build)
        layout = data.StructLayout({"row": row_shape(build), "slice": range(max(2, config.value_slices)),
                                    "factor": factor_bits(config)})
        self.weighs, self.returns, self.begins, self.ends, self.divides, self.high = (
            Signal(name=name) for name in ("weighs", "returns", "begins", "ends", "divides", "high"))
        self.weighed = Signal(data.ArrayLayout(layout, banks))
        self.has, self.weights = Signal(banks), Signal(data.ArrayLayout(config.weight_bits, banks))
        self.returned, self.walked = Signal(layout), Signal(layout)


class TileValues(wiring.Component):
    r"""``sum(w * v)`` and ``sum(w)`` of each row of a tile, even and odd rows side by side::

        i, value -> an even and an odd row that weigh the beat, then others -+-> RowSums of even rows -+-> word
        unit -> low and high half of the group's sum, slice after slice -----+                         |
        rows that are complete, slice after slice ---------------------------+-> RowSums of odd rows --+

    A tile begins with steps that put a half in the place of each sum, so that cutting off the fraction bits of virtual
    survivors rounds; and it ends with steps that add nothing.

    Latency: `latency` cycles from a tile's last item to the first row's first word, if all virtual survivors are in,
    and `sum_latency` to its sum of weights. Throughput: a beat takes as many cycles as even rows weigh it, or odd ones
    if these are more; a virtual survivor two for each slice, in cycles without a beat. Exact.

    Parameters
    ----------
    build

    Members
    -------
    begin : In(1)
        A tile begins; not while `busy`.
    rows : In(range(tile_rows + 1)), compensated : In(tile_rows)
        The tile's rows, and those with virtual survivors; stand from the cycle behind `begin`, while `busy`.
        `compensated` is present in a build that compensates, as are `unit`, `denominator` and `sums`.
    busy : Out(1)
        Until the last row's last word is under way.
    i : In(stream of weighed_layout)
        The last one alone may be without `fetch`, and not if it is the only one.
    value : In(stream of array of signed(8) [bus_bytes])
        All beats of each item with `fetch`, in order.
    unit : In(stream of unit_layout), denominator : In(stream of row_denominator_layout)
        Of the rows that are compensated, in any order; a denominator is taken before any beat. None of the next tile is
        offered while `busy`.
    sums_row, sums_group, sums_slice : Out
        Address of a sum of values of a group of keys that a row sees; `sums` : In(array of signed(24) [bus_bytes]),
        `RAM_LATENCY` cycles later.
    row_room : In(1), row_reserve : Out(1)
    sum_valid, weight_sum, job_last : Out
    word_valid, word : Out
        Of `Normalizer` of `tile_config`, as `ValueAccumulator` drives them. `job_last`: of the tile.
    """

    latency = 1 + RowSums.latency
    """It is known that the last item is in; the word."""
    sum_latency = 1 + RowSums.sum_latency
    """The same; the sum of weights."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.config = config = tile_config(build)
        self.banks = min(2, build.tile_rows)
        # A row's sums begin at a half.
        self.half = (1 << fraction_bits(build)) >> 1
        slices, lanes = range(max(2, config.value_slices)), config.value_lanes
        compensation = {
            "compensated": In(build.tile_rows), "unit": In(stream.Signature(unit_layout(build))),
            "denominator": In(stream.Signature(row_denominator_layout(build))),
            "sums_row": Out(row_shape(build)), "sums_group": Out(group_shape(build)), "sums_slice": Out(slices),
            "sums": In(data.ArrayLayout(signed(8 * SUM_BYTES), lanes))} if config.key_groups else {}
        super().__init__({
            "begin": In(1), "rows": In(range(build.tile_rows + 1)), "busy": Out(1),
            "i": In(stream.Signature(weighed_layout(build))),
            "value": In(stream.Signature(data.ArrayLayout(signed(8), lanes))), **compensation,
            "row_room": In(1), "row_reserve": Out(1),
            "sum_valid": Out(1), "weight_sum": Out(weight_sum_bits(config)), "job_last": Out(1),
            "word_valid": Out(1), "word": Out(data.ArrayLayout(signed(word_bits(config)), lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        at = _Step(self.build, self.banks)
        # The tile takes items; its last one is in; which rows lack nothing else.
        opened, items_in, complete = Signal(), Signal(), Const((1 << self.build.tile_rows) - 1)
        beat = opened & ~items_in & self.i.valid & self.i.payload.fetch & self.value.valid
        operands: list[Value] = list(self.value.payload)
        if self.config.key_groups:
            m.d.comb += [at.divides.eq(opened & self.denominator.valid), self.denominator.ready.eq(opened)]
            complete = self._return(m, at, opened & ~beat)
            operands = [Mux(at.returns, Mux(at.high, total[HALF_BITS:].as_signed(), total[:HALF_BITS]), value)
                        for total, value in zip(self.sums, operands, strict=True)]
        m.d.comb += at.weighs.eq(beat & ~at.returns & ~at.divides)
        self._weigh(m, at, opened, items_in)
        may_end = items_in & complete.bit_select(at.walked.row, 1) & ~at.returns & ~at.divides
        self._walk(m, at, opened, may_end)
        with m.If(at.begins):
            m.d.sync += items_in.eq(0)

        banks = [self._add(m, at, bank, operands) for bank in range(self.banks)]
        # A word stands until the next one comes.
        ended = Signal(range(max(2, self.banks)))
        with m.If(at.ends):
            m.d.sync += ended.eq(at.walked.row & (self.banks - 1))
        shown, sums = delay(m, ended, RowSums.latency - 1, name="shown"), Cat(bank.sum_valid for bank in banks)
        m.d.comb += [
            self.word_valid.eq(Cat(bank.word_valid for bank in banks).any()),
            self.word.eq(Array(bank.word.as_value() for bank in banks)[shown]),
            self.sum_valid.eq(sums.any()), self.weight_sum.eq(choose([bank.weight_sum for bank in banks], sums)),
        ]
        return m

    def _weigh(self, m: Module, at: _Step, opened: Signal, items_in: Signal) -> None:
        """Take a beat of an item for one row of each bank after the other that weighs it."""
        item, rows = self.i.payload, range(self.build.tile_rows)
        given, left, part = Signal(len(rows)), Signal(len(rows)), Signal(at.walked.slice.shape())
        m.d.comb += left.eq(Cat(held.any() for held in item.weights) & ~given)
        chosen, others = [], []
        for bank in range(self.banks):
            waiting = Cat(left[row] & (row % self.banks == bank) for row in rows)
            chosen.append(lowest(waiting))
            others.append((waiting & (waiting - 1)).any())
            step, weight = at.weighed[bank], at.weights[bank]
            m.d.comb += [at.has[bank].eq(waiting.any()), weight.eq(choose(list(item.weights), chosen[-1])),
                         step.row.eq(bit_number(chosen[-1])), step.slice.eq(part),
                         step.factor.eq(weight << fraction_bits(self.build))]
        last_rows, last_beat = ~Cat(others).any(), part == self.config.value_slices - 1
        m.d.comb += [
            self.value.ready.eq(at.weighs & last_rows),
            self.i.ready.eq(Mux(item.fetch, at.weighs & last_rows & last_beat, opened)),
        ]
        with m.If(at.weighs):
            m.d.sync += given.eq(Mux(last_rows, 0, given | functools.reduce(operator.or_, chosen)))
            with m.If(last_rows):
                m.d.sync += part.eq(next_modulo(part, self.config.value_slices))
        with m.If(self.i.valid & self.i.ready & item.last):
            m.d.sync += items_in.eq(1)

    def _return(self, m: Module, at: _Step, may_begin: Value) -> Value:
        """Read the group's sum of a virtual survivor, and make steps of it when it is there.

        Returns
        -------
        Rows that lack no virtual survivor and no denominator.
        """
        unit, slices = self.unit.payload, self.config.value_slices
        part, high, begun, ends = Signal(at.returned.slice.shape()), Signal(), Signal(), Signal()
        m.d.comb += [
            self.sums_row.eq(unit.row), self.sums_group.eq(unit.group), self.sums_slice.eq(part),
            begun.eq(self.unit.valid & may_begin), ends.eq(high & (part == slices - 1)),
            self.unit.ready.eq(may_begin & ends),
        ]
        with m.If(begun):
            m.d.sync += high.eq(~high)
            with m.If(high):
                m.d.sync += part.eq(next_modulo(part, slices))
        beside = Signal(data.StructLayout({"step": at.returned.shape(), "high": 1, "row_ends": 1}), name="beside")
        m.d.comb += [beside.step.row.eq(unit.row), beside.step.slice.eq(part), beside.step.factor.eq(unit.unit),
                     beside.high.eq(high), beside.row_ends.eq(ends & unit.last)]
        found = delay(m, beside, RAM_LATENCY, name="found", reset_less=True)
        m.d.comb += [at.returns.eq(delay(m, begun, RAM_LATENCY, name="returns")), at.returned.eq(found.step),
                     at.high.eq(found.high)]
        returned, divided = Signal(self.build.tile_rows), Signal(self.build.tile_rows)
        with m.If(at.begins):
            m.d.sync += [returned.eq(0), divided.eq(0)]
        with m.If(at.returns & found.row_ends):
            m.d.sync += returned.bit_select(found.step.row, 1).eq(1)
        with m.If(self.denominator.valid & self.denominator.ready):
            m.d.sync += divided.bit_select(self.denominator.payload.row, 1).eq(1)
        return ~self.compensated | (returned & divided)

    def _walk(self, m: Module, at: _Step, opened: Signal, may_end: Value) -> None:
        """Begin all sums of a tile, and send the rows away that are complete, slice after slice of row after row."""
        step = at.walked
        row, part = Signal(step.row.shape()), Signal(step.slice.shape())
        last_row, last_part = row == self.rows - 1, part == self.config.value_slices - 1
        m.d.comb += [step.row.eq(row), step.slice.eq(part), step.factor.eq(Mux(at.begins, self.half, 0)),
                     self.row_reserve.eq(at.ends & (part == 0))]
        with m.If(at.begins | at.ends):
            m.d.sync += part.eq(next_modulo(part, self.config.value_slices))
            with m.If(last_part):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
        with m.FSM():
            with m.State("IDLE"), m.If(self.begin):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [self.busy.eq(1), at.begins.eq(1)]
                with m.If(last_row & last_part):
                    m.next = "ITEMS"
            with m.State("ITEMS"):
                m.d.comb += [self.busy.eq(1), opened.eq(1), at.ends.eq(may_end & (self.row_room | (part != 0)))]
                with m.If(at.ends & last_row & last_part):
                    m.next = "IDLE"
        m.d.sync += self.job_last.eq(register(m, last_row, "last_row"))

    def _add(self, m: Module, at: _Step, bank: int, operands: list[Value]) -> RowSums:
        """Make the steps of every `banks`-th row."""
        bits, rows = exact_log2(self.banks), ceil_div(self.build.tile_rows - bank, self.banks)
        m.submodules[f"bank_{bank}"] = sums = RowSums(self.build, rows)
        chosen = Signal(at.walked.shape(), name=f"step_{bank}")
        m.d.comb += chosen.eq(at.walked)
        with m.If(at.returns):
            m.d.comb += chosen.eq(at.returned)
        with m.Elif(at.weighs):
            m.d.comb += chosen.eq(at.weighed[bank])

        def ours(row: Value) -> Value:
            return row[:bits] == bank if bits else Const(1)

        begins, ends = at.begins & ours(at.walked.row), at.ends & ours(at.walked.row)
        weighs, first = at.weighs & at.has[bank], chosen.slice == 0
        divides, row, adds = Const(0), chosen.row, Mux(at.weighs, at.weights[bank], 0)
        if self.config.key_groups:
            denominator = self.denominator.payload
            divides = at.divides & ours(denominator.row)
            row, adds = Mux(at.divides, denominator.row, row), Mux(at.divides, denominator.denominator, adds)
        step, weight = sums.step, sums.weight
        m.d.comb += [
            step.row.eq(chosen.row >> bits), step.slice.eq(chosen.slice), step.factor.eq(chosen.factor),
            step.valid.eq(weighs | (at.returns & ours(at.returned.row)) | begins | ends),
            step.high.eq(at.high & at.returns), step.begins.eq(begins), step.ends.eq(ends),
            weight.row.eq(row >> bits), weight.adds.eq(adds), weight.valid.eq(divides | ((weighs | begins) & first)),
            weight.begins.eq(begins), weight.ends.eq(ends & first),
            *(to.eq(operand) for to, operand in zip(sums.operands, operands, strict=True)),
        ]
        return sums
