"""A serial port whose other end is a simulated board: `HostedCore` under Verilator, UART pins included.

Simulated time passes only while the driver reads.
"""

import contextlib
import pathlib
import socket
import struct
from collections.abc import Iterator

from latte.fpga.link.hosted_core import HostedCore
from latte.golden.config import AttentionConfig
from latte.sim.runner import BUILD_FOLDER, Model, build_model
from latte.sim.simulator_process import receive_exactly, start_simulator

__all__ = ["READ", "SIMULATED_BAUD", "SIMULATED_CLOCK", "WRITE", "SimulatedPort", "build_board", "simulated_port"]

SIMULATED_CLOCK, SIMULATED_BAUD = 4_000_000, 1_000_000
"""Four clock cycles a bit: the fewest that the UART takes, to save simulation time."""
READ, WRITE = b"R", b"W"


def build_board(config: AttentionConfig, *, simulator: str = "verilator", build_folder: pathlib.Path = BUILD_FOLDER,
                **link: int) -> Model:
    """Compile the hosted core of `config`."""
    board = HostedCore(config, SIMULATED_CLOCK, SIMULATED_BAUD, **link)
    return build_model(board, f"board-{config.name}", simulator=simulator, build_folder=build_folder)


class SimulatedPort:
    """Behaves like a pyserial port.

    Parameters
    ----------
    connection
        To `latte.fpga.host.simulated_board`.

    Attributes
    ----------
    seconds : float
        Board time at the end of the last read.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.timeout: float | None = 1.0
        self.seconds = 0.0
        self._connection = connection

    def write(self, data: bytes) -> int:
        """Queue bytes; they leave while time passes."""
        self._connection.sendall(WRITE + struct.pack("<Id", len(data), 0.0) + data)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Let simulated time pass until `size` bytes are there or `timeout` is over."""
        self._connection.sendall(READ + struct.pack("<Id", size, self.timeout or 0.0))
        count, self.seconds = struct.unpack("<Id", receive_exactly(self._connection, 12))
        return receive_exactly(self._connection, count)

    def close(self) -> None:
        """End the simulation."""
        self._connection.close()


@contextlib.contextmanager
def simulated_port(model: Model, folder: pathlib.Path) -> Iterator[SimulatedPort]:
    """Run the simulator of a compiled board and yield the port.

    Parameters
    ----------
    model
        From `build_board`.
    folder
        Of the log.

    Raises
    ------
    LatteError
        The system has no Unix sockets, or the simulator does not start.
    """
    settings = {"clocks": SIMULATED_CLOCK // SIMULATED_BAUD}
    with start_simulator(model, "latte.fpga.host.simulated_board", folder, settings) as connection:
        yield SimulatedPort(connection)
