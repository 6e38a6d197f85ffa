"""What was measured of a build, in a file: a build whose sources and programs have not changed is not run again."""

import collections
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from latte.golden.results import write_text
from latte.sim.core_run import digest_of_sources
from latte.sim.coverage.branches import Branch
from latte.sim.coverage.groups import Hits
from latte.sim.coverage.instrument import Counts, Toggles
from latte.sim.coverage.netlist import Net

__all__ = ["Figures", "load_figures", "save_figures"]


@dataclasses.dataclass
class Figures:
    """What the runs of a build reached.

    Parameters
    ----------
    counts
    hits
        Points of the plan.
    programs, jobs, cycles
    compiling, simulating
        Seconds.
    problems
        Where the hardware does not agree with the golden model; empty otherwise.
    """

    counts: Counts = dataclasses.field(default_factory=Counts)
    hits: Hits = dataclasses.field(default_factory=dict)
    programs: int = 0
    jobs: int = 0
    cycles: int = 0
    compiling: float = 0.0
    simulating: float = 0.0
    problems: list[str] = dataclasses.field(default_factory=list)


_PLAIN = ("programs", "jobs", "cycles", "compiling", "simulating")


_TELLING = frozenset(pathlib.Path(__file__).with_name(f"{name}.py") for name in (
    "baseline", "commands", "outcome", "page", "testplan", "waivers"))
"""Modules that come behind the figures."""


def _digest(decisive: object) -> str:
    return hashlib.sha256(repr((digest_of_sources(_TELLING), decisive)).encode()).hexdigest()


def save_figures(path: pathlib.Path, figures: Figures, decisive: object) -> None:
    """Write figures without problems.

    Parameters
    ----------
    path
    figures
    decisive
        All that decides them but the sources.
    """
    assert not figures.problems
    record: dict[str, Any] = {"digest": _digest(decisive)} | {name: getattr(figures, name) for name in _PLAIN}
    record["branches"] = [[*dataclasses.astuple(branch), count] for branch, count in figures.counts.branches.items()]
    record["toggles"] = [[*dataclasses.astuple(net), seen.width, f"{seen.rose:x}", f"{seen.fell:x}"]
                         for net, seen in figures.counts.toggles.items()]
    record["hits"] = {group: [[*point, count] for point, count in points.items()]
                      for group, points in figures.hits.items()}
    write_text(path, json.dumps(record))


def load_figures(path: pathlib.Path, decisive: object) -> Figures | None:
    """Return the figures that were written of the same sources and the same `decisive`; None if there are none."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("digest") != _digest(decisive):
        return None
    counts = Counts({Branch(*branch): count for *branch, count in record["branches"]},
                    {Net(*net): Toggles(width, int(rose, 16), int(fell, 16))
                     for *net, width, rose, fell in record["toggles"]})
    hits: Hits = {group: collections.Counter({tuple(point): count for *point, count in points})
                  for group, points in record["hits"].items()}
    return Figures(counts, hits, **{name: record[name] for name in _PLAIN})
