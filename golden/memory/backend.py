"""What carries out jobs on sequences in memory for a whole model: a simulated core, or the golden model itself."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.backend import BackendFailure
from latte.golden.memory.jobs import FAILURES, REFUSALS, CacheJob

__all__ = ["CacheBackend", "CacheBatch", "check_status"]


@dataclasses.dataclass(frozen=True)
class CacheBatch:
    """What came of the jobs of one batch.

    Parameters
    ----------
    outputs : list of int32 [heads, queries, d]
        Output codes of each job.
    cycles : int
        Clock cycles in which the core was at work.
    bytes_read, bytes_written : int
        Of the memory, in whole beats.
    keys_fetched, values_fetched : int
        Rows of survivors.
    """

    outputs: list[np.ndarray]
    cycles: int
    bytes_read: int
    bytes_written: int
    keys_fetched: int
    values_fetched: int


class CacheBackend(Protocol):
    """Something that computes jobs as `latte.golden.memory.jobs` defines them; its memory stays as they leave it."""

    def run(self, parameters: dict[int, HeadParameters], jobs: Sequence[CacheJob]) -> CacheBatch:
        """Write register entries, then carry out jobs, one behind the other.

        Parameters
        ----------
        parameters
            Of every head that the jobs name.
        jobs
            Each has queries.

        Raises
        ------
        BackendFailure
            There is no answer to all of them.
        """


def check_status(job: CacheJob, status: str | None) -> None:
    """Raise `BackendFailure` if a job was refused or failed."""
    if status is not None:
        raise BackendFailure(f"the job of slot {job.sequence.slot} ended with {status}: "
                             f"{(REFUSALS | FAILURES)[status]}")
