"""One engine on one workload, in RTL: every bit compared, cycles and the hardware's own counters read."""

import dataclasses
import pathlib

from latte.fpga.benchmark.workloads import Workload
from latte.golden.bit_operations import PairCount
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.rtl.cycle_prediction import predict_cycles
from latte.rtl.engines import engine_of
from latte.sim.core_run import run_core
from latte.sim.runner import Model

__all__ = ["EngineRun", "run_engine"]


@dataclasses.dataclass(frozen=True)
class EngineRun:
    """What a build needed for a workload.

    Parameters
    ----------
    config
    workload, shaped_like : str
        Its name, and that of the one whose heads have the same shapes.
    pairs : PairCount
        By the golden model.
    jobs : int
    cycles : int
        From the first job's offer to the last output, loading included.
    steady_cycles : float
        Per job, without the first: from the previous job's last output to its own.
    counters : dict of str to int
        The hardware's, at the end.
    predicted : int or None
        Cycles by the engine's cycle model; None if it has none.
    """

    config: AttentionConfig
    workload: str
    shaped_like: str
    pairs: PairCount
    jobs: int
    cycles: int
    steady_cycles: float
    counters: dict[str, int]
    predicted: int | None

    @property
    def kept(self) -> float:
        """Share of visible pairs that survived."""
        return self.pairs.kept / self.pairs.visible

    @property
    def bound(self) -> float:
        """Cycles that the estimator's array alone needs for the visible pairs."""
        return self.pairs.visible * self.config.dim_slices / self.config.pairs_per_cycle

    @property
    def work_bound(self) -> float:
        """Cycles that the busiest array needs if nothing ever waits: estimator, or the units behind it."""
        slices = max(self.config.cross_slices, self.config.value_slices)
        return max(self.bound, self.pairs.kept * slices if engine_of(self.config).filters else 0)

    @property
    def cycles_over_bound(self) -> float:
        """Cycles as a multiple of `bound`."""
        return self.cycles / self.bound

    @property
    def utilisation(self) -> dict[str, float]:
        """Share of all cycles in which each unit worked."""
        return {unit: self.counters[f"{unit}_beats"] / self.cycles
                for unit in ("estimator", "cross", "value")
                if unit != "cross" or engine_of(self.config).filters}

    @property
    def stalls(self) -> dict[str, float]:
        """Share of all cycles by cause: the estimator's waiting, then the filter's and the output's."""
        causes = ("stall_key_load", "stall_query_load", "stall_filter", "filter_stalls", "output_stalls")
        return {cause: self.counters[cause] / self.cycles for cause in causes}

    @property
    def counted_bit_operations(self) -> int:
        """Bit operations by the hardware's counters of pairs and survivors."""
        counted = PairCount(self.pairs.rows, self.pairs.keys, self.counters["pairs_estimated"],
                            self.counters["survivors"])
        return _bit_operations(counted, self.config)

    @property
    def golden_bit_operations(self) -> int:
        """Bit operations by the golden model's count of pairs."""
        return _bit_operations(self.pairs, self.config)

    @property
    def model_error(self) -> float | None:
        """Relative error of the cycle model."""
        return None if self.predicted is None else self.predicted / self.cycles - 1


def _bit_operations(pairs: PairCount, config: AttentionConfig) -> int:
    if engine_of(config).filters:
        return pairs.latte(config.head_dim, config.estimate_bits)
    return pairs.dense(config.head_dim)


def run_engine(workload: Workload, config: AttentionConfig, model: Model, folder: pathlib.Path) -> EngineRun:
    """Run a workload on a compiled core.

    Parameters
    ----------
    workload
    config
    model
        From `latte.sim.core_run.build_core`, of `config`.
    folder
        Of the run, emptied first.

    Raises
    ------
    LatteError
        The RTL differs from the golden model in any bit.
    """
    report = run_core(model, workload.program(config), folder)
    if report.problems:
        raise LatteError(f"{config.name} on {workload.name}: the RTL differs from the golden model: "
                         f"{report.problems[0]}")
    cycles = [job["cycles"] for job in report.jobs.values()]
    predicted = predict_cycles(workload.head_work(config), config).total if engine_of(config).cycle_model else None
    return EngineRun(config, workload.name, workload.shaped_like, _pairs(workload, config), len(cycles), report.elapsed,
                     sum(cycles[1:]) / max(1, len(cycles) - 1), report.counters, predicted)


def _pairs(workload: Workload, config: AttentionConfig) -> PairCount:
    """Return the pairs that an engine keeps: the dense one keeps all that are visible."""
    pairs = workload.pairs(config)
    return pairs if engine_of(config).filters else dataclasses.replace(pairs, kept=pairs.visible)
