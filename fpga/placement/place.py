"""Placing and routing with nextpnr, and what its report says."""

import dataclasses
import json
import pathlib
import statistics

from latte.fpga.boards.devices import Device
from latte.fpga.synthesis.tools import run_tool
from latte.fpga.synthesis.yosys import OWN_LOGIC

__all__ = ["Placement", "block_of", "median", "parse_report", "place"]

_WRAPPERS = ("board", "hosted", "attention_core")
"""Modules around the blocks, which say nothing of where a path is."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """One run.

    Parameters
    ----------
    seed
    fmax
        MHz, of the slowest clock against its constraint.
    constraint
        MHz, of that clock.
    utilisation
        Used and available cells by nextpnr's names; those in use only.
    path
        Blocks along the critical path, in order, neighbours that are the same once.
    path_ns
        Its length.
    """

    seed: int
    fmax: float
    constraint: float
    utilisation: dict[str, tuple[int, int]]
    path: tuple[str, ...]
    path_ns: float

    @property
    def met(self) -> bool:
        """Whether the slowest clock is fast enough."""
        return self.fmax >= self.constraint


def block_of(cell: str) -> str:
    """Return the hardware block a cell belongs to, from its hierarchical name."""
    parts = cell.split(".")
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return parts[0] if len(parts) > 1 else OWN_LOGIC


def parse_report(text: str, seed: int) -> Placement:
    """Return what ``nextpnr --report`` wrote."""
    report = json.loads(text)
    clock, figures = min(report["fmax"].items(), key=lambda item: item[1]["achieved"] / item[1]["constraint"])
    paths = [path["path"] for path in report["critical_paths"]
             if path["from"].endswith(clock) and path["to"].endswith(clock)]
    steps = paths[0] if paths else []
    blocks: list[str] = []
    for step in steps:
        for end in ("from", "to"):
            block = block_of(step[end]["cell"])
            if blocks[-1:] != [block]:
                blocks.append(block)
    used = {name: (cells["used"], cells["available"]) for name, cells in report["utilization"].items() if cells["used"]}
    return Placement(seed, figures["achieved"], figures["constraint"], used, tuple(blocks),
                     sum(step["delay"] for step in steps))


def place(netlist: str, device: Device, folder: pathlib.Path, *, mhz: float, seed: int,
          options: tuple[str, ...] = ()) -> Placement:
    """Place and route the netlist of that name in `folder`; leave the log and the report there.

    Names are relative: the tools, in WebAssembly, take an absolute path below ``/tmp`` for their own.
    A clock that is too slow is no error here. Further `options` go to nextpnr: pins, package, output files.
    """
    report = folder / f"report{seed}.json"
    run_tool(device.tool, [*device.options, "--json", netlist, "--seed", str(seed),
                           "--freq", f"{mhz:g}", "--timing-allow-fail", "--report", report.name, *options], folder)
    return parse_report(report.read_text(), seed)


def median(placements: list[Placement]) -> float:
    """Return the median Fmax."""
    return statistics.median(placement.fmax for placement in placements)
