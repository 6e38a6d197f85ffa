"""Memories and the block RAMs of a device.

Where they are too few, the cheapest memories go into LUT RAM; where some are left, the dearest of LUT RAM take them.
"""

import math
import re

from latte.fpga.synthesis.targets import Target

__all__ = ["block_rams_of", "fill_block_rams", "spill_memories"]

_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)
_MEMORY = re.compile(r"^  memory width (\d+) size (\d+) (\S+)$", re.MULTILINE)
_WRITE_PORT = re.compile(r"cell \$memwr_v2 .*?parameter \\MEMID \"\\(\\\S+)\"", re.DOTALL)
_READ_PORT = re.compile(r"cell \$memrd_v2 .*?parameter \\MEMID \"\\(?P<memory>\\\S+)\".*?"
                        r"parameter \\CLK_ENABLE (?:1')?(?P<clocked>\d)", re.DOTALL)
_LEAST_WORDS = 33
"""Memories below are in block RAM only if they are told to be."""
_LUT_RAM_BITS, _LUT_RAM_WORDS = 4, 16
"""Of a cell of LUT RAM."""
_WORTH_A_BLOCK_RAM = 8
"""Cells of LUT RAM: ECP5's take six LUTs each."""


def block_rams_of(width: int, words: int, target: Target) -> int:
    """Return the block RAMs that a memory takes, in the shape that needs the fewest."""
    return min(math.ceil(width / bits) * math.ceil(words / depth) for bits, depth in target.block_ram_shapes)


def spill_memories(rtlil: str, target: Target, block_rams: int) -> str:
    """Return a design with as many memories in LUT RAM as leave it no more than `block_rams`.

    Those that cost the fewest bits of LUT RAM for a block RAM go first. Tables that are never written stay: LUT RAM
    has no initial contents. A design that fits is returned as it is, and so is one of a family without LUT RAM.

    Parameters
    ----------
    rtlil
    target
    block_rams
        That the device has.
    """
    if not target.block_ram_shapes:
        return rtlil
    used, candidates = 0, []
    for module in _MODULE.finditer(rtlil):
        written = set(_WRITE_PORT.findall(module[0]))
        for match in _MEMORY.finditer(rtlil, module.start(), module.end()):
            width, words = int(match[1]), int(match[2])
            if words >= _LEAST_WORDS:
                count = block_rams_of(width, words, target)
                used += count
                if match[3] in written:
                    candidates.append((width * words / count, count, match.start()))
    spilled = set()
    for _, count, start in sorted(candidates):
        if used <= block_rams:
            break
        spilled.add(start)
        used -= count
    return _mark(rtlil, spilled, "distributed")


def fill_block_rams(rtlil: str, target: Target, block_rams: int) -> str:
    """Return a design in which small memories take block RAMs that would be left, if that saves enough LUT RAM.

    Those that save the most cells of LUT RAM for a block RAM go first. A memory that is read without a clock stays. A
    family without LUT RAM gets its design as it is. Parameters are those of `spill_memories`.
    """
    if not target.block_ram_shapes:
        return rtlil
    left, candidates = block_rams, []
    for module in _MODULE.finditer(rtlil):
        written = set(_WRITE_PORT.findall(module[0]))
        unclocked = {port["memory"] for port in _READ_PORT.finditer(module[0]) if port["clocked"] == "0"}
        for match in _MEMORY.finditer(rtlil, module.start(), module.end()):
            width, words = int(match[1]), int(match[2])
            count = block_rams_of(width, words, target)
            if words >= _LEAST_WORDS:
                left -= count
            elif match[3] in written - unclocked:
                cells = math.ceil(width / _LUT_RAM_BITS) * math.ceil(words / _LUT_RAM_WORDS)
                if cells >= count * _WORTH_A_BLOCK_RAM:
                    candidates.append((-cells / count, count, match.start()))
    filled = set()
    for _, count, start in sorted(candidates):
        if count <= left:
            filled.add(start)
            left -= count
    return _mark(rtlil, filled, "block")


def _mark(rtlil: str, starts: set[int], style: str) -> str:
    """Return a design in which the memories that begin there are told where to be."""
    return _MEMORY.sub(lambda match: f'  attribute \\ram_style "{style}"\n{match[0]}' if match.start() in starts
                       else match[0], rtlil)
