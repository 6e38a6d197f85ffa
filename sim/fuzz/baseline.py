"""What was fuzzed so far: committed figures of runs that add up, and the document's table of them."""

import datetime
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from latte.golden.documents import markdown_table, replace_section
from latte.golden.results import git_revision, write_text
from latte.sim.fuzz.campaign import Outcome

__all__ = ["DOCUMENT", "TABLES", "add_run", "next_seed"]

DOCUMENT = pathlib.Path(__file__).parent.parent / "README.md"
_FILE = pathlib.Path(__file__).parent / "baseline.json"
_COUNTS = ("jobs", "scores", "cycles")
"""Of outcomes, that add up."""


def next_seed(command: str) -> int:
    """Return the first number behind all cases of a command's runs in the baseline."""
    return max((run["seeds"][1] + 1 for run in _runs() if run["command"] == command), default=0)


def add_run(command: str, outcomes: Sequence[Outcome], elapsed: float) -> None:
    """Add a run to the baseline, and write the table.

    Parameters
    ----------
    command
        The command line without how long it ran and where it began; a seed means the same case in all its runs.
    outcomes
        At least one.
    elapsed
        Seconds that they took together.
    """
    runs, seeds = _runs(), [outcome.task.seed for outcome in outcomes]
    runs.append({"command": command, "date": datetime.date.today().isoformat(), "commit": git_revision(),
                 "seeds": [min(seeds), max(seeds)], "cases": len(seeds),
                 "builds": len({outcome.task.config for outcome in outcomes}), "seconds": max(1, round(elapsed)),
                 **{name: sum(getattr(outcome, name) for outcome in outcomes) for name in _COUNTS},
                 "differences": sum(bool(outcome.problems) for outcome in outcomes)})
    runs.sort(key=lambda run: (run["command"], run["seeds"]))
    write_text(_FILE, json.dumps(runs, indent=0) + "\n")
    for section, table in TABLES.items():
        replace_section(DOCUMENT, section, table())


def _runs() -> list[dict[str, Any]]:
    return json.loads(_FILE.read_text()) if _FILE.exists() else []


def _table() -> str:
    """Return the runs as a Markdown table, the sums in its last row."""
    runs = _runs()
    names = ("cases", *_COUNTS)
    rows = [(f"`{run['command']}`", f"{run['date']}, `{run['commit']}`", "{} to {}".format(*run["seeds"]),
             run["builds"], *(f"{run[name]:,}" for name in names), f"{run['scores'] / run['seconds']:,.0f}",
             run["differences"]) for run in runs]
    sums = {name: sum(run[name] for run in runs) for name in (*names, "seconds", "differences")}
    rows.append(("all", "", "", "", *(f"{sums[name]:,}" for name in names),
                 f"{sums['scores'] / max(1, sums['seconds']):,.0f}", sums["differences"]))
    return markdown_table(["command", "run", "seeds", "builds", *names, "scores/s", "differences"], rows)


TABLES: dict[str, Callable[[], str]] = {"fuzz-runs": _table}
"""What makes each section of `DOCUMENT`."""
