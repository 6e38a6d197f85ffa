"""Programs of the core with keys in memory that go through a plan's points one by one."""

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES, Handle
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.golden.pruned_mass import NO_COMPENSATION, Gains
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold
from latte.sim.cache_core_programs import CacheScript, group_of, random_entries

__all__ = ["all_kinds", "boundary_lengths", "cache_entries", "cached_lengths", "every_status", "extreme_rows",
           "largest_counts"]

_SHAPES = {JobKind.PREFILL: (2, 2, 2), JobKind.DECODE: (1, 1, 1), JobKind.APPEND: (0, 0, 2)}
"""Heads, queries and rows of a job of each kind. What others have left behind a sequence's end, the last one writes."""
_SCALES = ((65_535, 0), (0, 0), (1 << 15, 40), (0x5555, 21), (0xAAAA, 42))
"""Mantissa and shift."""
_KEEPS_ALL, _KEEPS_FEW = 0, 1
"""Heads whose rows keep all keys, and hardly any."""


@functools.cache
def cache_entries(build: MemoryBuild) -> tuple[HeadParameters, ...]:
    """Return entries: one that keeps all keys, one that keeps few, each kind with each form of compensation.

    Then extreme scales. In builds with groups, each kind with each form of compensation again, over one group, and
    extreme groups.
    """
    rng, core = np.random.default_rng(4), build.core
    keys = np.clip(rng.normal(0, 50, (99, core.head_dim)).round(), -128, 127).astype(np.int8)
    several = group_of(build, keys)
    gains = [NO_COMPENSATION, Gains(64, 0), Gains(80, 48)] if core.key_groups else [NO_COMPENSATION]
    of_kind = dict(zip(core.threshold_kinds, random_entries(rng, build, several, len(core.threshold_kinds)),
                       strict=True))
    first = of_kind[core.threshold_kinds[0]]
    low, high = first.threshold.kind.code_range(core)
    made = [dataclasses.replace(first, gains=NO_COMPENSATION,
                                threshold=Threshold(first.threshold.kind, (code,) * LENGTH_OCTAVES))
            for code in (high, low)]
    made += [dataclasses.replace(entry, gains=gain) for entry, gain in itertools.product(of_kind.values(), gains)]
    few = made[_KEEPS_FEW]
    made += [dataclasses.replace(few, scale_mantissa=mantissa, scale_shift=shift) for mantissa, shift in _SCALES]
    if bits := core.group_bits:
        made += [dataclasses.replace(entry, gains=gain, groups=ONE_GROUP)
                 for entry, gain in itertools.product(of_kind.values(), gains)]
        made += [dataclasses.replace(few, groups=KeyGroups((element,) * bits, (cut,) * bits))
                 for element, cut in ((core.head_dim - 1, -128), (0, 127), (core.head_dim // 3, 0x55))]
    return tuple(made)


def _append(script: CacheScript, sequence: Handle, keys: int, head: int = _KEEPS_FEW) -> None:
    """Let a sequence have keys before the first job, and pages for a few more."""
    memory = script.memory
    memory.reserve(sequence, min(keys + 2 * script.build.page_rows, script.build.core.max_seq_len))
    outcome = carry_out(script.job(JobKind.APPEND, sequence, 0, 0, keys, head), memory, script.entries)
    assert outcome.status is None


def all_kinds(script: CacheScript) -> None:
    """Each entry decodes with and without a key of its own, and has several positions; tiles of every shape spill."""
    build, most = script.build, script.build.core.max_seq_len
    several, single = script.first, script.second
    for sequence in (several, single):
        script.memory.reserve(sequence, most)
    of_sequence = {several: script.entries[_KEEPS_ALL].groups} | ({single: ONE_GROUP} if build.core.group_bits else {})
    for sequence, groups in of_sequence.items():
        heads = [head for head, entry in script.entries.items() if entry.groups == groups]
        script.add(JobKind.APPEND, sequence, 0, 0, build.candidates + 9, heads[0])
        for head in heads:
            script.add(JobKind.PREFILL, sequence, 1, 2, 2, head)
            script.add(JobKind.DECODE, sequence, 1, 1, 1, head)
            script.add(JobKind.DECODE, sequence, 1, 1, 0, head)
        tile = build.tile_rows
        for many, queries in ((tile, 1), (tile, 2), (tile + 1, 1), (2 * tile + 1, 2), (1, tile), (1, 2 * tile + 1)):
            if many <= len(heads):
                script.add(JobKind.PREFILL, sequence, many, queries, queries, heads[0])
                script.add(JobKind.PREFILL, sequence, many, queries, queries, heads[-many])


def every_status(script: CacheScript, *, broken: bool) -> None:
    """Each kind of job refused for each reason, and failing in course for each; then jobs that are carried out.

    Parameters
    ----------
    script
    broken
        Whether some of the memory cannot be read, and the host has left records and tables that name none.
    """
    build, memory = script.build, script.memory
    page, most = build.page_rows, build.core.max_seq_len
    freed = script.second
    memory.reserve(freed, page)
    memory.free(freed)
    sequence, empty, full, torn, lost = script.first, *(memory.open() for _ in range(4))
    _append(script, sequence, build.candidates + page)
    _append(script, full, most)
    _append(script, torn, 2 * page - 1)
    memory.unmap(torn, 2)
    memory.unmap(torn, 1)
    _append(script, lost, 2 * page)
    memory.unmap(lost, 0)
    asked = [
        (freed, _KEEPS_FEW), (Handle(build.slots, 1), _KEEPS_FEW), (Handle(0x5555, 0xAAAA), 0x5555),
        (Handle(0xAAAA, 0x5555), 0xAAAA),                                 # no such sequence
        (sequence, build.core.heads - 1),                                 # an entry that was never written
        (full, _KEEPS_FEW),                                               # too long
        (sequence, len(script.entries) - 2),                              # other groups, where there are any
        (torn, _KEEPS_FEW), (lost, _KEEPS_FEW),                           # pages without entry, to write and to read
        (sequence, _KEEPS_ALL)]
    for kind, shape in _SHAPES.items():
        script.add(kind, empty, shape[0], min(shape[1], 1), 0, _KEEPS_FEW)
        for of, head in asked:
            script.add(kind, of, *shape, head)
    for head in range(_KEEPS_FEW, build.core.heads // 2):                 # a head's table is filled meanwhile
        script.add(JobKind.DECODE, lost, 1, 1, 0, head)
    script.add(JobKind.PREFILL, sequence, 2, 3, 2, head=_KEEPS_FEW)
    script.add(JobKind.DECODE, full, 2, 1, 0, head=_KEEPS_ALL)
    if broken:
        _break(script)
        _misplace(script)
    script.add(JobKind.PREFILL, sequence, 2, 3, 4, head=_KEEPS_ALL)


def _break(script: CacheScript) -> None:
    """Add jobs of sequences of which the record, the table, or a plane of the first page cannot be read."""
    build, memory, form = script.build, script.memory, script.memory.format
    for part in ("record", "table", "high", "low", "values"):
        sequence = memory.open()
        _append(script, sequence, build.page_rows)
        page = int(memory.page_address(memory.page_of(sequence, 0)))
        first, size = {"record": (memory.state_address(sequence.slot), 1),
                       "table": (memory.state(sequence).table_address, 1), "high": (page + form.high_offset, 1),
                       "low": (page + form.low_offset, form.low_bytes * build.page_rows),
                       "values": (page, form.value_bytes * build.page_rows)}[part]
        memory.image.break_range(first, build.padded(size))
        for kind, shape in _SHAPES.items():
            script.add(kind, sequence, *shape, head=_KEEPS_ALL)
        script.add(JobKind.DECODE, sequence, build.tile_rows + 1, 1, 0, head=_KEEPS_ALL)


def _misplace(script: CacheScript) -> None:
    """Add jobs of sequences that are too long by their record, or whose table or pages lie where there is no memory."""
    build, memory = script.build, script.memory
    beats = ~(build.bus_bytes - 1)
    for pattern in (0xAAAAAAAA, 0x55555555):
        for wrong in ({"length": pattern}, {"table_address": (pattern << 32 | pattern) & beats}, {}):
            opened = memory.open()
            sequence = Handle(opened.slot, pattern & 0xFFFF)
            record, at = memory.state(opened), memory.state_address(opened.slot)
            table = memory.image.data[record.table_address:][:ENTRY_BYTES * build.page_limit]
            table.view("<u4")[:] = pattern
            fields: dict[str, Any] = {"length": build.page_rows, "generation": sequence.generation,
                                      "groups": script.entries[_KEEPS_FEW].groups} | wrong
            memory.image.data[at:at + memory.records.state_bytes] = memory.records.encode(
                dataclasses.replace(record, **fields))
            for kind, shape in _SHAPES.items():
                script.add(kind, sequence, *shape, head=_KEEPS_FEW)


def cached_lengths(build: MemoryBuild) -> dict[str, int]:
    """Return numbers of keys at which something of a build ends, by name, in their order."""
    page, list_, most = build.page_rows, build.candidates, build.core.max_seq_len
    lengths = {"one": 1, "page less one": page - 1, "page": page, "page and one": page + 1, "list": list_,
               "list and one": list_ + 1, "most less one": most - 1, "most": most}
    return dict(sorted(lengths.items(), key=lambda item: item[1]))


def boundary_lengths(script: CacheScript) -> None:
    """Tokens and prompts that end a sequence at every length at which something ends."""
    for sequence, kind in ((script.first, JobKind.DECODE), (script.second, JobKind.PREFILL)):
        script.memory.reserve(sequence, script.build.core.max_seq_len)
        before = 0
        for keys in dict.fromkeys(cached_lengths(script.build).values()):
            if kind == JobKind.PREFILL:
                script.add(kind, sequence, 1, min(3, keys - before), keys - before, _KEEPS_FEW)
            else:
                if keys - before > 1:
                    script.add(JobKind.APPEND, sequence, 0, 0, keys - before - 1, _KEEPS_FEW)
                script.add(kind, sequence, 2, 1, 1, _KEEPS_ALL)
            before = keys


def extreme_rows(script: CacheScript) -> None:
    """Rows of the greatest and the least elements, by every entry; keys of which each is nearer than those before."""
    build, d, memory = script.build, script.build.core.head_dim, script.memory
    rows = np.array([[127] * d, [-128] * d, [0] * d, [127, -128] * (d // 2)], np.int8)
    none, values = np.zeros((0, 0, d), np.int8), np.roll(rows, 1, 0)
    of_groups: dict[KeyGroups, list[int]] = {}
    for head, entry in script.entries.items():
        of_groups.setdefault(entry.groups, []).append(head)
    for number, heads in enumerate(of_groups.values()):
        sequence = (script.first, script.second)[number] if number < 2 else memory.open()
        memory.reserve(sequence, build.core.max_seq_len)
        script.take(CacheJob(JobKind.APPEND, sequence, heads[0], none, rows, values))
        for head in heads:
            for first in range(len(rows)):
                one = slice(first, first + 1)
                script.take(CacheJob(JobKind.DECODE, sequence, head, rows[None, one], rows[one], values[one]))
    # The page of the last key is streamed first, so none of its keys is near.
    sequence = memory.open()
    memory.reserve(sequence, build.core.max_seq_len)
    whole = (build.core.max_seq_len - 1) // build.page_rows * build.page_rows
    rising = np.repeat(np.linspace(-100, 100, whole).round().astype(np.int8), d).reshape(whole, d)
    far = np.full((build.core.max_seq_len - whole, d), -110, np.int8)
    keys = np.concatenate([rising, far])
    script.take(CacheJob(JobKind.APPEND, sequence, _KEEPS_FEW, none, keys, keys))
    for head in of_groups[script.entries[_KEEPS_FEW].groups]:
        script.take(CacheJob(JobKind.DECODE, sequence, head, rows[None, :1], keys[:0], keys[:0]))


def largest_counts(script: CacheScript) -> None:
    """Refused jobs of so many rows, heads and positions that every bit of a count changes."""
    nobody = Handle(script.build.slots, 0)                                # of heads, entries would be looked up
    for count in (0x5555, 0xAAAA):
        script.add(JobKind.APPEND, script.first, 0, 0, count)
        script.add(JobKind.PREFILL, nobody, count, 1, 1)
        script.add(JobKind.PREFILL, nobody, 1, count, 1)
