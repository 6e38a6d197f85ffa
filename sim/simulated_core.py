"""The simulated core as a backend: one simulator runs on while batches of jobs come and go."""

import contextlib
import pathlib
import shutil
import socket
from collections.abc import Iterator, Sequence

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.backend import BatchResult
from latte.golden.config import AttentionConfig
from latte.golden.jobs import Job
from latte.sim.program import Program
from latte.sim.runner import Model
from latte.sim.simulator_process import request_batch, start_simulator

__all__ = ["SimulatedCore", "simulated_core"]


class SimulatedCore:
    """A `latte.golden.backend.Backend` whose jobs are computed by the RTL.

    Parameters
    ----------
    connection
        To `latte.sim.core_server`.
    config
        Of the core.
    folder
        Where programs and outputs are exchanged.
    """

    def __init__(self, connection: socket.socket, config: AttentionConfig, folder: pathlib.Path) -> None:
        self.config = config
        self._connection = connection
        self._folder = folder

    def run(self, parameters: dict[int, HeadParameters], jobs: Sequence[Job]) -> BatchResult:
        """Carry out a batch; its cycles are the core's own count."""
        Program(self.config, parameters, list(jobs)).save(self._folder)
        report = request_batch(self._connection, self._folder)
        with np.load(self._folder / "outputs.npz", allow_pickle=False) as archive:
            return BatchResult([archive[name] for name in archive.files], report["counters"]["cycles"])


@contextlib.contextmanager
def simulated_core(model: Model, config: AttentionConfig, folder: pathlib.Path, *,
                   patience: int = 20_000) -> Iterator[SimulatedCore]:
    """Run the simulator of a compiled core and yield the backend.

    Parameters
    ----------
    model
        From `latte.sim.core_run.build_core`, of `config`.
    config
    folder
        Emptied first; holds the log.
    patience
        Cycles without any transfer that count as a hang.

    Raises
    ------
    LatteError
        The simulator does not start.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    settings = {"folder": str(folder.resolve()), "patience": patience}
    with start_simulator(model, "latte.sim.core_server", folder, settings) as connection:
        yield SimulatedCore(connection, config, folder)
