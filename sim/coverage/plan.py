"""The plan of functional coverage: what programs must have contained, as points that are crosses of a few properties.

A point counts when a program that contained it ran and agreed with the golden model in every bit. What a build cannot
have is not listed: a configuration that refuses it decides that, and the golden model's judgement of jobs.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig, preset
from latte.golden.jobs import REFUSALS, Job
from latte.golden.jobs import Sequence as KeySequence
from latte.golden.pruned_mass import NO_COMPENSATION
from latte.rtl.axi.job_registers import PACKET_FAULTS
from latte.sim.core_run import CoreReport, Run
from latte.sim.coverage.cache_plan import CACHE_GROUPS
from latte.sim.coverage.groups import Group, Hits, Point, allows, no_hits
from latte.sim.coverage.programs import key_lengths, query_lengths
from latte.sim.options import INTERFACES
from latte.sim.stalls import STALLS

__all__ = ["PLAN", "observe"]

_ENGINES = ("latte", "serial", "dense")
_FORMS = ("head", "decode", "append", "share")
_FLAGS = ("no", "yes")
_FAULTS = (*(f"{error} {where}" for error in ("slverr", "decerr") for where in "qkvo"),
           *(f"{what} {error}" for what in ("status", "descriptor") for error in ("slverr", "decerr")),
           "type", "reserved_word", "reserved_flags", "q_address", "v_stride", "rows", "long")
"""What `latte.sim.axi_fault_testbench` lets go wrong with a job."""


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A job that was run.

    Parameters
    ----------
    run, interface, faulty
        What it was part of; whether the bus failed, too.
    job
    refusal
        Status bit, None if it was carried out.
    keys
        Of its sequence, with its own.
    shared
        Whether it asks keys that another entry's job loaded.
    report
        The testbench's, of this job.
    """

    run: Run
    interface: str
    faulty: bool
    job: Job
    refusal: str | None
    keys: int
    shared: bool
    report: Mapping[str, Any]

    @property
    def config(self) -> AttentionConfig:
        """The build."""
        return self.run.program.config

    @property
    def form(self) -> str:
        """One of `_FORMS`, or ``load`` for a job without queries."""
        job = self.job
        if not len(job.q):
            return "load"
        if job.fresh:
            return "head"
        if not len(job.k):
            return "share"
        return "decode" if len(job.k) == len(job.q) == 1 else "append"


def _has_kind(engine: str, kind: str) -> bool:
    return allows(engine, threshold_kinds=(kind,))


def _carried_out(seen: _Seen) -> bool:
    return seen.refusal is None and not seen.faulty


def _kinds(seen: _Seen) -> Iterator[Point]:
    if _carried_out(seen) and seen.form in _FORMS and seen.interface == "core":
        kind = seen.run.program.parameters[seen.job.head].threshold.kind
        yield (seen.config.engine, seen.config.split, str(kind.value), seen.form, _FLAGS[seen.job.causal],
               seen.run.stall)


def _builds(seen: _Seen) -> Iterator[Point]:
    if _carried_out(seen):
        yield seen.config.engine, seen.config.split, str(seen.config.estimate_bits)


def _lengths(seen: _Seen) -> Iterator[Point]:
    if _carried_out(seen) and seen.interface == "core" and seen.form == "head":
        keys = [name for name, count in key_lengths(seen.config).items() if count == len(seen.job.k)]
        queries = [name for name, count in query_lengths(seen.config).items() if count == len(seen.job.q)]
        for key, query in itertools.product(keys, queries):
            yield seen.config.engine, key, query


def _length_is_possible(point: Point) -> bool:
    engine, keys, queries = point
    # The serial engine's groups and tiles are one key and one query.
    return engine != "serial" or not (keys == "group less one" or queries == "tile less one")


def _refusals(seen: _Seen) -> Iterator[Point]:
    if seen.refusal is not None and not seen.faulty:
        yield seen.config.engine, seen.refusal, "begins" if seen.job.fresh else "goes on", seen.run.stall


def _refusal_is_possible(point: Point) -> bool:
    engine, refusal, begins, _ = point
    # Only keys that are there have groups to differ from.
    return refusal != "groups_differ" or (begins == "goes on" and allows(engine, key_groups=2))


def _compensation(seen: _Seen) -> Iterator[Point]:
    config = seen.config
    if _carried_out(seen) and seen.form in _FORMS and config.key_groups:
        entry = seen.run.program.parameters[seen.job.head]
        gains = ("none" if entry.gains == NO_COMPENSATION else "both" if entry.gains.mean else "denominator")
        yield config.engine, str(entry.threshold.kind.value), gains, str(1 << len(entry.groups.elements))


def _interfaces(seen: _Seen) -> Iterator[Point]:
    if _carried_out(seen):
        yield seen.interface, seen.form, seen.run.stall


def _shared(seen: _Seen) -> Iterator[Point]:
    if _carried_out(seen) and seen.shared:
        yield seen.config.engine, _FLAGS[seen.job.causal]


def _resets(seen: _Seen) -> Iterator[Point]:
    if seen.run.reset_at is not None and not seen.faulty:
        yield seen.interface, seen.run.stall


def _status(seen: _Seen) -> Iterator[Point]:
    if not seen.faulty:
        for bit in seen.run.program.status():
            yield seen.interface, seen.config.engine, bit


def _bus_faults(seen: _Seen) -> Iterator[Point]:
    if seen.faulty and seen.interface == "axi" and "fault" in seen.report:
        yield seen.report["fault"], seen.run.stall


def _packet_faults(seen: _Seen) -> Iterator[Point]:
    if seen.faulty and seen.interface == "axi-stream":
        for fault in seen.report.get("status", ()):
            if fault in PACKET_FAULTS:
                yield fault, seen.run.stall


_OF_CORES: tuple[Group, ...] = (
    Group("kinds", "every kind of threshold with every form of job, under every stall",
          {"engine": _ENGINES, "split": ("balanced", "slice"), "kind": THRESHOLD_KINDS, "form": _FORMS,
           "causal": _FLAGS, "stall": STALLS}, _kinds,
          lambda point: allows(point[0], split=point[1]) and _has_kind(point[0], point[2])),
    Group("builds", "every width of the estimate of every split",
          {"engine": _ENGINES, "split": ("balanced", "slice"), "estimate bits": ("2", "3", "4")}, _builds,
          lambda point: allows(point[0], split=point[1], estimate_bits=int(point[2]))),
    Group("lengths", "keys and queries of the lengths at which a group, a tile, a ring or the memory ends",
          {"engine": _ENGINES, "keys": tuple(key_lengths(preset("small"))),
           "queries": tuple(query_lengths(preset("small")))}, _lengths, _length_is_possible),
    Group("refusals", "every reason to refuse a job, of jobs that begin and that go on, under every stall",
          {"engine": _ENGINES, "refusal": REFUSALS, "job": ("begins", "goes on"), "stall": STALLS}, _refusals,
          _refusal_is_possible),
    Group("compensation", "every kind of threshold with every form of compensation, over one group and several",
          {"engine": _ENGINES, "kind": THRESHOLD_KINDS, "gains": ("none", "denominator", "both"),
           "groups": ("1", "4")}, _compensation,
          lambda point: allows(point[0], threshold_kinds=(point[1],), key_groups=int(point[3]))),
    Group("shared keys", "queries of one head for keys that another head's job loaded",
          {"engine": _ENGINES, "causal": _FLAGS}, _shared),
    Group("status", "every status bit that jobs, rows and register writes can set, by every way in",
          {"interface": INTERFACES, "engine": _ENGINES,
           "bit": ("qk_saturated", "entry_invalid", *REFUSALS)}, _status,
          lambda point: point[2] != "groups_differ" or allows(point[1], key_groups=2)),
    Group("interfaces", "every form of job by every way in, under every stall",
          {"interface": INTERFACES, "form": (*_FORMS, "load"), "stall": STALLS}, _interfaces),
    Group("resets", "a reset in mid-job, on every way in",
          {"interface": INTERFACES, "stall": ("none", "both")}, _resets),
    Group("bus faults", "everything that can go wrong with a descriptor, its rows and its status, under every stall",
          {"fault": _FAULTS, "stall": STALLS}, _bus_faults),
    Group("packet faults", "every fault of a packet, under every stall",
          {"fault": tuple(PACKET_FAULTS), "stall": STALLS}, _packet_faults),
)
"""Groups of jobs whose keys are in the core."""

PLAN = (*_OF_CORES, *CACHE_GROUPS)
"""All groups."""


def observe(run: Run, report: CoreReport, interface: str, *, faulty: bool = False) -> Hits:
    """Return the points that a program was, none if it did not agree with the golden model."""
    hits = no_hits(PLAN)
    if report.problems:
        return hits
    program = run.program
    sequence = KeySequence(program.config, program.parameters)
    loaded_by: set[int] = set()
    for index, job in enumerate(program.jobs):
        if job.fresh:
            loaded_by = set()
        refusal = sequence.load(job)
        shared = bool(refusal is None and not len(job.k) and len(job.q) and loaded_by - {job.head})
        if refusal is None and len(job.k):
            loaded_by.add(job.head)
        seen = _Seen(run, interface, faulty, job, refusal, len(sequence.keys), shared, report.jobs.get(index, {}))
        for group in _OF_CORES:
            hits[group.name].update(group.points(seen))
    return hits

