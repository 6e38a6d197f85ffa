"""When a stream's source has nothing and its sink does not listen: seeded patterns of runs of cycles."""

import dataclasses
import random

from latte.golden.errors import LatteError

__all__ = ["STALLS", "Stall", "stall_pair"]

STALLS = ("none", "source", "sink", "both")
"""The stall matrix: no stalls, idle sources, slow sinks, both."""


@dataclasses.dataclass
class Stall:
    """Alternating runs of stalled and free cycles of random lengths.

    Parameters
    ----------
    seed
        The same seed gives the same pattern.
    stalled, free
        Mean length of a run, in cycles. Single cycles and long runs both occur: they find different mistakes.
    """

    seed: int | str
    stalled: float = 3.0
    free: float = 3.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._now = False
        self._left = 0

    def fork(self, name: str) -> "Stall":
        """Return an independent pattern of the same kind, so that streams do not stall together."""
        return dataclasses.replace(self, seed=f"{self.seed} {name}")

    def __call__(self) -> bool:
        """Return whether to stall in the next cycle."""
        while self._left == 0:
            self._now = not self._now
            self._left = round(self._random.expovariate(1 / (self.stalled if self._now else self.free)))
        self._left -= 1
        return self._now


def stall_pair(kind: str, seed: int | str) -> tuple[Stall | None, Stall | None]:
    """Return (pattern of a source, pattern of a sink) for an entry of the stall matrix."""
    if kind not in STALLS:
        raise LatteError(f"unknown stall pattern {kind!r}; choose one of {', '.join(STALLS)}")
    source = Stall(f"{seed} source") if kind in ("source", "both") else None
    sink = Stall(f"{seed} sink") if kind in ("sink", "both") else None
    return source, sink
