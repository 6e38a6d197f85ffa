"""Testbench of the core with keys in memory: carries out the jobs of ``$LATTE_RUN`` and writes what came of them there.

`latte.sim.cache_run` prepares the folder and reads it.
"""

import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from latte.golden.results import write_text
from latte.sim.agents import Agent, StreamDriver, StreamMonitor, Tap, TestbenchFailure
from latte.sim.packing import pack_rows
from latte.sim.stalls import stall_pair
from latte.sim.testbench import ClockLoop

__all__ = ["ROWS", "main"]

ROWS = ("k", "v", "q")
_QUIET_CYCLES = 200
"""Behind the last word, in which nothing more may come."""


async def main(testbench: ClockLoop) -> None:
    """Fill memory and register file, offer all jobs, and take outputs, verdicts, and the memory."""
    folder = pathlib.Path(os.environ["LATTE_RUN"])
    settings = json.loads((folder / "settings.json").read_text())
    with np.load(folder / "jobs.npz", allow_pickle=False) as archive:
        data = {name: archive[name] for name in archive.files}
    testbench.patience = settings["patience"]
    report: dict[str, Any] = {"failure": None}
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in ("o", "end", "shown")}
    source, sink = stall_pair(settings["stall"], settings["seed"])

    def payloads(name: str) -> Iterator[int]:
        if name in ROWS:
            return pack_rows(data[name], settings["bus_bytes"])
        if name == "fill":
            return _words(data["image"], settings["bus_bytes"])
        return iter(settings[name])

    def receive(name: str) -> Any:
        return lambda payload, cycle: found[name].append((payload, cycle))

    ports = testbench.ports
    drivers = [StreamDriver(ports, name, payloads(name), source.fork(name) if source and name in (*ROWS, "job") else
                            None) for name in ("setup", "fill", "parameter", "job", *ROWS)]
    monitors = [StreamMonitor(ports, name, receive(name), sink.fork(name) if sink and name == "o" else None)
                for name in ("o", "shown")]
    ends = Tap("end", ports[1]["end"], ports[1]["end_valid"].offset, receive("end"))
    words, size = -(-len(data["image"]) // settings["bus_bytes"]), settings["bus_bytes"]
    try:
        await testbench.reset()
        agents: list[Agent] = [*drivers, *monitors, ends]
        await testbench.run(agents, lambda: len(found["shown"]) >= words and all(of.finished for of in drivers))
        await testbench.run(agents, lambda: False, testbench.cycle + _QUIET_CYCLES)
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    image = b"".join(word.to_bytes(size, "little") for word, _ in found["shown"])
    (folder / "image.bin").write_bytes(image)
    for name in ("o", "end"):
        report[name] = [f"{payload:x}" for payload, _ in found[name]]
    write_text(folder / "report.json", json.dumps(report))


def _words(image: np.ndarray, size: int) -> Iterator[int]:
    """Yield the words of a memory as they are filled in, the last one marked."""
    raw = np.pad(image, (0, -len(image) % size)).tobytes()
    last = len(raw) - size
    for at in range(0, len(raw), size):
        yield int.from_bytes(raw[at:at + size], "little") | (at == last) << (8 * size + 1)
