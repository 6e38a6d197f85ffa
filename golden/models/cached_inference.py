"""Language models whose keys and values stay in the memory of a backend: a pass appends its tokens and loads no others.

Each head of keys of each block has a sequence. A prompt is one job of kind prefill for each of them, a further token
one of kind decode; the query heads that share the keys are the heads of the job.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import ceil_div
from latte.golden.errors import LatteError
from latte.golden.memory.backend import CacheBackend
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.dense import dense_job, dense_tile
from latte.golden.memory.jobs import CacheJob, JobKind, tile_places
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.compared import ComparedAttention, Computed
from latte.golden.register_image import RegisterImage

__all__ = ["CachedAttention", "PassFigures", "open_sequences"]


@dataclasses.dataclass
class PassFigures:
    """What one forward pass moved and took, all blocks together.

    Parameters
    ----------
    tokens
        That it appended.
    cycles
    bytes_read, bytes_written
        Of the memory, in whole beats.
    keys_fetched, values_fetched
        Rows of survivors.
    dense_bytes, dense_values
        What dense attention with the same tiles moves, read and written, and the rows of V among it.
    """

    tokens: int
    cycles: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    keys_fetched: int = 0
    values_fetched: int = 0
    dense_bytes: int = 0
    dense_values: int = 0

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return self.bytes_read + self.bytes_written


@dataclasses.dataclass(frozen=True)
class _Held:
    """Rows that a sequence holds, int8 [n, d]."""

    k: np.ndarray
    v: np.ndarray


class CachedAttention(ComparedAttention):
    """Attention handler of one text whose backend has the keys and values of all tokens before in memory.

    Parameters
    ----------
    checkpoint, thresholds, image, on_block
        As of `ComparedAttention`.
    build
        Of the backend.
    sequences
        From `open_sequences`, for the checkpoint's blocks and heads of keys.
    backend
        With the memory in which they are open.

    Attributes
    ----------
    passes : list of PassFigures
        The prompt's, then one for each further token.
    """

    def __init__(self, checkpoint: Checkpoint, thresholds: Thresholds, image: RegisterImage, build: MemoryBuild,
                 sequences: Sequence[Handle], backend: CacheBackend, on_block: Callable[[], None] = lambda: None
                 ) -> None:
        super().__init__(checkpoint, thresholds, image, build.core, on_block)
        self.passes: list[PassFigures] = []
        self._build = build
        self._sequences = sequences
        self._backend = backend
        nothing = np.zeros((0, build.core.head_dim), np.int8)
        self._held = [_Held(nothing, nothing) for _ in sequences]

    def compute(self, block: int, q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> Computed:
        """Carry out a job for each head of keys, which appends the rows of the queries' positions.

        Raises
        ------
        LatteError
            Heads cannot share the keys of a sequence, or the rows before the queries are not those that were appended.
        """
        entries, queries = self.entries(block), q.shape[1]
        kind = JobKind.DECODE if queries == 1 else JobKind.PREFILL
        if block == 0:
            self.passes.append(PassFigures(queries))
        jobs = []
        for first in range(0, self.heads, self.heads_per_key):
            self._check_shared(block, first, entries, k, v)
            index = (block * self.heads + first) // self.heads_per_key
            before, now = self._held[index], _Held(k[first], v[first])
            appended = len(now.k) - queries
            if any(not np.array_equal(old, new[:appended]) for old, new in ((before.k, now.k), (before.v, now.v))):
                raise LatteError(f"block {block}, head {first}: the model's keys and values of the {appended} tokens "
                                 f"before are not the {len(before.k)} that are in memory, which takes a text from its "
                                 "beginning, token by token")
            self._held[index] = now
            jobs.append(CacheJob(kind, self._sequences[index], first, q[first:first + self.heads_per_key],
                                 now.k[appended:], now.v[appended:]))
            self._count_dense(len(now.k), queries)
        result = self._backend.run(dict(enumerate(entries)), jobs)
        figures = self.passes[-1]
        for name in ("cycles", "bytes_read", "bytes_written", "keys_fetched", "values_fetched"):
            setattr(figures, name, getattr(figures, name) + getattr(result, name))
        return Computed([head for output in result.outputs for head in output], len(jobs), result.cycles)

    def _check_shared(self, block: int, first: int, entries: Sequence[HeadParameters], k: np.ndarray, v: np.ndarray
                      ) -> None:
        """Raise `LatteError` unless the heads that share keys have the same codes and groups of them."""
        for head in range(first + 1, first + self.heads_per_key):
            if entries[head].groups != entries[first].groups or any(
                    not np.array_equal(rows[head], rows[first]) for rows in (k, v)):
                raise LatteError(f"block {block}: heads {first} and {head} share keys and values in the model, but "
                                 "their thresholds have other scales, smoothing or key groups, and one sequence in "
                                 "memory cannot have both; leave out --keys-in-memory, or give other --thresholds")

    def _count_dense(self, keys: int, queries: int) -> None:
        """Count what dense attention moves for a job behind which its sequence has so many keys."""
        tiles = [keys - queries + 1 + places[-1][1] for places in tile_places(self.heads_per_key, queries, self._build)]
        moved = dense_job(self._build, [dense_tile(self._build, seen) for seen in tiles], queries)
        self.passes[-1].dense_bytes += moved.total
        self.passes[-1].dense_values += sum(tiles)


def open_sequences(checkpoint: Checkpoint, build: MemoryBuild, keys: int) -> tuple[CacheMemory, list[Handle]]:
    """Return a memory with an empty sequence for each head of keys, block after block, with pages for so many keys.

    Raises
    ------
    LatteError
        The build has fewer slots, or holds fewer keys.
    """
    count = checkpoint.blocks * checkpoint.heads // checkpoint.heads_per_key
    memory = CacheMemory(build, count * ceil_div(keys, build.page_rows))
    sequences = [memory.open() for _ in range(count)]
    for sequence in sequences:
        memory.reserve(sequence, keys)
    return memory, sequences
