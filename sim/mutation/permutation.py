"""Surviving mutants that change no more than where a memory keeps its words.

A fault that exchanges addresses, inverting a bit of them always or where another bit of the same address is 0, or 1,
makes no difference if all address ports of a memory have it: a word is read where it was written.
"""

import collections
from collections.abc import Mapping
from typing import Any

from latte.sim.mutation.mutants import Mutant

__all__ = ["AddressPermutations"]

_ADDRESSES = ("RD_ADDR", "WR_ADDR")


class AddressPermutations:
    """Recognises such faults in a flat netlist.

    From the bit with the fault all ways are followed, through registers; each must end at an address of one and the
    same memory, which begins with equal words.

    Parameters
    ----------
    module
        As Yosys' ``write_json`` describes it.
    """

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells = module["cells"]
        self.outputs = {bit for port in module["ports"].values() if port["direction"] == "output"
                        for bit in port["bits"]}
        self.readers = collections.defaultdict(list)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "input":
                    for index, bit in enumerate(bits):
                        self.readers[bit].append((name, port, index))
        self.initial = {bit: value for wire in module["netnames"].values() if "init" in wire["attributes"]
                        for bit, value in zip(wire["bits"], reversed(wire["attributes"]["init"]), strict=True)}

    def holds(self, mutant: Mutant) -> bool:
        """Return whether a mutant is known to be such a fault."""
        cell = self.cells[mutant.cell]
        begun = cell["type"] == "$dff" and mutant.port == "D"
        port = "Q" if begun else mutant.port
        if mutant.mode not in ("inv", "cnot0", "cnot1") or cell["port_directions"][port] != "output":
            return False
        bits = cell["connections"][port]
        other = bits[mutant.other] if mutant.other >= 0 else None
        if begun and not self._begins_without(mutant, other):
            return False
        addresses = self._addresses(mutant, bits[mutant.bit], other)
        memories = {name for name, *_ in addresses}
        if len(memories) != 1 or len({places for _, _, _, places in addresses}) != 1:
            return False
        memory = self.cells[memories.pop()]
        return _is_uniform(memory) and {(port, index) for _, port, index, _ in addresses} == {
            (port, index) for port in _ADDRESSES for index in range(_number(memory, f"{port[:2]}_PORTS"))}

    def _begins_without(self, mutant: Mutant, other: int | None) -> bool:
        """Return whether the fault leaves a register's initial value alone, which it does not pass."""
        return other in self.initial and self.initial[other] == {"cnot0": "1", "cnot1": "0"}.get(mutant.mode)

    def _addresses(self, mutant: Mutant, bit: int, other: int | None) -> set[tuple[str, str, int, tuple[int, int]]]:
        """Return (memory, port, its number, (place of the bit, of the other) in it) of all readers; none: of others."""
        found, left, seen = set(), [(bit, other)], set()
        while left:
            bit, other = left.pop()
            if bit in self.outputs:
                return set()
            seen.add((bit, other))
            for name, port, index in self.readers[bit]:
                cell = self.cells[name]
                width = _number(cell, "ABITS" if port in _ADDRESSES else "WIDTH") if port in (*_ADDRESSES, "D") else 1
                first = index - index % width
                address = cell["connections"][port][first:first + width]
                if other is not None and other not in address:
                    return set()
                beside = address.index(other) if other is not None else -1
                if cell["type"] == "$mem_v2" and port in _ADDRESSES:
                    found.add((name, port, index // width, (index % width, beside)))
                elif cell["type"] == "$dff" and port == "D":
                    kept = cell["connections"]["Q"]
                    following = kept[index], kept[beside] if other is not None else None
                    if not self._begins_without(mutant, following[1]):
                        return set()
                    left += [following] if following not in seen else []
                else:
                    return set()
        return found


def _is_uniform(memory: Mapping[str, Any]) -> bool:
    """Return whether a memory has a word at each address, all of one width, and the same one in the beginning."""
    width, size, initial = _number(memory, "WIDTH"), _number(memory, "SIZE"), memory["parameters"]["INIT"]
    words = {initial[start:start + width] for start in range(0, len(initial), width)}
    wide = [memory["parameters"][f"{side}_WIDE_CONTINUATION"] for side in ("RD", "WR")]
    return (size == 1 << _number(memory, "ABITS") and _number(memory, "OFFSET") == 0 and len(words) == 1
            and "1" not in "".join(wide))


def _number(cell: Mapping[str, Any], name: str) -> int:
    return int(cell["parameters"][name], 2)
