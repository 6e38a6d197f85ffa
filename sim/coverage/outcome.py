"""Figures of a measurement after waivers, by file of the hardware and group of the plan; whether bars are met."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from latte.sim.coverage.groups import Hits, Point
from latte.sim.coverage.instrument import Counts
from latte.sim.coverage.plan import PLAN
from latte.sim.coverage.waivers import Waived

__all__ = ["BARS", "Share", "by_file", "functional", "missed_points", "total", "unmet"]

BARS = {"branch": 98.0, "toggle": 90.0, "functional": 100.0}
"""Per cent, after waivers."""


@dataclasses.dataclass(frozen=True)
class Share:
    """How many of some things were reached.

    Parameters
    ----------
    reached, of
        Waived ones are in neither.
    waived
    """

    reached: int = 0
    of: int = 0
    waived: int = 0

    @property
    def percent(self) -> float:
        """Of what is left to reach; 100 if nothing is."""
        return 100 * self.reached / self.of if self.of else 100.0

    def __add__(self, other: "Share") -> "Share":
        return Share(self.reached + other.reached, self.of + other.of, self.waived + other.waived)


def by_file(counts: Counts, waived: Waived) -> dict[str, tuple[Share, Share]]:
    """Return (branches, edges of bits) of each file; a bit has two edges, up and down."""
    branches: dict[str, Share] = collections.defaultdict(Share)
    edges: dict[str, Share] = collections.defaultdict(Share)
    for branch, count in counts.branches.items():
        excused = branch in waived.branches
        branches[branch.file] += Share(int(count > 0), int(not excused), int(excused))
    for net, toggles in counts.toggles.items():
        reached = toggles.rose.bit_count() + toggles.fell.bit_count()
        left_out = sum(mask.bit_count() for mask in waived.toggles.get(net, ()))
        edges[net.file] += Share(reached, 2 * toggles.width - left_out, left_out)
    return {file: (branches[file], edges[file]) for file in sorted({*branches, *edges})}


def functional(hits: Hits) -> dict[str, Share]:
    """Return the points of each group that were seen."""
    return {group.name: Share(sum(bool(hits[group.name][point]) for point in group.all_points),
                              len(group.all_points)) for group in PLAN}


def missed_points(hits: Hits) -> list[tuple[str, Point]]:
    """Return the points that were not seen, with their groups."""
    return [(group.name, point) for group in PLAN for point in group.all_points if not hits[group.name][point]]


def total(shares: Iterable[Share]) -> Share:
    """Return the sum."""
    return sum(shares, Share())


def unmet(shares: Sequence[tuple[str, Share]]) -> list[str]:
    """Return a line for each share below its bar."""
    return [f"{name}: {share.percent:.2f} %, at least {BARS[name]:g} asked" for name, share in shares
            if share.percent < BARS[name]]
