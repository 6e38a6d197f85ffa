"""Memories of a design on a device with too few block RAMs: the cheapest go into LUT RAM."""

import math
import re

from latte.fpga.synthesis.targets import Target

__all__ = ["block_rams_of", "spill_memories"]

_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)
_MEMORY = re.compile(r"^  memory width (\d+) size (\d+) (\S+)$", re.MULTILINE)
_WRITE_PORT = re.compile(r"cell \$memwr_v2 .*?parameter \\MEMID \"\\(\\\S+)\"", re.DOTALL)
_LEAST_WORDS = 33
"""Memories below are never in block RAM."""


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
    return _MEMORY.sub(lambda match: f'  attribute \\ram_style "distributed"\n{match[0]}'
                       if match.start() in spilled else match[0], rtlil)
