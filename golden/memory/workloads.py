"""What is measured: decoded tokens and prompts of real heads, and longer caches with the statistics of real ones."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig, preset
from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.pruned_mass import NO_COMPENSATION
from latte.golden.quantizer import saturate_qk
from latte.golden.score_estimator import estimate_scores
from latte.golden.split import split_halves
from latte.golden.thresholds import Threshold
from latte.golden.vectors import VectorSet

__all__ = ["Task", "ShareKept", "head_tasks", "resampled_tasks", "thresholds_at_width"]


@dataclasses.dataclass(frozen=True)
class Task:
    """The cache of one head of keys, and the query rows of a token that is decoded behind it, or of a whole prompt.

    Parameters
    ----------
    name
        Of the head of keys.
    q : int8 [heads, queries, d]
        Of the heads that share the keys: of the last positions.
    k, v : int8 [n, d]
        The queries' positions are the last ones, their rows are appended by the job that is measured.
    entries : list of HeadParameters
        Of the heads.
    """

    name: str
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    entries: list[HeadParameters]


def head_tasks(vectors: VectorSet, entries: Sequence[HeadParameters], lengths: Sequence[int], *, prompts: bool = False
               ) -> Iterator[Task]:
    """Yield the token at each length of every causal head, or the whole prompt; each head has keys of its own."""
    for index, (name, entry) in enumerate(zip(vectors.names(), entries, strict=True)):
        for n in lengths:
            first = 0 if prompts else n - 1
            yield Task(name, vectors.q[index, None, first:n], vectors.k[index, :n], vectors.v[index, :n], [entry])


def resampled_tasks(vectors: VectorSet, entries: Sequence[HeadParameters], lengths: Sequence[int], heads: int,
                    queries: int = 1, seed: int = 0) -> Iterator[Task]:
    """Yield made-up long caches: rows of K and V of a real head, drawn together at random, with a step of noise.

    The estimates of a row are then spread as in the real head at any length. The first key and those of the queries'
    positions stay where they are. The ``heads queries`` query rows are the real head's last ones, all with its entry.
    """
    for index, (name, entry) in enumerate(zip(vectors.names(), entries, strict=True)):
        for n in lengths:
            rng = np.random.default_rng((seed, index, n))
            drawn = rng.integers(0, vectors.keys, n)
            drawn[0], drawn[-queries:] = 0, np.arange(vectors.keys - queries, vectors.keys)
            k, v = (np.clip(rows[index, drawn] + rng.integers(-1, 2, (n, rows.shape[2])), -127, 127).astype(np.int8)
                    for rows in (vectors.k, vectors.v))
            q = vectors.q[index, -heads * queries:].reshape(heads, queries, -1)
            yield Task(name, q, k, v, [entry] * heads)


class ShareKept:
    """Makes tasks of single heads, with relative thresholds that keep a share of the keys; nothing is compensated.

    Estimates are coarse, so no threshold keeps just that share of a row: each gets the one that brings all rows of its
    length so far nearest to it.

    Parameters
    ----------
    keep
    core
    """

    def __init__(self, keep: float, core: AttentionConfig) -> None:
        self._keep, self._core = keep, core
        self._missing: dict[int, float] = {}

    def task(self, task: Task) -> Task:
        """Return a task of the last position of the first head."""
        core, n = self._core, len(task.k)
        high = [split_halves(saturate_qk(rows, core.qk_max)[0], core.split, core.estimate_bits)[0]
                for rows in (task.q[0, -1:], task.k)]
        estimate = estimate_scores(*high)[0]
        gap = np.sort(estimate.max() - estimate)
        limits = np.unique(gap) + 1
        kept = np.searchsorted(gap, limits, side="left")
        missing = self._missing.get(n, 0.0) + self._keep * n
        nearest = int(np.argmin(np.abs(kept - missing)))
        self._missing[n] = missing - int(kept[nearest])
        entry = dataclasses.replace(task.entries[0], threshold=Threshold.relative(int(limits[nearest])),
                                    gains=NO_COMPENSATION)
        return dataclasses.replace(task, q=task.q[:1, -1:], entries=[entry])


def thresholds_at_width(learned: Thresholds, estimate_bits: int) -> Thresholds:
    """Return thresholds for estimates of another width than they were trained for, with scales as coarse as it takes.

    Raises
    ------
    LatteError
        They have no static scales.
    """
    if learned.q_scale is None or learned.k_scale is None:
        raise LatteError("the thresholds have no static scales, which a cache needs; add them with latte calibrate "
                         "--thresholds FILE")
    if estimate_bits == learned.estimate_bits:
        return learned
    coarser = (preset("small", estimate_bits=learned.estimate_bits).qk_max
               / preset("small", estimate_bits=estimate_bits).qk_max)
    return dataclasses.replace(learned, estimate_bits=estimate_bits, q_scale=learned.q_scale * coarser,
                               k_scale=learned.k_scale * coarser)
