"""Everything that a package holds, and where."""

import pathlib
import shutil
import tempfile

from latte.fpga.package.bench_head import head_header
from latte.fpga.package.exports import check_tools, compile_rdl, export_headers, export_html
from latte.fpga.package.guide import guide
from latte.fpga.package.ip_xact import NAME, write_component
from latte.fpga.package.ports import ports
from latte.fpga.package.register_tables import register_module
from latte.fpga.package.system_rdl import system_rdl
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.rtl.axi.axi_core import AxiCore
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.registers import register_table
from latte.rtl.emit import WAIVERS, emit_systemverilog

__all__ = ["SOURCES", "write_drivers", "write_package"]

SOURCES = pathlib.Path(__file__).parent / "sources"
"""Files that packages hold as they stand there, and the guide's template."""
_COPIED = {"latte.c": "driver", "latte.h": "driver", "latte_driver.py": "driver", "bench.cpp": "bench",
           "run_head.h": "bench", "latte_litex.py": "litex", "package_ip.tcl": "vivado", "latte_axi.core": "."}
"""File of `SOURCES`: folder in a package."""
_RDL = "registers/latte_axi.rdl"


def write_package(config: AttentionConfig, master: MasterParameters, folder: pathlib.Path) -> None:
    """Write a package, whole or not at all.

    Parameters
    ----------
    config, master
    folder
        New, or empty.

    Raises
    ------
    LatteError
        Something is in the folder, or a tool is missing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LatteError(f"--package {folder} must be a new or an empty folder")
    check_tools()
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.absolute().parent) as scratch:
        whole = pathlib.Path(scratch) / folder.name
        _write(config, master, whole)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)


def _write(config: AttentionConfig, master: MasterParameters, folder: pathlib.Path) -> None:
    """Write everything into a folder, which is made."""
    maps = write_drivers(config, master, folder)
    core = AxiCore(config, master)
    for name, place in _COPIED.items():
        (folder / place).mkdir(exist_ok=True)
        shutil.copyfile(SOURCES / name, folder / place / name)
    (folder / "rtl").mkdir()
    shutil.copyfile(WAIVERS, folder / "rtl" / WAIVERS.name)
    write_text(folder / "bench" / "head.h", head_header(config))
    export_html(maps, folder / "registers" / "html", f"LATTE attention core, {config.name}")
    write_component(maps, ports(core), f"rtl/{NAME}.sv", folder / "component.xml")
    write_text(folder / "README.md", guide(core))
    write_text(folder / "rtl" / f"{NAME}.sv", emit_systemverilog(core, NAME))


def write_drivers(config: AttentionConfig, master: MasterParameters, folder: pathlib.Path) -> dict[str, object]:
    """Write the SystemRDL and both drivers; return the compiled address maps."""
    registers = register_table(config, master)
    for name in ("registers", "driver"):
        (folder / name).mkdir(parents=True)
    write_text(folder / _RDL, system_rdl(registers))
    maps = compile_rdl(folder / _RDL)
    export_headers(maps, folder / "driver")
    write_text(folder / "driver" / "latte_registers.py", register_module(registers, config))
    for name, place in _COPIED.items():
        if place == "driver":
            shutil.copyfile(SOURCES / name, folder / place / name)
    return maps
