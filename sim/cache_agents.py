"""Agents around the core with keys in memory, by the files of `latte.sim.cache_program`; in the simulator's process."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from latte.sim.agents import Agent, Ports, StreamDriver, StreamMonitor, Tap
from latte.sim.packing import pack_rows
from latte.sim.stalls import Stall

__all__ = ["QUIET_CYCLES", "JobAgents", "memory_drivers"]

QUIET_CYCLES = 200
"""Behind the last of what should come, in which nothing more may come."""
_ROWS = ("k", "v", "q")


def memory_drivers(ports: Ports, folder: pathlib.Path) -> list[StreamDriver]:
    """Return what fills the memory of a `latte.sim.cache_system.CacheSystem`, and says what comes."""
    memory = json.loads((folder / "memory.json").read_text())
    words = _words(np.load(folder / "memory.npy", allow_pickle=False), memory["bus_bytes"], frozenset(memory["broken"]))
    return [StreamDriver(ports, "setup", memory["setup"]), StreamDriver(ports, "fill", words)]


class JobAgents:
    """What offers jobs, and takes what comes of them.

    Parameters
    ----------
    ports
        (inputs, outputs) of the model.
    folder
    source, sink
        Stalls of jobs and rows, and of the output.

    Attributes
    ----------
    parameter : StreamDriver
        Of the register file.
    drivers : list of StreamDriver
        Of jobs and rows.
    monitors : list of Agent
    """

    def __init__(self, ports: Ports, folder: pathlib.Path, source: Stall | None = None, sink: Stall | None = None
                 ) -> None:
        jobs = json.loads((folder / "jobs.json").read_text())
        offers = {"job": jobs["job"]}
        with np.load(folder / "jobs.npz", allow_pickle=False) as archive:
            offers |= {name: pack_rows(archive[name], jobs["bus_bytes"]) for name in _ROWS}
        self._found: dict[str, list[int]] = {"o": [], "end": []}
        self._jobs = len(jobs["job"])
        self.parameter = StreamDriver(ports, "parameter", jobs["parameter"])
        self.drivers = [StreamDriver(ports, name, payloads, source.fork(name) if source else None)
                        for name, payloads in offers.items()]
        end = Tap("end", ports[1]["end"], ports[1]["end_valid"].offset,
                  lambda payload, _: self._found["end"].append(payload))
        self.monitors: list[Agent] = [
            StreamMonitor(ports, "o", lambda payload, _: self._found["o"].append(payload),
                          sink.fork("o") if sink else None), end]

    @property
    def ended(self) -> bool:
        """Whether all jobs have ended, and all rows were taken."""
        return len(self._found["end"]) >= self._jobs and all(driver.finished for driver in self.drivers)

    def report(self) -> dict[str, Any]:
        """Return what came, for `latte.sim.cache_program.read_outputs` and ``read_ends``."""
        return {name: [f"{payload:x}" for payload in payloads] for name, payloads in self._found.items()}


def _words(image: np.ndarray, size: int, broken: frozenset[int]) -> Iterator[int]:
    """Yield the words of a memory as they are filled in, broken ones and the last one marked."""
    raw = np.pad(image, (0, -len(image) % size)).tobytes()
    last = len(raw) - size
    for at in range(0, len(raw), size):
        marks = (at // size in broken) | (at == last) << 1
        yield int.from_bytes(raw[at:at + size], "little") | marks << 8 * size
