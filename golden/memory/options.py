"""Command line options for the sizes of a core with keys in memory."""

import functools
from collections.abc import Callable
from typing import Any

import click

__all__ = ["SIZES", "size_options"]

SIZES = ("page_rows", "candidates", "tile_rows")
"""Fields of `latte.golden.memory.build.MemoryBuild` that `size_options` gives."""


def size_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each of `SIZES`; the command receives them by name in `sizes`."""
    @functools.wraps(function)
    def with_sizes(**arguments: Any) -> Any:
        sizes = {name: int(arguments.pop(name)) for name in SIZES}
        return function(sizes=sizes, **arguments)

    command: Callable[..., Any] = with_sizes
    for option in (
            click.option("--tile-rows", default=4, show_default=True, help="Query rows that share a stream of keys."),
            click.option("--candidates", default=2048, show_default=True,
                         help="Places of each row's list of candidates."),
            click.option("--page-rows", type=click.Choice(["16", "32", "64"]), default="64", show_default=True,
                         help="Keys of a page.")):
        command = option(command)
    return command
