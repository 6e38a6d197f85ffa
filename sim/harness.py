"""One input vector and one output vector around any component, so that a testbench cycle is one write and one read."""

import dataclasses
from typing import Any

from amaranth import Module, Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Harness", "PortBits"]


@dataclasses.dataclass(frozen=True)
class PortBits:
    """Where a port lies in the harness's vector.

    Parameters
    ----------
    offset, width
        Bits of the vector, the first in the low place.
    """

    offset: int
    width: int

    @property
    def mask(self) -> int:
        """All ones of the port's width."""
        return (1 << self.width) - 1


class Harness(wiring.Component):
    """A component with all inputs in `drive` and all outputs in `observe`.

    Crossing from Python to the simulator costs a microsecond per signal and cycle, whatever the width; and with two
    public signals only, Verilator is free to optimise all others.

    Parameters
    ----------
    component
        Anything with a signature; it must use the ``sync`` domain only.

    Attributes
    ----------
    inputs, outputs : dict of str to PortBits
        By port name: the path joined by two underscores, as in Verilog.
    drive : In
    observe : Out
    """

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        self.inputs: dict[str, PortBits] = {}
        self.outputs: dict[str, PortBits] = {}
        self._values: dict[str, Value] = {}
        offsets = {In: 0, Out: 0}
        for path, member, value in component.signature.flatten(component):
            name = "__".join(str(part) for part in path)
            ports = self.inputs if member.flow is In else self.outputs
            ports[name] = PortBits(offsets[member.flow], Shape.cast(member.shape).width)
            offsets[member.flow] += ports[name].width
            self._values[name] = Value.cast(value)
        super().__init__({"drive": In(max(1, offsets[In])), "observe": Out(max(1, offsets[Out]))})

    def elaborate(self, platform: Any) -> Module:
        """Slice the vectors."""
        m = Module()
        m.submodules.dut = self.component
        for name, bits in self.inputs.items():
            m.d.comb += self._values[name].eq(self.drive[bits.offset:bits.offset + bits.width])
        for name, bits in self.outputs.items():
            m.d.comb += self.observe[bits.offset:bits.offset + bits.width].eq(self._values[name])
        return m
