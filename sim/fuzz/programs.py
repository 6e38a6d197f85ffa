"""Random programs: entries, rows and jobs of every kind, refused ones among them."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig, ceil_div
from latte.golden.errors import LatteError
from latte.golden.jobs import COUNT_BITS, Job, Sequence
from latte.golden.quantizer import MASS_CODE_BITS
from latte.golden.thresholds import Threshold, ThresholdKind
from latte.golden.vectors import VectorSet, embedded_vectors
from latte.rtl.common.entry_words import ENTRY_WORD_BITS, ENTRY_WORDS_MAX, entry_words, pack_entry
from latte.sim.core_programs import random_entry
from latte.sim.program import Program
from latte.sim.vector_sets import as_learned

__all__ = ["faulty_writes", "random_program"]

_ENTRIES_MAX = 6
_FAMILY_SHARE = 0.6
"""Of the entries that have the first one's key groups, so that they can share its keys."""
_JOB_CYCLES = 40
"""That a job takes at least."""
_KEPT = 0.3
"""Share of the pairs that a job's cycles are guessed with."""


@functools.cache
def _real_sets() -> tuple[VectorSet, ...]:
    return tuple(version for vectors in embedded_vectors() for version in (vectors, *as_learned(vectors)))


def random_program(rng: np.random.Generator, config: AttentionConfig, cycles: int) -> Program:
    """Return a program that takes about so many cycles without stalls, and has a job at least.

    Its lengths are those where something ends, one more or less, and any other: one row, a tile of query rows, a group
    of keys, the longest sequence.
    """
    return _Author(rng, config).write(cycles)


class _Author:
    """Writes one program; what it has loaded decides what can come next."""

    def __init__(self, rng: np.random.Generator, config: AttentionConfig) -> None:
        self.rng = rng
        self.config = config
        self.real = _real_sets()[rng.integers(len(_real_sets()))] if rng.random() < 0.4 else None
        self.parameters = self._entries()
        self.sequence = Sequence(config, self.parameters)

    def write(self, cycles: int) -> Program:
        """Return the program."""
        faulty = list(faulty_writes(self.rng, self.config)) if self.rng.random() < 0.3 else []
        jobs: list[Job] = []
        while cycles > 0 or not jobs:
            for job in self._jobs(max(cycles, 200)):
                length = len(self.sequence.keys) + len(job.k)
                # A job that would take much more than there is left asks fewer queries.
                job = dataclasses.replace(job, q=job.q[:max(1, int(cycles / self._cycles(length, 1)))])
                rows = max(len(job.q), len(job.k))
                cycles -= int(self._cycles(length, len(job.q)) + rows * self.config.head_dim / self.config.bus_bytes)
                cycles -= _JOB_CYCLES
                self.sequence.load(job)
                jobs.append(job)
        return Program(self.config, self.parameters, jobs, faulty)

    def _cycles(self, keys: int, queries: int) -> float:
        """Return the cycles that pairs take, roughly, and at least one."""
        config = self.config
        survivor = max(config.cross_slices, config.value_slices)
        return max(1.0, keys * queries * (config.dim_slices / config.pairs_per_cycle + _KEPT * survivor))

    # Register file

    def _entries(self) -> dict[int, HeadParameters]:
        """Return entries of some heads, the first and the last among them."""
        heads = self.config.heads
        count = int(self.rng.integers(1, _ENTRIES_MAX + 1))
        numbers = {0, heads - 1, *self.rng.integers(0, heads, count).tolist()}
        entries = {head: self._entry() for head in sorted(numbers)}
        first = entries[0]
        return {head: dataclasses.replace(entry, groups=first.groups) if self.rng.random() < _FAMILY_SHARE else entry
                for head, entry in entries.items()}

    def _entry(self) -> HeadParameters:
        """Return the entry of a real head, one at the ends of the ranges, or any."""
        if self.real is not None and self.rng.random() < 0.7:
            entry = self.real.parameters(int(self.rng.integers(len(self.real))), self.config)
            if self._is_held(entry):
                return entry
        entry = random_entry(self.rng, self.config)
        if self.rng.random() < 0.25:
            low, high = entry.threshold.kind.code_range(self.config)
            lowest = 0 if entry.threshold.kind is ThresholdKind.RELATIVE else low  # held as 1
            code = int(self.rng.choice([lowest, low, low + 1, high - 1, high]))
            entry = dataclasses.replace(entry, threshold=Threshold(
                entry.threshold.kind, (code,) * len(entry.threshold.codes)))
        if self.rng.random() < 0.25:
            mantissa, shift = [(65_535, 0), (0, 0), (1 << 15, 40), (1 << 15, 16)][self.rng.integers(4)]
            scaled = dataclasses.replace(entry, scale_mantissa=mantissa, scale_shift=shift)
            entry = scaled if self._is_held(scaled) else entry
        return entry

    def _is_held(self, entry: HeadParameters) -> bool:
        if any(element >= self.config.head_dim for element in entry.groups.elements):
            return False
        try:
            entry.registers(self.config)
        except LatteError:
            return False
        return True

    # Rows

    def _rows(self, name: str, count: int) -> np.ndarray:
        """Return int8 rows [count, d] of one kind: real, random, or at the ends of the range."""
        rng, d = self.rng, self.config.head_dim
        if self.real is not None and rng.random() < 0.8:
            return self._real_rows(name, count)
        limit = 127 if name == "v" or rng.random() < 0.1 else self.config.qk_max
        kind = rng.integers(7)
        rows: np.ndarray
        if kind == 0:  # any
            rows = rng.integers(-128, limit + 1, (count, d))
        elif kind == 1:  # all alike
            rows = np.full((count, d), rng.choice([-128, -127, -8, -1, 0, 1, 7, 8, limit - 1, limit]))
        elif kind == 2:  # few different rows: ties
            rows = rng.integers(-128, limit + 1, (2, d))[rng.integers(0, 2, count)]
        elif kind == 3:  # steps, up or down
            first, last = rng.permutation([-128, limit]).tolist()
            rows = np.linspace(first, last, max(1, count))[:count, None].repeat(d, 1)
        elif kind == 4:  # few elements that are not 0
            rows = rng.integers(-128, limit + 1, (count, d)) * (rng.random((count, d)) < 0.1)
        elif kind == 5:  # signs alone
            rows = rng.choice([-128, limit], (count, d))
        else:
            rows = rng.normal(0, 2 ** rng.uniform(0, 6), (count, d))
        return np.clip(np.rint(rows), -128, limit).astype(np.int8)

    def _real_rows(self, name: str, count: int) -> np.ndarray:
        """Return rows of a real head, of several side by side for longer vectors, again from the first behind the last.

        The first row is any, so that queries and keys are of different positions too.
        """
        assert self.real is not None
        array, d = getattr(self.real, name), self.config.head_dim
        heads = (np.arange(ceil_div(d, array.shape[2])) + self.rng.integers(len(array))) % len(array)
        rows = np.concatenate(array[heads], axis=1)[:, :d]
        return rows[(np.arange(count) + self.rng.integers(len(rows))) % len(rows)]

    # Jobs

    def _length(self, most: int) -> int:
        """Return a number of rows from 1 to `most`."""
        config, rng = self.config, self.rng
        edge = int(rng.choice([1, config.query_lanes, config.key_lanes, 2 * config.pairs_per_cycle, config.query_rows,
                               1 << int(rng.integers(0, 12)), config.max_seq_len, int(rng.integers(1, 4097))]))
        return max(1, min(most, edge + int(rng.integers(-1, 2))))

    def _job(self, keys: int, queries: int, fresh: bool, causal: bool | None = None, head: int | None = None) -> Job:
        rng = self.rng
        return Job(int(rng.choice(list(self.parameters))) if head is None else head, self._rows("q", queries),
                   self._rows("k", keys), self._rows("v", keys), fresh,
                   bool(rng.random() < 0.5) if causal is None else causal)

    def _jobs(self, cycles: int) -> Iterator[Job]:
        """Yield a head, decoded tokens, shared keys, a load, or something that is refused."""
        config, rng = self.config, self.rng
        there = len(self.sequence.keys)
        # A sequence of which every key could be asked for once within the cycles.
        longest = max(1, min(config.max_seq_len, int(cycles / self._cycles(1, 1))))
        room = config.max_seq_len - there
        kind = rng.choice(["head", "decode", "append", "share", "load", "refused"], p=[.3, .2, .15, .15, .1, .1])
        if kind == "refused":
            yield self._refused()
        elif kind == "load":
            yield self._job(self._length(longest), 0, fresh=True)
        elif kind == "head" or there == 0 or (room == 0 and kind != "share"):
            keys = self._length(longest)
            yield self._job(keys, keys if rng.random() < 0.5 else self._length(keys), fresh=True)
        elif kind == "share":
            for _ in range(rng.integers(1, 4)):
                yield self._job(0, self._length(there), fresh=False)
        elif kind == "append":
            keys = self._length(room)
            yield self._job(keys, self._length(there + keys), fresh=False)
        else:
            head = int(rng.choice(list(self.parameters)))
            for _ in range(min(room, int(rng.integers(1, 7)))):
                yield self._job(1, 1, fresh=False, causal=True, head=head)

    def _refused(self) -> Job:
        """Return a job that cannot be computed, of any kind."""
        config, rng = self.config, self.rng
        kind = rng.integers(5)
        if kind == 0:
            head = int(rng.choice([config.heads, (1 << COUNT_BITS) - 1, int(rng.integers(config.heads))]))
            return self._job(self._length(4), self._length(4), bool(rng.random() < 0.5), head=head)
        if kind == 1:
            return self._job(0, self._length(4), fresh=True)
        if kind == 2:
            return self._job(config.max_seq_len + 1, 1, fresh=True)
        if kind == 3:
            return self._job(config.max_seq_len - len(self.sequence.keys) + 1, self._length(3), fresh=False)
        keys = self._length(min(8, config.max_seq_len))
        return self._job(keys, keys + 1, fresh=True, causal=True)


def faulty_writes(rng: np.random.Generator, config: AttentionConfig) -> Iterator[tuple[int, int, int]]:
    """Yield (head, word, data) of some entries that the register file refuses: each breaks one rule."""
    words = entry_words(config)
    names = list(words)
    half = 1 << (config.est_bits - 1)
    illegal: list[tuple[str, int]] = [("control", 3 << 6), ("control", 1 << 10)]
    illegal += [("control", list(ThresholdKind).index(kind) << 6) for kind in ThresholdKind
                if kind not in config.threshold_kinds]
    illegal += [("control", bits << 8) for bits in range(config.group_bits + 1, 4)]
    illegal += [(f"group_{bit}", config.head_dim) for bit in range(config.group_bits) if config.head_dim < 256]
    if config.key_groups:
        illegal.append(("gains", 5 | 6 << 8))
    for _ in range(rng.integers(1, 4)):
        head = int(rng.choice([*rng.integers(0, config.heads, 3).tolist(), config.heads]))
        entry = random_entry(rng, config)
        writes = [(write["head"], write["word"], write["data"]) for write in pack_entry(head, entry, config)]
        code = {"relative": 2 * half, "mass": 1 << MASS_CODE_BITS, "absolute": half}[entry.threshold.kind]
        # A code of as many bits as the word cannot be too large.
        codes = [(names[-1], code)] if config.est_bits < ENTRY_WORD_BITS else []
        fault = rng.choice(["word", "cut", "gap", "beyond"])
        if fault == "cut":
            writes = [*writes[:-1], (head, len(names), 0)]
        elif fault == "gap":
            del writes[rng.integers(1, len(writes) - 1)]
        elif fault == "beyond":
            writes = [(head, int(rng.integers(1, ENTRY_WORDS_MAX)), 0)]
        else:
            name, value = (illegal + codes)[rng.integers(len(illegal + codes))]
            writes[names.index(name)] = (head, names.index(name), value)
        yield from writes
