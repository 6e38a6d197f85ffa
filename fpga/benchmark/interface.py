"""What the bus interface costs: cycles beside those of the bare core, and the area of all that is around the core."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from latte.fpga.baselines import update_baseline
from latte.fpga.synthesis.area import total
from latte.fpga.synthesis.core_stub import CoreStub
from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.yosys import Usage, synthesise_once
from latte.golden.config import AttentionConfig
from latte.golden.documents import markdown_table
from latte.golden.errors import LatteError
from latte.golden.vectors import VectorSet
from latte.rtl.axi.axi_core import AxiCore
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.block_table import DOCUMENT
from latte.sim.axi_run import build_axi_core, run_axi_core
from latte.sim.core_run import CoreReport, build_core, run_core
from latte.sim.runner import Model
from latte.sim.simulate import simulate
from latte.sim.verdict import HeadRun

__all__ = ["TABLES", "InterfaceCycles", "figures", "interface_blocks", "make_baseline", "measure_cycles", "more"]

_CORE = "attention_core"
"""The core's name in `AxiCore`."""
_COUNTED = ("lut4_equivalents", "ff", "bram")


@dataclasses.dataclass(frozen=True)
class InterfaceCycles:
    """Cycles of a set's heads, one after the other, behind AXI and on the bare core.

    Parameters
    ----------
    name : str
    heads : int
    through, core : int
        All of them: from the first doorbell to the last status word; from the first job's offer to the last output.
    alone_through, alone_core : int
        The first head alone.
    slowest : float
        By how much the head that loses most of those behind the first takes longer, as a share.
    """

    name: str
    heads: int
    through: int
    core: int
    alone_through: int
    alone_core: int
    slowest: float


def more(through: int, core: int) -> float:
    """Return by how much something takes longer behind the interface, as a share."""
    return through / core - 1


def measure_cycles(sets: Sequence[VectorSet], config: AttentionConfig, master: MasterParameters, folder: pathlib.Path,
                   progress: Callable[[str], None] = lambda step: None) -> list[InterfaceCycles]:
    """Run the heads of each set behind the interface and on the bare core, in RTL, one simulation at a time.

    Parameters
    ----------
    sets
    config
    master
    folder
        The build folder: compiled models in it are used again.
    progress
        Called with what is done next.

    Raises
    ------
    LatteError
        The RTL differs from the golden model in any bit.
    """
    progress(f"compiling {config.name} behind AXI, {master.data_bits} bits")
    through = build_axi_core(config, master, build_folder=folder), functools.partial(run_axi_core, master=master)
    progress(f"compiling {config.name}")
    core = build_core(config, build_folder=folder), run_core
    measured = []
    for vectors in sets:
        alone = vectors.select([0])
        cycles = {}
        for what, of_set in (("all", vectors), ("alone", alone)):
            for side, (model, runner) in (("behind AXI", through), ("on the bare core", core)):
                progress(f"{vectors.model}, {len(of_set)} heads {side}")
                cycles[what, side] = _run(of_set, config, model, runner, folder / "interface" / vectors.model)
        heads, beside = cycles["all", "behind AXI"][0][1:], cycles["all", "on the bare core"][0][1:]
        measured.append(InterfaceCycles(
            vectors.model, len(vectors), *(cycles[place][1] for place in cycles),
            max(more(head.cycles, other.cycles) for head, other in zip(heads, beside, strict=True))))
    return measured


def _run(vectors: VectorSet, config: AttentionConfig, model: Model, runner: Callable[..., CoreReport],
         folder: pathlib.Path) -> tuple[list[HeadRun], int]:
    """Run heads one after the other; return them, and the cycles that they took together."""
    heads, reports = simulate([vectors], model, config, folder, processes=1, run=runner)
    if problems := [f"{head.name}: {head.problems[0]}" for head in heads if head.problems]:
        raise LatteError(f"{config.name}: the RTL differs from the golden model: {problems[0]}")
    return heads, sum(report.elapsed for report in reports)


def interface_blocks(config: AttentionConfig, master: MasterParameters, target: Target,
                     folder: pathlib.Path) -> dict[str, Usage]:
    """Synthesise what is around a core, unless `folder` has it already; return the usage of each block."""
    blocks = synthesise_once(AxiCore(config, master, core=CoreStub(config)), target, folder, keep_blocks=True)
    return {name: usage for name, usage in blocks.items() if name != _CORE}


def figures(config: AttentionConfig, master: MasterParameters, target: Target, cycles: Sequence[InterfaceCycles],
            blocks: Mapping[str, Usage]) -> list[dict[str, Any]]:
    """Return the figures of a result file, named ``<preset>.axi<bits>. ...``."""
    prefix = f"{config.name}.axi{master.data_bits}"
    found = [{"name": f"{prefix}.{of_set.name}.{field.name}", "unit": "ratio" if field.name == "slowest" else "cycles",
              "value": getattr(of_set, field.name)}
             for of_set in cycles for field in dataclasses.fields(of_set) if field.name not in ("name", "heads")]
    if cycles:
        found.append({"name": f"{prefix}.more", "unit": "ratio", "value": in_sum(cycles)})
    found += [{"name": f"{prefix}.{target.name}.{name}.{kind}", "unit": "count", "value": getattr(usage, kind)}
              for name, usage in {"all": total(dict(blocks)), **blocks}.items() for kind in _COUNTED]
    return found


def in_sum(cycles: Sequence[InterfaceCycles]) -> float:
    """Return by how much all sets together take longer, as a share."""
    return more(sum(of_set.through for of_set in cycles), sum(of_set.core for of_set in cycles))


def make_baseline(measured: Sequence[Mapping[str, Any]]) -> None:
    """Put figures in the place of those that the baseline has of the same build, and rewrite the tables."""
    for prefix in dict.fromkeys(".".join(figure["name"].split(".")[:2]) for figure in measured):
        update_baseline("interface", {figure["name"]: round(figure["value"], 6) for figure in measured
                                      if figure["name"].startswith(f"{prefix}.")}, TABLES,
                        replaced=f"{prefix}.", document=DOCUMENT)


def _cycles_table(baseline: Mapping[str, float]) -> str:
    """Return a row for each set of heads and build, and one for all sets of a build."""
    rows = []
    for build in _builds(baseline):
        names = [name.removesuffix(".through") for name in baseline
                 if name.startswith(f"{build}.") and name.endswith(".through")]
        for name in names:
            through, core, alone, alone_core = (int(baseline[f"{name}.{what}"]) for what in (
                "through", "core", "alone_through", "alone_core"))
            rows.append([_title(build), name.removeprefix(f"{build}."), core, through,
                         f"{100 * more(through, core):+.2f}", f"{100 * baseline[f'{name}.slowest']:+.2f}", alone_core,
                         alone])
        if names:
            rows.append([_title(build), "all", *(sum(int(baseline[f"{name}.{what}"]) for name in names)
                                                for what in ("core", "through")),
                         f"{100 * baseline[f'{build}.more']:+.2f}", "", "", ""])
    return markdown_table(["build", "heads", "bare core, cycles", "behind AXI", "%", "head that loses most, %",
                           "one head alone", "behind AXI"], rows)


def _areas_table(baseline: Mapping[str, float]) -> str:
    """Return a row for each block around a core, the largest first."""
    rows = []
    for build in _builds(baseline):
        blocks = {tuple(name.split(".")[2:4]) for name in baseline if name.startswith(f"{build}.")
                  and name.endswith(f".{_COUNTED[0]}")}
        for target, block in sorted(blocks, key=lambda place: -baseline[".".join((build, *place, _COUNTED[0]))]):
            rows.append([_title(build), target, block,
                         *(f"{baseline[f'{build}.{target}.{block}.{kind}']:g}" for kind in _COUNTED)])
    return markdown_table(["build", "family", "block", "LUT4 equivalents", "flip-flops", "block RAMs"], rows)


def _builds(baseline: Mapping[str, float]) -> list[str]:
    return list(dict.fromkeys(".".join(name.split(".")[:2]) for name in baseline))


def _title(build: str) -> str:
    preset, _, bits = build.partition(".axi")
    return f"`{preset}`, {bits} bits"


TABLES = {"interface-cycles": _cycles_table, "interface-areas": _areas_table}
"""By section of ``rtl/README.md``."""
