"""What the engines are run on: the embedded heads, chosen keep ratios, lengths, decode steps, unequal heads."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from latte.fpga.sizing.proposal import sample_heads, tau_of_keep
from latte.golden.attention import HeadParameters
from latte.golden.bit_operations import PairCount
from latte.golden.config import AttentionConfig
from latte.golden.jobs import Job
from latte.golden.vectors import VectorSet
from latte.rtl.common.head_work import HeadWork
from latte.rtl.cycle_prediction import kept_keys
from latte.sim.program import Program

__all__ = ["KEEP_RATIOS", "LEARNED_KEEP", "LENGTHS", "MIXED_KEEP", "PAPER_KEEP", "Workload", "decode_steps", "embedded",
           "keep_name", "kept_share", "mixed_heads", "of_length", "pruned_to"]

PAPER_KEEP = 0.1484
"""Share of keys kept by the paper's vision models: 85.16 % are pruned."""
LEARNED_KEEP = 0.0954
"""Share that `deit_tiny/best_90` keeps of the images it was not trained on (golden/train/results)."""
KEEP_RATIOS = (0.02, 0.05, 0.1, PAPER_KEEP, 0.2, 0.3, 0.5, 0.7, 1.0)
LENGTHS = (64, 128, 256, 512, 1024)
MIXED_KEEP = (0.02, 0.6)
"""Keep ratios of the lightest and the heaviest head of a model with trained thresholds."""
_LENGTH_KEEP = 0.15
_VISION_KEYS = 197
_KEEP_HEADS, _LENGTH_HEADS = 12, 3
_DECODE_GROUPS = 4
_MOST_SHIFT, _HALVINGS = 4.0, 11
"""How far thresholds are moved, in natural log units, and how often the interval is halved."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A work list for any build of one arithmetic.

    Parameters
    ----------
    name
    jobs
        None is refused, and each has queries.
    parameters : dict of int to HeadParameters
        Register file entries.
    shaped_like : str
        Name of the workload whose heads have the same shapes: an engine that prunes nothing takes as long for both.
    """

    name: str
    jobs: Sequence[Job]
    parameters: dict[int, HeadParameters]
    shaped_like: str

    def program(self, config: AttentionConfig) -> Program:
        """Return what a core of `config` runs."""
        return Program(config, self.parameters, list(self.jobs))

    def head_work(self, config: AttentionConfig) -> list[HeadWork]:
        """Return what the cycle model needs of each job."""
        keys = np.zeros((0, config.head_dim), np.int8)
        work = []
        for job in self.jobs:
            keys = job.k if job.fresh else np.concatenate([keys, job.k])
            entry = self.parameters[job.head]
            keep = kept_keys(job.q, keys, entry, config, causal=job.causal)
            work.append(HeadWork.of_entry(keep, entry, config, causal=job.causal, load_rows=len(job.k),
                                          fresh=job.fresh))
        return work

    def pairs(self, config: AttentionConfig) -> PairCount:
        """Return the golden model's count of (query, key) pairs of all jobs."""
        work = self.head_work(config)
        return PairCount(sum(head.keep.shape[0] for head in work), max(head.keep.shape[1] for head in work),
                         sum(head.visible for head in work), sum(int(head.keep.sum()) for head in work))


def embedded(vectors: VectorSet, config: AttentionConfig) -> Workload:
    """Return all heads of a vector set, one after the other, with their own thresholds."""
    program = Program.of_vectors(vectors, config)
    return Workload(vectors.model, program.jobs, program.parameters, vectors.model)


def keep_name(keep: float) -> str:
    """Return the name of the workload of a keep ratio: ``keep14.84``."""
    return f"keep{100 * keep:g}"


def kept_share(keep: float) -> Workload:
    """Return real vision heads whose thresholds keep the given share of the pairs."""
    return dataclasses.replace(_sample(keep_name(keep), _VISION_KEYS, keep, _KEEP_HEADS),
                               shaped_like=keep_name(PAPER_KEEP))


def pruned_to(keep: float, vectors: VectorSet, learned: VectorSet, config: AttentionConfig) -> Workload:
    """Return heads as learned thresholds prune them, all moved by one number so that they keep the given share.

    Parameters
    ----------
    keep
        Share of the visible pairs of all heads.
    vectors
    learned
        The same with learned thresholds, gains and key groups, from `latte.sim.vector_sets.as_learned`.
    config
    """
    low, high = -_MOST_SHIFT, _MOST_SHIFT
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        moved = dataclasses.replace(learned, tau=np.maximum(learned.tau + np.float32(middle), np.float32(0)))
        workload = dataclasses.replace(embedded(moved, config), name=f"{learned.model}-{keep_name(keep)}",
                                       shaped_like=vectors.model)
        pairs = workload.pairs(config)
        low, high = (middle, high) if pairs.kept < keep * pairs.visible else (low, middle)
    return workload


def of_length(keys: int) -> Workload:
    """Return real heads of `keys` rows at 15 % kept."""
    return _sample(f"n{keys}", keys, _LENGTH_KEEP, _LENGTH_HEADS)


def _sample(name: str, keys: int, keep: float, count: int) -> Workload:
    heads = sample_heads(keys, keep, False, count)
    return Workload(name, [Job(i, head.q, head.k, head.v) for i, head in enumerate(heads)],
                    {i: head.parameters for i, head in enumerate(heads)}, name)


def decode_steps(vectors: VectorSet, config: AttentionConfig, queries: int) -> Workload:
    """Return one decoded token of a causal model, for some heads: load the cache, then one query of each query head.

    Parameters
    ----------
    vectors
        Causal heads; their first and last rows become the cache.
    config
    queries
        Query heads that share keys and values (grouped-query attention).
    """
    jobs, parameters = [], {}
    empty = np.zeros((0, config.head_dim), np.int8)
    for h in np.linspace(0, len(vectors) - 1, _DECODE_GROUPS).astype(int).tolist():
        parameters[h] = vectors.parameters(h, config)
        jobs.append(Job(h, vectors.q[h][-1:], vectors.k[h], vectors.v[h], causal=True))
        jobs += [Job(h, vectors.q[h][-1 - n:-n], empty, empty, fresh=False, causal=True) for n in range(1, queries)]
    return Workload("decode", jobs, parameters, "decode")


def mixed_heads(vectors: VectorSet, config: AttentionConfig, *, alternate: bool) -> Workload:
    """Return the heads of `vectors` with keep ratios from one end of `MIXED_KEEP` to the other, evenly in logarithm.

    As trained thresholds leave them: in the model's order, without a pattern (`alternate` False), or with light and
    heavy heads taking turns, which lets the queues carry work from one to the other.
    """
    ratios = np.geomspace(*MIXED_KEEP, len(vectors))
    order = np.random.default_rng(1).permutation(len(vectors))  # ratio of each place in the model's order
    heads = list(range(len(vectors)))
    if alternate:
        by_weight = sorted(heads, key=lambda h: order[h])
        light, heavy = by_weight[:len(heads) // 2], by_weight[len(heads) // 2:][::-1]
        heads = [h for pair in itertools.zip_longest(heavy, light) for h in pair if h is not None]
    parameters = {}
    for h in heads:
        tau = tau_of_keep(vectors.q[h], vectors.k[h], ratios[order[h]], config, causal=vectors.causal)
        parameters[h] = vectors.parameters(h, config).with_tau(tau)
    jobs = [Job(h, vectors.q[h], vectors.k[h], vectors.v[h], causal=vectors.causal) for h in heads]
    return Workload(f"mixed{'-alternating' if alternate else ''}", jobs, parameters, vectors.model)
