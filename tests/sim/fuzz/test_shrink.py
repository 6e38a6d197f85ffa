"""What is left of a case that fails, whatever it fails of."""

import numpy as np

from latte.golden.config import THRESHOLD_KINDS, preset
from latte.sim.core_run import Run
from latte.sim.fuzz.case import random_case
from latte.sim.fuzz.shrink import shrink

CONFIG = preset("small", head_dim=8, max_seq_len=20, heads=4, threshold_kinds=THRESHOLD_KINDS, key_groups=4)


def runs_of(seed):
    return random_case(seed, CONFIG, "verilator", 20_000).runs


def alone(fails):
    """Return a trial of a failure that each run has by itself."""
    return lambda runs: [fails(run) for run in runs]


def test_a_value_is_all_that_is_left():
    def fails(run: Run) -> bool:
        return any(job.causal and (job.k > 100).any() for job in run.program.jobs)

    assert sum(map(fails, runs_of(2))) > 0
    [run] = shrink(runs_of(2), alone(fails))
    assert (run.stall, run.reset_at, list(run.program.faulty_writes)) == ("none", None, [])
    [job] = run.program.jobs
    assert job.q.shape == (0, 8) and job.k.shape == (1, 8) and np.count_nonzero(job.k) == 1 and not job.v.any()
    assert run.program.parameters.keys() <= {job.head}


def test_what_a_failure_needs_stays():
    def fails(run: Run) -> bool:
        return run.stall == "both" and run.reset_at is not None and len(run.program.jobs) >= 2

    seed = next(seed for seed in range(50) if any(map(fails, runs_of(seed))))
    [run] = shrink(runs_of(seed), alone(fails))
    assert fails(run) and len(run.program.jobs) == 2
    assert all(not len(job.q) and not len(job.k) for job in run.program.jobs)


def test_jobs_that_load_one_sequence_are_joined():
    def fails(run: Run) -> bool:
        return any(len(trace.keep[0]) >= 4 for _, trace in run.program.expected())

    [run] = shrink(runs_of(2), alone(fails))
    [job] = run.program.jobs
    assert (len(job.q), len(job.k)) == (1, 4)


def test_a_failure_of_what_an_earlier_run_left_keeps_that_run():
    runs = (*runs_of(3), *runs_of(4), *runs_of(5))
    first, last = runs[1], runs[-1]

    def trial(tried):
        return [run is last and any(other is first for other in tried[:place]) for place, run in enumerate(tried)]

    assert shrink(runs, trial) == (first, last)
