"""A simulator that is talked to while it runs: both ends of the socket between it and the process that started it.

The simulator waits for its client and the client for the simulator. Simulated time passes only while the client waits,
so time-outs are in simulated time and a run repeats exactly.
"""

import contextlib
import json
import os
import pathlib
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from latte.golden.errors import LatteError
from latte.sim.runner import Model

__all__ = ["connect_to_client", "receive_exactly", "simulator_settings", "start_simulator"]

_VARIABLE = "LATTE_SIMULATOR"
"""Holds the settings, for the simulator's process."""
_POLL_SECONDS = 0.5


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
def start_simulator(model: Model, test_module: str, folder: pathlib.Path,
                    settings: Mapping[str, Any]) -> Iterator[socket.socket]:
    """Run a cocotb test that serves the socket which is yielded, until the block ends.

    Parameters
    ----------
    model
        Compiled component.
    test_module
        Dotted name; its test calls `connect_to_client`, and ends when the connection does.
    folder
        Of the log.
    settings
        For `simulator_settings` there; plain values.

    Raises
    ------
    LatteError
        The system has no Unix sockets, or the simulator does not start.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise LatteError("a simulator that is talked to needs Unix sockets, which this system does not have; simulate "
                         "vector files with: latte sim")
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as server:
        address = os.path.join(place, "port")
        server.bind(address)
        server.listen(1)
        server.settimeout(_POLL_SECONDS)
        environment = {_VARIABLE: json.dumps({"address": address, **settings})}
        simulator = threading.Thread(target=model.run, args=(test_module, folder), kwargs={"environment": environment})
        simulator.start()
        connection = _accept(server, simulator, folder / "sim.log")
        try:
            yield connection
        finally:
            connection.close()
            simulator.join()


def _accept(server: socket.socket, simulator: threading.Thread, log: pathlib.Path) -> socket.socket:
    """Wait for the simulator, which takes its time on a busy machine, as long as it runs."""
    while True:
        try:
            return server.accept()[0]
        except TimeoutError:
            if not simulator.is_alive():
                raise LatteError(f"the simulator did not start; see {log}") from None


def simulator_settings() -> dict[str, Any]:
    """Return the settings that `start_simulator` was given; in the simulator's process."""
    return json.loads(os.environ[_VARIABLE])


def connect_to_client() -> socket.socket:
    """Return the connection to the process that called `start_simulator`; in the simulator's process."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(simulator_settings()["address"])
    return connection
