"""Cycles of a job before a given memory: a model of time. What the hardware takes, `latte decode` measures.

A job is a row of phases, none of which begins before the one before it has ended::

    record -> rows appended, operands, record again
    each tile: page table -> stream -> limit -> K of survivors -> V of survivors -> output

A phase takes the longest of what it needs, and one latency, since its first request waits for nothing to overlap:

==============  =========================================================================================
bus             its bytes, in beats
memory          its bytes at the part's rate for streams; single rows in whole bursts, or as fast as rows open
requests        their latency over the requests in flight
core            keys, one a cycle for all rows of the tile; survivors of each row, as its units take them
==============  =========================================================================================

Weights of a tile's rows are taken one after the other (the hardware takes two at once). The limit takes a cycle for
each gap that weighs something. Dense attention has the same phases without limit, and streams K and V; its core keeps
up.
"""

import dataclasses
from collections.abc import Iterable

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.parts import Part
from latte.golden.memory.traffic import OPERANDS, Traffic

__all__ = ["Machine", "TileWork", "dense_tile_cycles", "job_cycles", "tile_cycles"]


@dataclasses.dataclass(frozen=True)
class Machine:
    """A core and the memory before it.

    Parameters
    ----------
    build
    part
    latency
        Cycles of the core from a request to its first beat.
    in_flight
        Requests that may wait at a time.
    request_bytes
        Longest piece of a stream that is asked for at once.
    """

    build: MemoryBuild
    part: Part
    latency: int = 60
    in_flight: int = 32
    request_bytes: int = 256

    @property
    def stream_rate(self) -> float:
        """Bytes a cycle that a stream can have, of bus and memory."""
        return min(self.build.bus_bytes, self._memory_rate * self.part.stream_efficiency)

    @property
    def _memory_rate(self) -> float:
        return self.part.bytes_per_second / (1e6 * self.part.core_mhz)

    def stream(self, moved: int) -> float:
        """Return the cycles of a stream of bytes, without its first latency."""
        waiting = self.latency * ceil_div(moved, self.request_bytes) / self.in_flight
        return max(moved / self.stream_rate, waiting)

    def single(self, moved: int, requests: int) -> float:
        """Return the cycles of rows read one by one, without the first latency."""
        if not requests:
            return 0.0
        burst = self.part.burst_bytes
        bursts = requests * ceil_div(ceil_div(moved, requests), burst) * burst
        opened = requests * self.part.random_interval * 1e-3 * self.part.core_mhz
        return max(moved / self.build.bus_bytes, bursts / (self._memory_rate * self.part.stream_efficiency), opened,
                   self.latency * requests / self.in_flight)


@dataclasses.dataclass(frozen=True)
class TileWork:
    """What a tile computes.

    Parameters
    ----------
    rows
        Query rows.
    keys
        That the last of them sees.
    survivors, weighty
        Of the rows together: survivors, and those of them that weigh something.
    gaps
        Of which the limit's search adds the weights.
    """

    rows: int
    keys: int
    survivors: int
    weighty: int
    gaps: int


def tile_cycles(machine: Machine, traffic: Traffic, work: TileWork) -> float:
    """Return the cycles of a tile that moved `traffic` itself."""
    core, moved, requests = machine.build.core, traffic.moved, traffic.requests
    phases = [
        machine.stream(moved["table"]),
        max(machine.stream(moved["groups"] + moved["high"]), work.keys) + machine.stream(moved["spilled"]),
        max(machine.single(moved["key_high"], requests["key_high"])
            + machine.single(moved["key_low"], requests["key_low"]), work.survivors * core.cross_slices),
        max(machine.single(moved["values"], requests["values"]), work.weighty * core.value_slices),
    ]
    return sum(phases) + work.gaps + _output_cycles(machine, work.rows) + machine.latency * len(phases)


def dense_tile_cycles(machine: Machine, traffic: Traffic, rows: int) -> float:
    """Return the cycles of a tile of dense attention that moved `traffic` itself; no bound of its core's."""
    moved = traffic.moved
    phases = [machine.stream(moved["table"]), machine.stream(moved["high"] + moved["key_low"]),
              machine.stream(moved["values"])]
    return sum(phases) + _output_cycles(machine, rows) + machine.latency * len(phases)


def job_cycles(machine: Machine, traffic: Traffic, tiles: Iterable[float]) -> float:
    """Return the cycles of a job that moved `traffic` in all and whose tiles took some cycles each."""
    moved = traffic.moved
    phases = [machine.stream(moved["state"]), machine.stream(moved["written"] + moved[OPERANDS])]
    return sum(phases) + machine.latency * len(phases) + sum(tiles)


def _output_cycles(machine: Machine, rows: int) -> int:
    return rows * machine.build.core.head_dim // machine.build.core.normalizer_lanes
