"""Counters of a ring of descriptors in memory: written by software, taken, done."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.ring_registers import RING_SIZE_MAX

__all__ = ["DescriptorRing"]


class DescriptorRing(wiring.Component):
    """Knows which descriptors are to be taken, and where they are.

    Descriptors are numbered from 0 after reset, modulo 2**16; number `n` is in the ring's slot ``n`` modulo its size.
    So a full ring and an empty one differ, and software may fill every slot.

    Members
    -------
    base : In(64)
        A multiple of 64.
    size_log2 : In
    ring : In(1), number : In(16)
        Software writes the doorbell.
    overflow : Out(1)
        In the same cycle: the ring does not hold so many, or the number goes back; it is ignored.
    take : In(1)
        The descriptor at `take_address` is taken.
    release : In(1)
        The status word of the oldest that was taken is on its way: whoever sees it may use the slot again.
    done : In(1)
        The oldest of those that were taken is done; its own is `done_address`, its number `tail`.
    head, tail : Out(16)
        Descriptors written by software, and done.
    waiting : Out(1)
        There is one to take.
    under_way : Out(1)
        One was taken that is not done.
    empty : Out(1)
        All are done.
    last : Out(1)
        One is left that is not done.
    """

    def __init__(self) -> None:
        super().__init__({
            "base": In(ADDRESS_BITS), "size_log2": In(range(RING_SIZE_MAX + 1)), "ring": In(1),
            "number": In(COUNT_BITS), "overflow": Out(1), "take": In(1), "take_address": Out(ADDRESS_BITS),
            "release": In(1), "done": In(1), "done_address": Out(ADDRESS_BITS), "head": Out(COUNT_BITS),
            "tail": Out(COUNT_BITS), "waiting": Out(1), "under_way": Out(1), "empty": Out(1), "last": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        taken, released, mask = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(COUNT_BITS)
        pending, free, more = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(COUNT_BITS)
        m.d.comb += [pending.eq(self.head - self.tail), more.eq(self.number - self.head), self.last.eq(pending == 1),
                     self.under_way.eq(taken != self.tail),
                     self.overflow.eq(self.ring & (more > free))]
        # Registers: what changes them is cycles away from what uses them.
        m.d.sync += [mask.eq((1 << self.size_log2) - 1), free.eq(mask + 1 - (self.head - released)),
                     self.waiting.eq(taken != self.head), self.empty.eq(pending == 0)]
        with m.If(self.ring & ~self.overflow):
            m.d.sync += [self.head.eq(self.number), self.empty.eq(0)]
        with m.If(self.take):
            m.d.sync += [taken.eq(taken + 1), self.waiting.eq(0)]
        with m.If(self.release):
            m.d.sync += released.eq(released + 1)
        with m.If(self.done):
            m.d.sync += self.tail.eq(self.tail + 1)
        step = Const(0, ceil_log2(DESCRIPTOR_BYTES))
        m.d.sync += [self.take_address.eq(self.base + Cat(step, taken & mask)),
                     self.done_address.eq(self.base + Cat(step, self.tail & mask))]
        return m
