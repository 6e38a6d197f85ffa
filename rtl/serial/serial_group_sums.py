"""The values of each group's visible keys, summed as rows come to see them."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.payloads import key_shape, length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_scratchpad import plane_port

__all__ = ["SerialGroupSums", "group_sum_shape"]


def group_sum_shape(config: AttentionConfig) -> signed:
    """Shape of one element of a group's sum of values."""
    return signed(8 + max(1, ceil_log2(config.max_seq_len)))


class SerialGroupSums(wiring.Component):
    """``group_value_sums`` of `latte.golden.pruned_mass`, and the number of keys in each sum::

        key -> [membership] -> group -> slice counter -> [value plane] -> + [sums] -> sums

    Keys that the sums have stay in them, from row to row and from job to job: a causal row adds one key. A row that
    sees fewer keys than the sums have begins from nothing. A group's count lies behind its last slice.

    Latency: `key_cycles` for each key that is new, and one to see that there is none. Exact.

    Members
    -------
    restart : In(1)
        Other keys are loaded.
    ask : In(1), keys : In(length_shape)
        Bring the sums to so many keys; both stand until `done`.
    done : Out(1)
        The sums are those of the first `keys` keys.
    index : Out(key_shape), group : In(group_bits)
        Membership of a key, one cycle later.
    values : Out(plane_port)
    read_group, read_slice, read_count : In
        A slice of a group's sum, or with slice 0 its count, while nothing is asked.
    sums : Out(ArrayLayout), count : Out
        One cycle later; a group without keys has a count of 1 and any sum.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.key_cycles = self.key_cycles_of(config)
        super().__init__({
            "restart": In(1), "ask": In(1), "keys": In(length_shape(config)), "done": Out(1),
            "index": Out(key_shape(config)), "group": In(config.group_bits),
            "values": Out(plane_port(config, signed(8), config.value_lanes)),
            "read_group": In(config.group_bits), "read_slice": In(range(config.value_slices)), "read_count": In(1),
            "sums": Out(data.ArrayLayout(group_sum_shape(config), config.value_lanes)),
            "count": Out(length_shape(config))})

    @staticmethod
    def key_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles of a key: it is missed, its group read, its slices, its count."""
        return 3 + config.value_slices

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slices, groups = config.value_slices, config.key_groups
        m.submodules.memory = memory = DualPortRam(self.sums.shape(), groups * 2 * (1 << ceil_log2(slices)))
        covered, present = Signal(length_shape(config)), Signal(groups)
        group, part, counting, adding = Signal(config.group_bits), self.values.slice, Signal(), Signal()
        address = Cat(Mux(self.ask, part, self.read_slice), Mux(self.ask, counting, self.read_count),
                      Mux(self.ask, group, self.read_group))
        m.d.comb += [
            self.index.eq(covered), self.values.key.eq(covered), memory.read_addr.eq(address),
            self.sums.eq(memory.read_data),
        ]
        with m.FSM():
            with m.State("CHECK"), m.If(self.ask):
                m.d.sync += part.eq(0)
                with m.If(self.keys < covered):
                    m.d.sync += [covered.eq(0), present.eq(0)]
                with m.Elif(self.keys == covered):
                    m.d.comb += self.done.eq(1)
                with m.Else():
                    m.next = "GROUP"
            with m.State("GROUP"):
                m.d.sync += group.eq(self.group)
                m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += [self.values.read.eq(1), adding.eq(1)]
                m.d.sync += part.eq(part + 1)
                with m.If(part == slices - 1):
                    m.d.sync += part.eq(0)
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += [counting.eq(1), adding.eq(1)]
                m.d.sync += covered.eq(covered + 1)
                m.next = "CHECK"
        with m.If(self.restart):
            m.d.sync += [covered.eq(0), present.eq(0)]

        # What was read is written back a cycle later.
        write, counted = delay(m, Cat(adding, counting), 1, name="write")
        written = delay(m, address, 1, name="address")
        known = present.bit_select(group, 1)
        for n in range(config.value_lanes):
            added = Mux(counted, 1 if n == 0 else 0, self.values.data[n])
            m.d.comb += memory.write_data[n].eq(Mux(known, memory.read_data[n], 0) + added)
        m.d.comb += [memory.write_en.eq(write), memory.write_addr.eq(written)]
        with m.If(counted):
            m.d.sync += present.bit_select(group, 1).eq(1)
        exists = Signal()
        m.d.sync += exists.eq(present.bit_select(self.read_group, 1))
        m.d.comb += self.count.eq(Mux(exists, memory.read_data[0], 1))
        return m
