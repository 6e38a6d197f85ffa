"""A tile: query rows of one position or more, and of heads that share keys, which share one stream of high planes.

In order::

    stream   page by page: group numbers and high rows; every row's estimates go to its selector
    keys     high and low rows of survivors: the scores, which take the estimates' places in the lists
    values   V rows of survivors that weigh something: the weighted sums

The page of the last key that the tile sees is streamed first, then the others from the first on: most rows have their
largest estimate at the sequence's begin or at its end, and a list is short when the maximum is known early.

The lists of a tile's rows are in the order of the stream, so they are merged as they are read: a survivor of several
rows is fetched once, and goes to all of them as it arrives. That takes no memory beyond the reads in flight. A high row
is fetched again, not kept: it is 32 of a survivor's 128 bytes at d = 64, and those of all candidates of a list would
take 32 KB. What was spilled is read back in front of the list; survivors among it are written once more with
their scores, `SCORED_BYTES` each, and read back before the values.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.selection import SPILLED_BYTES, RowSelector, Selection
from latte.golden.normalizer import normalize
from latte.golden.pruned_mass import (
    NO_COMPENSATION,
    accumulate_virtual_survivors,
    apply_gain,
    rescale_mass,
    unit_weight,
)
from latte.golden.score_estimator import estimate_scores
from latte.golden.scores import refine_scores
from latte.golden.softmax import softmax_weights
from latte.golden.split import split_halves
from latte.golden.value_accumulator import accumulate_values

__all__ = ["SCORED_BYTES", "Query", "RowTrace", "attend_tile"]

SCORED_BYTES = 8
"""A spilled survivor with its score: its place in the low half, its score in the high half."""

_BLOCK = 4096
"""Keys that are computed at a time: the bits do not depend on it."""


@dataclasses.dataclass(frozen=True)
class Query:
    """One query row.

    Parameters
    ----------
    q : int8 [d]
        Saturated.
    entry
        Of its head.
    visible
        Keys that it sees: the first ones of the sequence.
    group_keys : int64 [groups]
        Of the visible keys; only with gains.
    group_sums : int64 [groups, d]
        Of their values; only with gains.
    """

    q: np.ndarray
    entry: HeadParameters
    visible: int
    group_keys: np.ndarray
    group_sums: np.ndarray


@dataclasses.dataclass(frozen=True)
class RowTrace:
    """What a row came to; names as in `latte.golden.attention.HeadTrace`.

    Parameters
    ----------
    selection
        What the stream came to.
    score, weight : int64 [survivors]
        Of `selection.kept`.
    mass : int64 [groups]
        Relative to the largest surviving score; zeros without gains.
    output : int64 [d]
    """

    selection: Selection
    score: np.ndarray
    weight: np.ndarray
    mass: np.ndarray
    output: np.ndarray


class _Pages:
    """The pages of one sequence as a tile reads them.

    Parameters
    ----------
    memory
    pages : int64 [pages]
        Their numbers, in the order of the sequence.
    """

    def __init__(self, memory: CacheMemory, pages: np.ndarray) -> None:
        self._memory, self._format, self._image = memory, memory.format, memory.image
        self._rows = memory.build.page_rows
        self._base = np.asarray(memory.page_address(pages), np.int64)

    def stream(self, keys: int) -> tuple[np.ndarray, np.ndarray]:
        """Read groups and high planes of the first keys, the last page first; of each page all groups.

        Returns
        -------
        high : int8 [keys, d]
        numbers : int8 [keys]
            In the order of the sequence.
        """
        form = self._format
        high, numbers = np.zeros((keys, form.high_bytes), np.uint8), np.zeros(keys, np.int8)
        last = (keys - 1) // self._rows
        for page in (last, *range(last)):
            at = slice(page * self._rows, min(keys, (page + 1) * self._rows))
            count, base = at.stop - at.start, int(self._base[page])
            packed = self._image.read("groups", base + form.groups_offset, form.groups_bytes)
            numbers[at] = form.group_numbers(packed, count)
            piece = self._image.read("high", base + form.high_offset, count * form.high_bytes)
            high[at] = piece.reshape(count, form.high_bytes)
        return form.high_parts(high), numbers

    def fetch(self, kind: str, places: np.ndarray, offset: int, size: int) -> np.ndarray:
        """Read single rows of a plane, uint8 [len(places), size]."""
        page, row = np.divmod(places, self._rows)
        return self._image.read_rows(kind, self._base[page] + offset + row * size, size)

    def low(self, places: np.ndarray) -> np.ndarray:
        """Fetch low parts of some keys, int8 [len(places), d]."""
        rows = self.fetch("key_low", places, self._format.low_offset, self._format.low_bytes)
        return self._format.low_parts(rows)

    def high(self, places: np.ndarray) -> np.ndarray:
        """Fetch high parts of some keys, int8 [len(places), d]."""
        rows = self.fetch("key_high", places, self._format.high_offset, self._format.high_bytes)
        return self._format.high_parts(rows)

    def values(self, places: np.ndarray) -> np.ndarray:
        """Fetch value rows, int8 [len(places), d]."""
        return self.fetch("values", places, 0, self._format.value_bytes).view(np.int8)


def attend_tile(memory: CacheMemory, pages: np.ndarray, queries: Sequence[Query]) -> list[RowTrace]:
    """Compute the rows of a tile from memory; the same bits as `latte.golden.attention.attend`.

    Parameters
    ----------
    memory
        Its image counts what is moved.
    pages : int64 [pages]
        Numbers of the sequence's pages, at least those of the visible keys.
    queries
        At most `tile_rows`.

    Raises
    ------
    MemoryFault
        A page cannot be read.
    """
    build, source = memory.build, _Pages(memory, pages)
    core = build.core
    parts = [split_halves(query.q[None], core.split, core.estimate_bits) for query in queries]
    last = max(query.visible for query in queries)
    k_high, numbers = source.stream(last)
    estimates = _estimates(np.concatenate([high for high, _ in parts]), k_high)
    order = _stream_order(last, build.page_rows)
    selections = []
    for query, estimate in zip(queries, estimates, strict=True):
        selector = RowSelector(query.entry, query.visible, build)
        seen = order[order < query.visible]
        selector.push(seen, estimate[seen], numbers[seen])
        selections.append(selector.finish())
    kept = [selection.kept for selection in selections]
    fetched, low = _union(kept), np.zeros_like(k_high)
    k_high[fetched], low[fetched] = source.high(fetched), source.low(fetched)
    scores, weights = [], []
    for query, halves, estimate, places in zip(queries, parts, estimates, kept, strict=True):
        score = refine_scores(estimate[None, places], halves, (k_high[places], low[places]), core.estimate_bits)
        scores.append(score[0])
        weights.append(softmax_weights(score, np.ones_like(score, bool), query.entry.scale_code, core)[0])
    v = np.zeros_like(k_high)
    weighty = _union([places[weight > 0] for places, weight in zip(kept, weights, strict=True)])
    v[weighty] = source.values(weighty)
    _count_spilled(selections, memory)
    return [_finish(query, selection, score, weight, v[selection.kept], memory)
            for query, selection, score, weight in zip(queries, selections, scores, weights, strict=True)]


def _stream_order(keys: int, page_rows: int) -> np.ndarray:
    """Return the places of the keys in the order in which they are streamed, int64 [keys]."""
    last_page = (keys - 1) // page_rows * page_rows
    return np.concatenate([np.arange(last_page, keys), np.arange(last_page)])


def _estimates(q_high: np.ndarray, k_high: np.ndarray) -> np.ndarray:
    blocks = [estimate_scores(q_high, k_high[at:at + _BLOCK]) for at in range(0, len(k_high), _BLOCK)]
    return np.concatenate(blocks, axis=1)


def _union(places: Sequence[np.ndarray]) -> np.ndarray:
    """Return the places of all rows together, each once, ascending."""
    return np.unique(np.concatenate(places))


def _count_spilled(selections: Sequence[Selection], memory: CacheMemory) -> None:
    """Count what rows write to memory and read back, one piece for each list and one for the scores."""
    for selection in selections:
        sizes = [SPILLED_BYTES * count for count in selection.spilled]
        sizes += [SCORED_BYTES * selection.spilled_survivors] if selection.spilled_survivors else []
        for size in sizes:
            memory.image.traffic.add("spilled", 2 * memory.build.padded(size), 2)


def _finish(query: Query, selection: Selection, score: np.ndarray, weight: np.ndarray, v: np.ndarray,
            memory: CacheMemory) -> RowTrace:
    """Return a row's trace: weighted sums, compensation, output."""
    core, entry = memory.build.core, query.entry
    accumulated, weight_sum = accumulate_values(weight[None], v)
    mass = np.zeros((1, entry.groups.count), np.int64)
    if entry.gains != NO_COMPENSATION:
        mass = rescale_mass(selection.mass[None], np.array([selection.row_max]), score.max(keepdims=True),
                            entry.scale_code, core)
        unit = unit_weight(apply_gain(mass, entry.gains.mean), query.group_keys[None], core)
        accumulated = accumulate_virtual_survivors(accumulated, unit, query.group_sums[None])
        weight_sum = weight_sum + apply_gain(mass.sum(axis=1), entry.gains.denominator)
    return RowTrace(selection, score, weight, mass[0], normalize(accumulated, weight_sum, core)[0])
