"""Register entries and jobs as one file for the simulator's process; what they mean is `latte.golden.jobs`."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters, HeadTrace
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.jobs import Job, carry_out, final_status, find_refusals
from latte.golden.key_groups import GROUP_BITS_MAX, KeyGroups
from latte.golden.pruned_mass import Gains
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.golden.vectors import VectorSet

__all__ = ["Program"]

_KINDS = list(ThresholdKind)
_COLUMNS = ("head", "load_rows", "fresh", "query_rows", "causal")


@dataclasses.dataclass(frozen=True)
class Program:
    """Register file writes and jobs, in order.

    Parameters
    ----------
    config
    parameters : dict of int to HeadParameters
        Register file entries, written before the first job.
    jobs
    faulty_writes : list of (head, word, data)
        Words of the register file, written before `parameters`. Those of a head that exists, up to the next head's,
        must be none that leave it known: too few, out of turn, or something that the build lacks.

    Raises
    ------
    LatteError
        A job's operands are no int8 rows of the configuration's head_dim, or do not fit each other.
    """

    config: AttentionConfig
    parameters: dict[int, HeadParameters]
    jobs: list[Job]
    faulty_writes: Sequence[tuple[int, int, int]] = ()

    def __post_init__(self) -> None:
        for index, job in enumerate(self.jobs):
            try:
                job.check(self.config)
            except LatteError as error:
                raise LatteError(f"job {index}: {error}") from None

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
        return find_refusals(self.jobs, self.parameters, self.config)

    def row_counts(self) -> list[int]:
        """Return the query rows of each job that produces output."""
        return [len(job.q) for job, refusal in zip(self.jobs, self.refusals(), strict=True)
                if refusal is None and len(job.q)]

    def expected(self) -> Iterator[tuple[int, HeadTrace]]:
        """Yield (index, golden trace) of each job that produces output."""
        return carry_out(self.jobs, self.parameters, self.config)

    def status(self) -> set[str]:
        """Return the sticky status bits that are set at the end."""
        faults = {"head_invalid" if head >= self.config.heads else "entry_invalid" for head, *_ in self.faulty_writes}
        return final_status(self.jobs, self.parameters, self.config) | faults

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all but the configuration, for `from_arrays`."""
        d = self.config.head_dim
        table = [(job.head, len(job.k), job.fresh, len(job.q), job.causal) for job in self.jobs]
        entries = [(head, _KINDS.index(p.threshold.kind), *p.threshold.codes, p.scale_mantissa, p.scale_shift,
                    p.gains.denominator, p.gains.mean, len(p.groups.elements), *_padded(p.groups.elements),
                    *_padded(p.groups.cuts)) for head, p in self.parameters.items()]
        rows = {name: np.concatenate([np.zeros((0, d), np.int8)] + [getattr(job, name) for job in self.jobs])
                for name in ("q", "k", "v")}
        return {"table": np.array(table, np.int64).reshape(-1, len(_COLUMNS)),
                "entries": np.array(entries, np.int64).reshape(len(entries), -1),
                "faulty_writes": np.array(self.faulty_writes, np.int64).reshape(-1, 3)} | rows

    @classmethod
    def from_arrays(cls, config: AttentionConfig, arrays: Mapping[str, np.ndarray]) -> "Program":
        """Return the program of which `to_arrays` made `arrays`."""
        q, k, v = (arrays[name] for name in ("q", "k", "v"))
        parameters = {}
        for head, kind, *codes in arrays["entries"].tolist():
            codes, (mantissa, shift, denominator, mean, used, *groups) = codes[:LENGTH_OCTAVES], codes[LENGTH_OCTAVES:]
            elements, cuts = groups[:GROUP_BITS_MAX][:used], groups[GROUP_BITS_MAX:][:used]
            parameters[head] = HeadParameters(Threshold(_KINDS[kind], tuple(codes)), mantissa, shift,
                                              Gains(denominator, mean), KeyGroups(tuple(elements), tuple(cuts)))
        jobs, loaded, asked = [], 0, 0
        for head, load_rows, fresh, query_rows, causal in arrays["table"].tolist():
            jobs.append(Job(head, q[asked:asked + query_rows], k[loaded:loaded + load_rows],
                            v[loaded:loaded + load_rows], bool(fresh), bool(causal)))
            loaded, asked = loaded + load_rows, asked + query_rows
        return cls(config, parameters, jobs, [tuple(write) for write in arrays["faulty_writes"].tolist()])

    def save(self, folder: pathlib.Path) -> None:
        """Write the program into `folder`, for the simulator's process."""
        arrays: dict[str, Any] = self.to_arrays()
        np.savez(folder / "program.npz", **arrays)
        (folder / "config.json").write_text(json.dumps(self.config.to_dict()))

    @classmethod
    def load(cls, folder: pathlib.Path) -> "Program":
        """Read what `save` wrote."""
        config = AttentionConfig(**json.loads((folder / "config.json").read_text()))
        with np.load(folder / "program.npz", allow_pickle=False) as archive:
            return cls.from_arrays(config, dict(archive))


def _padded(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return numbers + (0,) * (GROUP_BITS_MAX - len(numbers))
