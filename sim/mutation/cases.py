"""What a block's tests ask of it, kept so that it can be asked of mutants: netlists, and cases that run on them."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
from typing import Any

from amaranth.lib import wiring

from latte.golden.results import write_text
from latte.rtl.emit import emit_rtlil
from latte.sim.harness import Harness, PortBits

__all__ = ["TOP", "Case", "Netlist", "load_netlists", "save_case"]

TOP = "harness"
"""Name of the top module."""
_SOURCE = re.compile(r'^( *attribute \\src ")([^"]*)(")$', re.MULTILINE)
_FOLDER = re.compile(r"^.*?/(?=(?:golden|rtl|sim|tests)/(?!.*/site-packages/))")
_LIBRARY = re.compile(r"^.*/(?:site-packages|lib/python[\d.]+)/")


@dataclasses.dataclass(frozen=True)
class Case:
    """One run of a test.

    Parameters
    ----------
    test
        What ran it, for people.
    setting
        The plan of `run_block`, and what is ``expected``.
    """

    test: str
    setting: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Netlist:
    """A component in its harness, and all cases that run on it.

    Parameters
    ----------
    name
        Of the build, for people.
    rtlil
        With places in the source: ``rtl/wide/softmax.py:84``.
    inputs, outputs
        Of the harness, by port.
    cases
    """

    name: str
    rtlil: str
    inputs: dict[str, PortBits]
    outputs: dict[str, PortBits]
    cases: tuple[Case, ...]

    @property
    def digest(self) -> str:
        """Text that is another if the netlist or one of its cases is."""
        whole = [self.rtlil, *(json.dumps(dataclasses.asdict(case), sort_keys=True) for case in self.cases)]
        return hashlib.sha256("\n".join(whole).encode()).hexdigest()[:16]


def harness_netlist(component: wiring.Component, name: str) -> Netlist:
    """Return the netlist of a component that is not elaborated yet, without cases."""
    harness = Harness(component)
    rtlil = emit_rtlil(harness, TOP, places=True)
    return Netlist(name, _SOURCE.sub(_shorten, rtlil), harness.inputs, harness.outputs, ())


def _shorten(found: re.Match[str]) -> str:
    """Return an attribute with short places."""
    return f"{found[1]}{'|'.join(map(_short_place, found[2].split('|')))}{found[3]}"


@functools.cache
def _short_place(place: str) -> str:
    """Return a place with its path from the repository, or from where packages are installed."""
    return _FOLDER.sub("", _LIBRARY.sub("", place))


def save_case(folder: pathlib.Path, netlist: Netlist, case: Case) -> None:
    """Keep a case, and its netlist if no case on it was kept before."""
    place = folder / f"{netlist.name}-{netlist.digest}"
    if not (place / "netlist.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "netlist.il").write_text(netlist.rtlil)
        ports = {side: {port: dataclasses.asdict(bits) for port, bits in getattr(netlist, side).items()}
                 for side in ("inputs", "outputs")}
        write_text(place / "netlist.json", json.dumps({"name": netlist.name} | ports))
    count = len(list(place.glob("case*.json")))
    write_text(place / f"case{count:03d}.json", json.dumps(dataclasses.asdict(case)))


def load_netlists(folder: pathlib.Path) -> list[Netlist]:
    """Return the netlists that `save_case` kept, each with its cases, by name."""
    netlists = []
    for path in sorted(folder.glob("*/netlist.json")):
        record = json.loads(path.read_text())
        inputs, outputs = ({port: PortBits(**bits) for port, bits in record[side].items()}
                           for side in ("inputs", "outputs"))
        cases = tuple(Case(**json.loads(case.read_text())) for case in sorted(path.parent.glob("case*.json")))
        netlists.append(Netlist(record["name"], (path.parent / "netlist.il").read_text(), inputs, outputs, cases))
    return netlists
