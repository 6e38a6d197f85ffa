"""The simulated core with keys in memory as a backend: simulator and memory live on while batches come and go."""

import contextlib
import pathlib
import shutil
import socket
from collections.abc import Iterator, Sequence

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.backend import BackendFailure
from latte.golden.memory.backend import CacheBatch, check_status
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import CacheJob
from latte.sim.cache_program import COUNTERS, read_ends, read_outputs, save_jobs, save_memory
from latte.sim.runner import Model
from latte.sim.simulator_process import request_batch, start_simulator

__all__ = ["SimulatedCacheCore", "simulated_cache_core"]


class SimulatedCacheCore:
    """A `latte.golden.memory.backend.CacheBackend` whose jobs are computed by the RTL.

    Parameters
    ----------
    connection
        To `latte.sim.cache_server`.
    build
        Of the core.
    folder
        Where jobs and reports are exchanged.
    """

    def __init__(self, connection: socket.socket, build: MemoryBuild, folder: pathlib.Path) -> None:
        self.build = build
        self._connection = connection
        self._folder = folder
        self._counters = np.zeros(len(COUNTERS), np.int64)

    def run(self, parameters: dict[int, HeadParameters], jobs: Sequence[CacheJob]) -> CacheBatch:
        """Carry out a batch; its cycles and beats are the core's own count."""
        save_jobs(self._folder, self.build, parameters, jobs)
        report = request_batch(self._connection, self._folder)
        ends, rows = read_ends(report), read_outputs(report, self.build).astype(np.int32)
        for job, verdict, status in zip(jobs, ends.verdicts, ends.status, strict=False):
            check_status(job, next(iter(verdict), None))
            if "overflow" in status:
                raise BackendFailure("a queue of the core lost an entry")
        sizes = [job.q.shape[0] * job.q.shape[1] for job in jobs]
        if len(ends.verdicts) != len(jobs) or len(rows) != sum(sizes):
            raise BackendFailure(f"{len(jobs)} jobs with {sum(sizes)} query rows came to {len(ends.verdicts)} ends and "
                                 f"{len(rows)} output rows")
        spent = dict(zip(COUNTERS, ends.spent(self._counters).sum(0).tolist(), strict=True))
        self._counters = ends.counters[-1]
        outputs = [part.reshape(job.q.shape[1], job.q.shape[0], -1).transpose(1, 0, 2)
                   for job, part in zip(jobs, np.split(rows, np.cumsum(sizes)[:-1]), strict=True)]
        beat = self.build.bus_bytes
        return CacheBatch(outputs, spent["cycles"], beat * spent["beats_read"], beat * spent["beats_written"],
                          spent["keys_fetched"], spent["values_fetched"])


@contextlib.contextmanager
def simulated_cache_core(model: Model, memory: CacheMemory, folder: pathlib.Path, *, patience: int = 100_000
                         ) -> Iterator[SimulatedCacheCore]:
    """Run the simulator of a compiled core, with the memory beside it, and yield the backend.

    Parameters
    ----------
    model
        From `latte.sim.cache_run.build_cache_core`, of the memory's build, with room for its image.
    memory
        As the host leaves it to the core: sequences without keys, with the pages that all jobs need. It stays so; what
        the core writes is in the simulator.
    folder
        Emptied first; holds the log.
    patience
        Cycles without any transfer that count as a hang.

    Raises
    ------
    LatteError
        The simulator does not start.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_memory(folder, memory.image.data, memory.build.bus_bytes, memory.first_page)
    settings = {"folder": str(folder.resolve()), "patience": patience}
    with start_simulator(model, "latte.sim.cache_server", folder, settings) as connection:
        yield SimulatedCacheCore(connection, memory.build, folder)
