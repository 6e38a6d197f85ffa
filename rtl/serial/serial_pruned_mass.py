"""The mass of a row's pruned keys, group by group."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.serial.serial_gap_table import gap_weight_bits, mass_bits
from latte.rtl.serial.serial_memories import DualPortRam

__all__ = ["SerialPrunedMass"]


class SerialPrunedMass(wiring.Component):
    """``pruned_mass`` of `latte.golden.pruned_mass`: the sum of the weights of each group's pruned keys.

    The sums of the last row can be read while those of the next are made.

    Throughput: one weight every other cycle.

    Members
    -------
    group : In(group_bits)
        Of the next weight, one cycle before it and with it.
    add : In(1), weight : In(gap_weight_bits)
    row_ends : In(1)
        The sums are the last row's from now on.
    read_group : In(group_bits), mass : Out(mass_bits)
        Of the last row, one cycle later.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "group": In(config.group_bits), "add": In(1), "weight": In(gap_weight_bits(config)), "row_ends": In(1),
            "read_group": In(config.group_bits), "mass": Out(mass_bits(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        groups, width = self.config.key_groups, mass_bits(self.config)
        m.submodules.sums = sums = DualPortRam(width, groups)
        m.submodules.last_sums = last_sums = DualPortRam(width, 2 * groups)
        # Groups that have a sum; the memories keep what they had in earlier rows.
        present, last_present, half, counts = Signal(groups), Signal(groups), Signal(), Signal()
        total = Signal(width)
        m.d.comb += [
            total.eq(Mux(present.bit_select(self.group, 1), sums.read_data, 0) + self.weight),
            sums.read_addr.eq(self.group), last_sums.read_addr.eq(Cat(self.read_group, ~half)),
            self.mass.eq(Mux(counts, last_sums.read_data, 0)),
        ]
        for memory, address in ((sums, self.group), (last_sums, Cat(self.group, half))):
            m.d.comb += [memory.write_en.eq(self.add), memory.write_addr.eq(address), memory.write_data.eq(total)]
        m.d.sync += counts.eq(last_present.bit_select(self.read_group, 1))
        with m.If(self.add):
            m.d.sync += present.bit_select(self.group, 1).eq(1)
        with m.If(self.row_ends):
            m.d.sync += [last_present.eq(present), present.eq(0), half.eq(~half)]
        return m
