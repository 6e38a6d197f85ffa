"""Everything that a package holds, and where."""

import pathlib
import shutil
import tempfile
from collections.abc import Sequence

from latte.fpga.package.bench_head import head_header
from latte.fpga.package.exports import check_tools, compile_rdl, export_headers, export_html
from latte.fpga.package.forms import form_of
from latte.fpga.package.guide import SOURCES, guide
from latte.fpga.package.ip_xact import write_component
from latte.fpga.package.ports import ports
from latte.fpga.package.register_tables import register_module
from latte.fpga.package.system_rdl import system_rdl
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.rtl.axi.bus import DataParameters
from latte.rtl.axi.bus_cores import create_bus_core
from latte.rtl.axi.descriptors import DescriptorTable
from latte.rtl.axi.register_types import Register
from latte.rtl.axi.registers import register_table
from latte.rtl.emit import WAIVERS, emit_systemverilog

__all__ = ["write_drivers", "write_package", "write_registers"]


def write_package(config: AttentionConfig, parameters: DataParameters, folder: pathlib.Path) -> None:
    """Write a package, whole or not at all.

    Parameters
    ----------
    config, parameters
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
        _write(config, parameters, whole)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)


def _write(config: AttentionConfig, parameters: DataParameters, folder: pathlib.Path) -> None:
    """Write everything into a folder, which is made."""
    form = form_of(parameters)
    maps = write_drivers(config, parameters, folder)
    core = create_bus_core(config, parameters)
    for name, place in form.copied.items():
        (folder / place).mkdir(exist_ok=True)
        shutil.copyfile(SOURCES / name, folder / place / name)
    (folder / "rtl").mkdir()
    shutil.copyfile(WAIVERS, folder / "rtl" / WAIVERS.name)
    write_text(folder / "bench" / "head.h", head_header(config))
    export_html(maps, folder / "registers" / "html", f"LATTE attention core, {config.name}")
    write_component(form.name, maps, ports(core), f"rtl/{form.name}.sv", folder / "component.xml")
    write_text(folder / "README.md", guide(core))
    write_text(folder / "rtl" / f"{form.name}.sv", emit_systemverilog(core, form.name))


def write_drivers(config: AttentionConfig, parameters: DataParameters, folder: pathlib.Path) -> dict[str, object]:
    """Write the SystemRDL and what drivers are made of it, and the drivers; return the compiled address maps."""
    form = form_of(parameters)
    maps = write_registers(form.name, register_table(config, parameters), config, form.descriptors, folder)
    for name, place in form.copied.items():
        if place == "driver":
            shutil.copyfile(SOURCES / name, folder / place / name)
    return maps


def write_registers(name: str, registers: Sequence[Register], config: AttentionConfig,
                    descriptors: DescriptorTable | None, folder: pathlib.Path) -> dict[str, object]:
    """Write the SystemRDL, and C headers and a Python module made of it; return the compiled address maps.

    Parameters
    ----------
    name
        Of the top module, and of the SystemRDL.
    registers
        Their table.
    config
        Whose entries the register file has.
    descriptors
        Of jobs in memory, if there are any.
    folder
        Has neither ``registers`` nor ``driver``.

    Raises
    ------
    LatteError
        A tool is missing.
    """
    for part in ("registers", "driver"):
        (folder / part).mkdir(parents=True)
    rdl = folder / "registers" / f"{name}.rdl"
    write_text(rdl, system_rdl(registers, descriptors=descriptors))
    maps = compile_rdl(rdl, descriptors=descriptors is not None)
    export_headers(maps, folder / "driver")
    write_text(folder / "driver" / "latte_registers.py", register_module(registers, config, descriptors=descriptors))
    return maps
