"""``latte fuzz``."""

import dataclasses
import itertools
import os
import pathlib
import shlex
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from latte.golden.config import AttentionConfig, preset
from latte.golden.console import create_console, create_progress, create_table, show_status
from latte.golden.errors import LatteError
from latte.golden.results import write_results
from latte.sim.compilation import SIMULATORS, check_simulator
from latte.sim.locks import claimed
from latte.sim.options import build_option, config_options

if TYPE_CHECKING:
    from latte.sim.fuzz.builds import PairwiseBuilds
    from latte.sim.fuzz.campaign import Outcome, Task

__all__ = ["fuzz_command"]

_MINUTES = 10.0
_CYCLES = 100_000
"""Of a case: as many as a small build simulates in some seconds."""
_PAIRWISE_CYCLES = 10_000
"""Of the only case of a build."""
_BUILD_OPTIONS = ("config", "board", *(field.name for field in dataclasses.fields(AttentionConfig)
                                       if field.name != "name"))


@click.command("fuzz")
@click.option("--minutes", type=click.FloatRange(0, min_open=True),
              help=f"Begin no case after so long. [default: {_MINUTES:g}]")
@click.option("--cases", type=click.IntRange(1), metavar="N", help="Run so many cases, however long it takes.")
@click.option("--cycles", type=click.IntRange(1000), metavar="N",
              help="Of a case, about; long ones compare more scores a second. "
                   f"[default: {_CYCLES:,}, with --pairwise {_PAIRWISE_CYCLES:,}]")
@click.option("--seed", type=click.IntRange(0),
              help="Number of the first case. [default: 0, with --rebase the first that the baseline has not]")
@click.option("--pairwise", is_flag=True,
              help="One case on each build of a set in which every two values of two fields meet; all of them, unless "
                   "--cases or --minutes end it.")
@click.option("--case", "file", type=click.Path(path_type=pathlib.Path), metavar="FILE",
              help="Run a case that was written before, and nothing else.")
@click.option("--sim", "simulators", multiple=True, metavar="NAME",
              help=f"Simulator: {' or '.join(SIMULATORS)}; repeatable. [default: those that are installed]")
@click.option("--processes", default=os.cpu_count() or 1, show_default="all cores", type=click.IntRange(1),
              help="Simulations at a time.")
@click.option("--rebase", is_flag=True,
              help="Add the run to the baseline, and write the table of the document. Needs a checkout.")
@build_option
@config_options
def fuzz_command(config: AttentionConfig, minutes: float | None, cases: int | None, cycles: int | None,
                 seed: int | None, pairwise: bool, file: pathlib.Path | None, simulators: tuple[str, ...],
                 processes: int, rebase: bool, build_folder: pathlib.Path) -> None:
    """Run random programs on random builds and compare every bit, status bit and counter with the golden model.

    A case is some programs on one build: heads, decoded tokens, shared keys and refused jobs, with random, extreme and
    real rows, stalls, and resets in mid-job. Builds are random ones and presets, or the one that --config, --board or
    its fields name. A case that fails is made as small as it gets and written into build/fuzz.

    Writes build/fuzz.json, or build/pairwise.json, and exits with 0 only if nothing differs.
    """
    console = create_console()
    options = click.get_current_context().params
    build = {name: options[name] for name in _BUILD_OPTIONS if options[name] is not None}
    if minutes is not None and cases is not None:
        raise LatteError("--minutes and --cases both say when to end; give one of them")
    if build and (pairwise or file):
        raise LatteError(f"{'--pairwise' if pairwise else '--case'} has builds of its own; leave out {_spell(build)}")
    if file and rebase:
        raise LatteError("--case repeats a case that failed, which counts in no baseline; leave out --rebase")
    usable, left_out = _find_simulators(simulators)
    click.get_current_context().with_resource(claimed(build_folder / "fuzz"))

    from latte.sim.fuzz.baseline import add_run, next_seed
    from latte.sim.fuzz.builds import pairwise_builds  # brings in Amaranth and the RTL
    from latte.sim.fuzz.campaign import build_tasks, run_tasks, seed_tasks

    if file is not None:
        _run_file(console, file, build_folder)
    command = _command(pairwise, build, cycles)
    behind = next_seed(command) if rebase else 0
    seed = behind if seed is None else seed
    if seed < behind:
        raise LatteError(f"the baseline has cases of `{command}` up to {behind - 1}, and none may count twice; leave "
                         "out --seed")
    array, seconds = None, 60 * (minutes or _MINUTES)
    total: int | None
    groups: Iterator[list[Task]]
    if pairwise:
        with show_status(console, "combining values in pairs ..."):
            array = pairwise_builds()
        if behind >= len(array.builds):
            raise LatteError(f"the baseline has all {behind} builds of the set; leave out --rebase")
        if seed >= len(array.builds):
            raise LatteError(f"--seed {seed} must be a build's number, from 0 to {len(array.builds) - 1}")
        total = cases or len(array.builds) - seed
        groups = itertools.islice(build_tasks(array.builds, usable[0], cycles or _PAIRWISE_CYCLES), seed, seed + total)
    else:
        total, groups = cases, seed_tasks(seed, config if build else None, usable, cycles or _CYCLES, cases)
    ends_by_time = minutes is not None or total is None
    started = time.monotonic()
    outcomes: list[Outcome] = []
    with create_progress(console, "s" if ends_by_time else "cases") as progress:
        task = progress.add_task("fuzzing", total=seconds if ends_by_time else total)

        def show(outcome: "Outcome") -> None:
            outcomes.append(outcome)
            progress.update(task, description=f"{sum(one.scores for one in outcomes):,} scores",
                            completed=round(time.monotonic() - started) if ends_by_time else len(outcomes))

        run_tasks(groups, build_folder, processes=processes, done=show,
                  stop=lambda: ends_by_time and time.monotonic() - started >= seconds)
    outcomes.sort(key=lambda outcome: outcome.task.seed)
    elapsed = time.monotonic() - started
    failed = [outcome for outcome in outcomes if outcome.problems]
    target = "pairwise" if pairwise else "fuzz"
    figures = _figures(target, outcomes, elapsed, array)
    repeats = {outcome.task.seed: f"{command} --seed {outcome.task.seed} --cases 1 --sim {outcome.task.simulator}"
               for outcome in failed}
    write_results(
        build_folder / f"{target}.json", target, config if build else preset("small"),
        [{"name": name, "unit": unit, "value": value} for name, (unit, value) in figures.items()]
        + [{"name": f"{target}.case{outcome.task.seed}", "unit": "pass", "value": 0, "problems": outcome.problems,
            "repeat": repeats[outcome.task.seed], "file": outcome.file and str(outcome.file)} for outcome in failed],
        not failed, seed=seed, seconds=round(elapsed, 1), left_out=left_out)
    _print_table(console, outcomes)
    for outcome in failed:
        console.print(f"case {outcome.task.seed}, {outcome.task.config.name}, {outcome.task.simulator}:")
        for problem in outcome.problems:
            console.print(f"  {problem}", style="red", soft_wrap=True)
        console.print(f"  again: {repeats[outcome.task.seed]}", soft_wrap=True)
        if outcome.file:
            console.print(f"  made small: latte fuzz --case {shlex.quote(str(outcome.file))}; in tests/sim/fuzz/cases, "
                          "the tests run it", soft_wrap=True)
    for line in left_out:
        console.print(f"left out: {line}", soft_wrap=True)
    console.print(", ".join(f"{value:,} {name.partition('.')[2].replace('_', ' ')}"
                            for name, (_, value) in figures.items()), soft_wrap=True)
    if rebase and outcomes:
        add_run(command, outcomes, elapsed)
    raise SystemExit(1 if failed else 0)


def _find_simulators(named: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (simulators to use, why others are left out); one that was named must be there, as must the first."""
    usable, left_out = [], []
    for simulator in named or SIMULATORS:
        try:
            check_simulator(simulator)
            usable.append(simulator)
        except LatteError as error:
            if named or simulator == SIMULATORS[0]:
                raise
            left_out.append(f"{simulator}: {error}")
    return usable, left_out


def _run_file(console: Console, path: pathlib.Path, build_folder: pathlib.Path) -> None:
    """Run a written case, print what differs, and exit."""
    from latte.sim.core_run import build_core, run_cores
    from latte.sim.fuzz.case import load_case

    case = load_case(path)
    check_simulator(case.simulator)
    with show_status(console, f"running {path} on {case.simulator} ..."):
        model = build_core(case.config, case.simulator, build_folder=build_folder)
        reports = run_cores(model, case.runs, build_folder / "fuzz" / "case")
    problems = [f"program {index}, {problem}" for index, report in enumerate(reports) for problem in report.problems]
    for problem in problems:
        console.print(problem, style="red", soft_wrap=True)
    jobs = sum(len(run.program.jobs) for run in case.runs)
    console.print(f"{path}: {len(reports)} programs, {jobs} jobs, {case.simulator}: "
                  f"{'DIFFER' if problems else 'equal in every bit'}", soft_wrap=True)
    raise SystemExit(1 if problems else 0)


def _spell(build: dict[str, Any]) -> str:
    """Return options of a build as they are written."""
    return " ".join(f"--{name.replace('_', '-')} {','.join(value) if isinstance(value, tuple) else value}"
                    for name, value in build.items())


def _command(pairwise: bool, build: dict[str, Any], cycles: int | None) -> str:
    """Return the command line without how long it runs and where it begins: with it a seed is always the same case."""
    words = ["latte fuzz", "--pairwise" if pairwise else _spell(build), f"--cycles {cycles}" if cycles else ""]
    return " ".join(word for word in words if word)


def _figures(target: str, outcomes: Sequence["Outcome"], elapsed: float,
             array: "PairwiseBuilds | None") -> dict[str, tuple[str, Any]]:
    """Return (unit, value) by name: what was compared, how fast, and of pairs of values how many."""
    scores = sum(outcome.scores for outcome in outcomes)
    figures: dict[str, tuple[str, Any]] = {
        "scores": ("count", scores), "scores_per_second": ("1/s", round(scores / elapsed)),
        "cases": ("count", len(outcomes)), "builds": ("count", len({outcome.task.config for outcome in outcomes})),
        "jobs": ("count", sum(outcome.jobs for outcome in outcomes))}
    if array is not None:
        met = {pair for outcome in outcomes if not outcome.problems for pair in array.builds[outcome.task.config]}
        figures |= {"pairs_simulated": ("count", len(met)),
                    "pairs_left": ("count", len(set().union(*array.builds.values()) - met)),
                    "pairs_refused": ("count", len(array.refused))}
    figures["differences"] = ("count", sum(bool(outcome.problems) for outcome in outcomes))
    return {f"{target}.{name}": figure for name, figure in figures.items()}


def _print_table(console: Console, outcomes: Sequence["Outcome"]) -> None:
    table = create_table("engine", "simulator", "builds", "cases", "programs", "jobs", "scores", "cycles", "compile",
                         "simulate", "scores/s", "bits", title="RTL against the golden model",
                         left=["simulator", "bits"])
    rows: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[outcome.task.config.engine, outcome.task.simulator].append(outcome)
    for (engine, simulator), some in sorted(rows.items()):
        scores, seconds = sum(one.scores for one in some), sum(one.simulating for one in some)
        differ = sum(bool(one.problems) for one in some)
        table.add_row(
            engine, simulator, str(len({one.task.config for one in some})), str(len(some)),
            *(f"{sum(getattr(one, name) for one in some):,}" for name in ("programs", "jobs", "scores", "cycles")),
            f"{sum(one.compiling for one in some):.0f} s", f"{seconds:.0f} s",
            f"{scores / seconds:,.0f}" if seconds else "-",
            Text(f"{differ} DIFFER", "bold red") if differ else Text("equal", "green"))
    console.print(table)
