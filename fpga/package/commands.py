"""``latte emit``."""

import pathlib
from typing import TYPE_CHECKING

import click

from latte.golden.config import AttentionConfig
from latte.golden.console import create_console, show_status
from latte.golden.errors import LatteError
from latte.golden.memory.options import SIZES, size_options
from latte.golden.results import write_text
from latte.sim.options import (
    INTERFACES,
    REGISTER_PORTS,
    config_options,
    data_bits_option,
    refuse_given,
    refuse_keys_on_chip,
    refuse_without_bus,
)

if TYPE_CHECKING:
    from amaranth.lib import wiring

    from latte.fpga.package.forms import Design
    from latte.golden.memory.build import MemoryBuild

__all__ = ["emit_command"]

_NAME = "attention_core"
_CACHE, _AXI_CACHE = "cache", "axi-cache"
"""The core with keys in memory, bare and behind AXI, as ``--top``."""


@click.command("emit")
@click.option("--output", type=click.Path(path_type=pathlib.Path, dir_okay=False),
              help="File to write; .sv and .v give SystemVerilog, .il gives RTLIL.")
@click.option("--package", "folder", type=click.Path(path_type=pathlib.Path, file_okay=False),
              help="New folder for all that a system needs of a core behind AXI: SystemVerilog, registers, drivers, a "
                   "bench, FuseSoC, IP-XACT, Vivado, LiteX, and a guide.")
@click.option("--registers", "register_folder", type=click.Path(path_type=pathlib.Path, file_okay=False),
              help="New folder for the registers, and descriptors, of a core behind AXI: SystemRDL, C headers, a "
                   "Python module. A package has them.")
@click.option("--name", help=f"Name of the top module. [default: {_NAME}]")
@click.option("--top", default="core", show_default=True, type=click.Choice((*INTERFACES, _CACHE, _AXI_CACHE)),
              help="The core with its own streams, or behind AXI: s_axil_*, irq, and m_axi_* or s_axis_*, m_axis_*; or "
                   "cache, the core whose keys and values lie in memory: streams of jobs and rows, and m_axi_*; or "
                   "axi-cache, this one behind AXI: s_axil_*, irq, m_axi_*, m_axi_cache_*.")
@data_bits_option
@click.option("--register-port", default="axi-lite", show_default=True, type=click.Choice(REGISTER_PORTS),
              help="Bus of the registers behind AXI: s_axil_*, or s_wb_*, Wishbone B4 classic.")
@size_options
@click.option("--slots", default=16, show_default=True, help="Sequences that live in memory at a time.")
@config_options
def emit_command(config: AttentionConfig, output: pathlib.Path | None, folder: pathlib.Path | None,
                 register_folder: pathlib.Path | None, name: str | None, top: str, data_bits: int, register_port: str,
                 sizes: dict[str, int], slots: int) -> None:
    """Write a core as SystemVerilog (for other tools) or RTLIL (for Yosys), or as a package; or its registers."""
    if sum(path is not None for path in (output, folder, register_folder)) != 1:
        raise LatteError("latte emit writes one of --output FILE, --package FOLDER and --registers FOLDER; name one")
    refuse_without_bus(top, "data_bits", "register_port")
    if top == _CACHE:
        refuse_given("a core with registers", "register_port")
    if top in (_CACHE, _AXI_CACHE):
        refuse_keys_on_chip(config)
    else:
        refuse_given(f"the core with keys in memory (--top {_CACHE} or {_AXI_CACHE})", *SIZES, "slots")
    if folder is not None:
        if register_port != "axi-lite":
            raise LatteError("a package has its registers behind AXI4-Lite; leave --register-port out, or write "
                             "--output FILE")
        _emit_package(config, folder, name, top, data_bits, sizes | {"slots": slots})
        return
    if register_folder is not None:
        if top in ("core", _CACHE) or name is not None:
            raise LatteError("--registers takes a core behind AXI under its own name; give --top axi, axi-stream or "
                             "axi-cache, and leave --name out")
        _emit_registers(config, register_folder, top, data_bits, sizes | {"slots": slots})
        return
    assert output is not None
    if output.suffix not in (".sv", ".v", ".il"):
        raise LatteError(f"--output {output} must end in .sv, .v (SystemVerilog) or .il (RTLIL)")
    name = name or _NAME
    if not name.isidentifier() or not name.isascii():
        raise LatteError(f"--name {name!r} is not a Verilog identifier; use letters, digits and underscores")
    if not output.absolute().parent.is_dir():
        raise LatteError(f"--output {output} must be in an existing folder")

    from latte.rtl.emit import emit_rtlil, emit_systemverilog

    core = (_create_cache_core(config, top, data_bits, register_port, sizes | {"slots": slots})
            if top in (_CACHE, _AXI_CACHE) else _create_core(config, top, data_bits, register_port))
    write_text(output, emit_rtlil(core, name) if output.suffix == ".il" else emit_systemverilog(core, name))
    click.echo(f"{output}: core {config.name!r}, top module {name}")


def _create_core(config: AttentionConfig, top: str, data_bits: int, register_port: str) -> "wiring.Component":
    from latte.rtl.axi.bus_cores import DATA_PORTS, create_bus_core
    from latte.rtl.engines import create_core

    if top == "core":
        return create_core(config)
    return create_bus_core(config, DATA_PORTS[top](data_bits=data_bits), register_port=register_port)


def _memory_build(config: AttentionConfig, data_bits: int, sizes: dict[str, int]) -> "MemoryBuild":
    from latte.golden.memory.build import MemoryBuild

    if data_bits not in (64, 128):
        raise LatteError(f"--data-bits of the core with keys in memory must be 64 or 128, not {data_bits}")
    return MemoryBuild(core=config, bus_bytes=data_bits // 8, **sizes)


def _create_cache_core(config: AttentionConfig, top: str, data_bits: int, register_port: str, sizes: dict[str, int]
                       ) -> "wiring.Component":
    from latte.rtl.memory.axi_cache_core import AxiCacheCore
    from latte.rtl.memory.cache_core import CacheCore, master_of

    build = _memory_build(config, data_bits, sizes)
    return CacheCore(build, master_of(build)) if top == _CACHE else AxiCacheCore(build, register_port=register_port)


def _design(config: AttentionConfig, top: str, data_bits: int, sizes: dict[str, int]) -> "Design":
    from latte.fpga.package.forms import bus_design, cache_design
    from latte.rtl.axi.bus_cores import DATA_PORTS

    if top == _AXI_CACHE:
        return cache_design(_memory_build(config, data_bits, sizes))
    return bus_design(config, DATA_PORTS[top](data_bits=data_bits))


def _emit_package(config: AttentionConfig, folder: pathlib.Path, name: str | None, top: str, data_bits: int,
                  sizes: dict[str, int]) -> None:
    if top in ("core", _CACHE) or name is not None:
        raise LatteError("--package takes a core behind AXI under its own name; give --top axi, axi-stream or "
                         "axi-cache, and leave --name out")
    if not folder.absolute().parent.is_dir():
        raise LatteError(f"--package {folder} must be in an existing folder")

    from latte.fpga.package.contents import write_package

    console, design = create_console(), _design(config, top, data_bits, sizes)
    with show_status(console, f"writing a package of {config.name!r} ..."):
        write_package(design, folder)
    click.echo(f"{folder}: package of {config.name!r}, top module {design.form.name}; begin with "
               f"{folder / 'README.md'}")


def _emit_registers(config: AttentionConfig, folder: pathlib.Path, top: str, data_bits: int, sizes: dict[str, int]
                    ) -> None:
    if not folder.absolute().parent.is_dir() or (folder.exists() and any(folder.iterdir())):
        raise LatteError(f"--registers {folder} must be a new or an empty folder in an existing one")

    from latte.fpga.package.contents import write_registers
    from latte.fpga.package.exports import check_tools

    check_tools()
    write_registers(_design(config, top, data_bits, sizes), folder)
    click.echo(f"{folder}: registers of {config.name!r} behind --top {top}")
