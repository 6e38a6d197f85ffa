"""``latte formal``."""

import concurrent.futures
import os
import pathlib
from typing import Any

import click

from latte.golden.config import preset
from latte.golden.console import create_console, create_progress, create_table
from latte.golden.results import write_results
from latte.sim.locks import claimed
from latte.sim.options import build_option

__all__ = ["formal_command"]


@click.command("formal")
@click.option("--block", "blocks", multiple=True, metavar="NAME",
              help="Prove what is claimed of this block; repeatable.")
@click.option("--processes", default=os.cpu_count() or 1, show_default="all cores", type=click.IntRange(1),
              help="Proofs at a time.")
@build_option
def formal_command(blocks: tuple[str, ...], processes: int, build_folder: pathlib.Path) -> None:
    """Prove properties of hardware blocks for all inputs, by induction or for a number of cycles.

    Prints a table, writes build/formal.json, and exits with 0 only if everything holds and nothing is void. Traces of
    counterexamples are in build/formal.
    """
    from latte.sim.formal.catalogue import choose_proofs  # brings in Amaranth and the RTL
    from latte.sim.formal.prove import check_solver, prove

    console = create_console()
    proofs = choose_proofs(blocks)
    check_solver()
    outcomes = []
    with (claimed(build_folder / "formal"), create_progress(console, "proofs") as progress,
          concurrent.futures.ThreadPoolExecutor(processes) as workers):
        task = progress.add_task("proving", total=len(proofs))
        for outcome in workers.map(lambda proof: prove(proof, build_folder / "formal"), proofs):
            outcomes.append(outcome)
            progress.advance(task)
    passed = all(outcome.passed for outcome in outcomes)
    results: list[dict[str, Any]] = []
    table = create_table("block", "property", "mode", "depth", "witness", "seconds", "result", title="proofs",
                         left=("property", "mode", "result"))
    for outcome in outcomes:
        proof, seconds = outcome.proof, f"{outcome.seconds:.1f}"
        for verdict in outcome.verdicts:
            name = proof.full_name(verdict.property)
            results.append({"name": name, "unit": "pass", "value": int(verdict.proved), "mode": proof.mode,
                            "depth": proof.depth, "witness": verdict.reached, "seconds": round(outcome.seconds, 1),
                            "result": verdict.result})
            table.add_row(proof.block, name.partition(".")[2], proof.mode, str(proof.depth),
                          "-" if verdict.reached is None else str(verdict.reached), seconds, verdict.result)
            seconds = ""
    # Each proof chooses its own build: the configuration of the record is where they begin.
    write_results(build_folder / "formal.json", "formal", preset("small"), results, passed)
    console.print(table)
    for outcome in outcomes:
        for problem in outcome.problems:
            console.print(problem, soft_wrap=True)
    proved = sum(result["value"] for result in results)
    console.print(f"{proved} of {len(results)} properties proved, of {len({proof.block for proof in proofs})} blocks; "
                  "each property's case was reached in the cycle that `witness` gives")
    raise SystemExit(0 if passed else 1)
