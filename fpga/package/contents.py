"""Everything that a package holds, and where."""

import pathlib
import shutil
import tempfile

from latte.fpga.package.exports import check_tools, compile_rdl, export_headers, export_html
from latte.fpga.package.forms import Design
from latte.fpga.package.guide import SOURCES, fusesoc_core, guide
from latte.fpga.package.ip_xact import write_component
from latte.fpga.package.ports import ports
from latte.fpga.package.register_tables import register_module, type_header
from latte.fpga.package.system_rdl import system_rdl
from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.rtl.emit import WAIVERS, emit_systemverilog

__all__ = ["write_drivers", "write_package", "write_registers"]


def write_package(design: Design, folder: pathlib.Path) -> None:
    """Write a package, whole or not at all.

    Parameters
    ----------
    design
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
        _write(design, whole)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)


def _write(design: Design, folder: pathlib.Path) -> None:
    """Write everything into a folder, which is made."""
    form = design.form
    maps = write_drivers(design, folder)
    core, head = design.create(), design.head()
    for name, place in form.copied.items():
        (folder / place).mkdir(exist_ok=True)
        shutil.copyfile(SOURCES / name, folder / place / name)
    (folder / "rtl").mkdir()
    shutil.copyfile(WAIVERS, folder / "rtl" / WAIVERS.name)
    write_text(folder / "bench" / "head.h", head.header())
    export_html(maps, folder / "registers" / "html", f"LATTE attention core, {design.config.name}")
    write_component(form.name, maps, ports(core), f"rtl/{form.name}.sv", folder / "component.xml")
    write_text(folder / "README.md", guide(design, core, head.text))
    write_text(folder / f"{form.name}.core", fusesoc_core(form, folder))
    write_text(folder / "rtl" / f"{form.name}.sv", emit_systemverilog(core, form.name))


def write_drivers(design: Design, folder: pathlib.Path) -> dict[str, object]:
    """Write the SystemRDL and what drivers are made of it, and the drivers; return the compiled address maps."""
    maps = write_registers(design, folder)
    for name, place in design.form.copied.items():
        if place == "driver":
            shutil.copyfile(SOURCES / name, folder / place / name)
    return maps


def write_registers(design: Design, folder: pathlib.Path) -> dict[str, object]:
    """Write the SystemRDL, and C headers and a Python module made of it; return the compiled address maps.

    Parameters
    ----------
    design
    folder
        Has neither ``registers`` nor ``driver``.

    Raises
    ------
    LatteError
        A tool is missing.
    """
    form, registers = design.form, design.registers()
    for part in ("registers", "driver"):
        (folder / part).mkdir(parents=True)
    rdl = folder / "registers" / f"{form.name}.rdl"
    write_text(rdl, system_rdl(registers, descriptors=form.descriptors, record=form.record))
    maps = compile_rdl(rdl, descriptors=form.descriptors is not None, record=bool(form.record))
    export_headers(maps, folder / "driver")
    if form.descriptors is not None:
        write_text(folder / "driver" / "latte_types.h", type_header(form.descriptors))
    write_text(folder / "driver" / "latte_registers.py", register_module(
        registers, design.config, descriptors=form.descriptors, record=form.record))
    return maps
