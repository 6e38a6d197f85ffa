"""The last measurement of all engines: committed figures, and the documents' tables that are made of them."""

import datetime
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from latte.golden.documents import markdown_table, replace_section
from latte.golden.results import git_revision, write_text
from latte.sim.coverage.groups import Hits
from latte.sim.coverage.instrument import Counts
from latte.sim.coverage.outcome import BARS, Share, by_file, functional, total
from latte.sim.coverage.plan import PLAN
from latte.sim.coverage.waivers import Waived

__all__ = ["DOCUMENT", "TABLES", "differences", "figures", "read_baseline", "sums",
           "update_baseline"]

DOCUMENT = pathlib.Path(__file__).parent / "README.md"
_FILE = pathlib.Path(__file__).parent / "baseline.json"
Figures = Mapping[str, Any]


def figures(counts: Counts, waived: Waived, hits: Hits, *, seed: int, full: bool, cycles: int) -> dict[str, Any]:
    """Return what a baseline holds, plain values for JSON: shares are (reached, of, waived)."""
    files = {file: {"branch": _plain(branches), "toggle": _plain(edges)}
             for file, (branches, edges) in by_file(counts, waived).items()}
    return {"date": datetime.date.today().isoformat(), "commit": git_revision(), "seed": seed, "full": full,
            "cycles": cycles,
            "files": files, "plan": {group: _plain(share) for group, share in functional(hits).items()},
            "waivers": [[waiver.kind, str(waiver), uses, waiver.reason] for waiver, uses in waived.uses.items()]}


def _plain(share: Share) -> list[int]:
    return [share.reached, share.of, share.waived]


def read_baseline() -> dict[str, Any]:
    """Return the committed figures; those of nothing if there are none."""
    return json.loads(_FILE.read_text()) if _FILE.exists() else {}


def update_baseline(measured: Figures) -> None:
    """Take figures for the baseline, and write the tables made of them."""
    write_text(_FILE, json.dumps(measured, indent=1) + "\n")
    for section, table in TABLES.items():
        replace_section(DOCUMENT, section, table())


def differences(measured: Figures) -> list[str]:
    """Return a line for each share that is not the baseline's."""
    before, lines = read_baseline(), []
    for place in ("files", "plan"):
        old, new = before.get(place, {}), measured[place]
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                lines.append(f"{name}: {old.get(name)} -> {new.get(name)}")
    return lines


def sums(measured: Figures) -> dict[str, Share]:
    """Return the share of each of `BARS`."""
    return {"branch": total(Share(*file["branch"]) for file in measured["files"].values()),
            "toggle": total(Share(*file["toggle"]) for file in measured["files"].values()),
            "functional": total(Share(*share) for share in measured["plan"].values())}


def _total_table() -> str:
    record = read_baseline()
    rows = [(name, share.reached, share.of, share.waived, f"{share.percent:.2f}", f"{BARS[name]:g}")
            for name, share in sums(record).items()]
    table = markdown_table(["coverage", "reached", "of", "waived", "%", "at least"], rows)
    command = f"latte coverage{' --full' if record['full'] else ''} --seed {record['seed']}"
    return (f"Last run of all engines: {record['date']}, commit `{record['commit']}`, `{command}`, "
            f"{record['cycles']:,} cycles.\n\n{table}")


def _file_table() -> str:
    rows = []
    for file, shares in read_baseline()["files"].items():
        branches, edges = Share(*shares["branch"]), Share(*shares["toggle"])
        rows.append((f"`{file}`", f"{branches.reached} of {branches.of}", branches.waived or "",
                     f"{edges.reached} of {edges.of}", edges.waived or "", f"{edges.percent:.1f}"))
    return markdown_table(["file", "branches", "waived", "edges of bits", "waived", "%"], rows)


def _plan_table() -> str:
    plan, rows = read_baseline()["plan"], []
    for group in PLAN:
        # A group that is planned since then was not seen at all.
        seen, of, _ = plan.get(group.name, [0, len(group.all_points), 0])
        rows.append((group.name, group.intent, " x ".join(group.axes), f"{seen} of {of}"))
    return markdown_table(["group", "shows", "axes", "points seen"], rows)


def _waiver_table() -> str:
    rows = [(kind, f"`{what}`", uses, reason) for kind, what, uses, reason in read_baseline()["waivers"]]
    return markdown_table(["of", "what", "takes", "why"], rows)


TABLES: dict[str, Callable[[], str]] = {"coverage-total": _total_table, "coverage-plan": _plan_table,
                                        "coverage-files": _file_table, "coverage-waivers": _waiver_table}
"""What makes each section of `DOCUMENT`."""
