"""Sums of weights over a row's keys, by the group of the key."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_div, ceil_log2
from latte.rtl.common.primitives import delay
from latte.rtl.wide.payloads import gap_weight_bits, mass_bits

__all__ = ["GroupSums"]


class GroupSums(wiring.Component):
    """Adds the weights of `lanes` keys per cycle to the sums of their groups; gives the sums of a row when it ends::

        weight, group -> [sums of the lane: LUT RAM] --+
        weight, group -> [sums of the lane: LUT RAM] --+-> tree -> one group's sum per cycle
                               two rows of each

    A lane has its own sums, so that any two keys may be of one group; they meet when the row has ended, while the next
    one is summed.

    Latency: `latency` cycles from a row's last weights to the sum of its first group. Throughput: one beat per cycle;
    from one row's last to the next one's there are as many cycles as the row has groups, which the producer sees to.

    Parameters
    ----------
    config
    lanes
        Keys per cycle.

    Members
    -------
    valid, row_last : In(1)
    wanted : In(1)
        With `row_last`: handed through to `sum_wanted`, beside the row's sums.
    weights : In(ArrayLayout(gap_weight_bits, lanes))
        0 of a key that does not count.
    groups : In(ArrayLayout(group_bits, lanes))
        In a build with several groups, as is `group_bits`.
    group_bits : In
        With `row_last`: the row's head has ``2**group_bits`` groups.
    sum_valid, sum, sum_last, sum_wanted : Out
        The groups' sums of one row, in order.
    """

    def __init__(self, config: AttentionConfig, lanes: int) -> None:
        self.config = config
        self.lanes = lanes
        self.latency = self.latency_of(lanes)
        # A lane sees each `lanes`-th key of a row.
        self.lane_bits = gap_weight_bits(config) + ceil_log2(ceil_div(config.max_seq_len, lanes))
        ports = {"valid": In(1), "row_last": In(1), "wanted": In(1),
                 "weights": In(data.ArrayLayout(gap_weight_bits(config), lanes)),
                 "sum_valid": Out(1), "sum": Out(mass_bits(config)), "sum_last": Out(1), "sum_wanted": Out(1)}
        if config.group_bits:
            ports |= {"groups": In(data.ArrayLayout(config.group_bits, lanes)),
                      "group_bits": In(range(config.group_bits + 1))}
        super().__init__(ports)

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Return the latency of so many lanes: the sums' memory, its register, the tree."""
        return 2 + ceil_log2(lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        groups = max(1, config.key_groups)
        last_group = Signal(range(max(2, groups)), reset_less=True)
        group, draining, bank = Signal(range(max(2, groups))), Signal(), Signal()
        ends = self.valid & self.row_last
        drained = draining & (group == last_group)
        wanted = Signal(reset_less=True)
        with m.If(ends):
            m.d.sync += [draining.eq(1), group.eq(0), bank.eq(~bank), wanted.eq(self.wanted)]
            if config.group_bits:
                m.d.sync += last_group.eq(((1 << self.group_bits) - 1)[:config.group_bits])
        with m.Elif(draining):
            m.d.sync += [group.eq(group + 1), draining.eq(~drained)]

        parts = [self._lane(m, n, bank, group, ends) for n in range(self.lanes)]
        level = 0
        while len(parts) > 1:
            pairs = [parts[n:n + 2] for n in range(0, len(parts), 2)]
            level += 1
            width = min(self.lane_bits + level, mass_bits(config))
            parts = [Signal(width, name=f"sum_{level}_{n}", reset_less=True) for n in range(len(pairs))]
            m.d.sync += [part.eq(sum(pair[1:], pair[0])) for part, pair in zip(parts, pairs, strict=True)]
        flags = delay(m, Cat(draining, drained, wanted), self.latency - 1, name="flags")
        m.d.comb += [self.sum.eq(parts[0]), Cat(self.sum_valid, self.sum_last, self.sum_wanted).eq(flags)]
        return m

    def _lane(self, m: Module, lane: int, bank: Signal, drained: Signal, ends: Value) -> Signal:
        """Sum one lane's weights; return the sum of group `drained` of the row that has ended, a cycle later."""
        config, width = self.config, self.lane_bits
        result = Signal(width, name=f"lane_{lane}", reset_less=True)
        if not config.group_bits:
            total, complete = (Signal(width, name=f"{name}_{lane}") for name in ("total", "complete"))
            with m.If(self.valid):
                m.d.sync += total.eq(Mux(self.row_last, 0, total + self.weights[lane]))
            with m.If(ends):
                m.d.sync += complete.eq(total + self.weights[lane])
            m.d.sync += result.eq(complete)
            return result
        group = self.groups[lane]
        m.submodules[f"sums_{lane}"] = sums = memory.Memory(shape=width, depth=2 * config.key_groups, init=[])
        write, read, ended = sums.write_port(), sums.read_port(domain="comb"), sums.read_port(domain="comb")
        # Groups that have a sum, of the present row and of the one that has ended: a memory is not cleared.
        touched, complete = (Signal(config.key_groups, name=f"{name}_{lane}") for name in ("touched", "complete"))
        here = Signal(config.key_groups, name=f"here_{lane}")
        m.d.comb += [
            here.eq(1 << group), read.addr.eq(Cat(group, bank)), ended.addr.eq(Cat(drained, ~bank)),
            write.addr.eq(Cat(group, bank)), write.en.eq(self.valid),
            write.data.eq(Mux((touched & here).any(), read.data, 0) + self.weights[lane]),
        ]
        with m.If(self.valid):
            m.d.sync += touched.eq(Mux(self.row_last, 0, touched | here))
        with m.If(ends):
            m.d.sync += complete.eq(touched | here)
        m.d.sync += result.eq(Mux(complete.bit_select(drained, 1), ended.data, 0))
        return result
