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
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from latte.golden.backend import BackendFailure
from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.sim.agents import TestbenchFailure
from latte.sim.runner import Model

__all__ = ["connect_to_client", "receive_exactly", "request_batch", "serve_batches", "simulator_settings",
           "start_simulator"]

_VARIABLE = "LATTE_SIMULATOR"
"""Holds the settings, for the simulator's process."""
_POLL_SECONDS = 0.5
_RUN = b"R"
"""Asks for a batch, and says that it was carried out."""


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


async def serve_batches(folder: pathlib.Path, carry_out: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Carry out what lies in a folder each time the client asks, and end with the connection.

    In the simulator's process.

    Parameters
    ----------
    folder
        Gets the report of each batch.
    carry_out
        Adds to the report that it is given. If it raises `TestbenchFailure`, the report says so.
    """
    with connect_to_client() as connection:
        while True:
            try:
                token = receive_exactly(connection, len(_RUN))
            except OSError:
                return
            report: dict[str, Any] = {"failure": None}
            try:
                await carry_out(report)
            except TestbenchFailure as failure:
                report["failure"] = str(failure)
            write_text(folder / "report.json", json.dumps(report))
            connection.sendall(token)


def request_batch(connection: socket.socket, folder: pathlib.Path) -> dict[str, Any]:
    """Let `serve_batches` carry out what lies in a folder, and return its report.

    Raises
    ------
    BackendFailure
        The simulator ended, or the testbench found a broken rule.
    """
    try:
        connection.sendall(_RUN)
        receive_exactly(connection, len(_RUN))
    except OSError:
        raise BackendFailure(f"the simulator ended in the middle of a batch; see {folder / 'sim.log'}") from None
    report = json.loads((folder / "report.json").read_text())
    if report["failure"] is not None:
        raise BackendFailure(f"the simulated core failed: {report['failure']}")
    return report
