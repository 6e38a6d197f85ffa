"""P·V: weighted sum of the survivors' values, a slice of dimensions per cycle."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.pruned_mass import UNIT_FRAC_BITS
from latte.rtl.common.payloads import key_shape
from latte.rtl.common.primitives import delay, next_modulo, register
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.wide.payloads import (
    denominator_bits,
    factor_bits,
    value_item_layout,
    value_sum_bits,
    weight_sum_bits,
    word_bits,
)

__all__ = ["ValueAccumulator"]

_MAX_RING = 8
"""Slices up to which the partial sums are held in registers."""


class ValueAccumulator(wiring.Component):
    r"""``sum(w * v)`` and ``sum(w)`` of each row::

        weight -> slice counter -> address -> [value plane] -> x -> + -> ring of slices -+-> words, at the row's end
                               \-> weight ----------------------^    ^-----------------/

    Each lane's partial sums go round in a ring, one step per slice, so that no multiplexer chooses among them.

    In a build that compensates pruned keys there are also sums of values by group of keys, in LUT RAM: an item that
    `adds` adds its value to one, and weighs nothing; a `virtual` survivor has one in the place of a value. All weights
    then have `UNIT_FRAC_BITS` fraction bits, and a row's sums begin at a half, so that cutting them off rounds.

    Latency: `latency` cycles from a slice of a row's last survivor to its word of sums, `sum_latency` from the first of
    them to the sum of weights. Throughput: one survivor in `value_slices` cycles. Exact: `acc_bits` hold `max_seq_len`
    terms.

    Members
    -------
    i : In(stream of value_item_layout)
    bank, key, slice : Out
        Read address of the value plane; `values` : In, `RAM_LATENCY` cycles later.
    denominator : In
        What a row's virtual survivors add to its sum of weights, with the last of them; present in a build that
        compensates.
    step : Out(1)
        A slice is begun in this cycle.
    row_room : In(1)
        The normaliser takes another row.
    row_reserve : Out(1)
        A row's last survivor was accepted: its words are under way.
    sum_valid, weight_sum, job_last : Out
        A row's sum of weights.
    word_valid, word : Out
        A row's weighted sums, `value_slices` words of `value_lanes` elements; a word stands until the next one.
    release, release_bank : Out(1)
        The last row of a job has read its last value from the given bank.
    """

    release_latency = RAM_LATENCY
    """Cycles from a job's last slice: its value is read one cycle after the address register."""
    sum_latency = 1

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latency = self.latency_of(config)
        # Fraction bits of the sums, and a half of what they stand for.
        self.fraction_bits = UNIT_FRAC_BITS if config.key_groups else 0
        self.half = 1 << (self.fraction_bits - 1) if self.fraction_bits else 0
        self.total = data.ArrayLayout(signed(word_bits(config) + self.fraction_bits), config.value_lanes)
        super().__init__({
            **({"denominator": In(denominator_bits(config))} if config.key_groups else {}),
            "i": In(stream.Signature(value_item_layout(config))),
            "bank": Out(1), "key": Out(key_shape(config)), "slice": Out(range(max(2, config.value_slices))),
            "values": In(data.ArrayLayout(signed(8), config.value_lanes)),
            "step": Out(1), "row_room": In(1), "row_reserve": Out(1),
            "sum_valid": Out(1), "weight_sum": Out(weight_sum_bits(config)), "job_last": Out(1),
            "word_valid": Out(1), "word": Out(data.ArrayLayout(signed(word_bits(config)), config.value_lanes)),
            "release": Out(1), "release_bank": Out(1)})

    @staticmethod
    def latency_of(config: AttentionConfig) -> int:
        """Return the latency of a build: address, memory, value, product in two, word; and a step of the ring.

        And the group sums' adder, in a build that compensates.
        """
        return 1 + RAM_LATENCY + bool(config.key_groups) + 3 + 1 + (1 < config.value_slices <= _MAX_RING)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slices = config.value_slices
        item = self.i.payload
        part = Signal(range(max(2, slices)))
        step, last, row_ends = self.step, Signal(), Signal()
        m.d.comb += [
            # A survivor that was begun is finished; the last of a row begins when its sums have a place to go.
            step.eq(self.i.valid & (~item.row_last | self.row_room | (part != 0))),
            last.eq(part == slices - 1),
            self.i.ready.eq(step & last),
            self.row_reserve.eq(step & (part == 0) & item.row_last),
            row_ends.eq(step & last & item.row_last),
        ]
        with m.If(step):
            m.d.sync += part.eq(next_modulo(part, slices))
        m.d.sync += [self.bank.eq(item.bank), self.key.eq(item.key), self.slice.eq(part)]
        released = delay(m, row_ends & item.job_last, self.release_latency, name="release")
        m.d.comb += [self.release.eq(released),
                     self.release_bank.eq(delay(m, item.bank, self.release_latency, name="release_bank"))]

        first = Signal(init=1)
        with m.If(step & last):
            m.d.sync += first.eq(item.row_last)
        self._sum_weights(m, step & (part == 0))

        # One more register before the multiplier, and two behind it, where hard multipliers have theirs.
        latency = 2 + RAM_LATENCY + bool(config.key_groups)
        weight = delay(m, item.weight, latency, name="weight", reset_less=True)
        valid_next = delay(m, step, latency + 1, name="valid_next")
        valid = delay(m, valid_next, 1, name="valid")
        emit_next = delay(m, step & item.row_last, latency + 1, name="emit_next")
        emit = delay(m, emit_next, 1, name="emit")
        if config.value_slices <= _MAX_RING:
            previous, total, row, row_leaves = self._registers(m, valid_next, valid, emit_next, emit)
        else:
            ring_slice = delay(m, part, latency + 2 - RAM_LATENCY, name="ring_slice", reset_less=True)
            sum_first = delay(m, first, latency + 2, name="sum_first", reset_less=True)
            previous, total = self._memory(m, valid, sum_first, ring_slice)
            row, row_leaves = total, emit
        values = self._group_sums(m, step, part) if config.key_groups else self.values
        for n in range(config.value_lanes):
            value = Signal(values[n].shape(), name=f"value_{n}", reset_less=True)
            product = Signal(signed(factor_bits(config) + len(value)), name=f"product_{n}", reset_less=True)
            piped = Signal.like(product, name=f"piped_{n}", reset_less=True)
            m.d.sync += [value.eq(values[n]), product.eq(weight * value), piped.eq(product)]
            m.d.comb += total[n].eq(previous[n] + piped)
        word = Signal.like(self.word, reset_less=True)
        m.d.sync += self.word_valid.eq(row_leaves)
        with m.If(row_leaves):
            m.d.sync += [word[n].eq(row[n] >> self.fraction_bits) for n in range(config.value_lanes)]
        m.d.comb += self.word.eq(word)
        return m

    def _group_sums(self, m: Module, step: Signal, part: Signal) -> data.View:
        """Keep the groups' sums of values; return the values, or the sums that take their place, a cycle later."""
        config = self.config
        latency = 1 + RAM_LATENCY  # from a step to its values
        shape = data.ArrayLayout(signed(value_sum_bits(config)), config.value_lanes)
        slice_bits = ceil_log2(config.value_slices)
        m.submodules.group_sums = sums = memory.Memory(shape=shape, depth=config.key_groups << slice_bits, init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        item = self.i.payload
        address = Cat(part[:slice_bits], item.group) if config.group_bits else part[:slice_bits]
        address = delay(m, address, latency, name="sums_address", reset_less=True)
        adds = delay(m, step & item.adds, latency, name="adds")
        takes_sum, takes_value = delay(m, Cat(item.virtual | (item.adds & ~item.first), ~item.virtual), latency,
                                       name="takes", reset_less=True)
        values = Signal(shape)
        m.d.comb += [read.addr.eq(address), write.addr.eq(address), write.en.eq(adds), write.data.eq(values)]
        # One adder for all: a sum with another value, its first value, a sum by itself, or a survivor's value.
        m.d.comb += [values[n].eq(Mux(takes_sum, read.data[n], 0) + Mux(takes_value, self.values[n], 0))
                     for n in range(config.value_lanes)]
        # Multipliers are far from these adders, and their first registers lie within them.
        return register(m, values, "chosen")

    def _registers(self, m: Module, valid_next: Signal, valid: Signal, emit_next: Signal,
                   emit: Signal) -> tuple[data.View, data.View, data.View, Signal]:
        """Return (`previous`, `total`) of the slice whose sums are made now, and (sums of a row, if they leave now).

        Few slices go round in registers: nothing has to choose among them. A row leaves zeros (or halves) behind: a
        register's reset costs no logic, while a choice between zero and the previous sum would cost as much as the
        adder. The adders drive the ring alone, where each has its register beside it; a row leaves from there, a cycle
        later. A single slice cannot wait for that.
        """
        total = Signal(self.total)
        empty_row = [self.half] * self.config.value_lanes
        ring = [Signal(self.total, name=f"ring_{n}", reset_less=True) for n in range(self.config.value_slices)]
        with m.If(valid):
            m.d.sync += [following.eq(previous) for previous, following in zip([total, *ring], ring, strict=False)]
        # What empties it, at a row's end and after a reset, are registers: they hang on many bits.
        single = len(ring) == 1
        stays, moves, begins = (Signal(init=1, name=name) for name in ("stays", "moves", "begins"))
        m.d.sync += [stays.eq(emit_next if single else emit & ~valid_next), moves.eq(emit & valid_next), begins.eq(0)]
        for sums, empty in zip(ring, (stays, moves), strict=False):
            with m.If(empty):
                m.d.sync += sums.eq(self.total.const(empty_row))
        with m.If(begins):
            m.d.sync += [sums.eq(self.total.const(empty_row)) for sums in ring[2:]]
        if single:
            return ring[0], total, total, emit
        return ring[-1], total, ring[0], delay(m, emit, 1, name="row_leaves")

    def _memory(self, m: Module, valid: Signal, sum_first: Signal, ring_slice: Signal) -> tuple[data.View, data.View]:
        """Return (`previous`, `total`) as `_registers` does; many slices are in a memory."""
        word, begin = self.total, self.total.const([self.half] * self.config.value_lanes)
        total, latest, previous = Signal(word), Signal(word, reset_less=True), Signal(word)
        m.submodules.ring = ring = Ram(word, self.config.value_slices)
        m.d.sync += latest.eq(total)
        m.d.comb += [
            previous.eq(Mux(sum_first, begin.as_value(), ring.read_data.as_value())), ring.read_addr.eq(ring_slice),
            ring.write_en.eq(delay(m, valid, 1, name="ring_write")), ring.write_data.eq(latest),
            ring.write_addr.eq(delay(m, ring_slice, RAM_LATENCY + 1, name="ring_write_slice", reset_less=True)),
        ]
        return previous, total

    def _sum_weights(self, m: Module, step: Value) -> None:
        """Add the survivors' weights, and the denominator of a row whose last item is no survivor."""
        item = self.i.payload
        total = Signal.like(self.weight_sum, reset_less=True)
        weight, counts = item.weight, step
        if self.config.key_groups:
            survivor = ~(item.virtual | item.adds)
            weight = Mux(survivor, item.weight[self.fraction_bits:], self.denominator)
            counts = step & (survivor | item.row_last)
        first = Signal(init=1)
        with m.If(counts):
            m.d.sync += [total.eq(Mux(first, 0, total) + weight), first.eq(item.row_last)]
        m.d.comb += self.weight_sum.eq(total)
        m.d.sync += [self.sum_valid.eq(counts & item.row_last), self.job_last.eq(item.job_last)]
