"""Command line options for the configuration: a preset or a board's build, and an override for each of its fields."""

import dataclasses
import functools
import pathlib
import tempfile
import typing
from collections.abc import Callable
from typing import Any

import click

from latte.golden.builds import BUILDS, DEFAULT_PRESET, choose_config
from latte.golden.config import PRESETS, AttentionConfig
from latte.golden.errors import LatteError
from latte.sim.runner import BUILD_FOLDER

__all__ = ["INTERFACES", "REGISTER_PORTS", "board_config_options", "build_option", "config_options", "data_bits_option",
           "refuse_given", "refuse_keys_on_chip", "refuse_without_bus"]

INTERFACES = ("core", "axi", "axi-stream")
"""What stands around a core: nothing, or registers behind AXI4-Lite with an AXI4 master or with AXI4-Stream ports."""
REGISTER_PORTS = ("axi-lite", "wishbone")
"""What registers are reached by."""
_ON_CHIP = ("board", "query_lanes", "key_lanes", "dim_lanes", "cross_lanes", "value_lanes", "bus_bytes", "kv_banks",
            "query_rows", "survivor_fifo_depth", "pe_structure")
"""Options of a build that say nothing of a core with keys in memory, whose bus decides its lanes."""


def refuse_without_bus(interface: str, *parameters: str) -> None:
    """Raise `LatteError` if an option of a core behind a bus was given for the bare one."""
    if interface == "core":
        refuse_given(f"a core behind a bus ({' or '.join(INTERFACES[1:])})", *parameters)


def refuse_given(whose: str, *parameters: str) -> None:
    """Raise `LatteError` if one of some parameters was given on the command line: they are not of this, but `whose`."""
    for name in parameters:
        if click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise LatteError(f"--{name.replace('_', '-')} is of {whose}; leave it out")


def refuse_keys_on_chip(config: AttentionConfig) -> None:
    """Raise `LatteError` if the core with keys in memory does not follow what was asked of a build."""
    if config.engine != "latte":
        raise LatteError(f"the core with keys in memory has no {config.engine} engine; choose another --config or "
                         "--engine, or a core with keys on chip")
    refuse_given("a core with keys on chip", *_ON_CHIP)


def _check_folder(ctx: click.Context, option: click.Option, folder: pathlib.Path) -> pathlib.Path:
    """Return a folder that can be written, or made: what was measured for minutes must not be lost for that."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise LatteError(f"--build {folder} cannot be written ({error.strerror}); choose another folder") from None
    return folder


build_option = click.option("--build", "build_folder", default=BUILD_FOLDER, show_default=True, callback=_check_folder,
                            type=click.Path(path_type=pathlib.Path), help="Output folder.")


data_bits_option = click.option("--data-bits", default=64, show_default=True, type=int,
                                help="Width of the AXI master, 64 or 128, or of the AXI4-Stream ports, 32 to 128.")


class _Names(click.ParamType):
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names; what they must be is the configuration's business."""
        return value if isinstance(value, tuple) else tuple(value.split(","))


_NAMES = _Names()


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config PRESET``, ``--board NAME`` and one option per field; the command receives `config`."""
    @functools.wraps(function)
    def without_board(board: str | None, **arguments: Any) -> Any:
        return function(**arguments)

    return board_config_options(without_board)


def board_config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Do what `config_options` does; the command receives `config` and the name of the `board`, None if there is none.

    For commands that take more than the build from a board.
    """
    fields = [field for field in dataclasses.fields(AttentionConfig) if field.name != "name"]

    @functools.wraps(function)
    def with_config(**arguments: Any) -> Any:
        name = arguments.pop("config")
        changes = {field.name: arguments.pop(field.name) for field in fields}
        changes = {key: value for key, value in changes.items() if value is not None}
        return function(config=choose_config(name, arguments["board"], **changes), **arguments)

    command: Callable[..., Any] = with_config
    for field in reversed(fields):
        kind = (click.INT if field.type is int else _NAMES if field.type == tuple[str, ...] else
                click.Choice(typing.get_args(field.type)))
        command = click.option(f"--{field.name.replace('_', '-')}", field.name, type=kind,
                               help=f"Override the {field.name} of the preset or board.")(command)
    command = click.option("--board", metavar="NAME", help=f"Take the build of a board: {', '.join(BUILDS)}.")(command)
    return click.option("--config", metavar="PRESET",
                        help=f"Preset to start from: {', '.join(PRESETS)}. [default: {DEFAULT_PRESET}]")(command)
