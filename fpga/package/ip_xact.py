"""``component.xml``: the registers as PeakRDL exports them, with ports, bus interfaces and files beside them."""

import pathlib
from collections.abc import Iterable
from typing import Any
from xml.dom import minidom

from latte.fpga.package.exports import export_ip_xact
from latte.fpga.package.ports import BUSES, MASTERS, SLAVE, Port
from latte.rtl.axi.bus import ADDRESS_BITS

__all__ = ["LIBRARY", "VENDOR", "VERSION", "write_component"]

VENDOR, LIBRARY, VERSION = "latte", "ip", "1.0"
_SIGNALS = {"clk": ("clock", "CLK", "slave"), "rst": ("reset", "RST", "slave"), "irq": ("interrupt", "INTERRUPT",
                                                                                         "master")}
"""Bus type, logical name and mode of ports that are a bus of their own."""


def write_component(name: str, maps: dict[str, Any], ports: Iterable[Port], source: str, path: pathlib.Path) -> None:
    """Write the component; bus types are those of Vivado.

    Parameters
    ----------
    name
        Of the module.
    maps
        From `compile_rdl`.
    ports
    source
        Path of the SystemVerilog, relative to the component.
    path
    """
    export_ip_xact(maps, path, vendor=VENDOR, library=LIBRARY, name=name, version=VERSION)
    ports = list(ports)
    document = minidom.parse(str(path))
    component = document.documentElement
    memory_maps = component.getElementsByTagName("spirit:memoryMaps")[0]
    memory_map = memory_maps.getElementsByTagName("spirit:name")[0].firstChild.data
    added = _Elements(document)
    component.insertBefore(added.buses(ports, memory_map), memory_maps)
    if masters := [prefix for prefix in MASTERS if any(port.bus == prefix for port in ports)]:
        component.insertBefore(added.address_spaces(masters), memory_maps)
    for element in (added.model(name, ports), added.file_sets(source)):
        component.appendChild(element)
    lines = document.toprettyxml(indent="  ").splitlines()
    path.write_text("\n".join([line for line in lines if line.strip()] + [""]))


class _Elements:
    """Makes elements of a document."""

    def __init__(self, document: minidom.Document) -> None:
        self.document = document

    def make(self, tag: str, *content: Any, **attributes: str) -> minidom.Element:
        """Return an element with children, or with a text."""
        element = self.document.createElement(f"spirit:{tag}")
        for name, value in attributes.items():
            element.setAttribute(f"spirit:{name}", value)
        for part in content:
            element.appendChild(part if isinstance(part, minidom.Node) else self.document.createTextNode(str(part)))
        return element

    def _bus(self, name: str, library: str, kind: str, mode: minidom.Element, pairs: Iterable[tuple[str, str]]
             ) -> minidom.Element:
        """Return a bus interface of (logical, physical) names."""
        make = self.make
        maps = [make("portMap", make("logicalPort", make("name", logical)),
                     make("physicalPort", make("name", physical))) for logical, physical in pairs]
        types = {"vendor": "xilinx.com", "library": library, "version": "1.0"}
        return make("busInterface", make("name", name), make("busType", name=kind, **types),
                    make("abstractionType", name=f"{kind}_rtl", **types), mode, make("portMaps", *maps))

    def buses(self, ports: list[Port], memory_map: str) -> minidom.Element:
        """Return all bus interfaces."""
        make = self.make
        found = []
        refers = {SLAVE: (make("memoryMapRef", memoryMapRef=memory_map),),
                  **{prefix: (make("addressSpaceRef", addressSpaceRef=prefix),) for prefix in MASTERS}}
        for prefix, bus in BUSES.items():
            pairs = [(port.signal.upper(), port.name) for port in ports if port.bus == prefix]
            if pairs:
                found.append(self._bus(prefix, "interface", bus.kind, make(bus.mode, *refers.get(prefix, ())), pairs))
        for port in ports:
            if port.bus is None:
                kind, logical, mode = _SIGNALS[port.name]
                found.append(self._bus(port.name.upper(), "signal", kind, make(mode), [(logical, port.name)]))
        return make("busInterfaces", *found)

    def address_spaces(self, masters: Iterable[str]) -> minidom.Element:
        """Return what the masters reach."""
        make = self.make
        return make("addressSpaces", *(
            make("addressSpace", make("name", prefix), make("range", hex(1 << ADDRESS_BITS)),
                 make("width", ADDRESS_BITS)) for prefix in masters))

    def model(self, name: str, ports: list[Port]) -> minidom.Element:
        """Return the view of the SystemVerilog, and all ports."""
        make = self.make
        view = make("view", make("name", "rtl"), make("envIdentifier", ":*:"), make("language", "systemVerilog"),
                    make("modelName", name), make("fileSetRef", make("localName", "rtl")))
        found = []
        for port in ports:
            wire = [make("direction", "out" if port.output else "in")]
            if port.width > 1:
                wire.append(make("vector", make("left", port.width - 1), make("right", 0)))
            found.append(make("port", make("name", port.name), make("description", port.description),
                              make("wire", *wire)))
        return make("model", make("views", view), make("ports", *found))

    def file_sets(self, source: str) -> minidom.Element:
        """Return the files of the view."""
        make = self.make
        return make("fileSets", make("fileSet", make("name", "rtl"), make("file", make("name", source), make(
            "fileType", "systemVerilogSource"))))
