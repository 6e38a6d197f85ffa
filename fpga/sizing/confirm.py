"""Cycles of a build in RTL against the cycle model's."""

import pathlib

from latte.fpga.sizing.proposal import sample_heads, sample_work
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.jobs import Job
from latte.rtl.cycle_prediction import predict_cycles
from latte.sim.core_run import build_core, run_core
from latte.sim.program import Program

__all__ = ["confirm_cycles"]

_HEADS = 3


def confirm_cycles(config: AttentionConfig, workload: tuple[int, float, bool],
                   build_folder: pathlib.Path) -> tuple[int, int]:
    """Return (predicted, simulated) cycles in which the core is busy with a few representative heads.

    Raises
    ------
    LatteError
        The RTL differs from the golden model in any bit.
    """
    keys, keep, causal = workload
    heads = sample_heads(keys, keep, causal, _HEADS)
    jobs = [Job(i, head.q, head.k, head.v, causal=causal) for i, head in enumerate(heads)]
    program = Program(config, {i: head.parameters for i, head in enumerate(heads)}, jobs)
    report = run_core(build_core(config, build_folder=build_folder), program, build_folder / "sweep" / config.name)
    if report.problems:
        raise LatteError(f"{config.name}: the RTL differs from the golden model: {report.problems[0]}")
    return predict_cycles(sample_work(keys, keep, causal, _HEADS), config).busy, report.counters["cycles"]
