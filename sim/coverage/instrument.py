"""Prepare a component for counting, and read what Verilator counted: branches and toggles, by place in the text."""

import collections
import dataclasses
import pathlib
import re
from typing import Any

from amaranth.lib import wiring

from latte.rtl.emit import emit_rtlil
from latte.sim.compilation import COVERAGE_FILE
from latte.sim.coverage.branches import Branch, Probed
from latte.sim.coverage.netlist import Net, find_nets, mark_nets, marked_lines, without_locations
from latte.sim.runner import Model, load_notes

__all__ = ["Counts", "Instrument", "Reader", "Toggles"]

_POINT = re.compile(rb"C '.*\x01l\x02(\d+)\x01.*\x01o\x02[^\x01']*?(?:\[(\d+)\])?:(0->1|1->0)\x01.*' (\d+)$")
_PROBE = re.compile(r"branches_\d+")


class Instrument:
    """What `latte.sim.runner.build_model` asks how to count; one for each model."""

    def __init__(self) -> None:
        self._probed: Probed | None = None
        self._nets: dict[tuple[str, str], Net] = {}
        self._probes: list[tuple[str, str]] = []

    def wrap(self, component: wiring.Component) -> wiring.Component:
        """Return the component with probes of its branches."""
        self._probed = Probed(component)
        return self._probed

    def emit(self, top: wiring.Component, name: str) -> str:
        """Return the RTLIL, and see what is in it."""
        text = emit_rtlil(top, name, places=True)
        self._nets = find_nets(text)
        module = ""
        for line in text.splitlines():
            if line.startswith("module "):
                module = line.split("\\", 1)[1]
            elif "wire" in line and (found := _PROBE.search(line)):
                self._probes.append((module, found.group()))
        return without_locations(text)

    def mark(self, verilog: str) -> str:
        """Return the SystemVerilog with pragmas."""
        return mark_nets(verilog, {*self._nets, *self._probes})

    def notes(self) -> dict[str, Any]:
        """Return what each bit of the probes and each net is."""
        assert self._probed is not None
        return {"probes": {name: [dataclasses.astuple(branch) for branch in branches]
                           for name, branches in self._probed.probes.items()},
                "nets": [[*place, *dataclasses.astuple(net)] for place, net in self._nets.items()]}


@dataclasses.dataclass
class Toggles:
    """Bits of a signal that were seen to rise and to fall, as masks, and how many there are in the widest build."""

    width: int = 0
    rose: int = 0
    fell: int = 0

    @property
    def missing(self) -> tuple[int, int]:
        """Masks of the bits that were not seen to rise, and to fall."""
        everything = (1 << self.width) - 1
        return everything & ~self.rose, everything & ~self.fell


@dataclasses.dataclass
class Counts:
    """What runs reached: how often each branch was begun, and which bits toggled; of those not reached, too."""

    branches: dict[Branch, int] = dataclasses.field(default_factory=dict)
    toggles: dict[Net, Toggles] = dataclasses.field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        """Take in what other runs reached."""
        for branch, count in other.branches.items():
            self.branches[branch] = self.branches.get(branch, 0) + count
        for net, toggles in other.toggles.items():
            mine = self.toggles.setdefault(net, Toggles())
            mine.width = max(mine.width, toggles.width)
            mine.rose |= toggles.rose
            mine.fell |= toggles.fell


class Reader:
    """Reads what the runs of an instrumented model counted.

    Parameters
    ----------
    model
    """

    def __init__(self, model: Model) -> None:
        notes = load_notes(model.folder)
        nets = {(module, name): Net(*net) for module, name, *net in notes["nets"]}
        probes = {name: [Branch(*branch) for branch in branches] for name, branches in notes["probes"].items()}
        self._lines: dict[int, Net | list[Branch]] = {}
        for line, (module, name) in marked_lines((model.folder / "harness.sv").read_text()).items():
            self._lines[line] = probes[name] if name in probes else nets[module, name]

    def read(self, run_folder: pathlib.Path) -> Counts:
        """Return what a run reached.

        A branch counts as often as its probe rose; cycles in a row of one branch are one time.
        """
        counts = Counts()
        masks: dict[Net, list[int]] = collections.defaultdict(lambda: [0, 0, 0])
        for point in (run_folder / COVERAGE_FILE).read_bytes().splitlines():
            found = _POINT.match(point)
            if not found:
                continue
            what, bit, rises, count = self._lines[int(found[1])], int(found[2] or 0), found[3] == b"0->1", int(found[4])
            if isinstance(what, Net):
                mask = masks[what]
                mask[0] = max(mask[0], bit + 1)
                mask[1 if rises else 2] |= bool(count) << bit
            elif rises:
                counts.branches[what[bit]] = counts.branches.get(what[bit], 0) + count
        counts.toggles = {net: Toggles(*mask) for net, mask in masks.items()}
        return counts
