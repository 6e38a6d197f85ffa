"""A work list for the core with its data, and what the golden model says about every job."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator

import numpy as np

from latte.golden.attention import HeadParameters, HeadTrace, attend
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.quantizer import saturate_qk
from latte.golden.thresholds import Threshold
from latte.golden.vectors import VectorSet

__all__ = ["Job", "Program"]

_COLUMNS = ("head", "load_rows", "fresh", "query_rows", "causal")


@dataclasses.dataclass(frozen=True)
class Job:
    """One entry of the core's work list with its data.

    Parameters
    ----------
    head
        Entry of the register file.
    q : int8 [query_rows, d]
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


@dataclasses.dataclass(frozen=True)
class Program:
    """Register file writes and jobs, in order.

    Parameters
    ----------
    config
    parameters : dict of int to HeadParameters
        Register file entries, written before the first job.
    jobs
    """

    config: AttentionConfig
    parameters: dict[int, HeadParameters]
    jobs: list[Job]

    @classmethod
    def of_vectors(cls, vectors: VectorSet, config: AttentionConfig) -> "Program":
        """Return a program that computes the heads of `vectors` one after the other.

        Head ``i`` uses register ``i``.

        Raises
        ------
        LatteError
            There are more heads than registers, or one does not fit.
        """
        vectors.check_fits(config)
        if len(vectors) > config.heads:
            raise LatteError(f"{vectors.model}: {len(vectors)} heads, but the register file of {config.name!r} holds "
                             f"{config.heads}; choose more with --heads, or fewer heads")
        parameters = {i: vectors.parameters(i, config) for i in range(len(vectors))}
        jobs = [Job(i, vectors.q[i], vectors.k[i], vectors.v[i], causal=vectors.causal) for i in range(len(vectors))]
        return cls(config, parameters, jobs)

    def refusals(self) -> list[str | None]:
        """Return the status bit that each job is refused with, None for a job that is carried out."""
        refusals: list[str | None] = []
        length = 0
        for job in self.jobs:
            total = len(job.k) + (0 if job.fresh else length)
            if len(job.q) and (job.head >= self.config.heads or job.head not in self.parameters):
                refusals.append("head_invalid")
            elif total == 0:
                refusals.append("no_keys")
            elif total > self.config.max_seq_len or (job.causal and len(job.q) > total):
                refusals.append("too_long")
            else:
                refusals.append(None)
                length = total
                continue
            length = 0 if job.fresh else length
        return refusals

    def row_counts(self) -> list[int]:
        """Return the query rows of each job that produces output."""
        return [len(job.q) for job, refusal in zip(self.jobs, self.refusals(), strict=True)
                if refusal is None and len(job.q)]

    def expected(self) -> Iterator[tuple[int, HeadTrace]]:
        """Yield (index, golden trace) of each job that produces output."""
        keys = values = np.zeros((0, self.config.head_dim), np.int8)
        for index, (job, refusal) in enumerate(zip(self.jobs, self.refusals(), strict=True)):
            if job.fresh:
                keys, values = keys[:0], values[:0]
            if refusal is not None:
                continue
            keys, values = np.concatenate([keys, job.k]), np.concatenate([values, job.v])
            if len(job.q):
                parameters = self.parameters[job.head]
                yield index, attend(job.q, keys, values, parameters, self.config, causal=job.causal)

    def status(self) -> set[str]:
        """Return the sticky status bits that are set at the end."""
        bits = {refusal for refusal in self.refusals() if refusal is not None}
        if any(saturate_qk(rows)[1] for job in self.jobs for rows in (job.q, job.k)):
            bits.add("qk_saturated")
        return bits

    def save(self, folder: pathlib.Path) -> None:
        """Write the program into `folder`, for the simulator's process."""
        d = self.config.head_dim
        table = [(job.head, len(job.k), job.fresh, len(job.q), job.causal) for job in self.jobs]
        entries = [(head, *p.registers().values()) for head, p in self.parameters.items()]
        rows = {name: np.concatenate([np.zeros((0, d), np.int8)] + [getattr(job, name) for job in self.jobs])
                for name in ("q", "k", "v")}
        np.savez(folder / "program.npz", table=np.array(table, np.int64).reshape(-1, len(_COLUMNS)),
                 entries=np.array(entries, np.int64).reshape(-1, 4), **rows)
        (folder / "config.json").write_text(json.dumps(self.config.to_dict()))

    @classmethod
    def load(cls, folder: pathlib.Path) -> "Program":
        """Read what `save` wrote."""
        config = AttentionConfig(**json.loads((folder / "config.json").read_text()))
        with np.load(folder / "program.npz", allow_pickle=False) as archive:
            table, entries, q, k, v = (archive[name] for name in ("table", "entries", "q", "k", "v"))
        parameters = {int(head): HeadParameters(Threshold.relative(int(tau)), *map(int, scale))
                      for head, tau, *scale in entries}
        jobs, loaded, asked = [], 0, 0
        for head, load_rows, fresh, query_rows, causal in table.tolist():
            jobs.append(Job(head, q[asked:asked + query_rows], k[loaded:loaded + load_rows],
                            v[loaded:loaded + load_rows], bool(fresh), bool(causal)))
            loaded, asked = loaded + load_rows, asked + query_rows
        return cls(config, parameters, jobs)
