"""Which keys of a row survive, found while its estimates stream by once.

A row keeps its running maximum, a histogram of its estimates in a window below it (`histogram.py`), and a list of
candidates: keys of which the threshold cannot say yet that they are pruned. When the stream has ended, the histogram
gives the row's mass, the mass its limit (`latte.golden.row_limit`), and the limit thins the list.

A key is a candidate if its estimate is above the row's *bound*, which never falls:

==========  ==============================================================================================
relative    the running maximum less the entry's `T`
absolute    the smaller of the entry's `theta` and the running maximum less 1
mass        the running maximum less the first gap that weighs at most ``theta W(0)``: the mass is at least that
==========  ==============================================================================================

When a candidate finds the list full, the bound is raised, and the candidates below it leave. By mass it is raised to
what the keys seen so far say: a key ``x`` can go if, with ``H(x)`` the mass of all keys whose estimates reach at least
its own, ``W(x) <= theta (7/8 H(x))``: the limit's own rule, of less mass. Its share can only fall, but for the rounding
of weights when the maximum rises; the eighth is more than that (`_rounding_is_small`). If this frees less than a
quarter of the places, the list is *spilled*: written to memory behind what was spilled before, `SPILLED_BYTES` each,
and read back when the row has ended. So an answer is never wrong, and what it costs is counted; a second pass over the
high planes would cost more, since a key has more bytes of high parts than an entry that is written and read. Each key
that stays holds more than about 7/8 theta of the mass, so fewer than ``1.2 exp(tau)`` do: by mass, a list of
``1.6 exp(tau)`` places spills only for rows with more keys than that at their very maximum.
"""

import dataclasses

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.histogram import WindowedHistogram, window_weights
from latte.golden.pruned_mass import NO_COMPENSATION
from latte.golden.row_limit import mass_threshold
from latte.golden.thresholds import ThresholdKind

__all__ = ["LEAST_WEIGHT", "SPILLED_BYTES", "RowSelector", "Selection", "rounds_finely"]

SPILLED_BYTES = 4
"""An entry of the list: the key's place in the sequence in the low half, its estimate in the high half."""

LEAST_WEIGHT = 32
"""Weights below it may be wrong by more than the bound's margin; no survivor's is, or the bound is not raised."""


def rounds_finely(core: AttentionConfig) -> bool:
    """Return whether a build's weights from `LEAST_WEIGHT` on are within 2.6 % of the exact ones."""
    return core.weight_bits >= 8 and core.exp_frac_bits >= 6


@dataclasses.dataclass(frozen=True)
class Selection:
    """What a row's stream came to.

    Parameters
    ----------
    row_max
    limit
        First gap that is pruned.
    kept : int64 [survivors]
        Places of the surviving keys, in the order of the stream.
    spilled : tuple of int
        Candidates in each list that was written to memory.
    spilled_survivors
        Of the survivors, the first so many were spilled.
    mass : int64 [groups]
        Pruned mass of each group, as `latte.golden.pruned_mass.pruned_mass` has it; 0 without gains.
    most_candidates
        Places of the list that were used at a time.
    compactions
        Times that the bound was raised because the list was full.
    """

    row_max: int
    limit: int
    kept: np.ndarray
    spilled: tuple[int, ...]
    spilled_survivors: int
    mass: np.ndarray
    most_candidates: int
    compactions: int


class RowSelector:
    """One row, from the first estimate to its survivors.

    Parameters
    ----------
    entry
        The head's.
    visible
        Keys of the row; known before the first comes.
    build

    Raises
    ------
    LatteError
        The entry's weights do not end within the build's window, where they are needed.
    """

    def __init__(self, entry: HeadParameters, visible: int, build: MemoryBuild) -> None:
        self._build, self._kind = build, entry.threshold.kind
        self._code = entry.threshold.codes[visible.bit_length() - 1]
        self._compensated = entry.gains != NO_COMPENSATION
        self._groups = entry.groups.count
        self._histogram: WindowedHistogram | None = None
        self._weights = np.zeros(0, np.int64)
        if self._compensated or self._kind is ThresholdKind.MASS:
            self._weights = window_weights(entry.scale_code, build)
            self._histogram = WindowedHistogram(build.window, self._groups)
        self._reach = self._static_reach()
        self._max = np.iinfo(np.int64).min // 2
        self._floor = self._max
        self._listed: list[tuple[np.ndarray, np.ndarray]] = []
        self._spilled: list[tuple[np.ndarray, np.ndarray]] = []
        self._used = self._most = self._compactions = 0

    @property
    def gaps(self) -> int:
        """Gaps that weigh something, which the limit's search adds up; 0 without a histogram."""
        return int((self._weights > 0).sum())

    @property
    def probed(self) -> int:
        """Gaps among which a full list's bound is looked for; 0 if it is raised to the static one alone."""
        return self._reach if self._kind is ThresholdKind.MASS and self._rounding_is_small() else 0

    def _static_reach(self) -> int:
        """Return the first gap below the running maximum whose key can be no survivor, whatever comes."""
        if self._kind is ThresholdKind.RELATIVE:
            return max(self._code, 1)
        return self._mass_limit(int(self._weights[0])) if self._kind is ThresholdKind.MASS else 0

    def _mass_limit(self, mass: int) -> int:
        least = self._least_weight(np.array([mass]))[0]
        if least < 0:
            return self._build.core.tau_keep_all + 1
        return max(1, int(np.searchsorted(-self._weights, -least, side="left")))

    def _least_weight(self, mass: np.ndarray) -> np.ndarray:
        return mass_threshold(mass, np.full(len(mass), self._code))

    def _bound(self, running_max: np.ndarray) -> np.ndarray:
        """Return what an estimate must be above to be a candidate, int64 as `running_max`."""
        if self._kind is ThresholdKind.ABSOLUTE:
            static = np.minimum(self._code, running_max - 1)
        else:
            static = running_max - self._reach
        return np.maximum(static, self._floor)

    def push(self, places: np.ndarray, estimates: np.ndarray, numbers: np.ndarray) -> None:
        """Take the next keys of the stream, one after the other.

        Parameters
        ----------
        places : int64 [n]
            In the sequence.
        estimates : int64 [n]
        numbers : int [n]
            Of the keys' groups.
        """
        while len(estimates):
            running = np.maximum.accumulate(np.maximum(estimates, self._max))
            candidate = estimates > self._bound(running)
            full = np.flatnonzero(np.cumsum(candidate) > self._build.candidates - self._used)
            finds_full = len(full) > 0
            stop = int(full[0]) + 1 if finds_full else len(estimates)
            if self._histogram is not None:
                self._histogram.add(estimates[:stop], running[:stop], numbers[:stop])
            self._max = int(running[stop - 1])
            chosen = np.flatnonzero(candidate[:stop - finds_full])
            self._append(places[chosen], estimates[chosen])
            if finds_full:
                self._make_room()
                if estimates[stop - 1] > self._floor:
                    self._append(places[stop - 1:stop], estimates[stop - 1:stop])
            places, estimates, numbers = places[stop:], estimates[stop:], numbers[stop:]

    def _append(self, places: np.ndarray, estimates: np.ndarray) -> None:
        self._listed.append((places, estimates))
        self._used += len(places)
        self._most = max(self._most, self._used)

    def _make_room(self) -> None:
        """Raise the bound and thin the list by it; spill it if it is still full."""
        self._compactions += 1
        self._floor = int(self._bound(np.array(self._max)))
        if self._kind is ThresholdKind.MASS and self._rounding_is_small():
            self._floor = max(self._floor, self._max - self._raised_reach())
        self._listed = [_thinned(self._listed, self._floor)]
        self._used = len(self._listed[0][0])
        if self._used > 3 * self._build.candidates // 4:
            self._spilled += self._listed
            self._listed, self._used = [], 0

    def _rounding_is_small(self) -> bool:
        """Return whether an eighth is more than rounding can change in the comparison of two keys' weights.

        A weight of at least `LEAST_WEIGHT` steps differs from the exact one by a half step, by the table's rounding
        and by half a step of the exponent: below 2.6 % in all, of which four enter the comparison. Weights below that
        belong to no survivor if theta of the largest weight alone is above them.
        """
        return (rounds_finely(self._build.core)
                and int(self._least_weight(self._weights[:1])[0]) >= LEAST_WEIGHT)

    def _raised_reach(self) -> int:
        """Return the first gap, at least 1, whose key is below 7/8 of theta of the mass that reaches its estimate."""
        assert self._histogram is not None
        mass = np.cumsum(self._histogram.by_gap(self._max).sum(axis=0) * self._weights)
        gone = np.flatnonzero((self._weights <= self._least_weight(mass - (mass >> 3) - 1))[1:])
        return int(gone[0]) + 1 if len(gone) else self._build.core.tau_keep_all + 1

    def finish(self) -> Selection:
        """Return the row's selection; the stream has ended."""
        by_gap = np.zeros((self._groups, 0), np.int64)
        if self._histogram is not None:
            by_gap = self._histogram.by_gap(self._max)
        limit = self._reach
        if self._kind is ThresholdKind.ABSOLUTE:
            limit = max(self._max - self._code, 1)
        elif self._kind is ThresholdKind.MASS:
            limit = self._mass_limit(int((by_gap * self._weights).sum()))
        mass = np.zeros(self._groups, np.int64)
        if self._compensated:
            mass = (by_gap * self._weights)[:, limit:].sum(axis=1)
        spilled, listed = (_thinned(entries, self._max - limit)[0] for entries in (self._spilled, self._listed))
        return Selection(self._max, limit, np.concatenate([spilled, listed]),
                         tuple(len(places) for places, _ in self._spilled), len(spilled), mass, self._most,
                         self._compactions)


def _thinned(entries: list[tuple[np.ndarray, np.ndarray]], floor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (places, estimates) of the entries whose estimates are above `floor`, in their order."""
    none = np.zeros(0, np.int64)
    places, estimates = (np.concatenate(column) for column in zip((none, none), *entries, strict=True))
    return places[estimates > floor], estimates[estimates > floor]
