"""What a job of a memory-backed core means: what is refused and in which order, what it appends, what it computes.

A job names a sequence, appends rows of K and V to it, and asks queries of its last positions, each of which sees the
keys up to its own. `append` asks none, `decode` one row of each head, `prefill` more. In order:

1. The sequence's record is read. The job is refused for the first of `REFUSALS` that applies; nothing was written then.
2. Page table entries of the pages that get rows are read, and the rows are written.
3. Tiles of queries are computed: `tile_rows` rows, of one position if its heads fill them, else of several. Each reads
   the entries of the pages up to its last position, streams them, and fetches survivors (`tile.py`).
4. The record is written: its length now counts the rows.

A job that fails in course (`FAILURES`) stops there and leaves the record as it was. What it wrote lies behind the
sequence's end, so the sequence is what it was before; outputs of a failed job mean nothing.
"""

import dataclasses
import enum
from collections.abc import Iterator

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import ceil_div
from latte.golden.errors import LatteError
from latte.golden.jobs import COUNT_BITS
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES, CacheMemory, Handle
from latte.golden.memory.image import MemoryFault
from latte.golden.memory.sequence_state import HEADER_BYTES, SequenceState
from latte.golden.memory.tile import Query, RowTrace, attend_tile
from latte.golden.memory.traffic import OPERANDS, Traffic
from latte.golden.operands import check_rows
from latte.golden.quantizer import saturate_qk

__all__ = ["FAILURES", "REFUSALS", "CacheJob", "JobKind", "Outcome", "Tile", "carry_out", "tile_places"]

REFUSALS = {
    "sequence_invalid": "there is no such slot, the sequence was freed, or the slot has another one by now",
    "head_invalid": "an entry it needs was never written or does not exist",
    "no_keys": "there would be no keys at all",
    "too_long": "more keys than the build holds; or more queries than it appends rows, one if it appends none",
    "groups_differ": "an entry has other key groups than the sequence's keys",
}
"""Status of a job that is refused, in the order in which they are looked for."""
FAILURES = {
    "page_unmapped": "a page it writes or reads has no entry in the page table",
    "memory_error": "a read or a write was answered with an error",
}
"""Status of a job that fails in course."""


class JobKind(enum.StrEnum):
    """What a job is for."""

    APPEND, DECODE, PREFILL = "append", "decode", "prefill"


@dataclasses.dataclass(frozen=True)
class CacheJob:
    """One entry of the work list with its data.

    Parameters
    ----------
    kind
    sequence
    head
        First entry of the register file: query head ``h`` of the job has entry ``head + h``.
    q : int8 [heads, queries, d]
        Of the last positions after appending; no rows with `append`, one with `decode`.
    k, v : int8 [rows, d]
        To append; at most one with `decode`.
    """

    kind: JobKind
    sequence: Handle
    head: int
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray

    def check(self, build: MemoryBuild) -> None:
        """Raise `LatteError` if the job cannot be handed to a core at all."""
        d, most = build.core.head_dim, (1 << COUNT_BITS) - 1
        if self.q.ndim != 3:
            raise LatteError(f"'q' must have shape [heads, queries, head_dim = {d}], not {self.q.shape}")
        for name, rows in (("q", self.q.reshape(-1, self.q.shape[-1])), ("k", self.k), ("v", self.v)):
            check_rows(name, rows, d)
        if len(self.k) != len(self.v):
            raise LatteError(f"'k' has {len(self.k)} rows, but 'v' has {len(self.v)}; give a value for each key")
        if max(self.q.shape[:2]) > most or len(self.k) > most or not 0 <= self.head <= most:
            raise LatteError(f"a job holds at most {most} rows of K, heads and queries, and entries up to {most}")
        heads, queries = self.q.shape[:2]
        wrong = {JobKind.APPEND: queries > 0, JobKind.DECODE: queries != 1 or not heads or len(self.k) > 1,
                 JobKind.PREFILL: not queries or not heads}[self.kind]
        if wrong:
            raise LatteError(f"a job of kind {self.kind} with {heads} heads of {queries} queries and {len(self.k)} "
                             "keys: append asks no query, decode one of each head and appends one row at most, "
                             "prefill asks one or more")

    @property
    def entries(self) -> range:
        """Entries of the register file that its queries need."""
        return range(self.head, self.head + (self.q.shape[0] if self.q.shape[1] else 0))


@dataclasses.dataclass(frozen=True)
class Tile:
    """One tile of a job.

    Parameters
    ----------
    rows : list of RowTrace
    keys
        That its last row sees.
    pairs
        Keys that its rows see, together.
    traffic
        Its own: page table, stream, survivors.
    """

    rows: list[RowTrace]
    keys: int
    pairs: int
    traffic: Traffic


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a job came to.

    Parameters
    ----------
    status
        Of `REFUSALS` or `FAILURES`; ``None`` if it was carried out.
    tiles : list of Tile
        Empty unless it was carried out.
    traffic
        What it moved in all; how far a job came that fails is not specified.
    """

    status: str | None
    tiles: list[Tile]
    traffic: Traffic

    @property
    def rows(self) -> list[RowTrace]:
        """Of all tiles: by position, then by head."""
        return [row for tile in self.tiles for row in tile.rows]

    def outputs(self, heads: int) -> np.ndarray:
        """Return the output codes, int64 [heads, queries, d]."""
        codes = np.stack([row.output for row in self.rows])
        return codes.reshape(-1, heads, codes.shape[-1]).transpose(1, 0, 2)


class _PageUnmapped(Exception):
    pass


def carry_out(job: CacheJob, memory: CacheMemory, parameters: dict[int, HeadParameters]) -> Outcome:
    """Carry out one job, or refuse it.

    Parameters
    ----------
    job
        That passes its `check`.
    memory
        Gets the rows and the record; its image's count of traffic begins anew.
    parameters
        Entries of the register file that were written.

    Raises
    ------
    LatteError
        An entry's weights do not end within the build's window.
    """
    memory.image.traffic = traffic = Traffic()
    tiles: list[Tile] = []
    try:
        state = _read_state(job, memory)
        status = _refusal(job, state, memory.build, parameters)
        if state is not None and status is None:
            k, _ = saturate_qk(job.k, memory.build.core.qk_max)
            groups = _groups(job, state, memory.build, parameters)
            sums = _running_sums(k, job.v, state, groups, memory.build)
            numbers = _write_rows(k, job, state, groups, memory)
            for queries in _tiles(job, state.length + len(k), parameters, sums, memory.build):
                before, keys = traffic.copy(), max(query.visible for query in queries)
                pages = _pages(range(ceil_div(keys, memory.build.page_rows)), state, memory)
                rows = attend_tile(memory, pages, queries)
                tiles.append(Tile(rows, keys, sum(query.visible for query in queries), traffic.since(before)))
            _write_state(job, state, groups, sums, numbers, memory)
    except _PageUnmapped:
        status = "page_unmapped"
    except MemoryFault:
        status = "memory_error"
    _count_operands(job, memory.build, traffic)
    return Outcome(status, tiles if status is None else [], traffic)


def tile_places(heads: int, queries: int, build: MemoryBuild) -> Iterator[list[tuple[int, int]]]:
    """Yield the rows of each tile of a job, as (head, query).

    Positions come in order, several to a tile if all heads of each fit, else parts of one.
    """
    positions = max(1, build.tile_rows // max(1, heads))
    for first in range(0, queries, positions):
        rows = [(head, row) for row in range(first, min(first + positions, queries)) for head in range(heads)]
        for at in range(0, len(rows), build.tile_rows):
            yield rows[at:at + build.tile_rows]


def _read_state(job: CacheJob, memory: CacheMemory) -> SequenceState | None:
    """Read the record of the job's slot, as much of it as the job needs; ``None`` if it is not the job's sequence."""
    if not 0 <= job.sequence.slot < memory.build.slots:
        return None
    at = memory.state_address(job.sequence.slot)
    header = memory.image.read("state", at, HEADER_BYTES)
    state = memory.records.decode(memory.image.data[at:at + memory.records.state_bytes])
    if not header[0] & 1 or state.generation != job.sequence.generation:
        return None
    if memory.records.state_bytes > HEADER_BYTES:
        memory.image.read("state", at + HEADER_BYTES, memory.records.state_bytes - HEADER_BYTES)
    return state


def _refusal(job: CacheJob, state: SequenceState | None, build: MemoryBuild,
             parameters: dict[int, HeadParameters]) -> str | None:
    """Return the first of `REFUSALS` that applies."""
    if state is None:
        return "sequence_invalid"
    grouped = build.core.group_bits > 0
    needed = [*job.entries, *([job.head] if grouped and len(job.k) else [])]
    if any(entry >= build.core.heads or entry not in parameters for entry in needed):
        return "head_invalid"
    length = state.length + len(job.k)
    if length == 0:
        return "no_keys"
    if length > build.core.max_seq_len or job.q.shape[1] > max(1, len(job.k)):
        return "too_long"
    if grouped and needed:
        expected = state.groups if state.length else parameters[needed[0]].groups
        if any(parameters[entry].groups != expected for entry in needed):
            return "groups_differ"
    return None


def _groups(job: CacheJob, state: SequenceState, build: MemoryBuild, parameters: dict[int, HeadParameters]
            ) -> KeyGroups:
    """Return the groups of the sequence's keys: of the entry under which the first of them are appended."""
    if state.length or not build.core.group_bits:
        return state.groups
    return parameters[job.head].groups if len(job.k) else ONE_GROUP


@dataclasses.dataclass(frozen=True)
class _Sums:
    """Keys and sums of V of each group, before the job's rows and after each of them, [rows + 1, key_groups(, d)]."""

    numbers: np.ndarray
    keys: np.ndarray
    values: np.ndarray


def _running_sums(k: np.ndarray, v: np.ndarray, state: SequenceState, groups: KeyGroups, build: MemoryBuild) -> _Sums:
    """Return the sums; they have no groups in a build without compensation."""
    membership = np.zeros((len(k), build.core.key_groups), np.int64)
    count = min(groups.count, build.core.key_groups)
    membership[:, :count] = groups.membership(k)[:, :count]
    keys = np.cumsum(np.concatenate([state.group_keys[None], membership]), axis=0)
    values = np.concatenate([state.group_sums[None], membership[:, :, None] * v[:, None, :].astype(np.int64)])
    numbers = membership.argmax(axis=1) if build.core.group_bits else np.zeros(len(k), np.int64)
    return _Sums(numbers, keys, np.cumsum(values, axis=0))


def _pages(indices: range, state: SequenceState, memory: CacheMemory) -> np.ndarray:
    """Read the page table; return the numbers of some pages, int64 [len(indices)].

    Raises
    ------
    _PageUnmapped
        One has no page.
    """
    if not indices:
        return np.zeros(0, np.int64)
    packed = memory.image.read("table", state.table_address + ENTRY_BYTES * indices.start, ENTRY_BYTES * len(indices))
    entries = packed.view("<u4").astype(np.int64)
    if (entries == 0).any():
        raise _PageUnmapped
    return entries - 1


def _write_rows(k: np.ndarray, job: CacheJob, state: SequenceState, groups: KeyGroups, memory: CacheMemory
                ) -> np.ndarray:
    """Write rows behind the sequence; return the group numbers of the last page, int8 [page_rows]."""
    build, form, image = memory.build, memory.format, memory.image
    last = state.last_groups.copy()
    if not len(k):
        return last
    rows, end = build.page_rows, state.length + len(k)
    indices = range(state.length // rows, (end - 1) // rows + 1)
    pages = np.asarray(memory.page_address(_pages(indices, state, memory)), np.int64)
    page, row = np.divmod(np.arange(state.length, end), rows)
    base = pages[page - indices.start]
    high, low = form.split_keys(k)
    for offset, data in ((0, job.v.view(np.uint8)), (form.low_offset, low), (form.high_offset, high)):
        image.write_rows("written", base + offset + row * data.shape[1], data)
    if build.core.group_bits:
        numbers = groups.membership(k).argmax(axis=1)
        for address, index in zip(pages, indices, strict=True):
            inside = page == index
            last[row[inside]] = numbers[inside]
            # Whole beats: those that hold a bit of a new key's number, which may lie across two.
            bits, beat = build.core.group_bits, 8 * build.bus_bytes
            first, stop = int(row[inside][0]) * bits // beat, ceil_div(int(row[inside][-1] + 1) * bits, beat)
            packed = form.pack_groups(last)[first * build.bus_bytes:stop * build.bus_bytes]
            at = np.array([address + form.groups_offset + first * build.bus_bytes])
            image.write_rows("written", at, packed[None])
            if row[inside][-1] == rows - 1:
                last[:] = 0
    return last


def _tiles(job: CacheJob, length: int, parameters: dict[int, HeadParameters], sums: _Sums, build: MemoryBuild
           ) -> Iterator[list[Query]]:
    """Yield the tiles of a job."""
    q, _ = saturate_qk(job.q, build.core.qk_max)
    heads, queries = q.shape[:2]

    def query(head: int, row: int) -> Query:
        behind = queries - 1 - row
        entry = parameters[job.head + head]
        at, groups = len(sums.keys) - 1 - behind, entry.groups.count
        return Query(q[head, row], entry, length - behind, sums.keys[at, :groups], sums.values[at, :groups])

    for places in tile_places(heads, queries, build):
        yield [query(*place) for place in places]


def _write_state(job: CacheJob, state: SequenceState, groups: KeyGroups, sums: _Sums, last: np.ndarray,
                 memory: CacheMemory) -> None:
    """Write the record with the job's rows counted; nothing if there are none."""
    if not len(job.k):
        return
    after = dataclasses.replace(state, length=state.length + len(job.k), groups=groups, group_keys=sums.keys[-1],
                                group_sums=sums.values[-1], last_groups=last)
    memory.image.write_rows("written", np.array([memory.state_address(job.sequence.slot)]),
                            memory.records.encode(after)[None])


def _count_operands(job: CacheJob, build: MemoryBuild, traffic: Traffic) -> None:
    """Count queries and rows read, and outputs of 16 bits written."""
    d = build.core.head_dim
    rows = job.q.shape[0] * job.q.shape[1]
    traffic.add(OPERANDS, rows * build.padded(d) + 2 * len(job.k) * build.padded(d), rows + 2 * len(job.k))
    traffic.add(OPERANDS, rows * build.padded(2 * d), rows)
