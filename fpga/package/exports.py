"""The compiled SystemRDL, and what the PeakRDL exporters make of it: C headers, a register document, IP-XACT."""

import importlib.util
import pathlib
from typing import Any

from latte.fpga.package.system_rdl import DESCRIPTOR_MAP, RECORD_MAP, REGISTER_MAP
from latte.golden.errors import LatteError

__all__ = ["check_tools", "compile_rdl", "export_headers", "export_html", "export_ip_xact"]

_MODULES = ("systemrdl", "peakrdl_cheader", "peakrdl_html", "peakrdl_ipxact")


def check_tools() -> None:
    """Raise `LatteError` unless what this module uses is installed."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise LatteError(f"a package needs {', '.join(missing)}, which is not installed; "
                         "pip install 'latte-attention[package]'")


def compile_rdl(path: pathlib.Path, *, descriptors: bool = True, record: bool = False) -> dict[str, Any]:
    """Return the elaborated address maps of a SystemRDL file, as `systemrdl.node.AddrmapNode`, by name.

    Those of a descriptor and of a record are among them if there are any.

    Raises
    ------
    LatteError
        A tool is missing.
    systemrdl.RDLCompileError
        The file is wrong.
    """
    check_tools()
    import systemrdl

    compiler = systemrdl.RDLCompiler()
    compiler.compile_file(str(path))
    names = (REGISTER_MAP, *([DESCRIPTOR_MAP] if descriptors else []), *([RECORD_MAP] if record else []))
    return {name: compiler.elaborate(name).top for name in names}


def export_headers(maps: dict[str, Any], folder: pathlib.Path) -> None:
    """Write a C header for each map: a struct of its registers, and mask, place, width and reset of each field."""
    from peakrdl_cheader.c_standards import CStandard
    from peakrdl_cheader.exporter import CHeaderExporter

    for name, node in maps.items():
        # From gnu11 on it includes assert.h, which a freestanding compiler need not have.
        CHeaderExporter().export(node, str(folder / f"{name}.h"), std=CStandard.gnu99, reuse_typedefs=False)


def export_html(maps: dict[str, Any], folder: pathlib.Path, title: str) -> None:
    """Write the document of the maps, ``index.html`` and what it shows."""
    from peakrdl_html.exporter import HTMLExporter

    HTMLExporter(generate_source_links=False).export(list(maps.values()), str(folder), title=title)


def export_ip_xact(maps: dict[str, Any], path: pathlib.Path, *, vendor: str, library: str, name: str, version: str
                   ) -> None:
    """Write the registers as an IP-XACT component of IEEE 1685-2009, which Vivado reads."""
    from peakrdl_ipxact.exporter import IPXACTExporter, Standard

    IPXACTExporter(vendor=vendor, library=library, version=version, standard=Standard.IEEE_1685_2009).export(
        maps[REGISTER_MAP], str(path), component_name=name)
