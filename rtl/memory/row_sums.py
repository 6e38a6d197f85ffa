"""Weighted sums of the values of some of a tile's rows, one beat of one of them per cycle."""

from amaranth import Cat, Module, Mux, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import SUM_BYTES
from latte.golden.pruned_mass import UNIT_FRAC_BITS
from latte.rtl.common.primitives import delay, register
from latte.rtl.memory.tile_payloads import tile_config
from latte.rtl.wide.payloads import factor_bits, weight_sum_bits, word_bits

__all__ = ["HALF_BITS", "RowSums", "fraction_bits", "operand_shape", "sum_step_layout", "weight_step_layout"]

HALF_BITS = 8 * SUM_BYTES // 2
"""A sum of values is multiplied in halves: with a unit's 17 bits, all of it does not fit a hard multiplier."""


def fraction_bits(build: MemoryBuild) -> int:
    """Return the fraction bits that a row's sums have, of what virtual survivors weigh."""
    return UNIT_FRAC_BITS if build.core.key_groups else 0


def operand_shape(build: MemoryBuild) -> signed:
    """Shape of what a factor multiplies: an element of a value, or a half of a sum of values."""
    return signed(HALF_BITS + 1 if build.core.key_groups else 8)


def sum_step_layout(build: MemoryBuild, rows: int) -> data.StructLayout:
    """What a step does with the sums of one slice of one of some rows.

    ``valid``: there is a step. It adds the product of ``factor`` and the operands, ``high`` as of high halves.
    ``begins``: the sum is forgotten before, and the operands are 1. ``ends``: the sum leaves.
    """
    config = tile_config(build)
    return data.StructLayout({"row": range(max(2, rows)), "slice": range(max(2, config.value_slices)),
                              "factor": factor_bits(config), "valid": 1, "high": 1, "begins": 1, "ends": 1})


def weight_step_layout(build: MemoryBuild, rows: int) -> data.StructLayout:
    """What a step adds to the sum of weights of one of some rows; ``begins`` and ``ends`` as with other sums."""
    config = tile_config(build)
    return data.StructLayout({"row": range(max(2, rows)), "adds": weight_sum_bits(config), "valid": 1, "begins": 1,
                              "ends": 1})


class RowSums(wiring.Component):
    r"""``sum(w * v)`` and ``sum(w)`` of some rows, each in a memory::

        step, operands -> factor * operand -> + -> [sums] -> word
                                              ^-------+
        weight ------------------------------> + -> [sums of weights] -> weight_sum
                                               ^------------+

    A step takes the sum of one slice of one row, adds a product, and puts it back: all in one cycle, so any step may
    follow any other.

    Latency: `latency` cycles from a step that ends a sum to its word, `sum_latency` to a sum of weights. Throughput: a
    step per cycle. Exact.

    Parameters
    ----------
    build
    rows

    Members
    -------
    step : In(sum_step_layout), operands : In(ArrayLayout(operand_shape, bus_bytes))
    weight : In(weight_step_layout)
    word_valid, word : Out
        Without the fraction bits.
    sum_valid, weight_sum : Out
    """

    _PRODUCT_LATENCY = 3
    """Factor and operand; product in two, where hard multipliers have registers."""
    latency = _PRODUCT_LATENCY + 1
    """Product; word."""
    sum_latency = 1 + 1
    """What is added; the sum of weights."""

    def __init__(self, build: MemoryBuild, rows: int) -> None:
        self.build = build
        self.rows = rows
        self.config = config = tile_config(build)
        lanes = config.value_lanes
        super().__init__({
            "step": In(sum_step_layout(build, rows)), "operands": In(data.ArrayLayout(operand_shape(build), lanes)),
            "weight": In(weight_step_layout(build, rows)), "sum_valid": Out(1),
            "weight_sum": Out(weight_sum_bits(config)), "word_valid": Out(1),
            "word": Out(data.ArrayLayout(signed(word_bits(config)), lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._add(m)
        self._sum_weights(m)
        return m

    def _add(self, m: Module) -> None:
        """Add a step's product to its sums, or begin or send them away."""
        config, step = self.config, self.step
        slice_bits = ceil_log2(config.value_slices)
        shape = data.ArrayLayout(signed(word_bits(config) + fraction_bits(self.build)), config.value_lanes)
        m.submodules.sums = sums = memory.Memory(shape=shape, depth=max(2, self.rows) << slice_bits, init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        address = delay(m, Cat(step.slice[:slice_bits], step.row), self._PRODUCT_LATENCY, name="address",
                        reset_less=True)
        valid, begins, ends, high = delay(m, Cat(step.valid, step.begins, step.ends, step.high), self._PRODUCT_LATENCY,
                                          name="kind")
        m.d.comb += [read.addr.eq(address), write.addr.eq(address), write.en.eq(valid)]
        factor = register(m, step.factor, "factor")
        for n, operand in enumerate(self.operands):
            operand = register(m, Mux(step.begins, 1, operand), f"operand_{n}", operand_shape(self.build))
            product = register(m, register(m, factor * operand, f"product_{n}"), f"piped_{n}")
            total = Mux(begins, 0, read.data[n]) + Mux(high, product << HALF_BITS, product)
            m.d.comb += write.data[n].eq(total)
            with m.If(ends):
                m.d.sync += self.word[n].eq(total >> fraction_bits(self.build))
        m.d.sync += self.word_valid.eq(ends)

    def _sum_weights(self, m: Module) -> None:
        """Add what a step adds to its row's sum of weights, or begin or send away that sum."""
        shape = self.weight_sum.shape()
        m.submodules.weight_sums = sums = memory.Memory(shape=shape, depth=max(2, self.rows), init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        weight = delay(m, self.weight, 1, name="weight_step")
        total = Mux(weight.begins, 0, read.data) + weight.adds
        m.d.comb += [read.addr.eq(weight.row), write.addr.eq(weight.row), write.en.eq(weight.valid),
                     write.data.eq(total)]
        m.d.sync += [self.sum_valid.eq(weight.ends), self.weight_sum.eq(total)]
