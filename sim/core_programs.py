"""Programs for the core: corners, random heads, appended keys, refused jobs."""

import dataclasses
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.jobs import Job
from latte.golden.key_groups import KeyGroups
from latte.golden.pruned_mass import GAIN_MAX, NO_COMPENSATION, Gains, table_holds
from latte.golden.quantizer import MASS_KEEP_ALL
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.sim.program import Program

__all__ = ["appending", "appending_groups", "corners", "mixed", "pruned_heads", "random_entry", "random_heads",
           "random_rows", "refused"]

SCALE = (45_000, 24)
"""Mantissa and shift of a softmax scale under which a row has many different weights."""


def random_rows(rng: np.random.Generator, rows: int, config: AttentionConfig, spread: float = 40.0) -> np.ndarray:
    """Return int8 rows that look like activations: many small elements, few large."""
    return np.clip(np.rint(rng.normal(0, spread, (rows, config.head_dim))), -config.qk_max,
                   config.qk_max).astype(np.int8)


def entry(config: AttentionConfig, tau: int | None = None) -> HeadParameters:
    """Return a register file entry; by default about a third of random keys survive."""
    if tau is None:
        tau = 512 * config.head_dim >> config.estimate_shift
    return HeadParameters(Threshold.relative(tau), *SCALE)


def _job(rng: np.random.Generator, config: AttentionConfig, keys: int, queries: int | None = None,
         **changes: Any) -> Job:
    rows: dict[str, Any] = {"q": random_rows(rng, keys if queries is None else queries, config),
            "k": random_rows(rng, keys, config), "v": rng.integers(-128, 128, (keys, config.head_dim), np.int8)}
    return Job(**{"head": 0} | rows | changes)


def corners(config: AttentionConfig) -> Program:
    """Heads at the ends of every range; the last register keeps every key, the one before only ties."""
    rng = np.random.default_rng(1)
    d = config.head_dim
    keep_all = Threshold.relative(config.tau_keep_all)
    parameters = {0: entry(config), 1: entry(config, 0), 2: entry(config, 1), 3: entry(config, config.tau_keep_all),
                  4: HeadParameters(keep_all, 65_535, 0), 5: HeadParameters(keep_all, 0, 0)}

    def constant(value: int, rows: int) -> np.ndarray:
        return np.full((rows, d), value, np.int8)

    rising = np.repeat(np.arange(-60, 60, 10, dtype=np.int8)[:, None], d, axis=1)
    jobs = [
        _job(rng, config, 1), _job(rng, config, 1, causal=True, head=3), _job(rng, config, 2, head=3),
        Job(3, constant(-128, 5), constant(-128, 5), constant(-128, 5)),
        Job(3, constant(config.qk_max, 3), constant(-128, 3), constant(127, 3)),
        Job(3, constant(config.qk_max, 3), constant(config.qk_max, 3), constant(127, 3), causal=True),
        Job(0, constant(config.qk_max + 1, 3), constant(127, 3), constant(-128, 3)),
        Job(1, constant(7, 6), constant(9, 6), random_rows(rng, 6, config)),
        Job(1, constant(10, 4), rising, random_rows(rng, 12, config)),
        Job(0, constant(10, 4), rising[::-1], random_rows(rng, 12, config)),
        Job(0, constant(-10, 4), rising, random_rows(rng, 12, config), causal=True),
        Job(2, constant(0, 3), random_rows(rng, 7, config), random_rows(rng, 7, config)),
        _job(rng, config, 13, head=1), _job(rng, config, 13, head=2, causal=True), _job(rng, config, 17, head=3),
        _job(rng, config, 11, head=4), _job(rng, config, 11, head=5, causal=True),
        _job(rng, config, 9, queries=20), _job(rng, config, 19, queries=1, causal=True),
    ]
    return Program(config, parameters, jobs)


def random_heads(config: AttentionConfig, seed: int, keys: list[int], queries: int | None = None) -> Program:
    """Heads of the given lengths, alternately full and causal, each with a threshold of its own.

    With as many queries as keys, or with the last `queries` of them.
    """
    rng = np.random.default_rng(seed)
    span = 1 << (config.est_bits - 1)
    parameters = {i: entry(config, int(rng.integers(0, span // 4))) for i in range(len(keys))}
    jobs = [_job(rng, config, n, queries, head=i, causal=bool(i % 2)) for i, n in enumerate(keys)]
    return Program(config, parameters, jobs)


def appending(config: AttentionConfig) -> Program:
    """Causal prefill and decode steps, a load without queries, and keys that a second query head uses again."""
    rng = np.random.default_rng(3)
    jobs = [
        _job(rng, config, 7, causal=True),
        *(_job(rng, config, 1, causal=True, fresh=False) for _ in range(4)),
        _job(rng, config, 0, queries=3, fresh=False, head=1),
        _job(rng, config, 5, fresh=False, causal=True, queries=2),
        _job(rng, config, 6, queries=0), _job(rng, config, 0, queries=4, fresh=False),
        _job(rng, config, 3, queries=0, fresh=False), _job(rng, config, 0, queries=9, causal=True, fresh=False),
        _job(rng, config, 8),
    ]
    return Program(config, {0: entry(config), 1: entry(config, config.tau_keep_all)}, jobs)


def refused(config: AttentionConfig) -> Program:
    """Jobs that cannot be computed between jobs that can."""
    rng = np.random.default_rng(4)
    most = config.max_seq_len
    jobs = [
        _job(rng, config, 5), _job(rng, config, 4, head=1), _job(rng, config, 0, queries=2, fresh=False),
        _job(rng, config, 6), _job(rng, config, 3, head=config.heads, fresh=False),
        _job(rng, config, 0, queries=2, fresh=False), _job(rng, config, most, queries=2, fresh=False),
        _job(rng, config, 2, fresh=False, causal=True), _job(rng, config, 0, queries=3),
        _job(rng, config, most + 1, queries=1), _job(rng, config, 3, queries=4, causal=True),
        _job(rng, config, 7, causal=True),
    ]
    return Program(config, {0: entry(config)}, jobs)


def mixed(config: AttentionConfig, seed: int, count: int) -> Program:
    """Many short jobs of all kinds, some of which are refused."""
    rng = np.random.default_rng(seed)
    jobs = []
    for _ in range(count):
        keys, queries = int(rng.integers(0, 9)), int(rng.integers(0, 5))
        jobs.append(_job(rng, config, keys, queries if keys else max(1, queries), fresh=bool(rng.random() < 0.4),
                         causal=bool(rng.random() < 0.5), head=int(rng.choice([0, 0, 0, 1, 1, 1, config.heads]))))
    return Program(config, {0: entry(config), 1: entry(config, config.tau_keep_all)}, jobs)


def random_entry(rng: np.random.Generator, config: AttentionConfig, *, group_bits: int | None = None
                 ) -> HeadParameters:
    """Return an entry of any kind, with codes by length, gains and groups, as far as a build has them."""
    kind = ThresholdKind(rng.choice(config.threshold_kinds))
    span = 1 << (config.est_bits - 1)
    low, high = {"relative": (1, span // 4), "mass": (0, 12 << 8), "absolute": (-span // 8, span // 4)}[kind]
    codes = [int(code) for code in rng.integers(low, high, LENGTH_OCTAVES)]
    if not config.code_octaves:
        codes = codes[:1] * LENGTH_OCTAVES
    if rng.random() < 0.1:
        codes = [{"relative": config.tau_keep_all, "mass": MASS_KEEP_ALL, "absolute": -span}[kind]] * LENGTH_OCTAVES
    gains, groups = NO_COMPENSATION, KeyGroups((), ())
    if config.key_groups:
        bits = int(rng.integers(0, config.group_bits + 1)) if group_bits is None else group_bits
        groups = KeyGroups(tuple(map(int, rng.integers(0, config.head_dim, bits))),
                           tuple(map(int, rng.integers(-40, 41, bits))))
        denominator = int(rng.choice([0, 64, GAIN_MAX, int(rng.integers(1, GAIN_MAX + 1))]))
        gains = Gains(denominator, int(rng.choice([0, denominator, int(rng.integers(0, denominator + 1))])))
    while True:
        scale = int(rng.integers(1 << 15, 1 << 16)), int(rng.integers(10, 19))
        if table_holds(scale, config):
            return HeadParameters(Threshold(kind, tuple(codes)), *scale, gains, groups)


def pruned_heads(config: AttentionConfig, seed: int, keys: list[int], queries: int | None = None) -> Program:
    """Heads of the given lengths, alternately full and causal, each with an entry of its own.

    With as many queries as keys, or with the last `queries` of them.
    """
    rng = np.random.default_rng(seed)
    parameters = {i: random_entry(rng, config) for i in range(len(keys))}
    jobs = [_job(rng, config, n, queries, head=i, causal=bool(i % 2)) for i, n in enumerate(keys)]
    return Program(config, parameters, jobs)


def appending_groups(config: AttentionConfig, seed: int) -> Program:
    """Prefill, decode and query heads that share keys, in one grouping; others refused."""
    rng = np.random.default_rng(seed)
    first, other = (random_entry(rng, config, group_bits=min(bits, config.group_bits)) for bits in (3, 2))
    shared = [dataclasses.replace(random_entry(rng, config), groups=first.groups,
                                  gains=gains if config.key_groups else NO_COMPENSATION)
              for gains in (Gains(64, 64), NO_COMPENSATION, Gains(80, 48))]
    parameters = dict(enumerate([first, other, *shared]))
    jobs = [
        _job(rng, config, 7, causal=True),
        *(_job(rng, config, 1, causal=True, fresh=False, head=head) for head in (0, 2, 3, 4, 0)),
        _job(rng, config, 0, queries=3, fresh=False, head=2), _job(rng, config, 2, fresh=False, head=1),
        _job(rng, config, 0, queries=9, fresh=False, head=4, causal=True),
        _job(rng, config, 5, fresh=False, causal=True, queries=2, head=3),
        _job(rng, config, 0, queries=1, fresh=False, head=4, causal=True),
        _job(rng, config, 6, queries=0, head=1), _job(rng, config, 0, queries=4, fresh=False, head=1),
        _job(rng, config, 3, queries=0, fresh=False, head=1),
        _job(rng, config, 0, queries=9, causal=True, fresh=False, head=1),
        _job(rng, config, 8, head=2), _job(rng, config, 9, head=3), _job(rng, config, 9, head=4, causal=True),
    ]
    return Program(config, parameters, jobs)
