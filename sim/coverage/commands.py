"""``latte coverage``."""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from latte.golden.config import preset
from latte.golden.console import create_console, create_progress, create_table
from latte.golden.errors import LatteError
from latte.golden.results import write_results, write_text
from latte.sim.compilation import check_simulator
from latte.sim.locks import claimed
from latte.sim.options import build_option

if TYPE_CHECKING:
    from latte.sim.coverage.instrument import Counts
    from latte.sim.coverage.measure import Measured
    from latte.sim.coverage.outcome import Share

__all__ = ["coverage_command"]

_ENGINES = ("latte", "serial", "dense", "memory")
"""``memory``: the core with keys in memory."""
_SHOWN = 40
"""Branches and points that are listed; all of them are on the page."""


@click.command("coverage")
@click.option("--engine", "engines", multiple=True, metavar="NAME",
              help=f"Measure builds of this engine alone, {', '.join(_ENGINES)}; repeatable. Bars are of all engines.")
@click.option("--full", is_flag=True, help="Presets at their real size too, and five times the random programs.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of programs and stalls.")
@click.option("--rebase", is_flag=True, help="Make these figures, of all engines, the baseline and the documents' "
              "tables.")
@click.option("--processes", default=os.cpu_count() or 1, show_default="all cores", type=click.IntRange(1),
              help="Builds at a time.")
@build_option
def coverage_command(engines: tuple[str, ...], full: bool, seed: int, rebase: bool, processes: int,
                     build_folder: pathlib.Path) -> None:
    """Measure what programs reach of the hardware: branches, toggles of bits, and the points of a plan.

    Runs programs on small builds of every engine, bare and behind AXI, instrumented for Verilator; what is not reached
    and need not be is in sim/coverage/waivers.toml with its reason. Writes build/coverage.json and the page
    build/coverage/index.html, and exits with 0 only if every program agrees with the golden model in every bit and
    every bar is met.
    """
    console = create_console()
    if odd := sorted(set(engines) - set(_ENGINES)):
        raise LatteError(f"unknown engine {odd[0]!r}; choose one of {', '.join(_ENGINES)}")
    if rebase and engines:
        raise LatteError("a baseline is of all engines; leave out --engine")
    check_simulator("verilator")
    click.get_current_context().with_resource(claimed(build_folder / "coverage"))

    from latte.sim.coverage import baseline  # brings in Amaranth and the RTL
    from latte.sim.coverage.branches import written_branches
    from latte.sim.coverage.groups import add_hits, no_hits
    from latte.sim.coverage.instrument import Counts
    from latte.sim.coverage.measure import measure
    from latte.sim.coverage.outcome import unmet
    from latte.sim.coverage.page import render_page
    from latte.sim.coverage.plan import PLAN
    from latte.sim.coverage.testplan import write_testplan
    from latte.sim.coverage.waivers import apply_waivers, read_waivers
    from latte.sim.coverage.workload import choose_loads

    waivers, loads = read_waivers(), choose_loads(engines, full=full)
    counts = Counts()
    hits = no_hits(PLAN)
    with create_progress(console, "builds") as progress:
        task = progress.add_task("compiling and running", total=len(loads))
        measured = measure(loads, build_folder, seed=seed, full=full, processes=processes,
                           done=lambda one: progress.advance(task))
    for one in measured:
        counts.add(one.figures.counts)
        add_hits(hits, one.figures.hits)
    for branch in () if engines else written_branches():
        counts.branches.setdefault(branch, 0)  # an arm that no build has is not reached either
    waived = apply_waivers(waivers, counts, whole=not engines)
    figures = baseline.figures(counts, waived, hits, seed=seed, full=full,
                               cycles=sum(one.figures.cycles for one in measured))
    sums = baseline.sums(figures)
    problems = [problem for one in measured for problem in one.figures.problems]
    short = [] if engines else unmet(list(sums.items()))
    write_results(build_folder / "coverage.json", "coverage", preset("small"), _results(figures, sums),
                  not (problems or short), seed=seed, full=full, engines=list(engines), problems=problems,
                  branches_missed=_missed_branches(counts, waived.branches))
    runs = [f"{one.load.name}: {one.figures.programs} programs, {one.figures.jobs:,} jobs, "
            f"{one.figures.cycles:,} cycles" for one in measured]
    page = build_folder / "coverage" / "index.html"
    write_text(page, render_page(counts, waived, hits, sums, runs))
    _print_runs(console, measured)
    _print_sums(console, figures, sums)
    _print_missed(console, _missed_branches(counts, waived.branches), hits, partly=bool(engines))
    if not engines:
        for line in baseline.differences(figures):
            console.print(line, soft_wrap=True)
    for problem in problems:
        console.print(problem, style="red", soft_wrap=True)
    for line in short:
        console.print(line, style="bold red", highlight=False)
    console.print(f"page: {page}", soft_wrap=True)
    if rebase:
        if problems:
            raise LatteError("a baseline is of programs that agree with the golden model; these do not")
        baseline.update_baseline(figures)
        write_testplan()
    raise SystemExit(1 if problems or short else 0)


def _results(figures: dict[str, Any], sums: "dict[str, Share]") -> list[dict[str, Any]]:
    """Return a result file's entries: per cent, with what they are of."""
    entries: list[dict[str, Any]] = [
        {"name": f"coverage.{name}", "unit": "%", "value": round(share.percent, 3), "reached": share.reached,
         "of": share.of, "waived": share.waived} for name, share in sums.items()]
    for file, shares in figures["files"].items():
        for kind, (reached, of, waived) in shares.items():
            entries.append({"name": f"coverage.{kind}.{file}", "unit": "%", "reached": reached, "of": of,
                            "value": round(100 * reached / of, 3) if of else 100.0, "waived": waived})
    for group, (reached, of, _) in figures["plan"].items():
        entries.append({"name": f"coverage.functional.{group}", "unit": "%", "reached": reached, "of": of,
                        "value": round(100 * reached / of, 3)})
    return entries


def _missed_branches(counts: "Counts", waived: Any) -> list[str]:
    from latte.sim.coverage.branches import text_of

    return [f"{branch.file}:{branch.line}{', else of' if branch.otherwise else ''}: {text_of(branch)}"
            for branch, count in sorted(counts.branches.items()) if not count and branch not in waived]


def _print_runs(console: Console, measured: "Sequence[Measured]") -> None:
    table = create_table("build", "programs", "jobs", "cycles", "compile", "simulate", "bits", title="What was run",
                         left=["bits"])
    for one in measured:
        figures = one.figures
        table.add_row(one.load.name, str(figures.programs), f"{figures.jobs:,}", f"{figures.cycles:,}",
                      f"{figures.compiling:.0f} s", "as before" if one.again else f"{figures.simulating:.0f} s",
                      Text("DIFFER", "bold red") if figures.problems else Text("equal", "green"))
    console.print(table)


def _print_sums(console: Console, figures: dict[str, Any], sums: "dict[str, Share]") -> None:
    from latte.sim.coverage.outcome import BARS

    table = create_table("file", "branches", "of", "waived", "edges of bits", "of", "waived", "%", title="Hardware")
    for file, shares in figures["files"].items():
        reached, of, waived = shares["toggle"]
        table.add_row(file, *(str(number or "") for number in shares["branch"]), str(reached), str(of),
                      str(waived or ""), f"{100 * reached / of:.1f}" if of else "")
    console.print(table)
    table = create_table("coverage", "reached", "of", "waived", "%", "at least", title="After waivers")
    for group, (reached, of, _) in figures["plan"].items():
        table.add_row(f"plan: {group}", str(reached), str(of), "", f"{100 * reached / of:.2f}", "")
    table.add_section()
    for name, share in sums.items():
        table.add_row(name, str(share.reached), str(share.of), str(share.waived or ""), f"{share.percent:.2f}",
                      f"{BARS[name]:g}", style="bold")
    console.print(table)


def _print_missed(console: Console, branches: list[str], hits: Any, *, partly: bool) -> None:
    """List what was not reached; of the plan only if all of it was to be."""
    from latte.sim.coverage.outcome import missed_points

    points = [] if partly else [f"{group}: {', '.join(point)}" for group, point in missed_points(hits)]
    for title, lines in (("branches never taken", branches), ("points never seen", points)):
        if lines:
            console.print(f"{len(lines)} {title}:")
        for line in lines[:_SHOWN]:
            console.print(f"  {line}", soft_wrap=True)
        if len(lines) > _SHOWN:
            console.print(f"  and {len(lines) - _SHOWN} more, on the page")
