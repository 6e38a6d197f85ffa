"""What `latte coverage` runs: builds in which every block is, and programs for each."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig, preset
from latte.rtl.axi.bus import DataParameters, MasterParameters, StreamParameters
from latte.sim import core_programs
from latte.sim.core_run import Run
from latte.sim.coverage.cache_workload import CACHE_LOADS, CacheLoad
from latte.sim.coverage.programs import all_kinds, boundary_lengths, extreme_entries, largest_counts, refusals
from latte.sim.fuzz.case import random_case
from latte.sim.program import Program
from latte.sim.stalls import STALLS

__all__ = ["LOADS", "Load", "Session", "choose_loads"]

_SHARE_CYCLES, _FULL_CYCLES = 60_000, 300_000
"""Of random programs on each bare core."""
_SHORT = 64
"""Keys of a build that goes through all lengths under every stall; for a longer one random programs choose some."""
_FAULTY_JOBS = {"axi": 160, "axi-stream": 80}
"""On each bus, half of which meet an error; the fewer, the fewer errors there are."""
_RESETS = ((60, "both"), (502, "none"), (1500, "both"))
"""Cycles after which a soft reset lets a program begin again, and its stalls."""

Author = Callable[[AttentionConfig], Program]
"""Writes a program for a build."""


@dataclasses.dataclass(frozen=True)
class Load:
    """A build and what it is filled with.

    Parameters
    ----------
    config
        Its name is the build's.
    bus
        What it is behind; None: the bare core.
    register_port
        Of a bus.
    full_only
        Left out unless everything is measured.
    seed
        Added to the run's, so that builds meet different errors.
    """

    config: AttentionConfig
    bus: DataParameters | None = None
    register_port: str = "axi-lite"
    full_only: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """The build's name, with the bus's."""
        bus = f"-{self.bus.interface}-{self.bus.data_bits}" if self.bus else ""
        return f"{self.config.name}{bus}{'-wishbone' if self.register_port == 'wishbone' else ''}"

    @property
    def engine(self) -> str:
        """Of its core."""
        return self.config.engine

    @property
    def interface(self) -> str:
        """What rows come by: ``core``, ``axi`` or ``axi-stream``."""
        return self.bus.interface if self.bus else "core"

    def sessions(self, seed: int, *, full: bool) -> Iterator["Session"]:
        """Yield what is run, in one simulator each."""
        seed += self.seed
        if self.bus is None:
            yield Session(tuple(_core_runs(self.config, seed, full=full)))
            return
        config = self.config
        settings = {"scattered": True} if isinstance(self.bus, MasterParameters) else {}
        programs: list[tuple[str, Author]] = [
            *((stall, all_kinds) for stall in STALLS), ("none", refusals), ("both", refusals),
            ("both", core_programs.corners)]
        for number, (stall, program) in enumerate(programs):
            yield Session((Run(program(config), stall, seed + number),), settings=settings)
        heads = core_programs.random_heads(config, seed, [3, 16, 31, 7, 1, 20])
        yield from (Session((Run(heads, stall, seed, at),), settings=settings) for at, stall in _RESETS)
        ring = {"ring_log2": 2} if isinstance(self.bus, MasterParameters) else {}
        jobs = _FAULTY_JOBS[self.interface] * (2 if full else 1)
        for number, stall in enumerate(STALLS):
            yield Session((Run(core_programs.mixed(config, seed + number, jobs), stall, seed + number),),
                          faulty=True, settings=settings | ring)


@dataclasses.dataclass(frozen=True)
class Session:
    """Programs in one simulator.

    Parameters
    ----------
    runs
        One alone behind a bus.
    faulty
        Whether the bus fails, too.
    settings
        Further ones of the bus's testbench.
    """

    runs: tuple[Run, ...]
    faulty: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


def _core_runs(config: AttentionConfig, seed: int, *, full: bool) -> Iterator[Run]:
    """Yield the programs of a bare core."""
    always: tuple[Author, ...] = (all_kinds, refusals, boundary_lengths) if config.max_seq_len <= _SHORT else ()
    for number, stall in enumerate(STALLS):
        for program in always:
            yield Run(program(config), stall, seed + number)
    once: tuple[Author, ...] = (
        all_kinds, core_programs.corners, core_programs.appending, core_programs.refused, extreme_entries,
        largest_counts,
        functools.partial(core_programs.appending_groups, seed=seed))
    for number, program in enumerate(once):
        yield Run(program(config), STALLS[number % len(STALLS)], seed + number)
    yield from random_case(seed, config, "verilator", _FULL_CYCLES if full else _SHARE_CYCLES).runs


def _wide(name: str, **changes: Any) -> AttentionConfig:
    """Return a small build of the wide engine."""
    fields: dict[str, Any] = {
        "head_dim": 16, "max_seq_len": 64, "heads": 10, "query_lanes": 2, "key_lanes": 2, "dim_lanes": 16,
        "cross_lanes": 8, "value_lanes": 8, "normalizer_lanes": 2, "bus_bytes": 4, "query_rows": 16,
        "survivor_fifo_depth": 64, "threshold_kinds": THRESHOLD_KINDS, "key_groups": 4}
    return AttentionConfig(**fields | {"name": name} | changes)


def _serial(name: str, **changes: Any) -> AttentionConfig:
    """Return a small build of the serial engine."""
    fields: dict[str, Any] = {"head_dim": 16, "max_seq_len": 64, "heads": 10, "dim_lanes": 4}
    return preset("tiny", **fields | changes).replace(name=name)


_DENSE = _wide("dense").dense().replace(name="dense")

LOADS: tuple[Load | CacheLoad, ...] = (
    Load(_wide("wide")),
    # Memories whose depth is no power of two.
    Load(_wide("wide-slice", split="slice", pe_structure="multiplier", dim_lanes=8, kv_banks=1, key_groups=8,
               query_lanes=3, key_lanes=1, query_rows=13, max_seq_len=50, heads=11)),
    Load(_wide("wide-3-bit", estimate_bits=3, pe_structure="dsp", key_groups=1)),
    Load(_wide("wide-2-bit", estimate_bits=2, key_groups=0, threshold_kinds=("relative",), query_lanes=1,
               head_dim=8, dim_lanes=8, cross_lanes=4, value_lanes=4)),
    Load(_serial("serial")),
    Load(_serial("serial-slice", split="slice", key_groups=8, max_seq_len=50, heads=11)),
    Load(_serial("serial-3-bit", estimate_bits=3, key_groups=1)),
    Load(_serial("serial-2-bit", estimate_bits=2, key_groups=0, threshold_kinds=("relative",), head_dim=4,
                 dim_lanes=2)),
    Load(_DENSE),
    Load(_wide("wide"), MasterParameters()),
    Load(_serial("serial"), MasterParameters(data_bits=128, reads_in_flight=2), "wishbone"),
    Load(_DENSE, MasterParameters(data_bits=128), seed=1000),
    Load(_wide("wide"), StreamParameters()),
    Load(_serial("serial"), StreamParameters(data_bits=32)),
    Load(_DENSE, StreamParameters(data_bits=128)),
    Load(preset("tiny"), full_only=True),
    Load(preset("small"), full_only=True),
    *CACHE_LOADS,
)
"""Small builds of every engine, behind every bus, and presets at their real size; small ones with keys in memory."""


def choose_loads(engines: tuple[str, ...], *, full: bool) -> list[Load | CacheLoad]:
    """Return the loads of some engines, of all of them if none is named."""
    return [load for load in LOADS if (full or not load.full_only) and (not engines or load.engine in engines)]
