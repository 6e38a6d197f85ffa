"""What need not be reached, each with its reason: one committed file of patterns."""

import dataclasses
import fnmatch
import pathlib
import tomllib
from collections.abc import Sequence

from latte.golden.errors import LatteError
from latte.sim.coverage.branches import Branch, text_of
from latte.sim.coverage.instrument import Counts
from latte.sim.coverage.netlist import Net

__all__ = ["FILE", "Waived", "Waiver", "apply_waivers", "read_waivers"]

FILE = pathlib.Path(__file__).parent / "waivers.toml"
_FIELDS = {"branch": {"file", "text", "otherwise", "reason"}, "toggle": {"file", "signal", "bits", "every", "reason"}}
_ALL = 1 << 20
"""More bits than a signal has."""


@dataclasses.dataclass(frozen=True)
class Waiver:
    """Branches or bits that a pattern names.

    Parameters
    ----------
    kind
        ``branch`` or ``toggle``.
    file
        Pattern of the file, as of a shell.
    what
        Pattern of a branch's line in the text, without spaces around it; or of a signal's name.
    reason
    otherwise
        Of a branch: whether it is the way past all arms.
    first, last
        Of a signal: its bits, both included.
    every
        Of a signal that is several of so many bits side by side: `first` and `last` are of each.
    """

    kind: str
    file: str
    what: str
    reason: str
    otherwise: bool = False
    first: int = 0
    last: int = _ALL
    every: int = _ALL

    def names_branch(self, branch: Branch) -> bool:
        """Return whether a branch is named."""
        return (self.kind == "branch" and self.otherwise == branch.otherwise
                and fnmatch.fnmatchcase(branch.file, self.file) and fnmatch.fnmatchcase(text_of(branch), self.what))

    def mask(self, net: Net, width: int) -> int:
        """Return the bits that are named of a signal."""
        if self.kind != "toggle" or not (fnmatch.fnmatchcase(net.file, self.file)
                                         and fnmatch.fnmatchcase(net.name, self.what)):
            return 0
        return sum(1 << bit for bit in range(width) if self.first <= bit % self.every <= self.last)

    def __str__(self) -> str:
        where = f"{self.file}, {self.what}"
        if self.kind == "branch":
            return f"{where}{', else' if self.otherwise else ''}"
        if self.first or self.last < _ALL:
            last = self.last if self.last < _ALL else "the last"
            return f"{where}, bits {self.first} to {last}{f' of every {self.every}' if self.every < _ALL else ''}"
        return where


@dataclasses.dataclass
class Waived:
    """What waivers take out of the reckoning.

    Parameters
    ----------
    branches
        That were not taken, and are named.
    toggles
        Bits that were not seen to rise, and to fall, and are named.
    uses
        How many branches, or edges of bits, each waiver took.
    """

    branches: set[Branch] = dataclasses.field(default_factory=set)
    toggles: dict[Net, tuple[int, int]] = dataclasses.field(default_factory=dict)
    uses: dict[Waiver, int] = dataclasses.field(default_factory=dict)


def read_waivers(path: pathlib.Path = FILE) -> list[Waiver]:
    """Read waivers.

    Raises
    ------
    LatteError
        The file is none of waivers, or one has no reason.
    """
    try:
        entries = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise LatteError(f"{path}: not a readable file of waivers ({error})") from None
    waivers = []
    for kind, some in entries.items():
        if kind not in _FIELDS:
            raise LatteError(f"{path}: a waiver is a [[branch]] or a [[toggle]], not {kind!r}")
        for entry in some:
            if odd := sorted(set(entry) - _FIELDS[kind]):
                raise LatteError(f"{path}: a waiver of a {kind} has {', '.join(sorted(_FIELDS[kind]))}, not {odd[0]!r}")
            what = entry.get("text" if kind == "branch" else "signal")
            if not what or not entry.get("file") or not str(entry.get("reason", "")).strip():
                raise LatteError(f"{path}: a waiver of a {kind} needs a file, a "
                                 f"{'text' if kind == 'branch' else 'signal'} and a reason; {entry} has not")
            first, last = entry.get("bits", [0, _ALL])
            waivers.append(Waiver(kind, entry["file"], what, " ".join(entry["reason"].split()),
                                  bool(entry.get("otherwise")), first, last, entry.get("every", _ALL)))
    return waivers


def apply_waivers(waivers: Sequence[Waiver], counts: Counts, *, whole: bool) -> Waived:
    """Return what the waivers take.

    Parameters
    ----------
    waivers
    counts
    whole
        Whether all builds were measured, so that each waiver must name something that was not reached.

    Raises
    ------
    LatteError
        A waiver names nothing that was not reached.
    """
    waived = Waived(uses=dict.fromkeys(waivers, 0))
    for waiver in waivers:
        for branch, count in counts.branches.items():
            if not count and waiver.names_branch(branch):
                waived.uses[waiver] += 1
                waived.branches.add(branch)
        for net, toggles in counts.toggles.items():
            mask = waiver.mask(net, toggles.width)
            rise, fall = (mask & missing for missing in toggles.missing)
            if rise | fall:
                before = waived.toggles.get(net, (0, 0))
                waived.toggles[net] = before[0] | rise, before[1] | fall
                waived.uses[waiver] += rise.bit_count() + fall.bit_count()
    if whole and (idle := [waiver for waiver in waivers if not waived.uses[waiver]]):
        raise LatteError(f"the waiver of {idle[0].kind} {idle[0]} names nothing that was not reached; take it out of "
                         f"{FILE.name}")
    return waived
