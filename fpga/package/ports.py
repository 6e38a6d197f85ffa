"""Every port of the core behind AXI, with what it is: for the guide, and for IP-XACT."""

import dataclasses

from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from latte.rtl.axi.bus_core import BusCore

__all__ = ["BUSES", "MASTERS", "SLAVE", "Bus", "Port", "ports"]


@dataclasses.dataclass(frozen=True)
class Bus:
    """What a bus of ports is in IP-XACT.

    Parameters
    ----------
    kind
        Name of its type in Vivado.
    mode
        Of the core on it: ``slave`` or ``master``.
    carries
        What goes over a stream.
    """

    kind: str
    mode: str
    carries: str = ""


SLAVE, MASTERS = "s_axil", ("m_axi", "m_axi_cache")
"""Prefixes of the registers' bus, and of those to memory."""
BUSES = {
    SLAVE: Bus("aximm", "slave"), **dict.fromkeys(MASTERS, Bus("aximm", "master")),
    "s_axis_q": Bus("axis", "slave", "queries"), "s_axis_k": Bus("axis", "slave", "keys"),
    "s_axis_v": Bus("axis", "slave", "values"),
    "m_axis_o": Bus("axis", "master", "outputs"),
}
"""By the prefix of their ports."""
_OTHERS = {
    "clk": "The one clock of everything.",
    "rst": "Synchronous reset, high. At power-up, one cycle is enough. With transfers under way, it must reset the "
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
_STREAM_SIGNALS = {
    "tdata": "Bytes of rows, byte 0 in the low bits.",
    "tkeep": "Which bytes there are: all of a row; tie it high if the source has none.",
    "tlast": "The last beat of a job's rows.", "tuser": "With TLAST: the job ended with an error.",
    "tvalid": "The source has a beat; it does not wait for TREADY.", "tready": "The sink takes it.",
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
        return max((prefix for prefix in BUSES if self.name.startswith(f"{prefix}_")), key=len, default=None)

    @property
    def signal(self) -> str:
        """Name without the prefix of its bus."""
        return self.name.removeprefix(f"{self.bus}_")


def ports(core: BusCore) -> list[Port]:
    """Return the ports in the order of the module: clock and reset first."""
    found = [Port(name, 1, False, _OTHERS[name]) for name in ("clk", "rst")]
    for name, member in core.signature.members.items():
        port = Port(name, Shape.cast(member.shape).width, member.flow is not In, "")
        found.append(dataclasses.replace(port, description=_OTHERS.get(name) or _describe(port)))
    return found


def _describe(port: Port) -> str:
    """Return what a signal of a bus is."""
    if carries := BUSES[port.bus or ""].carries:
        text = _STREAM_SIGNALS[port.signal]
        return f"{carries.capitalize()}: {text[0].lower()}{text[1:]}"
    channel = next(channel for channel in sorted(_CHANNELS, key=len, reverse=True) if port.signal.startswith(channel)
                   and port.signal[len(channel):] in _SIGNALS)
    text = _SIGNALS[port.signal[len(channel):]].format(prot="ignored" if port.bus == SLAVE else "always 0")
    return f"{_CHANNELS[channel].capitalize()}: {text[0].lower()}{text[1:]}"
