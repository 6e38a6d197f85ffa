"""LiteX: the core as a peripheral of an SoC.

The package's folders ``litex`` and ``driver`` must be on the Python path::

    from latte_litex import add_latte

    core = add_latte(soc, origin=0x9000_0000)        # registers there, bus masters, an interrupt
"""

import pathlib

import latte_registers as tables
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal, Signal

__all__ = ["REGISTER_BYTES", "LatteCore", "add_latte"]

REGISTER_BYTES = 0x1000
_SOURCE, = (pathlib.Path(__file__).parent.parent / "rtl").glob("*.sv")
_KEYS_IN_MEMORY = tables.CONSTANTS["data_port"] == 2
_LITE = {"aw": ("addr", "prot"), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr", "prot"), "r": ("data", "resp")}
_ADDRESS = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos")
_FULL = {"aw": _ADDRESS, "w": ("data", "strb", "last"), "b": ("id", "resp"), "ar": _ADDRESS,
         "r": ("id", "data", "resp", "last")}
_TO_MASTER = ("b", "r")
"""Channels whose source is the slave."""


class LatteCore(LiteXModule):
    """The core.

    Parameters
    ----------
    platform
        The SystemVerilog is added to it.
    address_width
        Bits of the SoC's addresses.

    Attributes
    ----------
    bus
        AXI4-Lite slave: registers.
    masters
        AXI4 masters by their prefix: `m_axi`, descriptors and rows; with keys in memory `m_axi_cache`, these.
    ev
        Its event `core` is the interrupt line.
    """

    def __init__(self, platform, address_width=32):
        self.bus = axi.AXILiteInterface(data_width=32, address_width=address_width)
        self.masters = {
            prefix: axi.AXIInterface(data_width=tables.CONSTANTS["data_bits"], address_width=address_width, id_width=1,
                                     bursting=True)
            for prefix in ("m_axi", *(["m_axi_cache"] if _KEYS_IN_MEMORY else []))}
        self.ev = EventManager()
        self.ev.core = EventSourceLevel()
        self.ev.finalize()
        ports = {"i_clk": ClockSignal("sys"), "i_rst": ResetSignal("sys"), "o_irq": self.ev.core.trigger}
        for prefix, interface, channels, master in (
                ("s_axil", self.bus, _LITE, False),
                *((prefix, interface, _FULL, True) for prefix, interface in self.masters.items())):
            for channel, fields in channels.items():
                endpoint = getattr(interface, channel)
                given = master != (channel in _TO_MASTER)
                for field in ("valid", *fields):
                    ports[f"{'o' if given else 'i'}_{prefix}_{channel}{field}"] = self._signal(endpoint, field, given)
                ports[f"{'i' if given else 'o'}_{prefix}_{channel}ready"] = (
                    self._ready(endpoint) if channel in ("aw", "w") and not master else endpoint.ready)
        self.specials += Instance(_SOURCE.stem, **ports)
        platform.add_source(str(_SOURCE))

    def _ready(self, endpoint):
        """Return a slave's READY as the SoC must see it: with VALID alone.

        LiteX's converter from a wider bus (`_AXILiteDownConverterWrite`) takes the READY of a word that it skips, for
        want of strobes, for that of the next one, which it then never sends.
        """
        ready = Signal()
        self.comb += endpoint.ready.eq(ready & endpoint.valid)
        return ready

    def _signal(self, endpoint, field, given):
        """Return what a port is connected to; addresses have other widths at the core."""
        signal = getattr(endpoint, field)
        if field != "addr":
            return signal
        if given:
            address = Signal(64)
            self.comb += signal.eq(address[:len(signal)])
            return address
        return signal[:12]


def add_latte(soc, origin, name="latte"):
    """Add the core to an SoC: registers at `origin`, its masters on the SoC's bus, its interrupt if there are any."""
    core = LatteCore(soc.platform, soc.bus.address_width)
    soc.add_module(name, core)
    soc.bus.add_slave(name, core.bus, SoCRegion(origin=origin, size=REGISTER_BYTES, cached=False))
    for prefix, master in core.masters.items():
        soc.bus.add_master(f"{name}_{prefix}", master)
    if soc.irq.enabled:
        soc.irq.add(name, use_loc_if_exists=True)
    return core
