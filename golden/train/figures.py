"""Plots of training runs and comparisons, as PNG and SVG."""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np

from latte.golden.attention import attend
from latte.golden.config import AttentionConfig
from latte.golden.vectors import VectorSet

__all__ = ["attention_maps", "comparison", "family", "lengths", "training_curves"]


def _save(figure: Any, path: pathlib.Path) -> None:
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        # Fixed metadata: the same figure is the same file.
        figure.savefig(path.with_suffix(suffix), dpi=150,
                       metadata={"Date": None} if suffix == ".svg" else {"Software": None})
    plt.close(figure)


def training_curves(history: Sequence[Mapping[str, float]], target: float | None, path: pathlib.Path) -> None:
    """Plot distillation, task loss and soft pruning ratio over steps."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3))
    steps = [entry["step"] for entry in history]
    for axis, name, title in zip(axes, ("distillation", "prediction", "pruned"),
                                 ("distillation loss (nat)", "task loss (nat)", "soft pruning ratio"), strict=True):
        axis.plot(steps, [entry[name] for entry in history], linewidth=1)
        axis.set(title=title, xlabel="step")
    if target is not None:
        axes[2].axhline(target, linestyle="--", color="grey", linewidth=1)
    _save(figure, path)


def family(method: str) -> str:
    """Return what a method's points share: its name, and of LATTE's methods the thresholds' name without the target.

    Crossed thresholds are named by the first ones; points of one half of the items share nothing with the other half's.
    """
    name, bracket, rest = method.partition("[")
    if not bracket:
        return name.split(":")[0].split("@")[0]
    thresholds, _, half = rest.rpartition("]")
    kind = re.sub(r"_?\d+(\.\d+)?(_seed\d+)?$", r"\2", thresholds.partition(" x ")[0])
    return " ".join(part for part in (name, kind, half.strip()) if part)


def comparison(rows: Iterable[Mapping[str, Any]], work: str, quality: str, labels: tuple[str, str, str],
               path: pathlib.Path) -> None:
    """Plot one quality of every method against its work.

    Parameters
    ----------
    rows
        Rows of an eval table; methods of one `family` are joined by a line, those without work are horizontal lines.
    work, quality
        Columns of the x and the y axis.
    labels
        Of the x axis, of the y axis, and the title.
    """
    families: dict[str, list[tuple[float, float]]] = {}
    references: dict[str, float] = {}
    for row in rows:
        if row.get(quality) in (None, ""):
            continue
        if row["method"] in ("float", "dense"):
            references[row["method"]] = float(row[quality])
        elif row.get(work) not in (None, ""):
            families.setdefault(family(row["method"]), []).append((float(row[work]), float(row[quality])))
    figure, axis = plt.subplots(figsize=(7, 4.5))
    for style, (name, value) in zip(("-", "--"), references.items(), strict=False):
        axis.axhline(value, color="0.5", linewidth=0.8, linestyle=style, label=name)
    for index, (name, points) in enumerate(sorted(families.items())):
        points.sort()
        axis.plot(*zip(*points, strict=True), marker="osv^D*Px"[index % 8], linewidth=1, markersize=5, label=name)
    axis.set(xlabel=labels[0], ylabel=labels[1], title=labels[2])
    if quality != "top1":
        axis.set_yscale("log")
        for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            which(mpl.ticker.StrMethodFormatter("{x:g}"))
    axis.legend(fontsize=7)
    axis.grid(alpha=0.3, which="both")
    _save(figure, path)


def lengths(rows: Iterable[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Plot perplexity and pruned share against the length of the windows, a line per method."""
    methods: dict[str, list[tuple[int, float, float | None]]] = {}
    for row in rows:
        pruned = float(row["pruned"]) if row.get("pruned") not in (None, "") else None
        methods.setdefault(row["method"].split("@")[0], []).append((int(row["tokens"]), float(row["ppl"]), pruned))
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for name, points in methods.items():
        points.sort()
        axes[0].plot([point[0] for point in points], [point[1] for point in points], marker="o", label=name)
        shares = [(tokens, pruned) for tokens, _, pruned in points if pruned]
        if shares:
            axes[1].plot(*zip(*shares, strict=True), marker="o", label=name)
    for axis, label in zip(axes, ("perplexity", "pruned share of visible pairs"), strict=True):
        axis.set(xlabel="tokens of a window", ylabel=label, xscale="log")
        axis.set_xticks(sorted({point[0] for points in methods.values() for point in points}))
        axis.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
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
