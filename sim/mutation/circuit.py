"""What a netlist with mutants is to a solver: definitions of SMT-LIB, and memories that are left out of it."""

import dataclasses
import re

from latte.sim.mutation.cases import TOP

__all__ = ["Circuit", "LeftOutMemory", "leave_out_memories", "memory_bits"]

_MEMORY = re.compile(r"^(?:  attribute [^\n]*\n)*  cell \$mem_v2 .*?^  end$", re.MULTILINE | re.DOTALL)
_DECLARED = re.compile(r"^\(declare-fun \|(?P<name>[^|]+)\| \(\|harness_s\|\) (?P<type>.+)\) ;")
_DEFINED = re.compile(r"^\(define-fun \|(?P<name>[^|]+)\| \(\(state \|harness_s\|\)\) (?P<type>Bool|\(_ BitVec \d+\)) "
                      r"(?P<body>.+)\) ?(?:;.*)?$")
_STEP = re.compile(r"^  \(= (?P<next>\(.+) \((?P<register>\|[^|]+\|) next_state\)\) ;")
_INITIAL = re.compile(r"^  \(= (?:\(\|(?P<wide>[^|]+)\| state\) #b(?P<bits>[01]+)"
                      r"|\(= \(\(_ extract 0 0\) \(\|(?P<bit>[^|]+)\| state\)\) #b1\) (?P<value>true|false))\) ;")
_USE = re.compile(r"\(\|([^|]+)\| state\)")


@dataclasses.dataclass(frozen=True)
class Circuit:
    """A netlist with mutants as definitions of SMT-LIB, each a function of registers, inputs and others before it.

    Parameters
    ----------
    free
        (name, type) of registers and inputs.
    defined
        (name, type, body).
    steps
        Next value of each register, as an expression.
    initial
        Bits of registers at the start, the highest first; without those that are not all known.
    """

    free: dict[str, str]
    defined: list[tuple[str, str, str]]
    steps: dict[str, str]
    initial: dict[str, str]

    @classmethod
    def read(cls, text: str) -> "Circuit":
        """Read what Yosys' ``write_smt2`` wrote."""
        free, defined, steps, initial = {}, [], {}, {}
        for line in text.splitlines():
            if found := _DECLARED.match(line):
                free[found["name"]] = found["type"]
            elif found := _DEFINED.match(line):
                defined.append((found["name"], found["type"], found["body"]))
            elif found := _STEP.match(line):
                steps[found["register"].strip("|")] = found["next"]
            elif found := _INITIAL.match(line):
                initial[found["wide"] or found["bit"]] = found["bits"] or str(int(found["value"] == "true"))
        widths = {name: _width(free[name]) for name in steps}
        return cls(free, defined, steps,
                   {name: bits for name, bits in initial.items() if widths.get(name) == len(bits)})

    def width(self, register: str) -> int:
        """Return the bits of a register."""
        return _width(self.free[register])

    def input_behind(self, port: str) -> str:
        """Return the input that a port has the value of."""
        [body] = [body for name, _, body in self.defined if name == f"{TOP}_n {port}"]
        return _USE.search(body)[1]  # type: ignore[index]

    def copy(self, tag: str, values: dict[str, str]) -> list[str]:
        """Return definitions of a copy whose registers and inputs have `values`; equal terms are one to the solver."""
        def name_of(found: re.Match[str]) -> str:
            return values.get(found[1]) or f"|{found[1]}@{tag}|"

        return [f"(define-fun |{name}@{tag}| () {kind} {_USE.sub(name_of, body)})" for name, kind, body in self.defined]

    def next_of(self, register: str, tag: str, values: dict[str, str]) -> str:
        """Return the next value of a register in a copy."""
        return _USE.sub(lambda found: values.get(found[1]) or f"|{found[1]}@{tag}|", self.steps[register])


@dataclasses.dataclass(frozen=True)
class LeftOutMemory:
    """A memory that is left out: what it reads is an input, what it is asked is an output.

    Parameters
    ----------
    name
        Of its ports: ``name_RD_ADDR`` and so on.
    width, address_bits, reads, writes
        Bits of a word and of an address; ports.
    """

    name: str
    width: int
    address_bits: int
    reads: int
    writes: int

    @property
    def ports(self) -> dict[str, tuple[str, int]]:
        """(direction, bits) of each port of its cell that is kept."""
        read_bits, write_bits = self.reads * self.width, self.writes * self.width
        return {"RD_DATA": ("input", read_bits), "RD_ADDR": ("output", self.reads * self.address_bits),
                "WR_EN": ("output", write_bits), "WR_ADDR": ("output", self.writes * self.address_bits),
                "WR_DATA": ("output", write_bits)}


def leave_out_memories(rtlil: str) -> tuple[str, list[LeftOutMemory]]:
    """Return a netlist without the memories that can be written, and these; all of them are read asynchronously."""
    memories: list[LeftOutMemory] = []
    wires: list[str] = []

    def leave_out(found: re.Match[str]) -> str:
        cell = found[0]
        width, address_bits, reads, writes = (_parameter(cell, name) for name in (
            "WIDTH", "ABITS", "RD_PORTS", "WR_PORTS"))
        if not writes:
            return cell
        memory = LeftOutMemory(f"left_out_{len(memories)}", width, address_bits, reads, writes)
        memories.append(memory)
        connections = []
        for port, (direction, bits) in memory.ports.items():
            [signal] = re.findall(rf"^    connect \\{port} (.*)$", cell, re.MULTILINE)
            name = f"\\{memory.name}_{port}"
            # Behind all other ports.
            wires.append(f"  wire width {bits} {direction} {10_000 + len(wires)} {name}")
            left, right = (signal, name) if direction == "input" else (name, signal)
            connections.append(f"  connect {left} {right}")
        return "\n".join(connections)

    body = _MEMORY.sub(leave_out, rtlil)
    begin = f"module \\{TOP}\n"
    return body.replace(begin, "\n".join([begin.rstrip("\n"), *wires, ""]), 1), memories


def memory_bits(rtlil: str) -> int:
    """Return the bits of all memories that can be written."""
    return sum(_parameter(cell, "SIZE") * _parameter(cell, "WIDTH") * bool(_parameter(cell, "WR_PORTS"))
               for cell in _MEMORY.findall(rtlil))


def _parameter(cell: str, name: str) -> int:
    """Return a number that a cell of a netlist has."""
    return int(re.search(rf"parameter (?:signed )?\\{name} (\d+)", cell)[1])  # type: ignore[index]


def _width(kind: str) -> int:
    """Return the bits of a type."""
    return int(kind.split()[-1].rstrip(")"))
