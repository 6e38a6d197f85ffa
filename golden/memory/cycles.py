"""Cycles of a job before a given memory: a model of time, of the hardware's phases. `latte decode` measures them.

A job is a row of phases, none of which begins before the one before it has ended::

    record -> entries -> page table of appended rows -> tiles -> record again
    each tile: handed over -> [page table | rows appended, sums] -> stream -> limit -> K of survivors -> V -> outputs

What stands in brackets goes side by side. A phase that waits for memory takes one latency, since its first request
waits for nothing to overlap, `REQUEST` cycles around it, and the longest of what it needs:

==============  =========================================================================================
bus             its bytes, in beats
memory          its bytes at the part's rate for streams; single rows in whole bursts, or as fast as rows open
requests        their latency over the requests in flight
core            of the stream: a key in a cycle for all rows of the tile, behind the tables of gap weights;
                of V: a beat for one even and one odd row in a cycle
==============  =========================================================================================

The limit takes a cycle for each gap that weighs something. While a row's full list is thinned, the tile's rows take no
keys; the stream goes on as far as `WAITING_KEYS` wait. A tile's last reads and its list's passes are hidden by nothing
and in nothing: where lists are long and few survive, the model is too fast by up to a pass.

Dense attention has the same phases without entries, limit and sums, and streams K and V; its core keeps up.
"""

import dataclasses
from collections.abc import Iterable

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.parts import Part
from latte.golden.memory.traffic import Traffic

__all__ = ["Machine", "TileWork", "dense_tile_cycles", "job_cycles", "tile_cycles"]

REQUEST = 10
"""Around a piece that is waited for: it is cut into bursts, its beats pass a queue, the next phase is begun."""
ENTRY = 10
"""A head's entry is looked up and judged: its words one after the other, and what reading one takes."""
HANDED_ROW = 13
"""A row is handed to a tile: its entry is looked up again, and the row taken."""
APPEND = 16
"""Of a position, beside `REQUEST`: its row comes, its group is found, its places are looked up."""
LIMIT = 85
"""From the stream's last key to the first survivor, beside gaps, and what keys and weights wait in pipelines later."""
OUTPUT_ROW = 37
"""Of each row beside its beats: its reciprocal, and its sums that leave."""
LISTED = 4
"""Candidates of a list that are read in a cycle."""
PROBE = 25
"""One step of the search for a full list's bound, beside gaps."""
WAITING_KEYS = 1024
"""Keys whose estimates wait while lists are thinned."""


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
    def awaited(self) -> int:
        """Cycles of a phase that waits for memory, beside what is moved."""
        return self.latency + REQUEST

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
    weighings
        Of each value, even or odd rows that weigh it, whichever are more; the sum over all.
    gaps
        That weigh something: of which tables are filled, and the limit's search adds the weights.
    appends
        Positions that keys are appended for while the tile waits; in turn, since each sees the sums of its own.
    positions
        Whose sums of groups it is given.
    stops, rounds
        Times that a list was full: of all rows; of the row with most.
    probed
        Gaps in which a full list's bound is looked for.
    """

    rows: int
    keys: int
    weighings: int
    gaps: int
    appends: int = 0
    positions: int = 0
    stops: int = 0
    rounds: int = 0
    probed: int = 0


def tile_cycles(machine: Machine, traffic: Traffic, work: TileWork) -> float:
    """Return the cycles of a tile that moved `traffic` itself, with the appends that it waits for."""
    moved, requests = traffic.moved, traffic.requests
    beats = machine.build.core.head_dim // machine.build.bus_bytes
    appended = work.appends * (machine.awaited + APPEND) + work.positions * _sums_cycles(machine)
    phases = [
        _handed_cycles(machine, traffic, work.rows, appended),
        machine.awaited + _stream_cycles(machine, traffic, work, appended) + machine.stream(moved["spilled"]),
        LIMIT + work.gaps,
        machine.awaited + machine.single(moved["key_high"], requests["key_high"])
        + machine.single(moved["key_low"], requests["key_low"]),
        machine.awaited + max(machine.single(moved["values"], requests["values"]), work.weighings * beats),
    ]
    return sum(phases) + _output_cycles(machine, work.rows)


def dense_tile_cycles(machine: Machine, traffic: Traffic, rows: int, appends: int = 0) -> float:
    """Return the cycles of a tile of dense attention that moved `traffic` itself; no bound of its core's."""
    moved = traffic.moved
    phases = [
        _handed_cycles(machine, traffic, rows, appends * (machine.awaited + APPEND)),
        machine.awaited + machine.stream(moved["high"] + moved["key_low"]),
        machine.awaited + machine.stream(moved["values"]),
    ]
    return sum(phases) + _output_cycles(machine, rows)


def job_cycles(machine: Machine, traffic: Traffic, tiles: Iterable[float], entries: int) -> float:
    """Return the cycles of a job that moved `traffic` in all.

    Parameters
    ----------
    machine
    traffic
    tiles
        Cycles of each.
    entries
        Of heads that are looked up before.
    """
    moved = traffic.moved
    phases = [machine.awaited + machine.stream(moved["state"]), entries * ENTRY]
    if moved["written"]:
        # The page table of what is appended; what is written, the record behind the tiles among it.
        phases += [machine.awaited, machine.awaited + machine.stream(moved["written"])]
    return sum(phases) + sum(tiles)


def _handed_cycles(machine: Machine, traffic: Traffic, rows: int, appended: int) -> float:
    """Return the cycles of a tile before its stream: it reads its page table while its keys are appended."""
    table = machine.awaited + machine.stream(traffic.moved["table"])
    return max(rows * HANDED_ROW + appended, REQUEST + table)


def _stream_cycles(machine: Machine, traffic: Traffic, work: TileWork, appended: int) -> float:
    """Return the cycles of the high planes: of the memory, a cycle between pages, or of who takes the keys."""
    stop = machine.build.candidates // LISTED + work.probed + PROBE * work.probed.bit_length()
    bus = machine.stream(traffic.moved["groups"] + traffic.moved["high"]) + traffic.requests["high"]
    # Rows of a tile are alike: their lists are full at about the same time, then for long not again.
    hidden = WAITING_KEYS * bus / work.keys
    shown = work.rounds * max(0.0, stop * work.stops / work.rounds - hidden) if work.rounds else 0.0
    return max(bus + shown, max(0, work.gaps - appended) + work.keys + stop * work.stops)


def _sums_cycles(machine: Machine) -> int:
    core = machine.build.core
    return core.key_groups * core.head_dim // machine.build.bus_bytes + 1


def _output_cycles(machine: Machine, rows: int) -> int:
    return rows * (OUTPUT_ROW + machine.build.core.head_dim // machine.build.core.normalizer_lanes)
