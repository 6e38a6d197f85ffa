"""Groups of points: what the plan of functional coverage is made of."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from latte.golden.config import preset
from latte.golden.errors import LatteError

__all__ = ["Group", "Hits", "Point", "add_hits", "allows", "no_hits"]

Point = tuple[str, ...]
"""A value of each axis of its group."""
Hits = dict[str, collections.Counter[Point]]
"""How often each point was seen, by group."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Points of one kind.

    Parameters
    ----------
    name
    intent
        What a full group shows.
    axes : dict of str to tuple of str
    points
        Yields those that a job is, which is described as its kind of program asks for.
    possible
        Whether there can be such a job; None: all can.
    """

    name: str
    intent: str
    axes: Mapping[str, Sequence[str]]
    points: Callable[[Any], Iterator[Point]]
    possible: Callable[[Point], bool] | None = None

    @functools.cached_property
    def all_points(self) -> tuple[Point, ...]:
        """Return the points that can be."""
        return tuple(point for point in itertools.product(*self.axes.values())
                     if self.possible is None or self.possible(point))


def allows(engine: str, **changes: Any) -> bool:
    """Return whether an engine's configuration can have some values."""
    base = {"latte": preset("small"), "serial": preset("tiny"), "dense": preset("small").dense()}[engine]
    try:
        base.replace(**changes)
    except LatteError:
        return False
    return True


def no_hits(groups: Sequence[Group]) -> Hits:
    """Return that no point of some groups was seen."""
    return {group.name: collections.Counter() for group in groups}


def add_hits(hits: Hits, other: Hits) -> None:
    """Take in other points."""
    for name, points in other.items():
        hits.setdefault(name, collections.Counter()).update(points)
