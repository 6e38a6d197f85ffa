"""What stands for a core when only what is around it is synthesised."""

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In

from latte.golden.config import AttentionConfig
from latte.rtl.common.core import Core

__all__ = ["CoreStub"]


class CoreStub(Core):
    """A core's ports with registers behind them: nothing around it can be left out, and no path leads through it.

    What comes in is mixed into a ring of registers, and the outputs are registers of the ring.

    Parameters
    ----------
    config
        Widths of the ports.
    """

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__(config, data.StructLayout({}))

    def elaborate(self, platform: object) -> Module:
        """Return the ring."""
        m = Module()
        ports = [(member.flow, Value.cast(value)) for _, member, value in self.signature.flatten(self)]
        inputs = Cat(value for flow, value in ports if flow is In)
        outputs = Cat(value for flow, value in ports if flow is not In)
        ring = Signal(max(len(inputs), len(outputs)))
        m.d.sync += ring.eq(Cat(ring[-1], ring[:-1]) ^ inputs)
        m.d.comb += outputs.eq(ring)
        return m
