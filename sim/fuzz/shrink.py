"""Make a case that fails smaller, as long as it fails: fewer runs, jobs, rows, entries, stalls, smaller values."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from latte.golden.key_groups import ONE_GROUP
from latte.golden.pruned_mass import NO_COMPENSATION
from latte.golden.thresholds import Threshold
from latte.sim.core_run import Run

__all__ = ["shrink"]

Trial = Callable[[Sequence[Run]], list[bool]]
"""Runs programs in one simulator, and says which of them fail."""

_ROUNDS = 3
"""Most passes over all that can be made smaller."""
_TOGETHER = 16
"""Runs that are tried in one simulator."""


def shrink(runs: Sequence[Run], trial: Trial) -> tuple[Run, ...]:
    """Return what is left of runs of which some fail.

    A run that fails alone is made as small as it gets. Failures that need what earlier runs left in the memories keep
    these, as few as do.

    Parameters
    ----------
    runs
    trial
    """
    alone = next((run for run in runs if all(trial([run]))), None)
    if alone is None:
        return _fewer(runs, trial)
    for _ in range(_ROUNDS):
        before = alone
        for step in (_calmer, _fewer_jobs, _fewer_entries, _fewer_rows, _smaller_values):
            alone = _improve(alone, step, trial)
        if alone is before:
            break
    return (alone,)


def _fewer(runs: Sequence[Run], trial: Trial) -> tuple[Run, ...]:
    """Return as few of the runs as still have one that fails, in their order."""
    kept = list(runs[:next((i for i, failed in enumerate(trial(runs), 1) if failed), len(runs))])
    for run in kept[-2::-1]:
        fewer = [other for other in kept if other is not run]
        if any(trial(fewer)):
            kept = fewer
    return tuple(kept)


def _improve(run: Run, step: Callable[[Run], Iterator[Run]], trial: Trial) -> Run:
    """Take the first of a step's smaller runs that fails, again and again until none does.

    Several are tried in one simulator, which takes seconds to start. What is left in the end must fail alone as well.
    """
    best = run
    while (better := _first_failing(step(best), trial)) is not None:
        best = better
    return best if best is run or trial([best])[0] else run


def _first_failing(smaller: Iterator[Run], trial: Trial) -> Run | None:
    while tried := list(itertools.islice(smaller, _TOGETHER)):
        for run, failed in zip(tried, trial(tried), strict=True):
            if failed:
                return run
    return None


def _with_program(run: Run, **changes: Any) -> Run:
    return dataclasses.replace(run, program=dataclasses.replace(run.program, **changes))


def _parts(count: int) -> Iterator[slice]:
    """Yield parts of so many things: all, both halves, the quarters, and so on to each by itself."""
    size = count
    while size:
        yield from (slice(start, min(start + size, count)) for start in range(0, count, size))
        size = 0 if size == 1 else (size + 1) // 2


def _calmer(run: Run) -> Iterator[Run]:
    """Without reset, without stalls, without writes that the register file refuses."""
    if run.reset_at is not None:
        yield dataclasses.replace(run, reset_at=None)
    if run.stall != "none":
        yield dataclasses.replace(run, stall="none")
    if run.program.faulty_writes:
        yield _with_program(run, faulty_writes=[])


def _fewer_jobs(run: Run) -> Iterator[Run]:
    """Without some jobs, or with one in place of two that load keys of one sequence."""
    jobs = run.program.jobs
    for part in _parts(len(jobs)):
        if part.stop - part.start < len(jobs):
            yield _with_program(run, jobs=jobs[:part.start] + jobs[part.stop:])
    for place, (first, second) in enumerate(itertools.pairwise(jobs)):
        if not second.fresh:
            joined = dataclasses.replace(second, k=np.concatenate([first.k, second.k]),
                                         v=np.concatenate([first.v, second.v]), fresh=first.fresh)
            yield _with_program(run, jobs=[*jobs[:place], joined, *jobs[place + 2:]])


def _fewer_entries(run: Run) -> Iterator[Run]:
    """Without entries that no job names; without gains, groups, and codes that depend on the length."""
    parameters = run.program.parameters
    used = {job.head for job in run.program.jobs}
    if parameters.keys() - used:
        yield _with_program(run, parameters={head: entry for head, entry in parameters.items() if head in used})
    for changes in ({"gains": NO_COMPENSATION}, {"groups": ONE_GROUP}):
        plain = {head: dataclasses.replace(entry, **changes) for head, entry in parameters.items()}
        if plain != parameters:
            yield _with_program(run, parameters=plain)
    for head, entry in parameters.items():
        kind, codes = entry.threshold.kind, entry.threshold.codes
        if len(set(codes)) > 1:
            for code in dict.fromkeys(codes):
                flat = dataclasses.replace(entry, threshold=Threshold(kind, (code,) * len(codes)))
                yield _with_program(run, parameters=parameters | {head: flat})


def _fewer_rows(run: Run) -> Iterator[Run]:
    """With fewer queries, or fewer keys and values, of each job."""
    jobs = run.program.jobs
    for place, job in enumerate(jobs):
        for names in (("q",), ("k", "v")):
            for part in _parts(len(getattr(job, names[0]))):
                fewer = {name: np.delete(getattr(job, name), part, axis=0) for name in names}
                yield _with_program(run, jobs=[*jobs[:place], dataclasses.replace(job, **fewer), *jobs[place + 1:]])


def _smaller_values(run: Run) -> Iterator[Run]:
    """With zeros, or half as large values, in one operand of each job: all of it, or some elements of all rows."""
    jobs = run.program.jobs
    for place, job in enumerate(jobs):
        for name in ("q", "k", "v"):
            rows = getattr(job, name)
            for part in _parts(rows.shape[1] if len(rows) else 0):
                for divisor in (0, 2):
                    values = rows.copy()
                    values[:, part] = np.trunc(rows[:, part] / divisor) if divisor else 0
                    if (values != rows).any():
                        changed = dataclasses.replace(job, **{name: values})
                        yield _with_program(run, jobs=[*jobs[:place], changed, *jobs[place + 1:]])
