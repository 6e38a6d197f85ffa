"""Block RAM with its output register."""

from collections.abc import Sequence

from amaranth import Const, Module, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.primitives import delay

__all__ = ["RAM_LATENCY", "Ram", "part_sizes"]

RAM_LATENCY = 2
"""Cycles from `Ram.read_addr` to `Ram.read_data`: the array, and the register that keeps logic off its slow output."""
WHOLE_DEPTH = 1024
"""Words up to which one block RAM, of whatever width it then has, is better than two."""


def part_sizes(depth: int) -> list[int]:
    """Return the powers of two, largest first, that make up a deep memory; a shallow one stays whole.

    Block RAMs are powers of two deep. A synthesiser that rounds another depth to many short ones puts the
    multiplexer between them before the output register, where there is no time for it.
    """
    largest = 1 << (depth.bit_length() - 1)
    return [depth] if depth <= WHOLE_DEPTH or depth == largest else [largest, *part_sizes(depth - largest)]


class Ram(wiring.Component):
    """Memory with one write and one read port, both synchronous, and a register behind the read port.

    A deep memory is made of `part_sizes`, each with its own register; one choice between them comes after.

    Latency: a word written in one cycle is read by an address given in the next; `latency` cycles later it is at
    `read_data`. Contents survive reset.

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

    latency = RAM_LATENCY

    def __init__(self, shape: ShapeLike, depth: int, init: Sequence = ()) -> None:
        self.shape = shape
        self.depth = depth
        self.init = init
        super().__init__({
            "write_en": In(1), "write_addr": In(range(max(2, depth))), "write_data": In(shape),
            "read_addr": In(range(max(2, depth))), "read_data": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = 0
        chosen = delay(m, self.read_addr, RAM_LATENCY, name="chosen", reset_less=True)
        for n, size in enumerate(part_sizes(max(2, self.depth))):
            array = memory.Memory(shape=self.shape, depth=size, init=self.init[first:first + size])
            m.submodules[f"array_{n}"] = array
            if not self.init:
                write = array.write_port()
                here = self.write_en
                # A comparison that always holds is a warning in every linter.
                if first:
                    here &= self.write_addr >= first
                if first + size < 1 << len(self.write_addr):
                    here &= self.write_addr < first + size
                m.d.comb += [write.addr.eq(self.write_addr), write.data.eq(self.write_data), write.en.eq(here)]
            read = array.read_port()
            register = Signal(self.shape, name=f"register_{n}", reset_less=True)
            m.d.comb += read.addr.eq(self.read_addr)
            m.d.sync += register.eq(read.data)
            with m.If(chosen >= first if first else Const(1)):
                m.d.comb += self.read_data.eq(register)
            first += size
        return m
