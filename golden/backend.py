"""What carries out jobs for a whole model: a simulated core, a board, or the golden model itself."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.errors import LatteError
from latte.golden.jobs import Job

__all__ = ["Backend", "BackendFailure", "BatchResult"]


class BackendFailure(LatteError):
    """The hardware refused a job, hung, or broke a rule of its ports: its answer is wrong, not the user's input."""


@dataclasses.dataclass(frozen=True)
class BatchResult:
    """What came of the jobs of one batch.

    Parameters
    ----------
    outputs : list of int32 [query_rows, d]
        Output codes of each job that has queries, in job order.
    cycles : int
        Clock cycles in which the core was loading or computing.
    """

    outputs: list[np.ndarray]
    cycles: int


class Backend(Protocol):
    """Something that computes jobs as `latte.golden.jobs` defines them."""

    def run(self, parameters: dict[int, HeadParameters], jobs: Sequence[Job]) -> BatchResult:
        """Write register entries, then carry out jobs, one behind the other.

        Parameters
        ----------
        parameters
            Of every head that the jobs name.
        jobs
            The first one starts a sequence.

        Raises
        ------
        BackendFailure
            There is no answer to all of them.
        """
