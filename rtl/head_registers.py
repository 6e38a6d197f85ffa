"""Head-wise register file: threshold and softmax scale of every (block, head)."""

from amaranth import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.payloads import COUNT_BITS, head_entry_layout, parameter_layout

__all__ = ["HeadRegisters"]


class HeadRegisters(wiring.Component):
    """Holds one `HeadParameters` entry per head, and remembers which were written since reset.

    A threshold written as 0 is held as 1, the smallest that keeps the row's maximum.

    Latency: `entry` and `known` follow `head` by one cycle. A write is visible to a look-up in the next cycle.

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
        with m.If(write.en):
            m.d.sync += written.bit_select(parameter.head, 1).eq(1)
        m.d.sync += self.known.eq((self.head < heads) & written.bit_select(self.head, 1))
        return m
