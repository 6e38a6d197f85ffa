"""What is synthesised and placed: a core with its keys on chip, or one with keys in memory."""

import functools
from collections.abc import Callable
from typing import Any

import click
from amaranth.lib import wiring

from latte.golden.config import PRESETS, AttentionConfig
from latte.golden.memory.build import LONGEST, MemoryBuild
from latte.golden.memory.options import SIZES, size_options
from latte.rtl.engines import create_core
from latte.rtl.memory.cache_core import CacheCore, master_of
from latte.sim.options import board_config_options, refuse_given, refuse_keys_on_chip

__all__ = ["MEMORY", "Build", "arithmetic_of", "core_options", "create", "is_preset", "name_of"]

Build = AttentionConfig | MemoryBuild
MEMORY = "-memory-"
"""Between the preset and the sizes in the name of a build with keys in memory."""


def create(build: Build) -> wiring.Component:
    """Return the core, not elaborated yet; with keys in memory, it has the master that suits the build."""
    return CacheCore(build, master_of(build)) if isinstance(build, MemoryBuild) else create_core(build)


def arithmetic_of(build: Build) -> AttentionConfig:
    """Return the configuration that decides its bits."""
    return build.core if isinstance(build, MemoryBuild) else build


def name_of(build: Build) -> str:
    """Return the preset's name, with keys in memory also rows of a tile, places of a list, and bits of the bus."""
    if isinstance(build, MemoryBuild):
        return f"{build.core.name}{MEMORY}{build.tile_rows}x{build.candidates}-{8 * build.bus_bytes}"
    return build.name


def is_preset(build: Build) -> bool:
    """Whether a build is a preset as it stands, with keys in memory of the longest sequences: a baseline has such."""
    preset, config = PRESETS.get(arithmetic_of(build).name), arithmetic_of(build)
    if preset is None or not isinstance(build, MemoryBuild):
        return preset == config
    sizes = {name: getattr(build, name) for name in ("tile_rows", "candidates", "bus_bytes")}
    return build == MemoryBuild(core=preset.replace(max_seq_len=LONGEST), **sizes)


def core_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Do what `board_config_options` does, with keys on chip or in memory; the command receives `build` and `board`."""
    def with_build(config: AttentionConfig, keys_in_memory: bool, sizes: dict[str, int], data_bits: int,
                   **arguments: Any) -> Any:
        if not keys_in_memory:
            refuse_given("the core with keys in memory (--keys-in-memory)", *SIZES, "data_bits")
            return function(build=config, **arguments)
        refuse_keys_on_chip(config)
        return function(build=MemoryBuild(core=config, bus_bytes=data_bits // 8, **sizes), **arguments)

    command = board_config_options(functools.wraps(function)(with_build))
    command = click.option("--data-bits", default=64, show_default=True, type=click.Choice([64, 128]),
                           help="Width of the bus to keys in memory.")(size_options(command))
    return click.option("--keys-in-memory", is_flag=True,
                        help="The core whose keys and values lie in memory; --max-seq-len up to 65536.")(command)
