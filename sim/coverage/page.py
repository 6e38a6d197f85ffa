"""One page of what was reached: the text of the hardware with counts, signals, points of the plan, waivers."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jinja2

from latte.golden import distribution
from latte.golden.results import git_revision
from latte.sim.coverage.branches import path_of
from latte.sim.coverage.groups import Hits
from latte.sim.coverage.instrument import Counts
from latte.sim.coverage.outcome import BARS, Share, by_file, functional
from latte.sim.coverage.plan import PLAN
from latte.sim.coverage.waivers import Waived

__all__ = ["bit_ranges", "render_page"]

_WAYS = {"arm": "", "state": "state ", "otherwise": "else "}
_TEMPLATE = pathlib.Path(__file__).parent / "page.html"


@dataclasses.dataclass(frozen=True)
class _Line:
    """A line of text; `marks` are (class of its style, what is said of a branch)."""

    number: int
    text: str
    marks: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class _Signal:
    """A signal with bits that were not seen to rise or to fall, as ranges; `waived` of all these or not."""

    name: str
    declared: str
    width: int
    rise: str
    fall: str
    waived: bool


@dataclasses.dataclass(frozen=True)
class _File:
    name: str
    branches: Share
    edges: Share
    lines: list[_Line]
    signals: list[_Signal]


def bit_ranges(mask: int) -> str:
    """Return the bits of a mask as text: ``0, 4 to 7``."""
    parts, bit = [], 0
    while mask >> bit:
        if mask >> bit & 1:
            last = bit
            while mask >> last + 1 & 1:
                last += 1
            parts.append(str(bit) if last == bit else f"{bit} to {last}")
            bit = last
        bit += 1
    return ", ".join(parts)


def _file(name: str, shares: tuple[Share, Share], counts: Counts, waived: Waived) -> _File:
    marks: dict[int, list[tuple[str, str]]] = {}
    for branch, count in sorted(counts.branches.items()):
        if branch.file == name:
            style = "taken" if count else "waived" if branch in waived.branches else "never"
            said = f"{_WAYS[branch.way]}{f'{count:,}' if count else style}"
            marks.setdefault(branch.line, []).append((style, said))
    lines = [_Line(number, text, marks.get(number, []))
             for number, text in enumerate(path_of(name).read_text().splitlines(), 1)]
    signals = []
    for net, toggles in sorted(counts.toggles.items()):
        rise, fall = toggles.missing
        if net.file == name and rise | fall:
            signals.append(_Signal(net.name, net.declared, toggles.width, bit_ranges(rise), bit_ranges(fall),
                                   waived.toggles.get(net) == (rise, fall)))
    return _File(name, *shares, lines, signals)


def render_page(counts: Counts, waived: Waived, hits: Hits, totals: dict[str, Share], runs: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    counts, waived, hits
    totals
        By name of their bar.
    runs
        A line for each build: what was run on it.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    shares = functional(hits)
    groups = [(group, shares[group.name], [(point, hits[group.name][point]) for point in group.all_points])
              for group in PLAN]
    return environment.from_string(_TEMPLATE.read_text()).render(
        version=distribution.version(), git=git_revision(), totals=totals, bars=BARS, runs=runs, groups=groups,
        uses=waived.uses, files=[_file(name, shares, counts, waived)
                                 for name, shares in by_file(counts, waived).items()])
