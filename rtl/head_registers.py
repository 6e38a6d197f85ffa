"""Head-wise register file: threshold and softmax scale of every (block, head)."""

from amaranth import Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.payloads import COUNT_BITS, head_entry_layout, parameter_layout

__all__ = ["HeadRegisters"]

_GROUP_BITS = 4
"""Flags are looked up in groups of 16 first."""


class HeadRegisters(wiring.Component):
    """Holds one `HeadParameters` entry per head, and remembers which were written since reset.

    A threshold written as 0 is held as 1, the smallest that keeps the row's maximum.

    Latency: `entry` follows `head` by one cycle, `known` by two while `head` stands still. A write is visible to a
    look-up in the next cycle.

    Members
    -------
    parameter : In(stream of parameter_layout)
        Writes; always ready.
    head : In(16)
        Look-up.
    entry : Out(head_entry_layout)
    known : Out(1)
        The head exists and was written.
    head_invalid : Out(1)
        A write to a head that does not exist was ignored in this cycle.
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        super().__init__({
            "parameter": In(stream.Signature(parameter_layout(config))), "head": In(COUNT_BITS),
            "entry": Out(head_entry_layout(config)), "known": Out(1), "head_invalid": Out(1)})

    def elaborate(self, platform):
        m = Module()
        heads = self.config.heads
        layout = head_entry_layout(self.config)
        m.submodules.entries = entries = memory.Memory(shape=layout, depth=max(2, heads), init=[])
        write, read = entries.write_port(), entries.read_port()
        written = Signal(heads)
        parameter = self.parameter.payload
        m.d.comb += [
            self.parameter.ready.eq(1),
            self.head_invalid.eq(self.parameter.valid & (parameter.head >= heads)),
            write.en.eq(self.parameter.valid & (parameter.head < heads)),
            write.addr.eq(parameter.head),
            read.addr.eq(self.head),
            self.entry.eq(read.data),
        ]
        m.d.comb += [write.data[field].eq(parameter[field]) for field in layout.members]
        # A threshold of 0 would leave a row without survivors.
        with m.If(parameter.tau == 0):
            m.d.comb += write.data.tau.eq(1)
        # One flag per head takes two cycles to set, and two to find.
        new, new_head = Signal(), Signal(range(max(2, heads)), reset_less=True)
        m.d.sync += [new.eq(write.en), new_head.eq(parameter.head)]
        with m.If(new):
            m.d.sync += written.bit_select(new_head, 1).eq(1)
        groups = [written[first:first + (1 << _GROUP_BITS)] for first in range(0, heads, 1 << _GROUP_BITS)]
        found, exists = Signal(len(groups)), Signal()
        m.d.sync += [found.eq(Cat(group.bit_select(self.head[:_GROUP_BITS], 1) for group in groups)),
                     exists.eq(self.head < heads)]
        m.d.comb += self.known.eq(exists & found.bit_select(self.head[_GROUP_BITS:], 1))
        return m
