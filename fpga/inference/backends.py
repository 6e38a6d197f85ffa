"""Backends of ``latte infer`` besides the simulated cores: a board, and the golden models with predicted cycles."""

from collections.abc import Sequence

import numpy as np

from latte.fpga.host.driver import Board, JobRefused
from latte.golden.attention import HeadParameters
from latte.golden.backend import BackendFailure, BatchResult
from latte.golden.config import AttentionConfig
from latte.golden.jobs import Job, carry_out
from latte.golden.memory.backend import CacheBatch, check_status
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.cycles import Machine
from latte.golden.memory.jobs import CacheJob
from latte.golden.memory.jobs import carry_out as carry_out_in_memory
from latte.golden.memory.measurement import job_figures
from latte.rtl.common.head_work import HeadWork
from latte.rtl.cycle_prediction import predict_cycles

__all__ = ["BoardBackend", "GoldenBackend", "GoldenCacheBackend"]


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


class GoldenCacheBackend:
    """A `latte.golden.memory.backend.CacheBackend` whose jobs the golden model computes, and its model of time times.

    Parameters
    ----------
    machine
        Core and memory whose cycles are predicted.
    memory
        Of the machine's build; gets what jobs append.
    """

    def __init__(self, machine: Machine, memory: CacheMemory) -> None:
        self._machine = machine
        self._memory = memory

    def run(self, parameters: dict[int, HeadParameters], jobs: Sequence[CacheJob]) -> CacheBatch:
        """Carry out a batch; its cycles are predicted."""
        outputs, cycles = [], 0.0
        read = written = keys = values = 0
        for job in jobs:
            outcome = carry_out_in_memory(job, self._memory, parameters)
            check_status(job, outcome.status)
            outputs.append(outcome.outputs(job.q.shape[0]).astype(np.int32))
            figures = job_figures(outcome, job, [parameters[entry] for entry in job.entries], self._machine)
            cycles += figures.cycles
            keys += figures.key_rows
            values += figures.value_rows
            moved = outcome.traffic.moved
            of_job = moved["written"] + moved["spilled"] // 2
            written += of_job
            read += outcome.traffic.total - of_job
        return CacheBatch(outputs, round(cycles), read, written, keys, values)
