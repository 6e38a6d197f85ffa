"""The plan's groups of jobs whose keys and values lie in memory, and what of them a program was."""

import dataclasses
from collections.abc import Iterator

from latte.golden.config import THRESHOLD_KINDS
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.jobs import FAILURES, REFUSALS, CacheJob, JobKind, Outcome
from latte.golden.pruned_mass import NO_COMPENSATION
from latte.sim.axi_cache_core_programs import FAULTS, AxiCacheScript
from latte.sim.cache_core_programs import CacheScript
from latte.sim.coverage.cache_programs import cached_lengths
from latte.sim.coverage.groups import Group, Hits, Point, allows, no_hits
from latte.sim.stalls import STALLS

__all__ = ["CACHE_GROUPS", "CacheRun", "observe_cached"]

_INTERFACES = ("core", "axi")
_FORMS = ("append", "decode", "ask", "prefill")
_TILES = ("one row", "heads of a position", "parts of a position", "several positions")
_CAUSES = ("unknown_type", "reserved_set", "unaligned", "shape_invalid", "fetch_failed")
"""Why a descriptor is none."""


@dataclasses.dataclass(frozen=True)
class CacheRun:
    """A script and what happens meanwhile.

    Parameters
    ----------
    script
        An `AxiCacheScript` behind AXI.
    stall, seed
        Entry of the stall matrix, and its seed.
    reset_at
        Cycles after which a reset lets the script begin again; None: there is none.
    """

    script: CacheScript
    stall: str = "none"
    seed: int = 1
    reset_at: int | None = None

    @property
    def interface(self) -> str:
        """One of `_INTERFACES`."""
        return "axi" if isinstance(self.script, AxiCacheScript) else "core"


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A job that was run.

    Parameters
    ----------
    run
        What it was part of.
    job
    outcome
        The golden model's; None if the job never came so far.
    causes
        Bits of its descriptor's status.
    fault
        Of `FAULTS`, and the response; None if nothing failed.
    """

    run: CacheRun
    job: CacheJob
    outcome: Outcome | None
    causes: frozenset[str] = frozenset()
    fault: tuple[str, str] | None = None

    @property
    def build(self) -> MemoryBuild:
        """The build."""
        return self.run.script.build

    @property
    def form(self) -> str:
        """One of `_FORMS`: ``ask`` for a decoded token without a key of its own."""
        return "ask" if self.job.kind == JobKind.DECODE and not len(self.job.k) else str(self.job.kind)

    @property
    def done(self) -> Outcome | None:
        """What a job came to that was carried out and met no error."""
        return self.outcome if self.outcome and not (self.outcome.status or self.causes or self.fault) else None


def _kinds(seen: _Seen) -> Iterator[Point]:
    if seen.done and seen.run.interface == "core":
        for head in seen.job.entries:
            kind = seen.run.script.entries[head].threshold.kind
            yield seen.build.core.split, str(kind.value), seen.form, seen.run.stall


def _builds(seen: _Seen) -> Iterator[Point]:
    if seen.done and seen.done.rows:
        core = seen.build.core
        yield core.split, str(core.estimate_bits)


def _tiles(seen: _Seen) -> Iterator[Point]:
    if seen.done and seen.done.rows:
        heads, queries, most = *seen.job.q.shape[:2], seen.build.tile_rows
        fits = most // heads
        tile = ("parts of a position" if not fits else "several positions" if min(fits, queries) > 1
                else "heads of a position" if heads > 1 else "one row")
        spills = any(row.selection.spilled for row in seen.done.rows)
        yield tile, "spilled" if spills else "listed", seen.run.stall


def _compensation(seen: _Seen) -> Iterator[Point]:
    if seen.done and seen.build.core.key_groups:
        for head in seen.job.entries:
            entry = seen.run.script.entries[head]
            gains = "none" if entry.gains == NO_COMPENSATION else "both" if entry.gains.mean else "denominator"
            yield str(entry.threshold.kind.value), gains, "one" if entry.groups.count == 1 else "several"


def _lengths(seen: _Seen) -> Iterator[Point]:
    if seen.done and seen.done.tiles and seen.job.kind != JobKind.APPEND:
        for name, count in cached_lengths(seen.build).items():
            if seen.done.tiles[-1].keys == count:
                yield name, seen.form


def _status(seen: _Seen) -> Iterator[Point]:
    if seen.outcome and seen.outcome.status and not seen.fault:
        yield seen.run.interface, seen.outcome.status, str(seen.job.kind), seen.run.stall


def _interfaces(seen: _Seen) -> Iterator[Point]:
    if seen.done:
        yield seen.run.interface, seen.form, seen.run.stall


def _descriptors(seen: _Seen) -> Iterator[Point]:
    for cause in seen.causes & {*_CAUSES}:
        yield cause, seen.run.stall


def _faults(seen: _Seen) -> Iterator[Point]:
    if seen.fault:
        yield *seen.fault, seen.run.stall


def _resets(seen: _Seen) -> Iterator[Point]:
    if seen.run.reset_at is not None:
        yield seen.run.interface, seen.run.stall


CACHE_GROUPS: tuple[Group, ...] = (
    Group("cached kinds", "every kind of threshold with every form of job on keys in memory, under every stall",
          {"split": ("balanced", "slice"), "kind": THRESHOLD_KINDS, "form": _FORMS[1:], "stall": STALLS}, _kinds),
    Group("cached builds", "every width of the estimate of every split, streamed from memory",
          {"split": ("balanced", "slice"), "estimate bits": ("2", "3", "4")}, _builds,
          lambda point: allows("latte", split=point[0], estimate_bits=int(point[1]))),
    Group("cached tiles", "tiles of every shape, of which rows spill or not, under every stall",
          {"tile": _TILES, "candidates": ("listed", "spilled"), "stall": STALLS}, _tiles),
    Group("cached compensation", "every kind of threshold with every form of compensation, of keys in memory",
          {"kind": THRESHOLD_KINDS, "gains": ("none", "denominator", "both"), "groups": ("one", "several")},
          _compensation),
    Group("cached lengths", "sequences of the lengths at which a page, a list or the room for keys ends",
          {"keys": tuple(cached_lengths(MemoryBuild())), "form": ("decode", "prefill")}, _lengths),
    Group("cached status", "every reason to refuse a job on keys in memory, and to fail in course, by every way in",
          {"interface": _INTERFACES, "status": (*REFUSALS, *FAILURES), "job": tuple(map(str, JobKind)),
           "stall": STALLS}, _status,
          # Behind AXI, errors are those of *cached faults*.
          lambda point: point[:2] != ("axi", "memory_error")),
    Group("cached interfaces", "every form of job on keys in memory, by every way in, under every stall",
          {"interface": _INTERFACES, "form": _FORMS, "stall": STALLS}, _interfaces),
    Group("cached resets", "a reset in mid-job on keys in memory, on every way in",
          {"interface": _INTERFACES, "stall": ("none", "both")}, _resets),
    Group("cached descriptors", "every reason for which a descriptor of such a job is none, under every stall",
          {"cause": _CAUSES, "stall": STALLS}, _descriptors),
    Group("cached faults", "an error on each operand of such a job, on both buses, under every stall",
          {"fault": FAULTS, "response": ("SLVERR", "DECERR"), "stall": STALLS}, _faults),
)
"""All of them."""


def observe_cached(run: CacheRun, outcomes: list[Outcome | None], problems: list[str]) -> Hits:
    """Return the points that a script was, none if it did not agree with the golden model.

    Parameters
    ----------
    run
    outcomes
        The golden model's, of each job.
    problems
        What does not agree.
    """
    hits = no_hits(CACHE_GROUPS)
    if problems:
        return hits
    script = run.script
    for number, (job, outcome) in enumerate(zip(script.jobs, outcomes, strict=True)):
        seen = _Seen(run, job, outcome)
        if isinstance(script, AxiCacheScript):
            seen = dataclasses.replace(seen, causes=script.program.jobs[number].causes,
                                       fault=script.failing.get(number))
        for group in CACHE_GROUPS:
            hits[group.name].update(group.points(seen))
    return hits
