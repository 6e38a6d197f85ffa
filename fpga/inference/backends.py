"""Backends of ``latte infer`` besides the simulated core: a board, and the golden model with predicted cycles."""

from collections.abc import Sequence

from latte.fpga.host.driver import Board, JobRefused
from latte.golden.attention import HeadParameters
from latte.golden.backend import BackendFailure, BatchResult
from latte.golden.config import AttentionConfig
from latte.golden.jobs import Job, carry_out
from latte.rtl.common.head_work import HeadWork
from latte.rtl.cycle_prediction import predict_cycles

__all__ = ["BoardBackend", "GoldenBackend"]


class BoardBackend:
    """A `latte.golden.backend.Backend` whose jobs a board computes.

    Parameters
    ----------
    board
        Open session.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def run(self, parameters: dict[int, HeadParameters], jobs: Sequence[Job]) -> BatchResult:
        """Carry out a batch; its cycles are the board's own count, in which it also waits for the serial line."""
        self._board.clear()
        self._board.load_parameters(parameters)
        try:
            outputs = [self._board.run(job) for job in jobs]
        except JobRefused as error:
            raise BackendFailure(str(error)) from None
        report = self._board.report()
        if "overflow" in report.status:
            raise BackendFailure("a queue of the core lost an entry")
        return BatchResult([output for output in outputs if len(output)], report.counters["cycles"])


class GoldenBackend:
    """A `latte.golden.backend.Backend` whose jobs the golden model computes, and the cycle model times.

    Parameters
    ----------
    config
        Of the build.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self._config = config

    def run(self, parameters: dict[int, HeadParameters], jobs: Sequence[Job]) -> BatchResult:
        """Carry out a batch; its cycles are predicted."""
        traces = dict(carry_out(jobs, parameters, self._config))
        works = [HeadWork.of_entry(trace.keep, parameters[jobs[index].head], self._config, causal=jobs[index].causal,
                                   load_rows=len(jobs[index].k), fresh=jobs[index].fresh)
                 for index, trace in traces.items()]
        return BatchResult([trace.output for trace in traces.values()], predict_cycles(works, self._config).busy)
