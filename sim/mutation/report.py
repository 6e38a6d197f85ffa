"""Scores of blocks, and the tables made of the committed baseline."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from latte.golden.documents import markdown_table, replace_section
from latte.golden.results import write_text
from latte.sim.mutation.campaign import Outcome
from latte.sim.mutation.catalogue import BLOCKS, DOCUMENT, Block
from latte.sim.mutation.explanations import explain, load_explanations, source_line

__all__ = ["BAR", "BASELINE", "TABLES", "Score", "count_scores", "rebase", "survivor_rows"]

BAR = 0.95
"""Least share of the mutants that are not equivalent which a block's tests must kill."""
BASELINE = pathlib.Path(__file__).parent / "baseline.json"


@dataclasses.dataclass(frozen=True)
class Score:
    """What became of a block's mutants.

    Parameters
    ----------
    block, bench
    mutants
        All of them.
    equivalent
        Those that were proved to be.
    killed, survived
    """

    block: str
    bench: str
    mutants: int
    equivalent: int
    killed: int
    survived: int

    @property
    def score(self) -> float:
        """Share of the mutants that are not equivalent which are killed; 1 if there is none."""
        return self.killed / max(1, self.killed + self.survived) if self.killed + self.survived else 1.0


def count_scores(blocks: Sequence[Block], outcomes: Sequence[Outcome]) -> list[Score]:
    """Return the score of each block."""
    scores = []
    for block in blocks:
        own = [outcome for outcome in outcomes if outcome.block == block.name]
        killed, survived = (sum(map(is_one, own)) for is_one in (lambda one: one.failure is not None,
                                                                 lambda one: one.survives))
        scores.append(Score(block.name, block.bench, len(own), len(own) - killed - survived, killed, survived))
    return scores


def survivor_rows(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """Return block, build, place, line, mutant and why, of each mutant that survives."""
    explanations = load_explanations()
    return [{"block": one.block, "build": one.netlist, "place": one.mutant.place, "line": source_line(one.mutant.place),
             "mutant": str(one.mutant), "why": explain(one, explanations)} for one in outcomes if one.survives]


def rebase(scores: Sequence[Score], survivors: Sequence[dict[str, str]], **run: Any) -> None:
    """Put the blocks of a run into the baseline, in place of what it had of them, and write the document's tables.

    Parameters
    ----------
    scores, survivors
    **run
        What it was: date, commit, seed, mutants per block.
    """
    blocks = _baseline()
    for score in scores:
        blocks[score.block] = {"score": dataclasses.asdict(score), "run": run,
                               "survivors": [one for one in survivors if one["block"] == score.block]}
    known = [block.name for block in BLOCKS]
    ordered = {name: blocks[name] for name in known if name in blocks}
    write_text(BASELINE, json.dumps(ordered, indent=0) + "\n")
    for section, table in TABLES.items():
        replace_section(DOCUMENT, section, table())


def _baseline() -> dict[str, Any]:
    """Return score, run and survivors by block."""
    return json.loads(BASELINE.read_text()) if BASELINE.exists() else {}


def _score_table() -> str:
    """Return the baseline's scores as a Markdown table, and what runs they are of."""
    record = _baseline().values()
    scores = [Score(**of_block["score"]) for of_block in record]
    rows = [(f"`{one.block}`", one.bench, one.mutants, one.equivalent, one.killed, one.survived,
             f"{100 * one.score:.1f} %") for one in scores]
    total = Score("", "", *(sum(getattr(one, name) for one in scores)
                            for name in ("mutants", "equivalent", "killed", "survived")))
    rows.append(("all", "", total.mutants, total.equivalent, total.killed, total.survived,
                 f"{100 * total.score:.1f} %"))
    runs = dict.fromkeys(f"{run['date']}, commit `{run['commit']}`, seed {run['seed']}, {run['count']} of each block"
                         for run in (of_block["run"] for of_block in record))
    return ("; ".join(runs) + ":\n\n"
            + markdown_table(("block", "judged by", "mutants", "equivalent", "killed", "survived", "score"), rows))


def _survivor_table() -> str:
    """Return the baseline's survivors as a Markdown table: how many of a line there are, and why."""
    found: dict[tuple[str, str, str], int] = {}
    for one in (one for of_block in _baseline().values() for one in of_block["survivors"]):
        line = one["line"] or one["place"].rpartition("/")[2]
        key = one["block"], line.replace("|", "\\|"), one["why"]
        found[key] = found.get(key, 0) + 1
    return markdown_table(("block", "line", "mutants", "why it survives"),
                          [(f"`{block}`", f"`{line}`", count, why) for (block, line, why), count in found.items()])


TABLES = {"scores": _score_table, "survivors": _survivor_table}
"""What makes each section of the document."""
