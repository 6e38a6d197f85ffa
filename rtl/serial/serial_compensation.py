"""What the serial finisher does for a compensated row before its first survivor: the groups' virtual survivors."""

import dataclasses

from amaranth import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import RECIPROCAL_FRAC_BITS
from latte.golden.pruned_mass import GAIN_FRAC_BITS, MASS_FRAC_BITS, UNIT_BITS, UNIT_FRAC_BITS
from latte.rtl.common.entry_words import GAIN_BITS
from latte.rtl.common.primitives import delay
from latte.rtl.serial.serial_gap_table import mass_bits
from latte.rtl.serial.serial_group_sums import SerialGroupSums

__all__ = ["Arithmetic", "VirtualSurvivors", "virtual_cycles", "wide_operand_bits"]

_PRODUCT_CYCLES = 3
"""Cycles of a product of a wide number: its low part, its high part, the rounding."""
_GAIN_MORE_BITS = GAIN_BITS - GAIN_FRAC_BITS


def _lead(config: AttentionConfig) -> int:
    """Places by which a mass is shifted to the left, so that all that follows is shifts to the right."""
    return max(0, config.sum_bits - MASS_FRAC_BITS - config.weight_bits)


def _key_places(config: AttentionConfig) -> int:
    """Places that a number of keys may have to be shifted to have its leading one at the top."""
    return config.max_seq_len.bit_length() - 1


def wide_operand_bits(config: AttentionConfig) -> int:
    """Width of the widest number that is multiplied: a group's mass, with its gain, or that of all groups."""
    return max(mass_bits(config) + _lead(config), config.sum_bits + max(_GAIN_MORE_BITS, config.group_bits))


def virtual_cycles(config: AttentionConfig, groups: int) -> int:
    """Return the cycles from the sums of a row's keys to its first survivor.

    The octaves between its largest estimate and its largest score; for each of its head's `groups`, memories, mass,
    gain, reciprocal, unit weight and slices; the sum of weights.
    """
    group = 2 + 3 * _PRODUCT_CYCLES + _key_places(config) + 2 + config.value_slices
    return 3 + groups * group + _PRODUCT_CYCLES


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """Registers of the finisher, its multiplier and its shifter.

    Parameters
    ----------
    row
        The row's description.
    part
        Slice of values.
    factor, multiplier, product
    value, amount, halves
        ``halves = 2 value >> amount``.
    powers
        Table of powers of two.
    weight_sum, exponent, places
        What is shifted to its leading one, the place of that, the steps that are left.
    mantissa
        Of the reciprocal.
    weight, adding
        Values of slice `part` times `weight` are added to the row's sums.
    """

    row: Value
    part: Signal
    factor: Signal
    multiplier: Signal
    product: Signal
    value: Signal
    amount: Signal
    halves: Signal
    powers: wiring.Component
    weight_sum: Signal
    exponent: Signal
    places: Signal
    mantissa: Signal
    weight: Signal
    adding: Signal


class VirtualSurvivors:
    """States of the finisher and what they work on, as `latte.golden.pruned_mass` defines them::

        SUM KEYS -> DISTANCE -> OCTAVES -> POWER OF ROW -> [MASS -> TAKE MASS -> x power -> x mean gain
                    -> reciprocal of keys -> x mantissa -> VIRTUAL] of each group -> x denominator gain -> READ

    A product with a wide number takes its low part, its high part and the rounding.

    Parameters
    ----------
    m
        The finisher's module.
    finisher
        Its ports.
    parts
        What it shares.
    """

    def __init__(self, m: Module, finisher: wiring.Component, parts: Arithmetic) -> None:
        config = finisher.config
        self.m, self.finisher, self.parts, self.config = m, finisher, parts, config
        m.submodules.group_sums = self.sums = sums = SerialGroupSums(config)
        self.group = Signal(config.group_bits)
        self.power, self.rescale = Signal(config.weight_bits), Signal.like(parts.amount)
        self.total = Signal(config.sum_bits + config.group_bits)
        self.operand = Signal(max(wide_operand_bits(config), len(parts.factor)))
        self.step, self.of_keys = Signal(range(4)), Signal()
        adding = Signal()
        self.reading, self.added = adding, delay(m, adding, 1, name="virtual")
        m.d.comb += [
            sums.restart.eq(finisher.restart), sums.keys.eq(parts.row.keys), finisher.member.eq(sums.index),
            sums.group.eq(finisher.group), sums.values.data.eq(finisher.values.data),
            sums.read_group.eq(self.group), sums.read_slice.eq(parts.part), sums.read_count.eq(~adding),
            finisher.mass_group.eq(self.group),
        ]
        # Rounded half up, and whether it is more than that.
        places = finisher.sum_bits
        self.whole, self.excess = Signal(places + 1), Signal()
        m.d.comb += [self.whole.eq((parts.halves[:places + 1] + 1) >> 1),
                     self.excess.eq(parts.halves[places + 1:].any())]

    def first(self, survivor: Value) -> Value:
        """Return whether sums begin with what is added: with the first virtual survivor, with the first `survivor`."""
        return Mux(self.reading, self.group == 0, survivor)

    def begin(self, accumulated: Value) -> Value:
        """Return what the row's sums begin with: nothing, and then the virtual survivors without their fraction."""
        whole = (accumulated + (1 << (UNIT_FRAC_BITS - 1))) >> UNIT_FRAC_BITS
        return Mux(self.added | ~self.finisher.compensated, 0, whole)

    def element(self, n: int) -> Value:
        """Return element `n` of the value that is added."""
        return Mux(self.added, self.sums.sums[n], self.finisher.values.data[n])

    def divide_by_keys(self) -> None:
        """Go on, in state RECIPROCAL, with a reciprocal of a group's keys."""
        with self.m.If(self.of_keys):
            self.m.d.sync += [self.of_keys.eq(0),
                              self.parts.amount.eq(RECIPROCAL_FRAC_BITS - UNIT_FRAC_BITS + self.parts.exponent)]
            self.m.next = "LOW"

    def states(self) -> None:
        """Add the states."""
        m, finisher, parts, sums = self.m, self.finisher, self.parts, self.sums
        with m.State("SUM KEYS"):
            m.d.comb += [
                sums.ask.eq(1), finisher.values.read.eq(sums.values.read), finisher.values.key.eq(sums.values.key),
                finisher.values.slice.eq(sums.values.slice)]
            with m.If(sums.done):
                m.next = "DISTANCE"
        with m.State("DISTANCE"):
            best = parts.row.best << self.config.low_bits
            m.d.comb += parts.factor.eq(parts.row.maximum - best)
            m.d.sync += [parts.value.eq(parts.product << self.config.low_bits),
                         parts.amount.eq(finisher.scale_shift), self.group.eq(0), self.total.eq(0)]
            m.next = "OCTAVES"
        with m.State("OCTAVES"):
            self._octaves()
            m.next = "POWER OF ROW"
        with m.State("POWER OF ROW"):
            m.d.sync += self.power.eq(parts.powers.read_data)
            m.next = "MASS"
        with m.State("MASS"):
            m.next = "TAKE MASS"
        with m.State("TAKE MASS"):
            count = sums.count
            m.d.sync += [
                self.operand.eq(finisher.mass << _lead(self.config)), parts.amount.eq(self.rescale), self.step.eq(0),
                parts.weight_sum.eq(count << (len(parts.weight_sum) - len(count))),
                parts.exponent.eq(_key_places(self.config)), parts.places.eq(_key_places(self.config)),
            ]
            m.next = "LOW"
        times = Array([self.power, finisher.mean_gain, parts.mantissa, finisher.denominator_gain])[self.step]
        low = len(parts.factor) - 1
        with m.State("LOW"):
            m.d.comb += [parts.factor.eq(self.operand[:low]), parts.multiplier.eq(times)]
            m.d.sync += parts.value.eq(parts.product)
            m.next = "HIGH"
        with m.State("HIGH"):
            m.d.comb += [parts.factor.eq(self.operand[low:]), parts.multiplier.eq(times)]
            m.d.sync += parts.value.eq(parts.value + (parts.product << low))
            m.next = "ROUND"
        with m.State("ROUND"), m.Switch(self.step):
            self._round()
        with m.State("VIRTUAL"):
            m.d.comb += [self.reading.eq(1), parts.adding.eq(1)]
            m.d.sync += parts.part.eq(parts.part + 1)
            with m.If(parts.part == self.config.value_slices - 1):
                m.d.sync += [parts.part.eq(0), self.group.eq(self.group + 1)]
                m.next = "MASS"
                with m.If(self.group == self._last_group()):
                    m.d.sync += [self.operand.eq(self.total), parts.amount.eq(GAIN_FRAC_BITS), self.step.eq(3)]
                    m.next = "LOW"

    def _last_group(self) -> Value:
        """Return the last group that the head has."""
        if not self.config.group_bits:
            return Const(0)
        return ((1 << self.finisher.group_bits) - 1)[:self.config.group_bits]

    def _octaves(self) -> None:
        """Take the power that brings masses to the row's largest score: its fraction, and how far it shifts."""
        m, parts, config = self.m, self.parts, self.config
        fraction, most = config.exp_frac_bits, config.sum_bits
        bits = fraction + most.bit_length() + 1
        exact = Signal(signed(bits + 1))
        above = parts.halves[bits:]
        octaves = exact >> fraction
        limited = Mux(octaves > most, most, Mux(octaves < -most, -most, octaves))
        limited = Mux(above.any() & ~above.all(), Mux(parts.halves[-1], -most, most), limited)
        m.d.comb += [exact.eq((parts.halves[:bits + 1].as_signed() + 1) >> 1),
                     parts.powers.read_addr.eq(exact[:fraction])]
        m.d.sync += self.rescale.eq(MASS_FRAC_BITS + config.weight_bits + _lead(config) + limited)

    def _round(self) -> None:
        """Take a product, by `step`."""
        m, parts, config = self.m, self.parts, self.config
        with m.Case(0):
            mass = Mux(self.excess | self.whole[config.sum_bits:].any(), (1 << config.sum_bits) - 1, self.whole)
            m.d.comb += self.finisher.pruned.eq(mass)
            m.d.sync += [self.operand.eq(mass), self.total.eq(self.total + mass), parts.amount.eq(GAIN_FRAC_BITS),
                         self.step.eq(1)]
            m.next = "LOW"
        with m.Case(1):
            m.d.sync += [self.operand.eq(self.whole), self.step.eq(2), self.of_keys.eq(1)]
            m.next = "ALIGN SUM"
        with m.Case(2):
            m.d.sync += parts.weight.eq(Mux(self.excess | self.whole[UNIT_BITS:].any(), (1 << UNIT_BITS) - 1,
                                            self.whole))
            m.next = "VIRTUAL"
        with m.Default():
            m.d.sync += parts.weight_sum.eq(self.whole)
            m.next = "READ"
