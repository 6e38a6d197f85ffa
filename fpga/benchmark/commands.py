"""``latte bench``."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from latte.fpga.baselines import read_baseline
from latte.fpga.benchmark.cpu import CpuTime, measure_cpu
from latte.fpga.benchmark.engine import EngineRun
from latte.fpga.benchmark.figures import draw
from latte.fpga.benchmark.measure import NARROW_BITS, Plan, measure
from latte.fpga.benchmark.results import (
    LEARNED_WORKLOAD,
    Bar,
    PresetResult,
    differences,
    make_baseline,
    model_seconds,
    preset_figures,
)
from latte.fpga.benchmark.workloads import LEARNED_KEEP, PAPER_KEEP, keep_name
from latte.fpga.synthesis.targets import find_target
from latte.fpga.synthesis.tools import check_tools
from latte.golden.config import preset
from latte.golden.console import create_console, create_progress, create_table, show_status
from latte.golden.errors import LatteError
from latte.golden.results import read_results, write_results
from latte.golden.vectors import VectorSet, embedded_vectors, load_vectors
from latte.sim.compilation import check_simulator
from latte.sim.locks import claimed
from latte.sim.options import build_option
from latte.sim.vector_sets import as_learned

__all__ = ["bench_command"]

_LEAST_UTILISATION, _MOST_OVER_BOUND, _MODEL_TOLERANCE = 0.95, 1.05, 0.01
_LEARNED_SHARES = {False: (0.15, LEARNED_KEEP), True: (0.1,)}
"""Shares that the embedded heads keep as learned thresholds prune them, compensated; by whether they are causal."""
_SIZED = {preset: ("deit-tiny", "smollm2-135m-keep10", *learned) for preset, learned in {
    "small": ("deit-tiny-best_90-keep15", LEARNED_WORKLOAD, "smollm2-135m-best_90-keep10"),
    "base": (LEARNED_WORKLOAD, "smollm2-135m-best_90-keep10")}.items()}
"""Workloads on which a preset's estimator must not wait."""
_ADVANTAGES = {f"small.lean.{keep_name(PAPER_KEEP)}": 2.4, f"base.lean.{keep_name(PAPER_KEEP)}": 3.5,
               f"small_lm.{LEARNED_WORKLOAD}": 2.4, f"base_lm.{LEARNED_WORKLOAD}": 3.5}
"""Least throughput per area, of dense: of LATTE as published, and of a build with everything."""
_PRESETS = ("small", "small_lm", "base", "base_lm")
_EXPLORED = ("small", "base")
"""Presets that are run as published, with deep queues, and at other shares and lengths than they are sized for."""
_TARGET = "ecp5"
_SHOWN_DIFFERENCES = 25


@click.command("bench")
@click.option("--config", "names", multiple=True, default=_PRESETS, show_default=True, metavar="PRESET",
              help="Preset to measure; repeatable.")
@click.option("--vectors", "files", multiple=True, type=click.Path(path_type=pathlib.Path),
              help="Vector file (.npz) to run besides the embedded ones; repeatable.")
@click.option("--clock-mhz", type=click.FloatRange(min=0, min_open=True),
              help="Clock of the times. Default: the preset's Fmax in timing.json, else 100 MHz.")
@click.option("--cpu/--no-cpu", default=True, show_default=True, help="Time the same attention on this processor.")
@click.option("--processes", "--jobs", default=os.cpu_count() or 1, show_default="all cores", type=click.IntRange(1),
              help="Simulations and syntheses at a time.")
@click.option("--rebase", is_flag=True, help="Make these figures the baseline, fpga/baselines/bench.json.")
@build_option
def bench_command(names: tuple[str, ...], files: tuple[pathlib.Path, ...], clock_mhz: float | None, cpu: bool,
                  processes: int, rebase: bool, build_folder: pathlib.Path) -> None:
    """Measure LATTE and its dense baseline side by side: cycles in RTL, area from Yosys, work, time.

    Writes build/bench.json and plots in build/bench. Exits with 0 only if every bit agrees with the golden model, the
    hardware counts the golden model's work, the cycle model is within 1 %, and the presets reach what they are sized
    for. From nothing it takes more than an hour on two cores; models and syntheses are kept for the next time.
    """
    configs = [preset(name) for name in dict.fromkeys(names)]
    sets = [*embedded_vectors(), *(load_vectors(path) for path in files)]
    _check_names(sets)
    for config in configs:
        for vectors in sets:
            vectors.check_fits(config)
    check_simulator("verilator")
    check_tools("yosys")
    click.get_current_context().with_resource(claimed(build_folder / "bench"))
    console = create_console(140)
    times: dict[str, CpuTime] = {}
    if cpu:
        with show_status(console, "timing this processor ..."):
            times = {vectors.model: measure_cpu(vectors) for vectors in sets}
    learned = [(keep, vectors, itself) for vectors in embedded_vectors() for itself in as_learned(vectors)
               for keep in _LEARNED_SHARES[vectors.causal]]
    with show_status(console, "moving thresholds ..."):
        plans = [Plan(config, sets, learned, explore=config.name in _EXPLORED) for config in configs]
    with create_progress(console, "steps") as bar:
        task = bar.add_task("measuring", total=sum(plan.steps for plan in plans))
        results = measure(plans, find_target(_TARGET), build_folder, processes=processes,
                          progress=lambda step: bar.update(task, advance=1, description=step))

    clocks = {result.config.name: _clock(clock_mhz, result.config.name, build_folder) for result in results}
    own = {result.config.name: preset_figures(result) + _time_figures(result, sets, times, *clocks[result.config.name])
           for result in results}
    figures = [figure for part in own.values() for figure in part]
    bars = [bar_ for result in results
            for bar_ in _bars(result, {figure["name"]: figure["value"] for figure in own[result.config.name]})]
    passed = all(bar_.met for bar_ in bars)
    pictures = draw(results, build_folder / "bench")
    write_results(build_folder / "bench.json", "bench", configs[0], figures, passed,
                  presets={config.name: config.to_dict() for config in configs},
                  lut4_per_multiplier=results[0].latte_area.lut4_per_multiplier, cpu_count=os.cpu_count())
    for result in results:
        _print_preset(console, result)
        _print_times(console, result, sets, times, *clocks[result.config.name])
    console.print(f"plots: {', '.join(str(path) for path in pictures if path.suffix == '.png')}", soft_wrap=True)
    _print_differences(console, figures)
    for bar_ in bars:
        console.print(str(bar_), style=None if bar_.met else "bold red", soft_wrap=True, highlight=False)
    if rebase:
        make_baseline(figures)
    raise SystemExit(0 if passed else 1)


def _check_names(sets: Sequence[VectorSet]) -> None:
    models = [vectors.model for vectors in sets]
    twice = next((model for model in models if models.count(model) > 1), None)
    if twice is not None:
        raise LatteError(f"two vector sets are named {twice!r}; figures go by that name: give the file another 'model'")


def _clock(clock_mhz: float | None, name: str, folder: pathlib.Path) -> tuple[float, str]:
    """Return (MHz, where it is from)."""
    if clock_mhz is not None:
        return clock_mhz, "as asked for"
    timing = read_results(folder / "timing.json")
    for result in timing["results"] if timing else []:
        if result["name"] == f"{name}.{_TARGET}.fmax":
            return result["value"], "of timing.json"
    return 100.0, "assumed"


def _print_preset(console: Console, result: PresetResult) -> None:
    name = result.config.name
    table = create_table("workload", "engine", "kept %", "cycles", "x bound", "estimator %", "P·V %", "keys", "queries",
                         "filter", "model error %", "bit ops", title=f"{name}: RTL, bit-exact", left=("engine",))
    table.columns[0].no_wrap = True
    for engine, runs in result.runs.items():
        for run in runs.values():
            stalls = run.stalls
            table.add_row(
                run.workload, engine, f"{100 * run.kept:.2f}", str(run.cycles), f"{run.cycles_over_bound:.3f}",
                f"{100 * run.utilisation['estimator']:.1f}", f"{100 * run.utilisation['value']:.1f}",
                *(f"{100 * stalls[cause]:.1f}" for cause in ("stall_key_load", "stall_query_load", "stall_filter")),
                "" if run.model_error is None else f"{100 * run.model_error:+.3f}",
                "equal" if run.counted_bit_operations == run.golden_bit_operations else "DIFFER")
    console.print(table)
    console.print("cycles: first job's offer to last output, loading included; bound: visible pairs / lanes; keys, "
                  "queries, filter: share of cycles in which the estimator waited for them", soft_wrap=True)

    areas = result.areas.values()
    table = create_table("block group", *result.areas, title=f"{name}: area")
    for role in result.latte_area.by_role():
        table.add_row(role, *(f"{area.by_role()[role]:.0f}" for area in areas))
    table.add_row("all", *(f"{area.lut4:.0f}" for area in areas), end_section=True)
    for kind in ("lut4_equivalents", "dsp", "ff", "bram"):
        table.add_row(kind, *(str(getattr(area.usage, kind)) for area in areas))
    console.print(table)
    rate = result.latte_area.lut4_per_multiplier
    lean = "lean: relative thresholds alone, no compensation; " if result.explored else ""
    console.print(f"area: LUT4 equivalents on ECP5; a multiplier counts as {rate:g}, which its product takes in LUTs; "
                  f"{lean}narrow: estimates of {NARROW_BITS} bits; deep: deeper queues", soft_wrap=True)
    for build, comparison in result.builds().items():
        losses = comparison.losses()
        console.print(
            f"{build}: throughput per area {comparison.throughput_per_area:.3f} x dense at "
            f"{100 * comparison.latte.kept:.2f} % kept. Bit operations allow {losses.bit_operations:.2f}; at the "
            f"units' real prices {losses.real_prices:.2f}; with their idle cycles {losses.whole_units:.2f}; with "
            f"memories, softmax, division and control {losses.whole_core:.2f}; with measured cycles "
            f"{losses.measured:.2f}", soft_wrap=True)
    for title, runs in (("", result.latte), (", deep queues", result.deep)):
        for order, workload in (("model order", "mixed"), ("light and heavy in turn", "mixed-alternating")):
            if run := runs.get(workload):
                _print_work_bound(console, name, f"{order}{title}", run)


def _print_work_bound(console: Console, name: str, title: str, run: EngineRun) -> None:
    console.print(f"{name}: heads that keep 2 to 60 %, {title}: {run.cycles / run.work_bound:.3f} x the limit of all "
                  "multipliers", soft_wrap=True)


def _time_figures(result: PresetResult, sets: Sequence[VectorSet], times: dict[str, CpuTime], clock: float,
                  source: str) -> list[dict[str, Any]]:
    """Return whole-model times at a clock in MHz and the processor's, as figures."""
    name = result.config.name
    figures = [{"name": f"{name}.clock", "unit": "MHz", "value": clock, "source": source}]
    figures += [{"name": f"{name}.{what}", "unit": "s", "value": seconds}
                for what, seconds in model_seconds(result, clock * 1e6).items()]
    for vectors, cpu, seconds in _timed(result, sets, times, clock):
        figures += [{"name": f"{name}.{vectors.model}.speedup_over_cpu_{kind}", "unit": "ratio",
                     "value": value / seconds, "cpu_seconds": value, "threads": cpu.threads}
                    for kind, value in (("float", cpu.float_seconds), ("int8", cpu.int8_seconds))]
    return figures


def _print_times(console: Console, result: PresetResult, sets: Sequence[VectorSet], times: dict[str, CpuTime],
                 clock: float, source: str) -> None:
    name = result.config.name
    for what, seconds in model_seconds(result, clock * 1e6).items():
        console.print(f"{name}: {what.replace('_', ' ')} {1000 * seconds:.3f} ms at {clock:g} MHz ({source})")
    for vectors, cpu, seconds in _timed(result, sets, times, clock):
        console.print(f"{name}: {vectors.model}, {len(vectors)} heads: {1000 * seconds:.2f} ms; this processor "
                      f"({cpu.threads} threads, ONNX Runtime, dense): float {1000 * cpu.float_seconds:.2f} ms "
                      f"({cpu.float_seconds / seconds:.2f} x), int8 {1000 * cpu.int8_seconds:.2f} ms "
                      f"({cpu.int8_seconds / seconds:.2f} x)", soft_wrap=True)


def _timed(result: PresetResult, sets: Sequence[VectorSet], times: dict[str, CpuTime],
           clock: float) -> list[tuple[VectorSet, CpuTime, float]]:
    """Return (vectors, time of the processor, seconds of the core) of the sets that the processor was timed on."""
    return [(vectors, times[vectors.model], result.latte[vectors.model].cycles / (clock * 1e6))
            for vectors in sets if vectors.model in times]


def _bars(result: PresetResult, values: dict[str, float]) -> list[Bar]:
    name = result.config.name
    bars = []
    for vectors in _SIZED.get(name, ()):
        for figure, limit, least in (("estimator_utilisation", _LEAST_UTILISATION, True),
                                     ("cycles_over_bound", _MOST_OVER_BOUND, False)):
            key = f"{name}.{vectors}.{figure}"
            bars.append(Bar(key, values[key], limit, least))
    for prefix, limit in _ADVANTAGES.items():
        if prefix.partition(".")[0] == name:
            key = f"{prefix}.throughput_per_area_vs_dense"
            bars.append(Bar(key, values[key], limit, True))
    runs = [run for engine, found in result.runs.items() if engine != "dense" for run in found.values()]
    bars.append(Bar(f"{name}: largest error of the cycle model", max(abs(run.model_error or 0) for run in runs),
                    _MODEL_TOLERANCE, False))
    miscounted = sum(run.counted_bit_operations != run.golden_bit_operations
                     for run in (*runs, *result.dense.values()))
    bars.append(Bar(f"{name}: runs whose counted bit operations differ from the golden count", miscounted, 0, False))
    return bars


def _print_differences(console: Console, figures: list[dict[str, Any]]) -> None:
    baseline = read_baseline("bench")
    changed = differences(figures, baseline)
    known = sum(figure["name"] in baseline for figure in figures)
    console.print(f"baseline: {known} of {len(figures)} figures known, {len(changed)} differ by more than 0.1 %")
    table = create_table("figure", "baseline", "now", "change", title="figures that differ")
    for name, before, now in changed[:_SHOWN_DIFFERENCES]:
        table.add_row(name, f"{before:.6g}", f"{now:.6g}", f"{100 * (now / before - 1):+.2f} %" if before else "")
    if changed:
        console.print(table)
    if len(changed) > _SHOWN_DIFFERENCES:
        console.print(f"... and {len(changed) - _SHOWN_DIFFERENCES} more")
