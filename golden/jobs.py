"""What a job of the work list means: which are refused, what they append, what they compute.

A job loads keys and values, of a new sequence or behind those that are there, and then asks queries. That one form is
an ordinary head (``Job(h, q, k, v)``), a decoded token (one key, one query, ``fresh=False``), and grouped-query
attention (another head's queries, no keys, ``fresh=False``).
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from latte.golden.attention import HeadParameters, HeadTrace, attend
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP
from latte.golden.operands import check_rows
from latte.golden.quantizer import saturate_qk

__all__ = ["COUNT_BITS", "REFUSALS", "Job", "Sequence", "carry_out", "final_status", "find_refusals"]

COUNT_BITS = 16
"""Width of head numbers and of counts of rows in a job: wide enough to say, and so to refuse, more than any build
holds."""

REFUSALS = ("head_invalid", "no_keys", "too_long", "groups_differ")
"""Status bits that say why a job was refused; the first that applies is set."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One entry of the work list with its data.

    Parameters
    ----------
    head
        Entry of the register file.
    q : int8 [query_rows, d]
        The last positions of the sequence after loading.
    k, v : int8 [load_rows, d]
    fresh
        Start a new sequence with `k`, `v`; otherwise append them.
    causal
    """

    head: int
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    fresh: bool = True
    causal: bool = False

    def check(self, config: AttentionConfig) -> None:
        """Raise `LatteError` if the job cannot be handed to a core of `config` at all.

        What a core judges by itself, and answers with a status bit, is `Sequence.load`'s business.
        """
        most = (1 << COUNT_BITS) - 1
        if not isinstance(self.head, int | np.integer) or not 0 <= self.head <= most:
            raise LatteError(f"a job's head must be an integer from 0 to {most}, not {self.head!r}")
        for name in ("q", "k", "v"):
            rows = getattr(self, name)
            check_rows(name, rows, config.head_dim)
            if len(rows) > most:
                raise LatteError(f"{name!r} has {len(rows)} rows, but a job holds at most {most}; split it")
        if len(self.k) != len(self.v):
            raise LatteError(f"'k' has {len(self.k)} rows, but 'v' has {len(self.v)}; give a value for each key")


class Sequence:
    """The keys and values that jobs load and share, and the register file they compute with.

    Parameters
    ----------
    config
    parameters : dict of int to HeadParameters
        Register file entries that were written.

    Attributes
    ----------
    keys, values : int8 [n, d]
        Of the present sequence; empty before the first job, and after a refused fresh one.
    groups
        Of the keys: those of the entry under which the first of them were loaded.
    """

    def __init__(self, config: AttentionConfig, parameters: dict[int, HeadParameters]) -> None:
        self.config = config
        self.parameters = parameters
        self.keys = self.values = np.zeros((0, config.head_dim), np.int8)
        self.groups = ONE_GROUP

    def load(self, job: Job) -> str | None:
        """Judge a job and load its keys and values.

        A refused job loads nothing, and if it would have begun a sequence it leaves none behind, so that jobs which
        meant to use its keys are refused too.

        In a build with several key groups, keys get their groups as they are loaded: a job that loads needs an entry
        even without queries, and one that goes on with a sequence needs an entry with the sequence's groups.

        Returns
        -------
        str or None
            The status bit that the job is refused with, one of `REFUSALS`.
        """
        if job.fresh:
            self.keys, self.values = self.keys[:0], self.values[:0]
        length = len(self.keys) + len(job.k)
        grouped = self.config.group_bits > 0
        needs_entry = len(job.q) > 0 or (grouped and len(job.k) > 0)
        if needs_entry and (job.head >= self.config.heads or job.head not in self.parameters):
            return "head_invalid"
        if length == 0:
            return "no_keys"
        if length > self.config.max_seq_len or (job.causal and len(job.q) > length):
            return "too_long"
        if grouped and needs_entry:
            groups = self.parameters[job.head].groups
            if len(self.keys) == 0:
                self.groups = groups
            elif groups != self.groups:
                return "groups_differ"
        self.keys, self.values = np.concatenate([self.keys, job.k]), np.concatenate([self.values, job.v])
        return None

    def compute(self, job: Job) -> HeadTrace:
        """Return the golden trace of a job that was loaded and has queries."""
        return attend(job.q, self.keys, self.values, self.parameters[job.head], self.config, causal=job.causal)


def find_refusals(jobs: Iterable[Job], parameters: dict[int, HeadParameters],
                  config: AttentionConfig) -> list[str | None]:
    """Return the status bit that each job is refused with, None for a job that is carried out."""
    sequence = Sequence(config, parameters)
    return [sequence.load(job) for job in jobs]


def carry_out(jobs: Iterable[Job], parameters: dict[int, HeadParameters],
              config: AttentionConfig) -> Iterator[tuple[int, HeadTrace]]:
    """Yield (index, golden trace) of each job that produces output: not refused, and with queries."""
    sequence = Sequence(config, parameters)
    for index, job in enumerate(jobs):
        if sequence.load(job) is None and len(job.q):
            yield index, sequence.compute(job)


def final_status(jobs: list[Job], parameters: dict[int, HeadParameters], config: AttentionConfig) -> set[str]:
    """Return the sticky status bits that are set after the jobs.

    An element above `AttentionConfig.qk_max` sets ``qk_saturated`` as it comes in, of a refused job as well.
    """
    bits = {refusal for refusal in find_refusals(jobs, parameters, config) if refusal is not None}
    if any(saturate_qk(rows, config.qk_max)[1] for job in jobs for rows in (job.q, job.k)):
        bits.add("qk_saturated")
    return bits
