"""Head-wise register file: threshold and softmax scale of every (block, head)."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.payloads import head_entry_layout, parameter_layout
from latte.rtl.common.ram import RAM_LATENCY, Ram

__all__ = ["HeadRegisters"]

_GROUP_BITS = 4
"""Flags are looked up in groups of 16 first."""


class HeadRegisters(wiring.Component):
    """Holds one `HeadParameters` entry per head, and remembers which were written since reset.

    A threshold written as 0 is held as 1, the smallest that keeps the row's maximum.

    Latency: `entry` and `known` follow `look_up` by `latency` cycles, `known` if `head` stands still. A write is
    visible to a look-up in the next cycle.

    Members
    -------
    parameter : In(stream of parameter_layout)
        Writes; ready but in the cycle of a look-up, as a memory's word is not defined while it is written.
    look_up, head : In
        In each cycle of `look_up`, the entry of `head`.
    entry : Out(head_entry_layout)
    known : Out(1)
        The head exists and was written.
    head_invalid : Out(1)
        A write to a head that does not exist was ignored in this cycle.
    """

    latency = RAM_LATENCY

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "parameter": In(stream.Signature(parameter_layout(config))), "look_up": In(1), "head": In(COUNT_BITS),
            "entry": Out(head_entry_layout(config)), "known": Out(1), "head_invalid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        heads = self.config.heads
        layout = head_entry_layout(self.config)
        m.submodules.entries = entries = Ram(layout, heads)
        written = Signal(heads)
        parameter = self.parameter.payload
        m.d.comb += [
            self.parameter.ready.eq(~self.look_up),
            self.head_invalid.eq(self.parameter.valid & self.parameter.ready & (parameter.head >= heads)),
            entries.write_en.eq(self.parameter.valid & self.parameter.ready & (parameter.head < heads)),
            entries.write_addr.eq(parameter.head),
            entries.read_addr.eq(self.head), self.entry.eq(entries.read_data),
        ]
        m.d.comb += [entries.write_data[field].eq(parameter[field]) for field in layout.members]
        # A threshold of 0 would leave a row without survivors.
        with m.If(parameter.tau == 0):
            m.d.comb += entries.write_data.tau.eq(1)
        # One flag per head takes two cycles to set, and two to find.
        new, new_head = Signal(), Signal(range(max(2, heads)), reset_less=True)
        m.d.sync += [new.eq(entries.write_en), new_head.eq(parameter.head)]
        with m.If(new):
            m.d.sync += written.bit_select(new_head, 1).eq(1)
        groups = [written[first:first + (1 << _GROUP_BITS)] for first in range(0, heads, 1 << _GROUP_BITS)]
        found, exists = Signal(len(groups)), Signal()
        m.d.sync += [found.eq(Cat(group.bit_select(self.head[:_GROUP_BITS], 1) for group in groups)),
                     exists.eq(self.head < heads)]
        m.d.comb += self.known.eq(exists & found.bit_select(self.head[_GROUP_BITS:], 1))
        return m
