"""Pictures of the report, as inline SVG and PNG."""

import base64
import io
from collections.abc import Sequence

import matplotlib
import matplotlib.image
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from latte.fpga.sizing.roofline import HeadPoint, Roof

__all__ = ["pattern_png", "roofline_svg"]

_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "latte", "font.family": "sans-serif", "font.size": 10,
          "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#8a8f98", "text.color": "#1d2530",
          "axes.labelcolor": "#1d2530", "xtick.color": "#4b5563", "ytick.color": "#4b5563"}
_PICTURE_CELLS = 512
_COLOURS = ("#e3e5e9", "#f6ecdd", "#8c4a12")
"""Not visible, pruned, kept."""
_LINES = ("#1f5f99", "#b45309", "#3f7d4e", "#7a4fa3")


def pattern_png(visible: np.ndarray, keep: np.ndarray) -> str:
    """Return the kept mask [m, n] as a ``data:`` address of a PNG.

    A large mask is reduced; a cell with one kept pair stays kept.
    """
    cells = np.where(keep, 2, np.where(visible, 1, 0)).astype(np.uint8)
    step = -(-max(cells.shape) // _PICTURE_CELLS)
    rows, columns = (-(-size // step) * step for size in cells.shape)
    padded = np.zeros((rows, columns), np.uint8)
    padded[:cells.shape[0], :cells.shape[1]] = cells
    reduced = padded.reshape(rows // step, step, columns // step, step).max(axis=(1, 3))
    buffer = io.BytesIO()
    colours = ListedColormap(_COLOURS)
    matplotlib.image.imsave(buffer, reduced, cmap=colours, vmin=0, vmax=2, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def roofline_svg(compute: Sequence[Roof], memory: Sequence[Roof], points: Sequence[HeadPoint]) -> str:
    """Return the roofline as an SVG element."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 4.6), layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log")
        low, high = 1.0, 4 * max([point.intensity for point in points], default=256.0)
        top = max(roof.value for roof in compute)
        levels: dict[float, list[str]] = {}
        for roof in sorted(compute, key=lambda roof: -roof.value):
            levels.setdefault(roof.value, []).append(roof.name)
        for colour, (value, names) in zip(_LINES, levels.items(), strict=False):
            axes.plot([low, high], [value] * 2, color=colour, linewidth=1.8,
                      label=f"{', '.join(names)}: {value / 1e9:.3g} GMAC/s")
        for style, roof in zip(("--", ":"), memory, strict=True):
            end = min(high, 1.6 * top / roof.value)
            axes.plot([low, end], [low * roof.value, end * roof.value], color="#1d2530", linestyle=style, linewidth=1.4,
                      label=f"{roof.name}: {_rate(roof.value)}")
        markers = "osD^vP"
        for index, point in enumerate(points):
            axes.plot(point.intensity, point.speed, markers[index % len(markers)], color="#c2261b", markersize=7,
                      markeredgecolor="white", label=f"{point.name}: {point.speed / 1e9:.3g} GMAC/s", linestyle="none")
            slowest = min(roof.value for roof in memory) * point.intensity
            axes.plot(point.intensity, min(slowest, point.speed), markers[index % len(markers)], color="white",
                      markersize=7, markeredgecolor="#c2261b", linestyle="none")
        axes.set_xlim(low, high)
        axes.set_ylim(top=3 * top)
        axes.set_xlabel("dense 8-bit MAC per byte of Q, K, V and O")
        axes.set_ylabel("dense 8-bit MAC/s")
        axes.grid(True, which="major", color="#e5e7eb", linewidth=0.8)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg"):]


def _rate(value: float) -> str:
    for unit, factor in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g} B/s"
