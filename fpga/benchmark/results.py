"""Figures of a benchmark: names, bars, the committed baseline and the difference to it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latte.fpga.baselines import update_baseline
from latte.fpga.benchmark.areas import EngineArea
from latte.fpga.benchmark.engine import EngineRun
from latte.fpga.benchmark.tables import TABLES
from latte.fpga.benchmark.workloads import KEEP_RATIOS, LEARNED_KEEP, LENGTHS, PAPER_KEEP, keep_name
from latte.fpga.synthesis.yosys import Usage
from latte.golden.bit_operations import CROSS_BITOPS, DENSE_BITOPS, ESTIMATE_BITOPS, VALUE_BITOPS, bit_operations_saved
from latte.golden.config import AttentionConfig

__all__ = ["LEARNED_WORKLOAD", "NARROW_WORKLOADS", "Bar", "Comparison", "Losses", "PresetResult", "differences",
           "fitted_exponent", "make_baseline", "model_seconds", "pair_costs", "preset_figures", "run_figures"]

Figure = dict[str, Any]
_VISION, _VISION_HEADS = "deit-tiny", 36
Runs = dict[str, EngineRun]
LEARNED_WORKLOAD = f"{_VISION}-best_90-{keep_name(LEARNED_KEEP)}"
"""What the advantage of a build with everything is measured on: a model that is still as accurate."""
NARROW_WORKLOADS = {False: LEARNED_WORKLOAD, True: f"{_VISION}-{keep_name(PAPER_KEEP)}"}
"""What a build with a narrower estimate is measured on, by whether the preset is explored."""
_LANGUAGE, _LANGUAGE_HEADS = "smollm2-135m-keep10", 270


@dataclasses.dataclass(frozen=True)
class Bar:
    """What a figure has to reach.

    Parameters
    ----------
    figure
        Name.
    value
    limit
    least
        Whether the limit is the least (True) or the most (False) that will do.
    """

    figure: str
    value: float
    limit: float
    least: bool

    @property
    def met(self) -> bool:
        """Whether the figure reaches it."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        return (f"{self.figure} = {self.value:.4f}, {'at least' if self.least else 'at most'} {self.limit:g}: "
                f"{'met' if self.met else 'MISSED'}")


def run_figures(prefix: str, run: EngineRun) -> list[Figure]:
    """Return the figures of one run, named ``<prefix>.<workload>.<figure>``."""
    name = f"{prefix}.{run.workload}"
    figures = [
        _figure(f"{name}.cycles", "cycles", run.cycles),
        _figure(f"{name}.cycles_per_head", "cycles", run.steady_cycles),
        _figure(f"{name}.cycles_over_bound", "ratio", run.cycles_over_bound),
        _figure(f"{name}.kept", "ratio", run.kept)]
    figures += [_figure(f"{name}.{unit}_utilisation", "ratio", value) for unit, value in run.utilisation.items()]
    figures += [_figure(f"{name}.{cause}", "ratio", value) for cause, value in run.stalls.items()]
    figures += [_figure(f"{name}.bit_operations", "count", run.counted_bit_operations,
                        golden=run.golden_bit_operations)]
    if run.model_error is not None:
        figures += [_figure(f"{name}.model_error", "ratio", run.model_error)]
    return figures


def _figure(name: str, unit: str, value: float, **others: Any) -> Figure:
    return {"name": name, "unit": unit, "value": value} | others


@dataclasses.dataclass(frozen=True)
class Comparison:
    """LATTE against the dense engine of as many pairs per cycle, on one workload.

    Parameters
    ----------
    latte, dense : EngineRun
        The same heads.
    latte_area, dense_area : EngineArea
    """

    latte: EngineRun
    dense: EngineRun
    latte_area: EngineArea
    dense_area: EngineArea

    @property
    def throughput_per_area(self) -> float:
        """Heads per cycle and LUT4 equivalent, as a multiple of the dense engine's."""
        return self.dense.cycles * self.dense_area.lut4 / (self.latte.cycles * self.latte_area.lut4)

    def losses(self) -> "Losses":
        """Return where the distance to the limit by bit operations goes."""
        latte, dense = self.latte_area.by_role(), self.dense_area.by_role()
        arithmetic = ("cross", "P·V")
        used = self.latte.utilisation["value"] / self.latte.utilisation["estimator"]
        array, behind = latte["scores"], sum(latte[role] for role in arithmetic)
        dense_units = dense["scores"] + dense["P·V"]
        limit = 1 / (1 - bit_operations_saved(self.latte.kept, self.latte.config.estimate_bits))
        return Losses(limit, dense_units / (array + used * behind), dense_units / (array + behind),
                      self.dense_area.lut4 / self.latte_area.lut4, self.throughput_per_area)


@dataclasses.dataclass(frozen=True)
class Losses:
    """From the limit to the measured advantage, one cause after the other; each is an advantage over dense.

    Parameters
    ----------
    bit_operations
        Equal hardware, every bit operation the same price, nothing idle: ``128 / (16 + 96 keep)`` with 4-bit estimates.
    real_prices
        The units at their synthesised size, those behind the estimator only as large as they are busy.
    whole_units
        Those units as they are: they idle now and then.
    whole_core
        With memories, softmax, division and control, which both engines need.
    measured
        With the cycles that both engines took.
    """

    bit_operations: float
    real_prices: float
    whole_units: float
    whole_core: float
    measured: float


@dataclasses.dataclass(frozen=True)
class PresetResult:
    """Everything measured of one preset.

    Parameters
    ----------
    config
    latte, dense : dict of str to EngineRun
        By workload: the preset, and its dense baseline.
    latte_area, dense_area : EngineArea
    narrow : dict of str to EngineRun
        With a narrower estimate: the preset, or where it is explored itself without what is beyond the paper.
    narrow_area : EngineArea
    lean, deep : dict of str to EngineRun
        The preset without what is beyond the paper, and with deeper queues; none where it is not explored.
    lean_area : EngineArea or None
    units : dict of str to list of (lanes, Usage)
        Area of the arithmetic units at several lane counts.
    """

    config: AttentionConfig
    latte: Runs
    dense: Runs
    latte_area: EngineArea
    dense_area: EngineArea
    narrow: Runs
    narrow_area: EngineArea
    lean: Runs = dataclasses.field(default_factory=dict)
    deep: Runs = dataclasses.field(default_factory=dict)
    lean_area: EngineArea | None = None
    units: dict[str, list[tuple[int, Usage]]] = dataclasses.field(default_factory=dict)

    @property
    def explored(self) -> bool:
        """Whether more was run than what the preset is sized for."""
        return self.lean_area is not None

    @property
    def runs(self) -> dict[str, Runs]:
        """Runs by the engine's name."""
        return {"latte": self.latte, "lean": self.lean, "narrow": self.narrow, "deep": self.deep, "dense": self.dense}

    @property
    def areas(self) -> dict[str, EngineArea]:
        """Areas by the engine's name."""
        return {"latte": self.latte_area} | ({} if self.lean_area is None else {"lean": self.lean_area}) | {
            "narrow": self.narrow_area, "dense": self.dense_area}

    def comparison(self, workload: str) -> Comparison:
        """Return LATTE against dense on a workload; the dense engine's cycles do not depend on what is pruned."""
        return Comparison(self.latte[workload], self.dense[self.latte[workload].shaped_like], self.latte_area,
                          self.dense_area)

    def lean_comparison(self, workload: str) -> Comparison:
        """Return LATTE as published against dense, on a workload of both; of a preset that is explored."""
        assert self.lean_area is not None
        return Comparison(self.lean[workload], self.dense[workload], self.lean_area, self.dense_area)

    def builds(self) -> dict[str, Comparison]:
        """Return each build against dense, at the share of keys that its thresholds keep of an accurate model.

        The build with everything, the one as published, and the one of the two with a narrower estimate.
        """
        name = self.config.name
        builds = {name: self.comparison(LEARNED_WORKLOAD)}
        if self.explored:
            builds[f"{name}.lean"] = self.lean_comparison(keep_name(PAPER_KEEP))
        run = self.narrow[NARROW_WORKLOADS[self.explored]]
        return builds | {f"{name}.narrow": Comparison(run, self.dense[run.shaped_like], self.narrow_area,
                                                      self.dense_area)}

    def keep_comparisons(self) -> list[Comparison]:
        """Return LATTE against dense at each keep ratio."""
        return [self.comparison(keep_name(keep)) for keep in KEEP_RATIOS]


def preset_figures(result: PresetResult) -> list[Figure]:
    """Return the figures of one preset but the times."""
    name = result.config.name

    def prefix_of(engine: str) -> str:
        return name if engine == "latte" else f"{name}.{engine}"

    figures = [figure for engine, runs in result.runs.items() for run in runs.values()
               for figure in run_figures(prefix_of(engine), run)]
    for engine, area in result.areas.items():
        prefix = prefix_of(engine)
        figures += [_figure(f"{prefix}.area", "LUT4", area.lut4)]
        figures += [_figure(f"{prefix}.{kind}", "count", getattr(area.usage, kind))
                    for kind in ("lut4_equivalents", "ff", "dsp", "bram")]
    advantages = {f"{name}.{workload}": result.comparison(workload) for workload, run in result.latte.items()
                  if run.shaped_like in result.dense}
    advantages |= {f"{name}.lean.{workload}": result.lean_comparison(workload) for workload in result.lean}
    narrow = result.builds()[f"{name}.narrow"]
    advantages[f"{name}.narrow.{narrow.latte.workload}"] = narrow
    figures += [_figure(f"{prefix}.throughput_per_area_vs_dense", "ratio", item.throughput_per_area)
                for prefix, item in advantages.items()]
    for prefix, item in result.builds().items():
        figures += [_figure(f"{prefix}.advantage.{step}", "ratio", value)
                    for step, value in dataclasses.asdict(item.losses()).items()]
    costs = pair_costs(result.config, result.latte_area, result.dense_area)
    figures += [_figure(f"{name}.lut4_per_bit_operation.{unit}", "count", value) for unit, value in costs.items()]
    figures += [_figure(f"{name}.{run.workload}.cycles_over_work_bound", "ratio", run.cycles / run.work_bound)
                for run in result.latte.values() if run.workload.startswith("mixed")]
    figures += [_figure(f"{name}.deep.{run.workload}.cycles_over_work_bound", "ratio", run.cycles / run.work_bound)
                for run in result.deep.values()]
    return figures + (_growth_figures(result) if result.explored else [])


def _growth_figures(result: PresetResult) -> list[Figure]:
    """Return exponents: 1 is linear."""
    name = result.config.name
    lengths = [keys for keys in LENGTHS if f"n{keys}" in result.latte]
    work = [keys ** 2 / result.config.pairs_per_cycle for keys in lengths]
    figures = [_figure(f"{name}.cycles_exponent", "ratio",
                       fitted_exponent(work, [result.latte[f"n{keys}"].steady_cycles for keys in lengths]),
                       lengths=lengths)]
    for unit, points in result.units.items():
        lanes, areas = zip(*((lanes, usage.lut4_equivalents) for lanes, usage in points), strict=True)
        figures.append(_figure(f"{name}.area_exponent.{unit}", "ratio", fitted_exponent(lanes, areas), lanes=lanes,
                               lut4_equivalents=areas))
    return figures


def model_seconds(result: PresetResult, clock: float) -> dict[str, float]:
    """Return the time of attention in whole models at `clock` Hz, from simulated cycles.

    ``deit_tiny_image``: 36 heads one after the other. ``smollm2_135m_prefill_token``: 270 heads, from those that were
    simulated on 512 tokens. ``smollm2_135m_decode_token``: 90 key/value heads, each loaded whole (512 rows) for its
    three query heads; of a preset that is explored.
    """
    runs = result.latte
    prefill = runs[_LANGUAGE]
    tokens = prefill.pairs.keys
    seconds = {"deit_tiny_image": runs[_VISION].cycles * _VISION_HEADS / runs[_VISION].jobs / clock,
               "smollm2_135m_prefill_token": prefill.cycles * _LANGUAGE_HEADS / prefill.jobs / tokens / clock}
    if result.explored:
        decode = runs["decode"]
        seconds["smollm2_135m_decode_token"] = decode.cycles * _LANGUAGE_HEADS / decode.jobs / clock
    return seconds


def pair_costs(config: AttentionConfig, latte: EngineArea, dense: EngineArea) -> dict[str, float]:
    """Return LUT4 equivalents per bit operation and cycle of each arithmetic unit: what a bit operation costs."""
    per_cycle = config.pairs_per_cycle * config.dim_lanes
    own, other = latte.by_role(), dense.by_role()
    return {"estimate": own["scores"] / (ESTIMATE_BITOPS * per_cycle),
            "cross products": own["cross"] / (CROSS_BITOPS * config.cross_lanes),
            "P·V": own["P·V"] / (VALUE_BITOPS * config.value_lanes),
            "dense scores": other["scores"] / ((DENSE_BITOPS - VALUE_BITOPS) * per_cycle),
            "dense P·V": other["P·V"] / (VALUE_BITOPS * per_cycle)}


def fitted_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the exponent of the power law that fits best in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def make_baseline(figures: Sequence[Figure]) -> None:
    """Make figures the baseline of the presets that were run; those of the others stay.

    What depends on the machine, the times of its processor, is left out.
    """
    presets = dict.fromkeys(figure["name"].partition(".")[0] for figure in figures)
    for preset in presets:
        update_baseline("bench", {figure["name"]: round(figure["value"], 6) for figure in figures
                                  if figure["name"].startswith(f"{preset}.") and "_cpu_" not in figure["name"]},
                        TABLES, replaced=f"{preset}.")


def differences(figures: Sequence[Figure], baseline: Mapping[str, float],
                least: float = 0.001) -> list[tuple[str, float, float]]:
    """Return (name, baseline, now) of the figures that differ by more than `least`, relatively."""
    return [(figure["name"], baseline[figure["name"]], figure["value"]) for figure in figures
            if figure["name"] in baseline
            and abs(figure["value"] - baseline[figure["name"]]) > least * max(abs(baseline[figure["name"]]), least)]
