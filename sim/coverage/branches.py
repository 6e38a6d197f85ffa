"""Probes of every branch of a component: a flip-flop for each arm, which is set in the cycle behind one that takes it.

A branch is an arm of an `m.If`, an `m.Case` of an `m.Switch`, or an `m.State` of an `m.FSM`, and what happens if none
of these is taken: an `m.If` without `m.Else` that is never false is a finding. Arms are found in what Amaranth makes of
a module, and known by the place in the text that it keeps with each. The same arm of several instances, of a loop's
passes, and of the domains that an `m.If` assigns in is one branch.
"""

import ast
import dataclasses
import functools
import itertools
import linecache
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from amaranth.hdl import Cat, Fragment, Signal
from amaranth.hdl._ast import Statement, Switch
from amaranth.lib import wiring

import latte.rtl

__all__ = ["Branch", "Probed", "is_beside", "path_of", "place_in_rtl", "text_of", "written_branches"]

_ROOT = pathlib.Path(latte.rtl.__path__[0]).parent
_BESIDE = (_ROOT / "sim" / "memory_model.py",)
"""Files of simulated memories, which are made of the hardware's queues, too."""
_ARMS = ("If", "Elif", "Else", "Case", "Default", "State")
_ENUMERATED_BITS = 10
"""Widest test of a switch whose patterns are counted; of a wider one they leave something to none of them."""

Way = Literal["arm", "state", "otherwise"]


@dataclasses.dataclass(frozen=True, order=True)
class Branch:
    """One way that a statement can take.

    Parameters
    ----------
    file
        Below the package's folder, such as ``rtl/wide/softmax.py``.
    line
        Of the arm; of the whole statement if no arm is written for it.
    way
        ``arm``; ``state`` of an FSM, for a line may have both; ``otherwise``, the way past all arms.
    """

    file: str
    line: int
    way: Way = "arm"

    @property
    def otherwise(self) -> bool:
        """Whether it is the way past all arms."""
        return self.way == "otherwise"


def place_in_rtl(file: str) -> str | None:
    """Return the name of a file of the hardware, such as ``rtl/wide/softmax.py``; None for any other file."""
    path = pathlib.Path(file)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT / "rtl") else None


def is_beside(file: str) -> bool:
    """Return whether a component of a file, and all that it is made of, only stands beside the hardware."""
    return pathlib.Path(file) in _BESIDE


def path_of(file: str) -> pathlib.Path:
    """Return where a file is that `place_in_rtl` named."""
    return _ROOT / file


def text_of(branch: Branch) -> str:
    """Return the line of the text where a branch is, without spaces around it."""
    return linecache.getline(str(path_of(branch.file)), branch.line).strip()


@functools.cache
def written_branches() -> tuple[Branch, ...]:
    """Return the arms that the hardware's text has, whether any build has them or not."""
    found = []
    for path in sorted((_ROOT / "rtl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for item in node.items if isinstance(node, ast.With) else ():
                call = item.context_expr
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _ARMS:
                    way: Way = "state" if call.func.attr == "State" else "arm"
                    found.append(Branch(str(path.relative_to(_ROOT)), call.lineno, way))
    return tuple(found)


class Probed(wiring.Component):
    """A component with the same ports and the same logic, and probes of its branches and of those of its parts.

    Parameters
    ----------
    component
        Not elaborated yet.

    Attributes
    ----------
    probes : dict of str to list of Branch
        By name of a probe's signal, what each of its bits says; filled when it is elaborated.
    """

    def __init__(self, component: wiring.Component) -> None:
        super().__init__(component.signature)
        for name in component.signature.members:
            setattr(self, name, getattr(component, name))
        self.component = component
        self.probes: dict[str, list[Branch]] = {}

    def elaborate(self, platform: Any) -> Fragment:
        """Elaborate the component and add to all that it is made of."""
        self.probes.clear()
        fragment = Fragment.get(self.component, platform)
        self._add(fragment)
        return fragment

    def _add(self, fragment: Fragment) -> None:
        """Add a probe of a fragment's branches, and probes of those within."""
        if fragment.src_loc and is_beside(fragment.src_loc[0]):
            return
        hits: dict[Branch, Signal] = {}
        # All mirrors are made before one is added: those of other domains are no statements of "comb".
        mirrors = [mirror for statements in fragment.statements.values() for mirror in _mirror(statements, hits)]
        fragment.add_statements("comb", mirrors)
        if hits:
            name = f"branches_{len(self.probes)}"
            self.probes[name] = list(hits)
            # Nothing reads it: what makes the SystemVerilog would leave it out.
            probe = Signal(len(hits), name=name, reset_less=True, attrs={"keep": True})
            fragment.add_statements("sync", probe.eq(Cat(*hits.values())))
        for part, _, _ in fragment.subfragments:
            self._add(part)


def _mirror(statements: Iterable[Statement], hits: dict[Branch, Signal]) -> Iterator[Statement]:
    """Yield the same switches, in which each arm says that it was taken and does nothing else."""
    for statement in statements:
        if not isinstance(statement, Switch):
            continue
        arm: Way = "state" if _is_machine(statement) else "arm"
        cases = []
        for patterns, inner, location in statement.cases:
            cases.append((patterns, [*_say(_branch(location, arm), hits), *_mirror(inner, hits)], location))
        if _leaves_others(statement):
            cases.append((None, list(_say(_branch(statement.src_loc, "otherwise"), hits)), statement.src_loc))
        yield Switch(statement.test, cases, src_loc=statement.src_loc)


def _is_machine(switch: Switch) -> bool:
    """Return whether a switch is an FSM's, which is always in one of its states."""
    return "m.FSM(" in linecache.getline(*switch.src_loc)


def _branch(location: tuple[str, int] | None, way: Way) -> Branch | None:
    """Return the branch of a place in the text, None if it is not the hardware's."""
    file = place_in_rtl(location[0]) if location else None
    return Branch(file, location[1], way) if file and location else None


def _say(branch: Branch | None, hits: dict[Branch, Signal]) -> Iterator[Statement]:
    if branch is not None:
        yield hits.setdefault(branch, Signal(name="branch_taken")).eq(1)


def _leaves_others(switch: Switch) -> bool:
    """Return whether a legal value of a switch's test may match none of its patterns."""
    patterns = [patterns for patterns, _, _ in switch.cases]
    if None in patterns or _is_machine(switch):
        return False
    if len(switch.test) > _ENUMERATED_BITS:
        return True
    matched: set[str] = set()
    for pattern in itertools.chain.from_iterable(patterns):
        matched.update(map("".join, itertools.product(*("01" if bit == "-" else bit for bit in pattern))))
    return len(matched) < 1 << len(switch.test)
