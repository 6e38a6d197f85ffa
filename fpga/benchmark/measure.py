"""The benchmark's measurements: every engine synthesised and simulated, spread over the machine's cores."""

import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from latte.fpga.benchmark import workloads
from latte.fpga.benchmark.areas import EngineArea, engine_area, unit_areas
from latte.fpga.benchmark.engine import run_engine
from latte.fpga.benchmark.results import PresetResult, Runs
from latte.fpga.benchmark.workloads import Workload
from latte.fpga.synthesis.multiplier import lut4_per_multiplier
from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.yosys import Usage
from latte.golden.config import AttentionConfig
from latte.golden.vectors import VectorSet
from latte.sim.core_run import build_core

__all__ = ["NARROW_BITS", "Plan", "measure"]

NARROW_BITS = 3
"""Width of the estimate of the builds that are measured beside those with 4."""
DEEP_QUEUES = {"survivor_fifo_depth": 4096, "query_rows": 1024}
"""What carries work from a heavy head to a light one."""
_QUERY_GROUP = 3
"""Query heads per key/value head of SmolLM2-135M."""


class Plan:
    """What is run on which engine of a preset.

    Parameters
    ----------
    config
    sets : sequence of VectorSet
        Real heads; the first that is not causal also serves for unequal heads, the first causal one for decoding.
    learned : sequence of (float, VectorSet, VectorSet)
        Share that real heads are to keep; the heads; and themselves with learned thresholds and compensation.
    explore
        Also run what is not sized for: a build as published, deep queues, other shares and lengths, decoding.
    """

    def __init__(self, config: AttentionConfig, sets: Sequence[VectorSet],
                 learned: Sequence[tuple[float, VectorSet, VectorSet]], *, explore: bool) -> None:
        self.config = config
        self.explore = explore
        real = [workloads.embedded(vectors, config) for vectors in sets]
        pruned = [workloads.pruned_to(*of_set, config) for of_set in learned]
        self.engines: dict[str, tuple[AttentionConfig, list[Workload]]] = {
            "dense": (config.dense(), real), "latte": (config, [*real, *pruned])}
        if explore:
            self._explore(sets)
        own = [(workloads.PAPER_KEEP, vectors, vectors) for vectors in sets if not vectors.causal][:1]
        narrow = (config.lean() if explore else config).replace(estimate_bits=NARROW_BITS)
        self.engines["narrow"] = narrow.replace(name=f"{narrow.name}-{NARROW_BITS}-bits"), [
            workloads.pruned_to(*of_set, narrow) for of_set in (own if explore else learned)]

    def _explore(self, sets: Sequence[VectorSet]) -> None:
        config = self.config
        at_paper_keep = workloads.kept_share(workloads.PAPER_KEEP)
        vision = next(vectors for vectors in sets if not vectors.causal)
        language = next(vectors for vectors in sets if vectors.causal)
        mixed = [workloads.mixed_heads(vision, config, alternate=alternate) for alternate in (False, True)]
        lengths = [keys for keys in workloads.LENGTHS if keys <= config.max_seq_len]
        for engine, more in {"dense": [at_paper_keep], "latte": [
                *(workloads.kept_share(keep) for keep in workloads.KEEP_RATIOS),
                *(workloads.of_length(keys) for keys in lengths),
                workloads.decode_steps(language, config, _QUERY_GROUP), *mixed]}.items():
            build, items = self.engines[engine]
            self.engines[engine] = build, [*items, *more]
        self.engines["lean"] = config.lean(), self.engines["dense"][1]
        self.engines["deep"] = config.replace(name=f"{config.name}-deep", **DEEP_QUEUES), mixed

    @property
    def steps(self) -> int:
        """Steps that `measure` reports for this preset: compilations, runs and syntheses."""
        return sum(1 + len(items) for _, items in self.engines.values()) + (5 if self.explore else 3)


def measure(plans: Sequence[Plan], target: Target, folder: pathlib.Path, *, processes: int,
            progress: Callable[[str], None] = lambda step: None) -> list[PresetResult]:
    """Carry out plans.

    Parameters
    ----------
    plans
    target
        Family whose areas count.
    folder
        The build folder: compiled models and syntheses in it are used again.
    processes
        Simulations and syntheses at a time.
    progress
        Called with the name of each finished step.

    Raises
    ------
    LatteError
        The RTL differs from the golden model in any bit, or a tool is missing.
    """
    area_folder = folder / "area"
    rate = lut4_per_multiplier(plans[0].config, target, area_folder / "product")

    def done(step: str, result):
        progress(step)
        return result

    def run(config: AttentionConfig, items: list[Workload]) -> Runs:
        model = done(f"compiled {config.name}", build_core(config, build_folder=folder))
        return {item.name: done(f"{config.name}: {item.name}",
                                run_engine(item, config, model, folder / "bench" / "runs" / config.name / item.name))
                for item in items}

    def area(config: AttentionConfig) -> EngineArea:
        return done(f"area of {config.name}", engine_area(config, target, rate, area_folder))

    def units(config: AttentionConfig) -> dict[str, list[tuple[int, Usage]]]:
        return done(f"units of {config.name}", unit_areas(config, target, area_folder))

    with ThreadPoolExecutor(processes) as pool:
        pending: list[tuple[Plan, dict[str, Future]]] = []
        # The longest first: the dense engine is the largest.
        for plan in sorted(plans, key=lambda plan: -plan.config.pairs_per_cycle):
            config = plan.config
            parts = {name: pool.submit(run, *engine) for name, engine in plan.engines.items()}
            parts |= {"dense_area": pool.submit(area, config.dense()), "latte_area": pool.submit(area, config),
                      "narrow_area": pool.submit(area, plan.engines["narrow"][0])}
            if plan.explore:
                parts |= {"lean_area": pool.submit(area, config.lean()), "units": pool.submit(units, config)}
            pending.append((plan, parts))
        try:
            results = {plan.config.name: PresetResult(plan.config, **{name: part.result() for name, part in
                                                                      parts.items()}) for plan, parts in pending}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [results[plan.config.name] for plan in plans]
