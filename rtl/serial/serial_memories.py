"""Memories of the serial core: an address in one cycle, its word in the next."""

from collections.abc import Sequence

from amaranth import Module
from amaranth.hdl import ShapeLike
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DualPortRam", "SinglePortRam"]


class DualPortRam(wiring.Component):
    """Memory with one write and one read port.

    Without the output register of `latte.rtl.common.ram.Ram`: the serial core's clock is slow, its flip-flops are few.

    Latency: `latency` cycles. A word that is written in the cycle of its address is not defined. Contents survive
    reset.

    Parameters
    ----------
    shape
        Shape of one word.
    depth
        Words.
    init
        Initial words; a table that is never written leaves `write_en` at 0.

    Members
    -------
    write_en, write_addr, write_data : In
    read_addr : In(range(depth))
    read_data : Out(shape)
    """

    latency = 1

    def __init__(self, shape: ShapeLike, depth: int, init: Sequence = ()) -> None:
        self.shape = shape
        self.depth = max(2, depth)
        self.init = init
        super().__init__({
            "write_en": In(1), "write_addr": In(range(self.depth)), "write_data": In(shape),
            "read_addr": In(range(self.depth)), "read_data": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.array_0 = array = memory.Memory(shape=self.shape, depth=self.depth, init=self.init)
        if not self.init:
            write = array.write_port()
            m.d.comb += [write.addr.eq(self.write_addr), write.data.eq(self.write_data), write.en.eq(self.write_en)]
        read = array.read_port()
        m.d.comb += [read.addr.eq(self.read_addr), self.read_data.eq(read.data)]
        return m


class SinglePortRam(wiring.Component):
    """Memory that is written or read in a cycle, not both: one address.

    Of plain parts, so that every family maps it. The name of its array tells `latte.fpga.synthesis.targets` that
    single-ported memory is enough, which the iCE40 UP has 1 Mbit of.

    Latency: `latency` cycles; `read_data` stands while a word is written. Contents survive reset.

    Parameters
    ----------
    shape
        Shape of one word.
    depth
        Words.

    Members
    -------
    write_en, address, write_data : In
    read_data : Out(shape)
    """

    latency = 1

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        self.shape = shape
        self.depth = max(2, depth)
        super().__init__({"write_en": In(1), "address": In(range(self.depth)), "write_data": In(shape),
                          "read_data": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.single_port_array_0 = array = memory.Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = array.write_port(), array.read_port()
        m.d.comb += [
            write.addr.eq(self.address), write.data.eq(self.write_data), write.en.eq(self.write_en),
            read.addr.eq(self.address), read.en.eq(~self.write_en), self.read_data.eq(read.data),
        ]
        return m
