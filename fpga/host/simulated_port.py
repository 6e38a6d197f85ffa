"""A serial port whose other end is a simulated board: `HostedCore` under Verilator, UART pins included.

The simulator waits for the driver and the driver for the simulator, through a socket. Simulated time passes only while
the driver reads, so time-outs are in simulated seconds and a run repeats exactly.
"""

import contextlib
import json
import os
import pathlib
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator

from latte.fpga.link.hosted_core import HostedCore
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.sim.runner import BUILD_FOLDER, Model, build_model

__all__ = ["READ", "SIMULATED_BAUD", "SIMULATED_CLOCK", "WRITE", "SimulatedPort", "build_board", "receive_exactly",
           "simulated_port"]

SIMULATED_CLOCK, SIMULATED_BAUD = 4_000_000, 1_000_000
"""Four clock cycles a bit: the fewest that the UART takes, to save simulation time."""
READ, WRITE = b"R", b"W"
_POLL_SECONDS = 0.5


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
    """

    def __init__(self, connection: socket.socket) -> None:
        self.timeout: float | None = 1.0
        self._connection = connection

    def write(self, data: bytes) -> int:
        """Queue bytes; they leave while time passes."""
        self._connection.sendall(WRITE + struct.pack("<Id", len(data), 0.0) + data)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Let simulated time pass until `size` bytes are there or `timeout` is over."""
        self._connection.sendall(READ + struct.pack("<Id", size, self.timeout or 0.0))
        (count,) = struct.unpack("<I", receive_exactly(self._connection, 4))
        return receive_exactly(self._connection, count)

    def close(self) -> None:
        """End the simulation."""
        self._connection.close()


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    """Return `count` bytes.

    Raises
    ------
    ConnectionError
        The other side has gone.
    """
    received = bytearray()
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise ConnectionError("the simulation has ended")
        received += part
    return bytes(received)


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
    if not hasattr(socket, "AF_UNIX"):
        raise LatteError("the simulated board needs Unix sockets, which this system does not have; simulate with: "
                         "latte sim")
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as server:
        address = os.path.join(place, "port")
        server.bind(address)
        server.listen(1)
        server.settimeout(_POLL_SECONDS)
        settings = json.dumps({"address": address, "clocks": SIMULATED_CLOCK // SIMULATED_BAUD})
        simulator = threading.Thread(target=model.run, args=("latte.fpga.host.simulated_board", folder),
                                     kwargs={"environment": {"LATTE_BOARD": settings}})
        simulator.start()
        port = SimulatedPort(_connected(server, simulator, folder / "sim.log"))
        try:
            yield port
        finally:
            port.close()
            simulator.join()


def _connected(server: socket.socket, simulator: threading.Thread, log: pathlib.Path) -> socket.socket:
    """Wait for the simulator, which takes its time on a busy machine, as long as it runs."""
    while True:
        try:
            return server.accept()[0]
        except TimeoutError:
            if not simulator.is_alive():
                raise LatteError(f"the simulator of the board did not start; see {log}") from None
