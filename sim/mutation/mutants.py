"""Mutants by Yosys: which there are, and a netlist that holds many of them, chosen by a number at a port."""

import collections
import dataclasses
import json
import pathlib
import random
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from latte.rtl.emit import run_yosys
from latte.rtl.operand_widths import OPERAND_WIDTHS
from latte.sim.foreign_modules import MODULES, modules_in
from latte.sim.mutation.cases import TOP, Netlist

__all__ = ["FRESH", "NUMBER_BITS", "PORT", "RECIPE", "Mutant", "component_sizes", "components", "list_mutants",
           "mutate_script", "mutated_verilog"]

PORT = "mutant"
"""Input that chooses a mutant; with 0 there is no fault."""
NUMBER_BITS = 12
FRESH = 1 << (NUMBER_BITS - 1)
"""Bit of the port whose rise puts its initial contents into every memory: no mutant finds what another left there."""
_FLATTEN = (f"read_rtlil design.il; read_verilog -sv foreign.sv; hierarchy -top {TOP}; proc -norom; pmuxtree; "
            "memory_collect; script components.ys; flatten; opt_expr; opt_merge; opt_clean; opt_dff -nodffe -nosdff; "
            "wreduce; opt_expr; opt_merge; opt_clean; write_rtlil base.il; write_json base.json")
"""Word-level cells of one module: constants, also in registers, and outputs that nothing reads make no mutants."""
_COMPONENT = "component"
"""Attribute of a cell: the file that describes what it belongs to."""
_LIST = f"mutate -list {{count}} -seed {{seed}} -o {{file}} a:{_COMPONENT}={{source}}\n"
_READ_LIST = "read_rtlil base.il; script list.ys"
_BATCH = ("read_rtlil base.il; script mutate.ys; techmap -map widths.v; opt_clean; "
          "write_verilog -sv -norename -noattr design.sv")
_INITIAL = re.compile(r"^  initial begin\n(?P<words>(?:    (?:\S+ ?)\[\d+\] = [^\n]*;\n)+)  end\n", re.MULTILINE)
_AGAIN = "  always @(posedge {port}[{bit}]) begin\n{words}  end\n"
RECIPE = "\n".join([_FLATTEN, _LIST, _BATCH, OPERAND_WIDTHS, _INITIAL.pattern, _AGAIN, *MODULES.values()])
"""What makes the mutants of a netlist: where this changed, they are others."""
_SPARE = 1.3
"""How many more are listed than are asked for: those of clocks are left out."""
_MODULE = re.compile(r"^module \\(\S+)\n(.*?)^end$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r'^ *attribute \\src "(?:[^"]*\|)?((?:rtl|tests)/[\w/]+\.py):[^"\n]*"\n'
                   r" *(?:cell|process|switch|assign) ", re.MULTILINE)
_HELPERS = ("rtl/common/primitives.py", "rtl/axi/completer_parts.py")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault in one bit of one port of a cell.

    Parameters
    ----------
    mode
        ``inv``: inverted; ``const0``, ``const1``: stuck; ``cnot0``, ``cnot1``: inverted where another bit of the port
        is 0, or 1.
    cell
        Name in the flat netlist; it begins with the path of its component.
    port, bit, other
        Of the cell; `other` is the other bit of ``cnot0`` and ``cnot1``, else -1.
    wire
        What the bit is called, if it has a name.
    place
        ``file:line`` of the source; of the block's own file, if the cell has one there.
    """

    mode: str
    cell: str
    port: str
    bit: int
    other: int
    wire: str
    place: str

    @property
    def command(self) -> str:
        """Words of Yosys' ``mutate`` that make it."""
        other = f" -ctrlbit {self.other}" if self.other >= 0 else ""
        return (f"-mode {self.mode} -module {TOP} -cell {self.cell} -port {self.port} -portbit {self.bit}{other}")

    def __str__(self) -> str:
        named = f" ({self.wire})" if self.wire else ""
        other = f" by bit {self.other}" if self.other >= 0 else ""
        return f"{self.mode}{other}, bit {self.bit} of port {self.port} of {self.cell}{named}"


def components(netlist: Netlist) -> dict[str, str]:
    """Return the file that describes each module of a netlist: the one that most of its cells come from.

    Helpers that make a part of many components, such as a register or a delay, are none.
    """
    found = {}
    for name, body in _MODULE.findall(netlist.rtlil):
        files = collections.Counter(file for file in _FILE.findall(body) if file not in _HELPERS)
        if files:
            [(found[name], _)] = files.most_common(1)
    return found


def component_sizes(netlist: Netlist) -> collections.Counter[str]:
    """Return the lines of a netlist that belong to modules which a file describes, by that file."""
    files = components(netlist)
    sizes: collections.Counter[str] = collections.Counter()
    for name, body in _MODULE.findall(netlist.rtlil):
        if name in files:
            sizes[files[name]] += body.count("\n")
    return sizes


def list_mutants(netlist: Netlist, wanted: Mapping[str, int], seed: int) -> tuple[str, dict[str, list[Mutant]]]:
    """Return (flat netlist, mutants of it by file).

    Parameters
    ----------
    netlist
    wanted
        Files such as ``rtl/wide/softmax.py``, and how many mutants of each; fewer are returned if there are no more.
        Yosys spreads them over cells, ports, bits and lines.
    seed
        Of its choice.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "design.il").write_text(netlist.rtlil)
        (folder / "foreign.sv").write_text(modules_in(netlist.rtlil))
        (folder / "components.ys").write_text("".join(
            f'setattr -set {_COMPONENT} "{file}" {module}/c:*\n' for module, file in components(netlist).items()))
        run_yosys(_FLATTEN, folder)
        flat, all_cells = (folder / "base.il").read_text(), json.loads((folder / "base.json").read_text())
        bits = _count_bits(all_cells["modules"][TOP]["cells"])
        chosen = {source: count for source, count in wanted.items() if bits[source] and count}
        (folder / "list.ys").write_text("".join(
            _LIST.format(count=_listed(count, bits[source]), seed=seed, file=f"list{index}.txt", source=source)
            for index, (source, count) in enumerate(chosen.items())))
        run_yosys(_READ_LIST, folder)
        mutants = {}
        for index, (source, count) in enumerate(chosen.items()):
            lines = dict.fromkeys((folder / f"list{index}.txt").read_text().splitlines())
            # A clock's faults say nothing about a test.
            found = [one for one in (_parse(line, source) for line in lines) if not one.port.endswith("CLK")]
            if _listed(count, bits[source]) > count * _SPARE + 2:
                random.Random(f"{seed} {source}").shuffle(found)
            mutants[source] = found[:count]
    return flat, mutants


def _count_bits(cells: Mapping[str, Any]) -> collections.Counter[str]:
    """Return the bits at ports of cells, by the file that describes the cell."""
    return collections.Counter(cell["attributes"][_COMPONENT] for cell in cells.values()
                               if _COMPONENT in cell["attributes"]
                               for port in cell["connections"].values() for _ in port)


def _listed(count: int, bits: int) -> int:
    """Return how many mutants to ask Yosys for: where most of them are wanted, more than there are.

    It would try for ever to find the last ones by chance.
    """
    listed = round(count * _SPARE) + 2
    return listed if listed < bits else 10 * bits


def _parse(line: str, source: str) -> Mutant:
    """Return the mutant of a line of Yosys' list, of the block that a file describes."""
    words = line.split()
    options: dict[str, list[str]] = {}
    for option, value in zip(words[1::2], words[2::2], strict=True):
        assert option.startswith("-"), f"an option of mutate is expected: {line}"
        options.setdefault(option[1:], []).append(value)
    places = list(dict.fromkeys(place for value in options.get("src", []) for place in value.split("|")))
    # Of a cell and the wire at its port, the cell's place is the last.
    own = [place for place in reversed(places) if place.startswith(f"{source}:")]
    [mode], [cell], [port], [bit] = (options[name] for name in ("mode", "cell", "port", "portbit"))
    [other], [wire] = options.get("ctrlbit", ["-1"]), options.get("wire", [""])
    return Mutant(mode, cell, port, int(bit), int(other), wire, [*own, *places, source][0])


def mutated_verilog(flat: str, mutants: Sequence[Mutant]) -> str:
    """Return SystemVerilog with all of some mutants of a flat netlist: number n, from 1, is the n-th of them."""
    assert len(mutants) < FRESH
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "base.il").write_text(flat)
        (folder / "widths.v").write_text(OPERAND_WIDTHS)
        (folder / "mutate.ys").write_text(mutate_script(mutants))
        run_yosys(_BATCH, folder)
        verilog = (folder / "design.sv").read_text()

    def also_later(found: re.Match[str]) -> str:
        name = found["words"].strip().partition("[")[0]
        if not re.search(rf"{re.escape(name)}\[[^\n]*<=", verilog):
            return found[0]
        words = found["words"].replace("] = ", "] <= ")
        return found[0] + _AGAIN.format(port=PORT, bit=NUMBER_BITS - 1, words=words)

    return _INITIAL.sub(also_later, verilog)


def mutate_script(mutants: Sequence[Mutant]) -> str:
    """Return the commands that put mutants into a flat netlist."""
    return "".join(f"mutate -ctrl {PORT} {NUMBER_BITS} {number} {mutant.command}\n"
                   for number, mutant in enumerate(mutants, 1))
