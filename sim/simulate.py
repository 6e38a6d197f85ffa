"""Simulate whole vector files: heads are spread over processes and every head is judged against the golden model."""

import pathlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from latte.golden.attention import dequantize
from latte.golden.config import AttentionConfig, ceil_div
from latte.golden.jobs import Job
from latte.golden.register_image import RegisteredVectors
from latte.golden.vectors import VectorSet
from latte.golden.whole_file import whole_file
from latte.sim.core_run import CoreReport, run_core
from latte.sim.program import Program
from latte.sim.runner import Model
from latte.sim.verdict import HeadRun, JudgedHead

__all__ = ["shard_heads", "simulate", "write_dump"]

_HeadId = tuple[int, int]
"""(set, head index in it)."""


def shard_heads(sets: list[VectorSet], shards: int, heads: int) -> list[list[_HeadId]]:
    """Distribute heads over simulations of about equal work.

    Parameters
    ----------
    sets
    shards
        Simulations to aim at.
    heads
        Most heads of one simulation: the entries of the register file.

    Returns
    -------
    list of list of (set, head index)
        In input order within a shard.
    """
    work = {(s, h): vectors.keys ** 2 * (1 if vectors.causal else 2)
            for s, vectors in enumerate(sets) for h in range(len(vectors))}
    count = max(min(shards, len(work)), ceil_div(len(work), heads))
    loads: list[tuple[int, list[_HeadId]]] = [(0, []) for _ in range(count)]
    for identity in sorted(work, key=lambda identity: -work[identity]):
        place = min((i for i in range(count) if len(loads[i][1]) < heads), key=lambda i: loads[i][0])
        loads[place] = (loads[place][0] + work[identity], [*loads[place][1], identity])
    return [sorted(identities) for _, identities in loads]


def simulate(sets: list[VectorSet], model: Model, config: AttentionConfig, folder: pathlib.Path, *, processes: int,
             stall: str = "none", seed: int = 1, progress: Callable[[int], None] = lambda done: None,
             keep_arrays: bool = False, run: Callable[..., CoreReport] = run_core
             ) -> tuple[list[HeadRun], list[CoreReport]]:
    """Run all heads of all sets on a compiled core.

    Parameters
    ----------
    sets
        Each fits `config`. `RegisteredVectors` are all of one register image, which is loaded as a whole.
    model
        From `latte.sim.core_run.build_core`.
    config
    folder
        Of the runs; ``shard0``, ``shard1`` ... are emptied first.
    processes
        Simulators to run at a time.
    stall, seed
        Stall matrix entry and its seed.
    progress
        Called now and then with the number of finished heads.
    keep_arrays
        Whether the result holds the arrays.
    run
        What runs a program on the model.

    Returns
    -------
    heads : list of HeadRun
        In input order.
    reports : list of CoreReport
        One per simulation.
    """
    shards = shard_heads(sets, processes, config.heads)
    folders = [folder / f"shard{i}" for i in range(len(shards))]
    with ThreadPoolExecutor(processes) as pool:
        runs = [pool.submit(run, model, _program(sets, shard, config), path, stall=stall, seed=seed)
                for shard, path in zip(shards, folders, strict=True)]
        _follow(runs, folders, progress)
    reports = [run.result() for run in runs]
    heads = {}
    for shard, report in zip(shards, reports, strict=True):
        for job, (s, h) in enumerate(shard):
            heads[s, h] = _judge(sets[s], h, report, job, config, keep_arrays)
    return [heads[identity] for identity in sorted(heads)], reports


def _program(sets: list[VectorSet], shard: list[_HeadId], config: AttentionConfig) -> Program:
    parameters, jobs = {}, []
    for register, (s, h) in enumerate(shard):
        vectors = sets[s]
        if isinstance(vectors, RegisteredVectors):
            parameters, register = vectors.image.parameters(), vectors.register(h)
        else:
            parameters[register] = vectors.parameters(h, config)
        jobs.append(Job(register, vectors.q[h], vectors.k[h], vectors.v[h], causal=vectors.causal))
    return Program(config, parameters, jobs)


def _follow(runs: list[Future], folders: list[pathlib.Path], progress: Callable[[int], None]) -> None:
    """Report finished heads until all simulations have ended; a testbench writes a byte per head."""
    while not all(run.done() for run in runs):
        time.sleep(0.1)
        marks = (path / "progress" for path in folders)
        progress(sum(mark.stat().st_size for mark in marks if mark.exists()))


def _judge(vectors: VectorSet, h: int, report: CoreReport, job: int, config: AttentionConfig,
           keep_arrays: bool) -> HeadRun:
    judged = JudgedHead(vectors, h, config)
    if job not in report.jobs:
        return judged.failed(report.failure or "no output")
    entry, produced = report.jobs[job], report.result(job)
    differences = [*entry["mismatches"], *([report.failure] if report.failure else [])]
    work = entry["visible"] * config.dim_slices / config.pairs_per_cycle
    return judged.judge(judged.trace(), produced["output"], differences, kept=entry["kept"], visible=entry["visible"],
                        cycles=entry["cycles"], utilisation=work / max(1, entry["cycles"]),
                        **(produced if keep_arrays else {}))


def write_dump(path: pathlib.Path, vectors: VectorSet, heads: list[HeadRun], config: AttentionConfig) -> None:
    """Write what the hardware produced for one vector file (DESIGN section 3), whole or not at all.

    Each head needs its arrays.
    """
    keep, score, output = zip(*(head.arrays() for head in heads), strict=True)
    arrays: dict[str, Any] = {
        "keep": np.stack(keep).astype(bool),
        "score": np.stack(score).astype(np.int32),
        "out": np.stack([dequantize(codes, vectors.v_scale[i], config) for i, codes in enumerate(output)]),
        "cycles": np.array([head.cycles for head in heads], np.int64),
    }
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)
