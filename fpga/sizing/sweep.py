"""Design space: throughput by the cycle model against area by measured blocks, and the front of the best builds."""

import dataclasses
import importlib.util
import logging
import pathlib
from collections.abc import Callable, Sequence

from latte.fpga.sizing.block_area import estimate_area, find_multiplier_price
from latte.fpga.sizing.proposal import balanced_config, sample_work, total_area
from latte.golden import distribution
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.rtl.common.head_work import HeadWork
from latte.rtl.cycle_prediction import predict_cycles

__all__ = ["Point", "evaluate", "pareto_front", "plot_front", "sweep", "sweep_configs"]

@dataclasses.dataclass(frozen=True)
class Point:
    """One build of the sweep.

    Parameters
    ----------
    config
    cycles
        Of all heads, loading included.
    bound
        Cycles in which the estimator alone could do the pairs.
    lut4, ff, dsp, bram
    area
        LUT4 equivalents, multipliers exchanged at `find_multiplier_price`.
    heads_per_mega_cycle
    """

    config: AttentionConfig
    cycles: int
    bound: float
    lut4: float
    ff: float
    dsp: float
    bram: int
    area: float
    heads_per_mega_cycle: float


def sweep_configs(keep: float, keys: int, causal: bool, most_pairs: int) -> list[AttentionConfig]:
    """Return the builds to evaluate: balanced ones, and neighbours with wider or narrower units behind."""
    lanes = [(1, 1, dims) for dims in (4, 8, 16, 32)]
    lanes += [(q, k, 64) for k in (1, 2, 4) for q in range(1, most_pairs // k + 1)]
    configs = []
    for q, k, dims in lanes:
        # Lanes for another keep ratio than the workload's: more, or less, than balance asks for.
        for sized_for in (keep / 2, keep, 2 * keep):
            for depth in (128, 512):
                config = balanced_config(q, k, dims, keep=min(1.0, sized_for), keys=keys, causal=causal,
                                         survivor_fifo_depth=depth)
                if config is not None:
                    name = (f"q{q}k{k}d{dims}-c{config.cross_lanes}-v{config.value_lanes}"
                            f"-n{config.normalizer_lanes}-b{config.bus_bytes}-f{depth}")
                    configs.append(config.replace(name=name))
    return list({config.name: config for config in configs}.values())


def evaluate(config: AttentionConfig, heads: Sequence[HeadWork], target: str) -> Point:
    """Predict one build."""
    area = total_area(estimate_area(config, target))
    cycles = predict_cycles(heads, config).total
    bound = sum(head.visible for head in heads) * config.dim_slices / config.pairs_per_cycle
    return Point(config, cycles, bound, area.lut4, area.ff, area.dsp, area.bram,
                 area.lut4_with_multipliers(find_multiplier_price(target)), 1e6 * len(heads) / cycles)


def _evaluate_for(config: AttentionConfig, workload: tuple[int, float, bool], target: str) -> Point:
    """Evaluate in a worker, which makes the workload itself (and keeps it for its next build)."""
    keys, keep, causal = workload
    return evaluate(config, sample_work(keys, keep, causal), target)


def sweep(configs: Sequence[AttentionConfig], workload: tuple[int, float, bool], target: str,
          scheduler: str | None = None, progress: Callable[[int], None] = lambda done: None) -> list[Point]:
    """Evaluate builds on Dask.

    Parameters
    ----------
    configs
    workload
        (keys, keep, causal) of `latte.fpga.sizing.proposal.sample_work`.
    target
        Family whose areas count.
    scheduler
        Address of a Dask scheduler; None starts workers here, one per core.
    progress
        Called with the number of finished builds.

    Raises
    ------
    LatteError
        Dask is not installed, or the scheduler does not answer.
    """
    if importlib.util.find_spec("distributed") is None:
        raise LatteError(f"the sweep needs Dask; it comes with: {distribution.install_command('sweep')}")
    from distributed import Client, LocalCluster, as_completed

    try:
        where = scheduler or LocalCluster(threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL)
        client = Client(where, timeout=5, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LatteError(f"no Dask scheduler answers at {scheduler!r} ({reason}); start one with 'dask scheduler', or "
                         "leave --scheduler out to compute here") from None
    with client:
        futures = client.map(_evaluate_for, configs, workload=workload, target=target)
        for done, _ in enumerate(as_completed(futures, loop=client.loop), 1):
            progress(done)
        points = client.gather(futures)
        if scheduler is None:
            client.cluster.close()
    return points


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both area and throughput, by area."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.area, -point.heads_per_mega_cycle)):
        if not front or point.heads_per_mega_cycle > front[-1].heads_per_mega_cycle:
            front.append(point)
    return front


def plot_front(points: Sequence[Point], front: Sequence[Point], title: str, stem: pathlib.Path) -> list[pathlib.Path]:
    """Draw throughput against area, the front as a line; write PNG and SVG and return their paths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter([p.area for p in points], [p.heads_per_mega_cycle for p in points], s=14, color="0.7",
                 label=f"{len(points)} builds")
    axes.plot([p.area for p in front], [p.heads_per_mega_cycle for p in front], "o-", markersize=4, color="tab:blue",
              label=f"Pareto front, {len(front)} builds")
    for point in front[::max(1, len(front) // 8)]:
        axes.annotate(f"{point.config.query_lanes}x{point.config.key_lanes}"
                      + (f"/{point.config.dim_slices}" if point.config.dim_slices > 1 else ""),
                      (point.area, point.heads_per_mega_cycle), xytext=(4, -10), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", yscale="log", title=title, xlabel="area (LUT4 equivalents, multipliers included)",
             ylabel="heads per million cycles")
    axes.grid(which="both", alpha=0.25)
    axes.legend()
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
