"""Plots of a benchmark: advantage over keep ratio, where cycles go, where the advantage goes, growth."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from latte.fpga.benchmark.results import PresetResult
from latte.fpga.benchmark.workloads import LENGTHS, PAPER_KEEP
from latte.golden.bit_operations import bit_operations_saved

__all__ = ["draw"]

_STALLS = {"stall_key_load": "keys are loading", "stall_query_load": "queries are loading",
           "stall_filter": "no tile buffer is free"}


def draw(results: Sequence[PresetResult], folder: pathlib.Path) -> list[pathlib.Path]:
    """Write all plots as PNG and SVG into `folder`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"cycles": _cycles(results), "losses": _losses(results)}
    if explored := [result for result in results if result.explored]:
        figures |= {"advantage": _advantage(explored), "growth": _growth(explored)}
    paths = []
    for name, figure in figures.items():
        for suffix in (".png", ".svg"):
            paths.append(folder / f"{name}{suffix}")
            figure.savefig(paths[-1], dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
    return paths


def _advantage(results: Sequence[PresetResult]) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    keep = np.geomspace(0.02, 1, 100)
    axes.plot(100 * keep, 1 / (1 - np.array([bit_operations_saved(k) for k in keep])), color="0.6", linestyle="--",
              label="limit by bit operations, units resized for each ratio")
    for result in results:
        points = result.keep_comparisons()
        axes.plot([100 * point.latte.kept for point in points], [point.throughput_per_area for point in points], "o-",
                  label=f"{result.config.name}, measured")
    axes.axvline(100 * PAPER_KEEP, color="0.8", linewidth=1)
    axes.set(xscale="log", xlabel="keys kept (%)", ylabel="throughput per area, dense = 1", ylim=(0, None),
             title="LATTE against dense: DeiT-Tiny heads, 197 keys")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _cycles(results: Sequence[PresetResult]) -> Figure:
    figure = Figure(figsize=(8, 1.7 + 0.35 * sum(len(result.dense) for result in results)), layout="constrained")
    axes = figure.subplots()
    runs = [(result.config.name, result.latte[name]) for result in results for name in result.dense]
    names = [f"{preset}: {run.workload}" for preset, run in runs]
    left = np.zeros(len(runs))
    parts = {"estimator works": [run.utilisation["estimator"] for _, run in runs]}
    parts |= {title: [run.stalls[cause] for _, run in runs] for cause, title in _STALLS.items()}
    for (title, values), colour in zip(parts.items(), ("tab:green", "tab:blue", "tab:orange", "tab:red"), strict=True):
        axes.barh(names, values, left=left, label=title, color=colour)
        left += values
    axes.barh(names, 1 - left, left=left, label="first load and last rows", color="0.85")
    axes.set(xlim=(0.8, 1), xlabel="share of all cycles")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return figure


def _losses(results: Sequence[PresetResult]) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    titles = ["bit operations", "real prices\nof the units", "units that\nidle", "memories, softmax,\ncontrol",
              "cycles\n(measured)"]
    builds = [build for result in results for build in result.builds().items()]
    width = 0.8 / len(builds)
    for n, (name, comparison) in enumerate(builds):
        values = dataclasses.astuple(comparison.losses())
        bars = axes.bar(np.arange(len(titles)) + n * width, values, width,
                        label=f"{name}, {100 * comparison.latte.kept:.1f} % kept")
        axes.bar_label(bars, fmt="%.2f", fontsize=5)
    axes.set_xticks(np.arange(len(titles)) + 0.4 - width / 2, titles)
    axes.set(ylabel="advantage over dense", title="Where the advantage goes, one cause after the other")
    axes.legend()
    return figure


def _growth(results: Sequence[PresetResult]) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for result in results:
        config = result.config
        lengths = [keys for keys in LENGTHS if f"n{keys}" in result.latte]
        work = [keys ** 2 / config.pairs_per_cycle for keys in lengths]
        left.plot(work, [result.latte[f"n{keys}"].steady_cycles for keys in lengths], "o-", label=config.name)
        left.plot(work, work, color="0.6", linestyle="--")
    left.set(xscale="log", yscale="log", xlabel="n² / lanes", ylabel="cycles per head",
             title="RTL, 64 to 1024 keys; dashed: one group per cycle")
    for unit, points in results[0].units.items():
        right.plot([lanes for lanes, _ in points], [usage.lut4_equivalents for _, usage in points], "o-", label=unit)
    right.set(xlabel="lanes", ylabel="LUT4 equivalents", xlim=(0, None), ylim=(0, None),
              title="area (multipliers apart)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
