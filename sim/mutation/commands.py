"""``latte mutation``."""

import datetime
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console

from latte.golden.config import preset
from latte.golden.console import create_console, create_progress, create_table, show_status
from latte.golden.errors import LatteError
from latte.golden.results import git_revision, write_results
from latte.golden.workers import Workers
from latte.sim.options import build_option

if TYPE_CHECKING:
    from latte.sim.mutation.report import Score

__all__ = ["mutation_command"]

_SAMPLE = 25
"""Mutants of each block by default."""


@click.command("mutation")
@click.option("--block", "names", multiple=True, metavar="NAME", help="Judge the tests of this block; repeatable.")
@click.option("--mutants", "count", type=click.IntRange(1), metavar="N",
              help=f"Mutants of each block. [default: {_SAMPLE}]")
@click.option("--all", "all_of_them", is_flag=True, help="All mutants, of every build that tests have: days.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the choice of mutants.")
@click.option("--processes", default=os.cpu_count() or 1, show_default="all cores", type=click.IntRange(1),
              help="Models compiled and simulated at a time; more than one needs Dask.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786. Default: this machine.")
@click.option("--rebase", is_flag=True,
              help="Put these blocks into the baseline, and write the tables of the document.")
@build_option
def mutation_command(names: tuple[str, ...], count: int | None, all_of_them: bool, seed: int, processes: int,
                     scheduler: str | None, rebase: bool, build_folder: pathlib.Path) -> None:
    """Put faults into each block's netlist and see whether its own tests find them.

    Mutants that are proved to be equivalent do not count. What is known of a mutant is kept in build/mutation: a run
    that was interrupted goes on, and one with more mutants judges those that are new. Needs a checkout.

    Writes build/mutation.json, and exits with 0 only if the tests of every block kill 95 % of its mutants.
    """
    if count is not None and all_of_them:
        raise LatteError("--mutants and --all both say how many mutants to judge; give one of them")

    from latte.sim.compilation import check_simulator
    from latte.sim.formal.prove import check_solver
    from latte.sim.mutation.campaign import ALL, checkout, collect_netlists, run_campaign
    from latte.sim.mutation.catalogue import choose_blocks  # brings in Amaranth and the RTL
    from latte.sim.mutation.report import BAR, count_scores, survivor_rows
    from latte.sim.mutation.report import rebase as make_baseline

    console = create_console()
    blocks = choose_blocks(names)
    checkout()
    check_simulator("verilator")
    check_solver()
    with show_status(console, "collecting what tests ask for ...") as status:
        netlists = collect_netlists(blocks, build_folder, lambda bench: status.update(f"collecting {bench} ..."))
    with Workers(processes, scheduler) as workers, create_progress(console, "mutants") as progress:
        task = progress.add_task("listing", total=None)
        outcomes = run_campaign(
            blocks, netlists, ALL if all_of_them else count or _SAMPLE, seed, build_folder, workers,
            begin=lambda total: progress.update(task, total=total, description="judging"),
            done=lambda more: progress.advance(task, more))
    scores, survivors = count_scores(blocks, outcomes), survivor_rows(outcomes)
    passed = all(score.score >= BAR for score in scores)
    write_results(
        build_folder / "mutation.json", "mutation", preset("small"),
        [{"name": f"mutation.{score.block}.score", "unit": "ratio", "value": score.score, "bench": score.bench,
          "mutants": score.mutants, "equivalent": score.equivalent, "killed": score.killed,
          "survived": score.survived} for score in scores], passed, seed=seed, survivors=survivors)
    _print_scores(console, scores, BAR)
    for one in survivors:
        console.print(f"{one['place']}: {one['mutant']}; {one['build']}: {one['why']}", soft_wrap=True)
    total = sum(score.mutants for score in scores)
    console.print(f"{total} mutants of {len(scores)} blocks, {len(survivors)} survive", soft_wrap=True)
    if rebase:
        make_baseline(scores, survivors, date=datetime.date.today().isoformat(), commit=git_revision(), seed=seed,
                      count="all" if all_of_them else count or _SAMPLE)
    raise SystemExit(0 if passed else 1)


def _print_scores(console: Console, scores: Sequence["Score"], bar: float) -> None:
    table = create_table("block", "judged by", "mutants", "equivalent", "killed", "survived", "score",
                         title="mutants that a block's own tests kill", left=["judged by"])
    for one in scores:
        table.add_row(one.block, one.bench, *(str(getattr(one, name)) for name in
                                              ("mutants", "equivalent", "killed", "survived")),
                      f"{100 * one.score:.1f} %", style=None if one.score >= bar else "bold red")
    console.print(table)
