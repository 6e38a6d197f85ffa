"""P·V of a tile: weighted sums of the values of all its rows, one beat of V for one row per cycle."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import SUM_BYTES
from latte.golden.pruned_mass import UNIT_FRAC_BITS
from latte.rtl.common.primitives import bit_number, choose, delay, lowest, next_modulo, register
from latte.rtl.common.ram import RAM_LATENCY
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

_HALF_BITS = 8 * SUM_BYTES // 2
"""A sum of values is multiplied in halves: with a unit's 17 bits, all of it does not fit a hard multiplier."""


class TileValues(wiring.Component):
    r"""``sum(w * v)`` and ``sum(w)`` of each row of a tile, side by side in one memory::

        i, value -> one row that weighs the beat after the other ------------+-> factor * operand -> + -> [sums]
        unit -> low and high half of the group's sum, slice after slice -----+                       ^------+-> word
        rows that are complete, slice after slice: nothing is added, the sum leaves -+

    A step takes the sum of one slice of one row, adds a product, and puts it back: all in one cycle, so any step may
    follow any other. A tile begins with steps that put a half in the place of each sum, so that cutting off the
    fraction bits of virtual survivors rounds; and it ends with steps that add nothing.

    Latency: `latency` cycles from a tile's last item to the first row's first word, if all virtual survivors are in,
    and `sum_latency` to its sum of weights. Throughput: a beat takes as many cycles as rows weigh it, a
    virtual survivor two for each slice, in cycles without a beat. Exact.

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

    _PRODUCT_LATENCY = 3
    """Factor and operand; product in two, where hard multipliers have registers."""
    latency = 1 + _PRODUCT_LATENCY + 1
    """It is known that the last item is in; product; word."""
    sum_latency = 1 + 1 + 1
    """The same; what is added; the sum of weights."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.config = config = tile_config(build)
        self.fraction_bits = UNIT_FRAC_BITS if config.key_groups else 0
        # A row's sums begin at a half.
        self.half = 1 << (self.fraction_bits - 1) if self.fraction_bits else 0
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
        config, compensates = self.config, bool(self.config.key_groups)
        layout = data.StructLayout({"row": row_shape(self.build), "slice": range(max(2, config.value_slices)),
                                    "factor": factor_bits(config)})
        step, weighed, returned, walked = (Signal(layout, name=name) for name in (
            "step", "weighed", "returned", "walked"))
        # Kinds of steps, of which one is made in a cycle.
        weighs, returns, begins, ends = (Signal(name=name) for name in ("weighs", "returns", "begins", "ends"))
        # The tile takes items; its last one is in; which rows lack nothing else.
        opened, items_in, complete = Signal(), Signal(), Const((1 << self.build.tile_rows) - 1)
        divides, denominator, high = Const(0), Const(0), Const(0)
        beat = opened & ~items_in & self.i.valid & self.i.payload.fetch & self.value.valid
        operands: list[Value] = list(self.value.payload)
        if compensates:
            divides, denominator = opened & self.denominator.valid, self.denominator.payload
            m.d.comb += self.denominator.ready.eq(opened)
            high, complete = self._return(m, returns, returned, opened & ~beat, begins)
            operands = [Mux(returns, Mux(high, total[_HALF_BITS:].as_signed(), total[:_HALF_BITS]), value)
                        for total, value in zip(self.sums, operands, strict=True)]
        m.d.comb += weighs.eq(beat & ~returns & ~divides)
        weight = self._weigh(m, weighs, weighed, opened, items_in)
        may_end = items_in & complete.bit_select(walked.row, 1) & ~returns & ~divides
        self._walk(m, begins, ends, walked, opened, may_end)
        with m.If(begins):
            m.d.sync += items_in.eq(0)
        m.d.comb += step.eq(walked)
        with m.If(returns):
            m.d.comb += step.eq(returned)
        with m.Elif(weighs):
            m.d.comb += step.eq(weighed)

        first = step.slice == 0
        adds = Mux(divides, denominator.denominator if compensates else 0, Mux(weighs, weight, 0))
        self._sum_weights(m, Mux(divides, denominator.row, step.row) if compensates else step.row, adds,
                          divides | ((weighs | begins) & first), begins, ends & first)
        self._add(m, step, operands, weighs | returns | begins | ends, begins, ends, high & returns)
        return m

    def _weigh(self, m: Module, weighs: Signal, step: data.View, opened: Signal, items_in: Signal) -> Value:
        """Take a beat of an item for one row after the other that weighs it; return the weight."""
        item = self.i.payload
        given, left, part = Signal(self.build.tile_rows), Signal(self.build.tile_rows), Signal(step.slice.shape())
        last_row, last_beat = (left & (left - 1)) == 0, part == self.config.value_slices - 1
        weight = choose(list(item.weights), lowest(left))
        m.d.comb += [
            left.eq(Cat(held.any() for held in item.weights) & ~given),
            step.row.eq(bit_number(lowest(left))), step.slice.eq(part), step.factor.eq(weight << self.fraction_bits),
            self.value.ready.eq(weighs & last_row),
            self.i.ready.eq(Mux(item.fetch, weighs & last_row & last_beat, opened)),
        ]
        with m.If(weighs):
            m.d.sync += given.eq(Mux(last_row, 0, given | lowest(left)))
            with m.If(last_row):
                m.d.sync += part.eq(next_modulo(part, self.config.value_slices))
        with m.If(self.i.valid & self.i.ready & item.last):
            m.d.sync += items_in.eq(1)
        return weight

    def _return(self, m: Module, returns: Signal, step: data.View, may_begin: Value, begins: Signal
                ) -> tuple[Value, Value]:
        """Read the group's sum of a virtual survivor, and make steps of it when it is there.

        Returns
        -------
        high
            Whether a step is that of the high half.
        complete
            Rows that lack no virtual survivor and no denominator.
        """
        unit, slices = self.unit.payload, self.config.value_slices
        part, high, begun, ends = Signal(step.slice.shape()), Signal(), Signal(), Signal()
        m.d.comb += [
            self.sums_row.eq(unit.row), self.sums_group.eq(unit.group), self.sums_slice.eq(part),
            begun.eq(self.unit.valid & may_begin), ends.eq(high & (part == slices - 1)),
            self.unit.ready.eq(may_begin & ends),
        ]
        with m.If(begun):
            m.d.sync += high.eq(~high)
            with m.If(high):
                m.d.sync += part.eq(next_modulo(part, slices))
        beside = Signal(data.StructLayout({"step": step.shape(), "high": 1, "row_ends": 1}), name="beside")
        m.d.comb += [beside.step.row.eq(unit.row), beside.step.slice.eq(part), beside.step.factor.eq(unit.unit),
                     beside.high.eq(high), beside.row_ends.eq(ends & unit.last)]
        found = delay(m, beside, RAM_LATENCY, name="found", reset_less=True)
        m.d.comb += [returns.eq(delay(m, begun, RAM_LATENCY, name="returns")), step.eq(found.step)]
        returned, divided = Signal(self.build.tile_rows), Signal(self.build.tile_rows)
        with m.If(begins):
            m.d.sync += [returned.eq(0), divided.eq(0)]
        with m.If(returns & found.row_ends):
            m.d.sync += returned.bit_select(found.step.row, 1).eq(1)
        with m.If(self.denominator.valid & self.denominator.ready):
            m.d.sync += divided.bit_select(self.denominator.payload.row, 1).eq(1)
        return found.high, ~self.compensated | (returned & divided)

    def _walk(self, m: Module, begins: Signal, ends: Signal, step: data.View, opened: Signal, may_end: Value) -> None:
        """Begin all sums of a tile, and send the rows away that are complete, slice after slice of row after row."""
        row, part = Signal(step.row.shape()), Signal(step.slice.shape())
        last_row, last_part = row == self.rows - 1, part == self.config.value_slices - 1
        m.d.comb += [step.row.eq(row), step.slice.eq(part), step.factor.eq(Mux(begins, self.half, 0)),
                     self.row_reserve.eq(ends & (part == 0))]
        with m.If(begins | ends):
            m.d.sync += part.eq(next_modulo(part, self.config.value_slices))
            with m.If(last_part):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
        with m.FSM():
            with m.State("IDLE"), m.If(self.begin):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [self.busy.eq(1), begins.eq(1)]
                with m.If(last_row & last_part):
                    m.next = "ITEMS"
            with m.State("ITEMS"):
                m.d.comb += [self.busy.eq(1), opened.eq(1), ends.eq(may_end & (self.row_room | (part != 0)))]
                with m.If(ends & last_row & last_part):
                    m.next = "IDLE"
        m.d.sync += self.job_last.eq(register(m, last_row, "last_row"))

    def _sum_weights(self, m: Module, row: Value, adds: Value, writes: Value, begins: Value, ends: Value) -> None:
        """Add what a step adds to its row's sum of weights, or begin or send away that sum."""
        shape = self.weight_sum.shape()
        m.submodules.weight_sums = sums = memory.Memory(shape=shape, depth=max(2, self.build.tile_rows), init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        row, adds = register(m, row, "sum_row"), register(m, adds, "adds")
        writes, begins, ends = delay(m, Cat(writes, begins, ends), 1, name="sum_step")
        total = Mux(begins, 0, read.data) + adds
        m.d.comb += [read.addr.eq(row), write.addr.eq(row), write.en.eq(writes), write.data.eq(total)]
        m.d.sync += self.sum_valid.eq(ends)
        m.d.comb += self.weight_sum.eq(register(m, total, "total", shape))

    def _add(self, m: Module, step: data.View, operands: list[Value], valid: Value, begins: Value, ends: Value,
             high: Value) -> None:
        """Add a step's product to its sums, or begin or send them away."""
        config = self.config
        slice_bits = ceil_log2(config.value_slices)
        shape = data.ArrayLayout(signed(word_bits(config) + self.fraction_bits), config.value_lanes)
        m.submodules.sums = sums = memory.Memory(shape=shape, depth=max(2, self.build.tile_rows) << slice_bits, init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        address = delay(m, Cat(step.slice[:slice_bits], step.row), self._PRODUCT_LATENCY, name="address",
                        reset_less=True)
        valid, begun, ends, high = delay(m, Cat(valid, begins, ends, high), self._PRODUCT_LATENCY, name="step")
        m.d.comb += [read.addr.eq(address), write.addr.eq(address), write.en.eq(valid)]
        factor = register(m, step.factor, "factor")
        for n, operand in enumerate(operands):
            # A sum begins with a half, times one.
            operand = register(m, Mux(begins, 1, operand), f"operand_{n}", operand.shape())
            product = register(m, register(m, factor * operand, f"product_{n}"), f"piped_{n}")
            total = Mux(begun, 0, read.data[n]) + Mux(high, product << _HALF_BITS, product)
            m.d.comb += write.data[n].eq(total)
            with m.If(ends):
                m.d.sync += self.word[n].eq(total >> self.fraction_bits)
        m.d.sync += self.word_valid.eq(ends)
