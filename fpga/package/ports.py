"""Every port of the core behind AXI, with what it is: for the guide, and for IP-XACT."""

import dataclasses

from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from latte.rtl.axi.axi_core import AxiCore

__all__ = ["MASTER", "SLAVE", "Port", "ports"]

SLAVE, MASTER = "s_axil", "m_axi"
"""Prefixes of the two buses."""
_OTHERS = {
    "clk": "The one clock of everything.",
    "rst": "Synchronous reset, high. At power-up, one cycle is enough. With transactions under way, it must reset the "
           "rest of the bus as well; a soft reset (CONTROL) waits for them instead.",
    "irq": "Interrupt, level, high while a bit of INTERRUPT_STATUS is set that INTERRUPT_ENABLE names.",
}
_CHANNELS = {"aw": "write address", "w": "write data", "b": "write response", "ar": "read address", "r": "read data"}
_SIGNALS = {
    "addr": "Byte address.", "prot": "Protection: {prot}.",
    "valid": "The source has a transfer; it does not wait for READY.", "ready": "The sink takes it.",
    "data": "Data, byte 0 in the low bits.", "strb": "Which bytes are written.",
    "resp": "0 OKAY, 2 SLVERR, 3 DECERR.", "id": "Always 0: one ID, so that answers come in order.",
    "len": "Beats of the burst, less 1; no burst crosses 4 KB.", "size": "Always whole beats.",
    "burst": "Always INCR.", "lock": "Always 0.", "cache": "Always 3: normal, non-cacheable, bufferable.",
    "qos": "Always 0.", "last": "The last beat of a burst.",
}


@dataclasses.dataclass(frozen=True)
class Port:
    """A port.

    Parameters
    ----------
    name, width
    output
    description
    """

    name: str
    width: int
    output: bool
    description: str

    @property
    def bus(self) -> str | None:
        """Prefix of the bus that it belongs to, None for the others."""
        return next((prefix for prefix in (SLAVE, MASTER) if self.name.startswith(f"{prefix}_")), None)

    @property
    def signal(self) -> str:
        """Name without the prefix of its bus."""
        return self.name.removeprefix(f"{self.bus}_")


def ports(core: AxiCore) -> list[Port]:
    """Return the ports in the order of the module: clock and reset first."""
    found = [Port(name, 1, False, _OTHERS[name]) for name in ("clk", "rst")]
    for name, member in core.signature.members.items():
        port = Port(name, Shape.cast(member.shape).width, member.flow is not In, "")
        found.append(dataclasses.replace(port, description=_OTHERS.get(name) or _describe(port)))
    return found


def _describe(port: Port) -> str:
    """Return what a signal of a bus is."""
    channel = next(channel for channel in sorted(_CHANNELS, key=len, reverse=True) if port.signal.startswith(channel)
                   and port.signal[len(channel):] in _SIGNALS)
    text = _SIGNALS[port.signal[len(channel):]].format(prot="ignored" if port.bus == SLAVE else "always 0")
    return f"{_CHANNELS[channel].capitalize()}: {text[0].lower()}{text[1:]}"
