"""Figures, bars, table and plot of ``latte memory``."""

import dataclasses
import functools
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from latte.golden.config import ceil_div
from latte.golden.console import create_table
from latte.golden.memory.cycles import Machine
from latte.golden.memory.measurement import LengthFigures
from latte.golden.memory.traffic import KINDS, OPERANDS

__all__ = ["Bar", "WorkloadFigures", "bars", "figures", "plot_shares", "prefix", "table"]

LEAST_SHARE = 0.85
"""Of the bandwidth, at `BAR_LATENCY` cycles and from `LONG_KEYS` keys on: jobs of fewer keys move so little that their
phases' waits count."""
BAR_LATENCY = 60
BAR_KEYS = 1024
LONG_KEYS = 4096
MOST_BYTES = {4: 0.36, 3: 0.305, 2: 0.25}
"""Bytes per dense byte of a head alone, a tenth of its keys kept, by the width of the estimate; from `LONG_KEYS` keys
on, as long as the list of candidates has room for that tenth: a row that spills moves more."""
LEAST_FEWER_VALUES = 8
"""V rows of dense attention for each that is fetched, real activations, from `BAR_KEYS` keys on."""


@dataclasses.dataclass(frozen=True)
class WorkloadFigures:
    """One workload.

    Parameters
    ----------
    name
        ``<vectors>``, for result names.
    title
    by_length : dict of int to LengthFigures
    real
        Real activations at every length, not resampled ones.
    tenth
        A tenth of each row's keys is kept, of heads alone.
    whole
        Its jobs are all of a model's, so that a token's time can be told.
    prompts
        Its jobs are prompts, whose cycles grow with the square of the keys.
    """

    name: str
    title: str
    by_length: dict[int, LengthFigures]
    real: bool = False
    tenth: bool = False
    whole: bool = False
    prompts: bool = False


@dataclasses.dataclass(frozen=True)
class Bar:
    """One figure and what it must reach."""

    name: str
    value: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        return (f"{'met' if self.met else 'MISSED'}: {self.name} = {self.value:.3f}, "
                f"{'at least' if self.at_least else 'at most'} {self.limit:g}")


def bandwidth_share(of: LengthFigures, machine: Machine) -> float:
    """Return the bytes that were moved over those that the memory could stream in the same cycles."""
    return (of.traffic.total + of.traffic.moved[OPERANDS]) / (of.cycles * machine.stream_rate)


def _dense_share(of: LengthFigures, machine: Machine) -> float:
    return (of.dense.total + of.dense.moved[OPERANDS]) / (of.dense_cycles * machine.stream_rate)


def _milliseconds(cycles: float, machine: Machine) -> float:
    return cycles / (1e3 * machine.part.core_mhz)


def growth(by_length: Mapping[int, LengthFigures]) -> float:
    """Return cycles a key at the longest length over those at the shortest from `BAR_KEYS` on: above 1, not linear."""
    keys = [n for n in by_length if n >= BAR_KEYS]
    ends = [by_length[n].cycles / by_length[n].jobs / n for n in (min(keys), max(keys))]
    return ends[1] / ends[0]


def prefix(workload: WorkloadFigures, machine: Machine) -> str:
    """Return what the names of a workload's figures begin with: the preset, with the width if it is not 4; its name."""
    core = machine.build.core
    width = "" if core.estimate_bits == 4 else f"-{core.estimate_bits}bit"
    return f"{core.name}{width}.{workload.name}"


def bars(measured: Sequence[WorkloadFigures], machine: Machine) -> list[Bar]:
    """Return what the figures of decoded tokens are held to; bandwidth only at the latency that its bar is for.

    Prompts are measured, not held to anything.
    """
    found = []
    for workload in measured:
        name = prefix(workload, machine)
        long = {n: of for n, of in workload.by_length.items() if n >= BAR_KEYS}
        if workload.prompts or not long:
            continue
        streamed = [n for n in long if n >= LONG_KEYS]
        if streamed and machine.latency == BAR_LATENCY:
            least = min(streamed, key=lambda n: bandwidth_share(long[n], machine))
            found.append(Bar(f"{name}.n{least}.bandwidth_share", bandwidth_share(long[least], machine), LEAST_SHARE,
                             True))
        if len(long) > 1:
            found.append(Bar(f"{name}.cycles_per_key_growth", growth(long), 1.0, False))
        tenth = [n for n in long if workload.tenth and LONG_KEYS <= n <= 10 * machine.build.candidates]
        if tenth:
            most = max(tenth, key=lambda n: long[n].bytes_per_dense_byte)
            found.append(Bar(f"{name}.n{most}.bytes_per_dense_byte", long[most].bytes_per_dense_byte,
                             MOST_BYTES[machine.build.core.estimate_bits], False))
        if workload.real and not workload.tenth:
            fewest = min(long, key=lambda n: long[n].dense_values_per_value)
            found.append(Bar(f"{name}.n{fewest}.dense_values_per_value", long[fewest].dense_values_per_value,
                             LEAST_FEWER_VALUES, True))
    return found


def figures(measured: Sequence[WorkloadFigures], machine: Machine) -> list[dict[str, Any]]:
    """Return the entries of the result file: for each workload the figures at each length, the last ones on top."""
    results: list[dict[str, Any]] = []
    for workload in measured:
        name = prefix(workload, machine)
        longest = workload.by_length[max(workload.by_length)]
        results.append({"name": f"{name}.bytes_per_dense_byte", "unit": "ratio",
                        "value": longest.bytes_per_dense_byte, "keys": longest.keys})
        for n, of in workload.by_length.items():
            values = {
                "bytes_per_dense_byte": ("ratio", of.bytes_per_dense_byte),
                "bytes_per_dense_byte_of_single_rows": ("ratio", of.bytes_per_dense_byte_of_single_rows),
                "kept": ("ratio", of.kept / of.pairs),
                "dense_values_per_value": ("ratio", of.dense_values_per_value),
                "dense_values_per_row": ("ratio", of.dense_values_per_row),
                "bandwidth_share": ("ratio", bandwidth_share(of, machine)),
                "cycles": ("cycles", of.cycles / of.jobs),
                "dense_cycles": ("cycles", of.dense_cycles / of.jobs),
            }
            if workload.whole:
                values |= {"token": ("ms", _milliseconds(of.cycles, machine)),
                           "dense_token": ("ms", _milliseconds(of.dense_cycles, machine))}
            results += [{"name": f"{name}.n{n}.{figure}", "unit": unit, "value": value}
                        for figure, (unit, value) in values.items()]
            results[-1] |= {"jobs": of.jobs, "rows": of.rows, "bytes": of.traffic.moved, "requests":
                            of.traffic.requests, "dense_bytes": of.dense.moved, "spilled_rows": of.spilled,
                            "most_candidates": of.most_candidates, "compactions": of.compactions}
    return results


def table(workload: WorkloadFigures, machine: Machine) -> Table:
    """Return what a workload came to, for people: a column for each length."""
    lengths = list(workload.by_length.values())
    shown = create_table("", *(f"{of.keys} keys" for of in lengths), title=workload.title)

    def row(title: str, cell: Callable[[LengthFigures], str]) -> None:
        shown.add_row(title, *map(cell, lengths))

    def per_cent(title: str, share: Callable[[LengthFigures], float]) -> None:
        row(title, lambda of: f"{100 * share(of):.2f} %")

    per_cent("kept", lambda of: of.kept / of.pairs)
    shown.add_section()
    for kind, meaning in KINDS.items():
        per_cent(meaning, functools.partial(_share_of, kind))
    per_cent("all K/V bytes, of dense attention with the same tiles", lambda of: of.bytes_per_dense_byte)
    per_cent("... of dense attention, each row alone", lambda of: of.bytes_per_dense_byte_of_single_rows)
    row("V rows, times fewer than dense with the same tiles", lambda of: f"{of.dense_values_per_value:.1f}")
    row("... each row alone", lambda of: f"{of.dense_values_per_row:.1f}")
    shown.add_section()
    row("cycles of a job, by the model", lambda of: f"{of.cycles / of.jobs:.0f}")
    row("... dense", lambda of: f"{of.dense_cycles / of.jobs:.0f}")
    per_cent("bandwidth used", lambda of: bandwidth_share(of, machine))
    per_cent("... dense", lambda of: _dense_share(of, machine))
    what = "time of a token" if workload.whole else "time of all jobs"
    row(f"{what}, ms", lambda of: f"{_milliseconds(of.cycles, machine):.3f}")
    row("... dense", lambda of: f"{_milliseconds(of.dense_cycles, machine):.3f}")
    row("rows that spilled", lambda of: f"{of.spilled} of {of.rows}")
    row("candidates of a row, at most", lambda of: str(of.most_candidates))
    return shown


def _share_of(kind: str, of: LengthFigures) -> float:
    return of.traffic.moved[kind] / of.dense.total


def plot_shares(measured: Sequence[WorkloadFigures], stem: pathlib.Path) -> list[pathlib.Path]:
    """Draw the shares of bytes against the length, one picture a workload; write PNG and SVG and return their paths."""
    from matplotlib.figure import Figure

    columns = min(3, len(measured))
    figure = Figure(figsize=(1 + 4 * columns, 1 + 3.2 * ceil_div(len(measured), columns)), layout="constrained")
    panels = figure.subplots(ceil_div(len(measured), columns), columns, sharey=True, squeeze=False).flatten()
    for axes in panels[len(measured):]:
        axes.set_axis_off()
    for axes, workload in zip(panels, measured, strict=False):
        places = range(len(workload.by_length))
        bottom = [0.0] * len(places)
        for color, (kind, meaning) in enumerate(KINDS.items()):
            share = [_share_of(kind, of) for of in workload.by_length.values()]
            axes.bar(places, share, bottom=bottom, color=f"C{color}", label=meaning)
            bottom = [low + more for low, more in zip(bottom, share, strict=True)]
        axes.set_xticks(list(places), [str(n) for n in workload.by_length])
        axes.set_xlabel("keys")
        axes.set_title("\n".join(textwrap.wrap(workload.title, 48)), fontsize=8)
    panels[0].set_ylabel("K/V bytes per byte of dense attention")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=150, metadata=metadata)
    return paths
