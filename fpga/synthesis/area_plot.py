"""Picture of area against lanes."""

import pathlib

import matplotlib

from latte.fpga.synthesis.yosys import Usage

__all__ = ["plot_sweep"]


def plot_sweep(points: dict[str, list[tuple[int, Usage]]], lanes: str, path: pathlib.Path) -> list[pathlib.Path]:
    """Draw LUT4 equivalents (gates) over `lanes`, a line per target; return the PNG and the SVG."""
    matplotlib.use("Agg")
    from matplotlib import pyplot  # after the choice of a backend without a screen

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for title, series in points.items():
        counts, usages = zip(*series)
        axes.plot(counts, [usage.lut4_equivalents or usage.gate for usage in usages], marker="o", label=title)
    axes.set(xlabel=lanes, ylabel="LUT4 equivalents, or gates", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for file in files:
        figure.savefig(file, dpi=150)
    pyplot.close(figure)
    return files
