"""Plots of training runs and comparisons, as PNG and SVG."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from latte.golden.attention import attend
from latte.golden.config import AttentionConfig
from latte.golden.vectors import VectorSet

__all__ = ["attention_maps", "comparison", "training_curves"]


def _save(figure: Any, path: pathlib.Path) -> None:
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        # Fixed metadata: the same figure is the same file.
        figure.savefig(path.with_suffix(suffix), dpi=150,
                       metadata={"Date": None} if suffix == ".svg" else {"Software": None})
    plt.close(figure)


def training_curves(history: list[Mapping[str, float]], target: float, path: pathlib.Path) -> None:
    """Plot distillation, task loss and soft pruning ratio over steps."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3))
    steps = [entry["step"] for entry in history]
    for axis, name, title in zip(axes, ("distillation", "prediction", "pruned"),
                                 ("distillation loss (nat)", "task loss (nat)", "soft pruning ratio"), strict=True):
        axis.plot(steps, [entry[name] for entry in history], linewidth=1)
        axis.set(title=title, xlabel="step")
    axes[2].axhline(target, linestyle="--", color="grey", linewidth=1)
    _save(figure, path)


def comparison(rows: Iterable[Mapping[str, Any]], work: str, quality: str, labels: tuple[str, str, str],
               path: pathlib.Path) -> None:
    """Plot one quality of every method against its work.

    Parameters
    ----------
    rows
        Rows of an eval table; methods of one family (the part before ``:`` or ``[``) are joined by a line.
    work, quality
        Columns of the x and the y axis.
    labels
        Of the x axis, of the y axis, and the title.
    """
    families: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get(work) not in (None, "") and row.get(quality) not in (None, ""):
            family = row["method"].split(":")[0].split("[")[0]
            families.setdefault(family, []).append((float(row[work]), float(row[quality])))
    figure, axis = plt.subplots(figsize=(6, 4))
    for family, points in families.items():
        points.sort()
        axis.plot(*zip(*points, strict=True), marker="o", linewidth=1, markersize=4, label=family)
    axis.set(xlabel=labels[0], ylabel=labels[1], title=labels[2])
    axis.legend(fontsize=7)
    axis.grid(alpha=0.3)
    _save(figure, path)


def attention_maps(vectors: VectorSet, indices: list[int], config: AttentionConfig, path: pathlib.Path) -> None:
    """Plot estimate, survivors and weights of some heads side by side (the paper's Figure 3)."""
    figure, axes = plt.subplots(len(indices), 3, figsize=(9, 3 * len(indices)), squeeze=False)
    for row, index in zip(axes, indices, strict=True):
        trace = attend(vectors.q[index], vectors.k[index], vectors.v[index], vectors.parameters(index, config), config,
                       causal=vectors.causal)
        estimate = np.where(trace.visible, trace.estimate, np.nan)
        weight = trace.weight / trace.weight_sum[:, None]
        kept = trace.keep.sum() / trace.visible.sum()
        for axis, image, title in zip(row, (estimate, trace.keep, weight**0.5),
                                      ("estimate", f"survivors ({kept:.1%})", "square root of weight"), strict=True):
            axis.imshow(image, interpolation="nearest", cmap="viridis")
            axis.set(title=f"{vectors.names()[index]}\n{title}", xticks=[], yticks=[])
            axis.title.set_fontsize(8)
    _save(figure, path)
