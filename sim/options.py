"""Command line options for the configuration: a preset and an override for each of its fields."""

import dataclasses
import functools
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import click

from latte.golden.config import PRESETS, AttentionConfig, preset
from latte.sim.runner import BUILD_FOLDER

__all__ = ["build_option", "config_options"]

build_option = click.option("--build", "build_folder", default=BUILD_FOLDER, show_default=True,
                            type=click.Path(path_type=pathlib.Path), help="Output folder.")


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config PRESET`` and one option per field; the command receives an `AttentionConfig` as `config`."""
    fields = [field for field in dataclasses.fields(AttentionConfig) if field.name != "name"]

    @functools.wraps(function)
    def with_config(**arguments: Any) -> Any:
        name = arguments.pop("config")
        changes = {field.name: arguments.pop(field.name) for field in fields}
        changes = {key: value for key, value in changes.items() if value is not None}
        return function(config=preset(name, **changes), **arguments)

    command: Callable[..., Any] = with_config
    for field in reversed(fields):
        kind = click.INT if field.type is int else click.Choice(typing.get_args(field.type))
        command = click.option(f"--{field.name.replace('_', '-')}", field.name, type=kind,
                               help=f"Override the preset's {field.name}.")(command)
    return click.option("--config", default="small", show_default=True, metavar="PRESET",
                        help=f"Preset to start from: {', '.join(PRESETS)}.")(command)
