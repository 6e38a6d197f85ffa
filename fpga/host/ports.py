"""Where a board answers: a serial port, or the simulated board behind the name `SIMULATED`."""

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator

from rich.console import Console

from latte.fpga.host.driver import open_port
from latte.fpga.host.transport import Port
from latte.golden.config import AttentionConfig
from latte.golden.console import show_status

__all__ = ["SIMULATED", "line_seconds", "opened_port"]

SIMULATED = "sim"
"""Port name of the simulated board."""


@contextlib.contextmanager
def opened_port(name: str, baud: int, config: AttentionConfig, build_folder: pathlib.Path,
                console: Console) -> Iterator[tuple[Port, int]]:
    """Yield (open port, its baud rate).

    Parameters
    ----------
    name
        Of the serial port, or `SIMULATED`: then a board of `config` is compiled, and its simulator runs while the
        block does.
    baud
        Of the serial port.
    config
    build_folder
        Of the compiled board and its run.
    console
        Shows that something is compiled.

    Raises
    ------
    LatteError
        The port cannot be opened, or the simulator does not start.
    """
    if name != SIMULATED:
        yield open_port(name, baud), baud
        return
    from latte.fpga.host.simulated_port import SIMULATED_BAUD, build_board, simulated_port  # brings in the whole RTL

    with show_status(console, f"compiling the board {config.name!r} (kept for the next time) ..."):
        model = build_board(config, build_folder=build_folder)
    folder = build_folder / "sim" / "runs" / f"board-{config.name}-{os.getpid()}"
    with simulated_port(model, folder) as port:
        yield port, SIMULATED_BAUD


def line_seconds(port: Port) -> float:
    """Return the time by which the line is fast or slow: of the simulated board, else of the world."""
    return getattr(port, "seconds", time.monotonic())
