"""P·V of the dense baseline: every key of a group in the same cycle."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.payloads import key_shape
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.dense.dense_softmax import weights_layout

__all__ = ["DenseValueAccumulator"]


class DenseValueAccumulator(wiring.Component):
    """P·V of ``P`` keys per cycle: as many multipliers per dimension, an adder tree, one accumulator.

    Latency: `latency` cycles from a row's last group to its word, `sum_latency` to its sum of weights. Throughput: one
    group per cycle.

    Members
    -------
    i : In(stream of weights_layout)
    bank, group : Out
        Read address of the value plane; `values` : In, `RAM_LATENCY` cycles later.
    row_room, row_reserve, sum_valid, weight_sum, job_last, word_valid, word, release, release_bank
        As of `ValueAccumulator`.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        tree = AdderTree.latency_of(config.pairs_per_cycle)
        self.sum_latency = tree + 1
        # Address, memory; product in two, sum over the keys; the row's sum.
        self.latency = 1 + RAM_LATENCY + 2 + tree + 1
        values = data.ArrayLayout(data.ArrayLayout(signed(8), config.head_dim), config.pairs_per_cycle)
        super().__init__({
            "i": In(stream.Signature(weights_layout(config))), "step": Out(1),
            "bank": Out(1), "group": Out(key_shape(config)), "values": In(values),
            "row_room": In(1), "row_reserve": Out(1),
            "sum_valid": Out(1), "weight_sum": Out(config.sum_bits), "job_last": Out(1),
            "word_valid": Out(1), "word": Out(data.ArrayLayout(signed(config.acc_bits), config.head_dim)),
            "release": Out(1), "release_bank": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        pairs = config.pairs_per_cycle
        item, step = self.i.payload, self.step
        m.d.comb += [
            step.eq(self.i.valid & (~item.row_last | self.row_room)), self.i.ready.eq(step),
            self.row_reserve.eq(step & item.row_last),
        ]
        m.d.sync += [self.bank.eq(item.bank), self.group.eq(item.group)]
        m.d.comb += [
            self.release.eq(delay(m, step & item.job_last, RAM_LATENCY, name="release")),
            self.release_bank.eq(delay(m, item.bank, RAM_LATENCY, name="release_bank")),
        ]
        first = Signal(init=1)
        with m.If(step):
            m.d.sync += first.eq(item.row_last)

        m.submodules.weight_tree = tree = AdderTree(pairs, signed(config.weight_bits + 1))
        m.d.comb += [tree.terms[n].eq(item.weights[n]) for n in range(pairs)]
        total = Signal.like(self.weight_sum, reset_less=True)
        weights_first = delay(m, first, tree.latency, name="weights_first")
        with m.If(delay(m, step, tree.latency, name="weights_valid")):
            m.d.sync += total.eq(Mux(weights_first, 0, total) + tree.sum)
        m.d.comb += [
            self.weight_sum.eq(total),
            self.sum_valid.eq(delay(m, step & item.row_last, self.sum_latency, name="sum_valid")),
            self.job_last.eq(delay(m, item.job_last, self.sum_latency, name="job_last")),
        ]

        to_values = 1 + RAM_LATENCY
        weights = delay(m, item.weights, to_values, name="weights", reset_less=True)
        valid = delay(m, step, self.latency - 1, name="valid")
        emit = delay(m, step & item.row_last, self.latency - 1, name="emit")
        m.d.sync += self.word_valid.eq(emit)
        for d in range(config.head_dim):
            m.submodules[f"tree_{d}"] = tree = AdderTree(pairs, signed(config.weight_bits + 8))
            for n in range(pairs):
                product = Signal(signed(config.weight_bits + 8), name=f"product_{d}_{n}", reset_less=True)
                piped = Signal(signed(config.weight_bits + 8), name=f"piped_{d}_{n}", reset_less=True)
                m.d.sync += [product.eq(weights[n] * self.values[n][d]), piped.eq(product)]
                m.d.comb += tree.terms[n].eq(piped)
            accumulator = Signal(signed(config.acc_bits), name=f"accumulator_{d}")
            total = Signal(signed(config.acc_bits), name=f"total_{d}")
            m.d.comb += total.eq(accumulator + tree.sum)
            with m.If(valid):
                m.d.sync += accumulator.eq(total)
            with m.If(emit):
                m.d.sync += [self.word[d].eq(total), accumulator.eq(0)]
        return m
