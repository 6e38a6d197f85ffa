"""Programs that go through a plan's points one by one."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.jobs import Job
from latte.golden.key_groups import KeyGroups
from latte.golden.pruned_mass import NO_COMPENSATION, Gains
from latte.golden.thresholds import Threshold, ThresholdKind
from latte.rtl.common.entry_words import pack_entry
from latte.sim.core_programs import SCALE, random_entry, random_rows
from latte.sim.program import Program

__all__ = ["all_kinds", "boundary_lengths", "extreme_entries", "key_lengths", "largest_counts", "query_lengths",
           "refusals"]

_RESERVED = 1 << 10
"""Bit of an entry's first word that nothing is in."""
_FEW_BEATS = 2
"""Of a row, in builds whose jobs are refused with thousands of rows: more take too long to arrive."""


def _job(rng: np.random.Generator, config: AttentionConfig, keys: int, queries: int, head: int, *, fresh: bool = True,
         causal: bool = False) -> Job:
    return Job(head, random_rows(rng, queries, config), random_rows(rng, keys, config),
               rng.integers(-128, 128, (keys, config.head_dim), np.int8), fresh, causal)


def _entries(rng: np.random.Generator, config: AttentionConfig) -> dict[int, HeadParameters]:
    """Return an entry of each kind of threshold, without gains, with one, with both; all have one grouping."""
    bits = config.group_bits
    groups = KeyGroups(tuple(range(bits)), (5,) * bits)
    gains = [NO_COMPENSATION, Gains(64, 0), Gains(80, 48)] if config.key_groups else [NO_COMPENSATION]
    chosen = []
    for kind, gain in itertools.product(config.threshold_kinds, gains):
        made = random_entry(rng, config)
        while made.threshold.kind is not ThresholdKind(kind):
            made = random_entry(rng, config)
        chosen.append(dataclasses.replace(made, gains=gain, groups=groups))
    return dict(enumerate(chosen[:config.heads]))


def all_kinds(config: AttentionConfig) -> Program:
    """Each kind of threshold, causal or not: a head, decoded tokens, appended keys, shared keys, a load."""
    rng = np.random.default_rng(5)
    parameters = _entries(rng, config)
    jobs = []
    for head, causal in itertools.product(parameters, (False, True)):
        other = (head + 1) % len(parameters)
        jobs += [_job(rng, config, 7, 5, head, causal=causal),
                 _job(rng, config, 1, 1, head, fresh=False, causal=causal),
                 _job(rng, config, 3, 2, head, fresh=False, causal=causal),
                 _job(rng, config, 0, 4, other, fresh=False, causal=causal),
                 _job(rng, config, 6, 0, head, causal=causal), _job(rng, config, 2, 0, head, fresh=False),
                 _job(rng, config, 0, 3, head, fresh=False, causal=causal)]
    return Program(config, parameters, jobs)


def key_lengths(config: AttentionConfig) -> dict[str, int]:
    """Return numbers of keys at which something of a build ends, by name."""
    group, most = config.key_lanes, config.max_seq_len
    return {"one": 1, "group less one": group - 1, "group": group, "group and one": group + 1,
            "most less one": most - 1, "most": most}


def query_lengths(config: AttentionConfig) -> dict[str, int]:
    """Return numbers of queries at which something of a build ends, by name."""
    tile, ring = config.query_lanes, config.query_rows
    return {"one": 1, "tile less one": tile - 1, "tile": tile, "tile and one": tile + 1, "ring": ring,
            "ring and one": ring + 1}


def boundary_lengths(config: AttentionConfig) -> Program:
    """Heads of every length of keys and of queries at which something ends."""
    rng = np.random.default_rng(6)
    parameters = _entries(rng, config)
    jobs = [_job(rng, config, keys, queries, int(rng.choice(list(parameters))), causal=causal)
            for keys, queries in itertools.product(key_lengths(config).values(), query_lengths(config).values())
            if keys > 0 and queries > 0 for causal in (False, True) if not causal or queries <= keys]
    return Program(config, parameters, jobs)


def refusals(config: AttentionConfig) -> Program:
    """Each way to be refused, of jobs that begin a sequence and of jobs that go on, with and without queries."""
    rng = np.random.default_rng(7)
    parameters = _entries(rng, config)
    groups = KeyGroups((1,), (-3,)) if config.key_groups > 1 else KeyGroups((), ())
    grouped = len(parameters)
    if grouped < config.heads:
        parameters[grouped] = dataclasses.replace(parameters[0], groups=groups)
    unknown, most = config.heads, config.max_seq_len
    jobs = []
    for fresh in (True, False):
        for queries in (0, 2):
            jobs += [_job(rng, config, 4, 2, 0), _job(rng, config, 3, queries, unknown, fresh=fresh),
                     _job(rng, config, 4, 2, 0), _job(rng, config, most + fresh, queries, 0, fresh=fresh),
                     _job(rng, config, 4, 2, 0), _job(rng, config, 2, 5 if fresh else 9, 0, fresh=fresh, causal=True),
                     _job(rng, config, 0, 2, 0), _job(rng, config, 0, 2, 0, fresh=fresh),
                     _job(rng, config, 4, 2, 0), _job(rng, config, 2 * (not queries), queries, grouped, fresh=fresh)]
    jobs.append(_job(rng, config, 5, 3, 0))
    return Program(config, parameters, jobs, list(_refused_entries(config, parameters[0])))


def _refused_entries(config: AttentionConfig, entry: HeadParameters) -> Iterator[tuple[int, int, int]]:
    """Yield the writes of whole entries that the register file refuses: no such head; a bit that no word has."""
    beyond = [(head, 0) for head in (config.heads, 0x5555, 0xAAAA, 0xFFFF) if head >= config.heads]
    for head, control in (*beyond, (0, _RESERVED)):
        for write in pack_entry(head, entry, config):
            yield head, write["word"], write["data"] | (control if write["word"] == 0 else 0)


def extreme_entries(config: AttentionConfig) -> Program:
    """Codes of every kind at the ends of their ranges, and all bits of head numbers and of scales."""
    rng = np.random.default_rng(8)
    parameters = {}
    heads = iter(_bit_patterns(config.heads))
    for kind in map(ThresholdKind, config.threshold_kinds):
        low, high = kind.code_range(config)
        for code in (low, high, low + 1, high - 1, (low + high) // 2):
            head = next(heads, None)
            if head is not None:
                base = random_entry(rng, config)
                parameters[head] = dataclasses.replace(base, threshold=Threshold(kind, (code,) * len(
                    base.threshold.codes)))
    for scale in ((65_535, 0), (0, 0), (1 << 15, 40), (0x5555, 21), (0xAAAA, 42), SCALE):
        head = next(heads, None)
        if head is not None:
            parameters[head] = HeadParameters(Threshold.relative(1), *scale)
    jobs = [_job(rng, config, 9, 4, head, causal=causal) for head in parameters for causal in (False, True)]
    return Program(config, parameters, jobs)


def _bit_patterns(count: int) -> Iterator[int]:
    """Yield numbers below `count` in which every bit is set and clear: the ends first."""
    yield from dict.fromkeys([0, count - 1, *(n for n in range(1, count - 1) if n < 24)])


def largest_counts(config: AttentionConfig) -> Program:
    """Refused jobs of so many rows that every bit of a count changes, and heads that no build has."""
    rng = np.random.default_rng(9)
    parameters = _entries(rng, config)
    counts = [0x5555, 0xAAAA] if config.head_dim <= _FEW_BEATS * config.bus_bytes else []
    jobs = [_job(rng, config, 3, 2, 0)]
    for head in (0xFFFF, 0xAAAA, 0x5555):
        jobs.append(_job(rng, config, 1, 1, head))
    for count in counts:
        rows = np.zeros((count, config.head_dim), np.int8)
        jobs += [Job(0, rows[:1], rows, rows), Job(0, rows, rows[:1], rows[:1], causal=True)]
    jobs.append(_job(rng, config, 3, 2, 0))
    return Program(config, parameters, jobs)
