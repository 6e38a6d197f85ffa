"""Which nets of a netlist are signals of the hardware's description, and where each is declared.

Read from RTLIL with ``src`` attributes. Names that Amaranth made up, the clock and its reset, and views of a signal's
fields are left out, and so is a part's port seen from outside: it is counted in the part, once. What stands beside the
hardware is left out with all its parts.
"""

import dataclasses
import re
from collections.abc import Container, Iterator

from latte.sim.coverage.branches import is_beside, place_in_rtl

__all__ = ["Net", "find_nets", "mark_nets", "marked_lines", "without_locations"]

_SOURCE = re.compile(r'attribute \\src "(?P<file>.*):(?P<line>\d+)"$')
_WIRE = re.compile(r"wire width \d+ (?:signed )?(?:(?:input|output|inout) \d+ +)?\\(?P<name>\S+)$")
_NUMBER = re.compile(r"\$\d+$")
"""What Amaranth puts behind a name that a module has twice."""
_HIDDEN = re.compile(r"[.\[]|^(?:clk|rst)$|^_|^\$|^port\$|^branch_taken$|^branches_\d+$")
_DECLARATION = re.compile(r"  (?:input|output|wire|reg|logic)(?: signed)? (?:\[\d+:\d+\] )?"
                          r"\\?(?P<name>[^\s;]+) ?(?:=|;)")
_MODULE = re.compile(r"module \\?(?P<name>[^\s(]+) ?\(")
_OFF, _ON = "/* verilator coverage_off */", "/* verilator coverage_on */"


@dataclasses.dataclass(frozen=True, order=True)
class Net:
    """A signal of a file of the hardware; those of one declaration and name, in all instances, are one.

    Parameters
    ----------
    file
        Of the component that has it.
    name
    declared
        Place in the text: ``file:line``, of another file too, if a function there makes it.
    """

    file: str
    name: str
    declared: str


def without_locations(rtlil: str) -> str:
    """Return RTLIL without ``src`` attributes: what does not depend on where things stand in the text."""
    return re.sub(r"^ *attribute \\src .*\n", "", rtlil, flags=re.MULTILINE)


def find_nets(rtlil: str) -> dict[tuple[str, str], Net]:
    """Return the signals of a netlist by module and name in it.

    Parameters
    ----------
    rtlil
        With ``src`` attributes.
    """
    modules, inside = _read_modules(rtlil)
    homes = {(module.file, _NUMBER.sub("", name), declared)
             for module in modules.values() for name, declared in module.wires.items()}
    nets = {}
    for label, module in modules.items():
        parts = [modules[part] for part in inside[label] if part in modules]
        of_parts = {_NUMBER.sub("", name) for part in parts if part.file for name, declared in part.wires.items()
                    if not declared}
        for name, declared in module.wires.items():
            base = _NUMBER.sub("", name)
            if not module.file or _HIDDEN.search(base):
                continue
            # A port of a part, as it is seen from here: by its declaration, or if a library declares it, by its name.
            file = declared.partition(":")[0]
            seen = (file, base, declared) in homes if declared else base in of_parts and base != name
            if file == module.file or not seen:
                nets[label, name] = Net(module.file, base, declared)
    return nets


@dataclasses.dataclass
class _Module:
    """File of a module of a netlist, None if it is not the hardware's, and its wires: where each is declared."""

    file: str | None
    wires: dict[str, str] = dataclasses.field(default_factory=dict)


def _read_modules(rtlil: str) -> tuple[dict[str, _Module], dict[str, list[str]]]:
    """Return (modules by name, names of the parts of each)."""
    modules: dict[str, _Module] = {}
    inside: dict[str, list[str]] = {}
    beside: tuple[str, ...] = ()
    module, source = "", None
    for line in map(str.strip, rtlil.splitlines()):
        if found := _SOURCE.match(line):
            source = found
            continue
        place = place_in_rtl(source["file"]) if source else None
        if line.startswith("module "):
            module = line.split("\\", 1)[1]
            if source and is_beside(source["file"]):
                beside += module, f"{module}."
            left_out = module in beside or module.startswith(beside)
            modules[module], inside[module] = _Module(None if left_out else place), []
        elif line.startswith("cell \\"):
            inside[module].append(line.split(" ")[1].removeprefix("\\"))
        elif wire := _WIRE.match(line):
            modules[module].wires[wire["name"]] = f"{place}:{source['line']}" if place and source else ""
        source = source if line.startswith("attribute ") else None
    return modules, inside


def mark_nets(verilog: str, counted: Container[tuple[str, str]]) -> str:
    """Return SystemVerilog in which Verilator counts the toggles of some nets alone.

    Parameters
    ----------
    verilog
        Of the RTLIL that the nets were found in.
    counted
        Nets by module and name.
    """
    return "".join(f"{_ON} {line} {_OFF}\n" if (module, name) in counted else f"{line}\n"
                   for module, name, line in _declarations(f"{_OFF}\n{verilog}"))


def marked_lines(verilog: str) -> dict[int, tuple[str, str]]:
    """Return the nets that `mark_nets` marked, module and name, by line: what Verilator knows them by."""
    return {number: (module, name) for number, (module, name, line) in enumerate(_declarations(verilog), 1)
            if line.startswith(_ON)}


def _declarations(verilog: str) -> Iterator[tuple[str, str, str]]:
    """Yield (module, name of what is declared or nothing, line) of each line."""
    module = ""
    for line in verilog.splitlines():
        if found := _MODULE.match(line):
            module = found["name"]
        declared = _DECLARATION.match(line.removeprefix(f"{_ON} "))
        yield module, declared["name"] if declared else "", line
