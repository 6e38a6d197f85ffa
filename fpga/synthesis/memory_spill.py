"""Memories of a design on a device with too few block RAMs: the cheapest go into LUT RAM."""

import math
import re

from latte.fpga.synthesis.targets import Target

__all__ = ["block_rams_of", "spill_memories"]

_MEMORY = re.compile(r"^  memory width (\d+) size (\d+) .*$", re.MULTILINE)
_LEAST_WORDS = 33
"""Memories below are never in block RAM."""


def block_rams_of(width: int, words: int, target: Target) -> int:
    """Return the block RAMs that a memory takes, in the shape that needs the fewest."""
    return min(math.ceil(width / bits) * math.ceil(words / depth) for bits, depth in target.block_ram_shapes)


def spill_memories(rtlil: str, target: Target, block_rams: int) -> str:
    """Return a design with as many memories in LUT RAM as leave it no more than `block_rams`.

    Those that cost the fewest bits of LUT RAM for a block RAM go first. A design that fits is returned as it is, and
    so is one of a family without LUT RAM.

    Parameters
    ----------
    rtlil
    target
    block_rams
        That the device has.
    """
    if not target.block_ram_shapes:
        return rtlil
    memories = [(match, *map(int, match.groups())) for match in _MEMORY.finditer(rtlil)]
    found = [(width * words / block_rams_of(width, words, target), block_rams_of(width, words, target), match)
             for match, width, words in memories if words >= _LEAST_WORDS]
    surplus = sum(count for _, count, _ in found) - block_rams
    spilled = set()
    for _, count, match in sorted(found, key=lambda entry: entry[0]):
        if surplus <= 0:
            break
        spilled.add(match.start())
        surplus -= count
    return _MEMORY.sub(lambda match: f'  attribute \\ram_style "distributed"\n{match[0]}'
                       if match.start() in spilled else match[0], rtlil)
