"""Moves flip-flops into the ECP5's block RAM and multipliers, which Yosys leaves outside.

A block RAM answers after 5 ns; its output register makes that 1. The RTL has a register behind each memory (in a
queue, with an enable) and registers around each multiplier (`latte.rtl.common`, the accumulator's products),
portable to any family. Here, in the netlist, the ECP5's own registers take their place: the same function, fewer
flip-flops, no wire between them.
"""

import collections
import json
import pathlib
from typing import Any

__all__ = ["absorb_registers"]

Cell = dict[str, Any]

_MULTIPLIER_BITS = 18
_WIDE_BITS = 36
"""Width of a word that takes both ports of a block RAM: A writes it, B reads it."""


def absorb_registers(netlist: pathlib.Path) -> int:
    """Rewrite a netlist of Yosys (JSON) in place; return how many flip-flops went into blocks."""
    design = json.loads(netlist.read_text())
    absorbed = sum(_Module(module).absorb() for module in design["modules"].values())
    netlist.write_text(json.dumps(design))
    return absorbed


class _Module:
    """One module's cells, and who drives and reads each net."""

    def __init__(self, module: dict[str, Any]):
        self.cells: dict[str, Cell] = module["cells"]
        self.readers: collections.defaultdict[int, set[tuple[str, str]]] = collections.defaultdict(set)
        self.registers: dict[int, str] = {}  # by the net that a flip-flop without reset drives
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                if bits and cell["port_directions"].get(port) == "input":
                    self.readers[bits[0]].add((name, port))
            if _is_free(cell):
                self.registers[cell["connections"]["Q"][0]] = name
        for port_name, port in module["ports"].items():
            if port["direction"] != "input":
                for bit in port["bits"]:
                    self.readers[bit].add(("", port_name))

    def absorb(self) -> int:
        """Rewrite the cells; return how many flip-flops are gone."""
        before = len(self.cells)
        for name, cell in list(self.cells.items()):
            if cell["type"] == "DP16KD":
                self._absorb_memory(name, cell)
            elif cell["type"] == "MULT18X18D":
                self._absorb_multiplier(name, cell)
        return before - len(self.cells)

    def _absorb_memory(self, name: str, cell: Cell) -> None:
        wide = int(cell["parameters"]["DATA_WIDTH_B"], 2) == _WIDE_BITS
        for sides in ("AB",) if wide else ("A", "B"):
            control = self._absorb_output(name, [f"DO{side}" for side in sides],
                                          cell["connections"].get(f"CLK{sides[-1]}"), may_hold=True)
            for side in sides if control else ():
                cell["parameters"][f"REGMODE_{side}"] = "OUTREG"
                self._tie(name, f"OCE{side}", control[1])

    def _absorb_multiplier(self, name: str, cell: Cell) -> None:
        enabled = []
        clock = self._absorb_input(name)
        if clock is not None:
            enabled += ["INPUTA", "INPUTB"]
        first = self._absorb_output(name, ["P"], clock)
        if first is not None:
            clock = first[0]
            # Of two registers in a row, the first is the one inside the multiplier.
            second = self._absorb_output(name, ["P"], clock)
            enabled += ["OUTPUT"] if second is None else ["PIPELINE", "OUTPUT"]
        for register in enabled:
            cell["parameters"] |= {f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": "CE0",
                                   f"REG_{register}_RST": "RST0"}
        if enabled:
            self._tie(name, "CLK0", clock[0])
            self._tie(name, "CE0", "1")
            self._tie(name, "RST0", "0")

    def _tie(self, name: str, port: str, bit: Any) -> None:
        self.cells[name]["connections"][port] = [bit]
        self.readers[bit].add((name, port))
        self.cells[name]["port_directions"][port] = "input"

    def _control(self, names: set[str]) -> tuple[list[Any], Any] | None:
        """Return the clock and the enable ("1": always on) that all flip-flops have in common."""
        controls = {(self.cells[name]["connections"]["CLK"][0], _enable(self.cells[name])) for name in names}
        if len(controls) != 1:
            return None
        clock, enable = controls.pop()
        return [clock], enable

    def _absorb_output(self, name: str, prefixes: list[str], clock: list[Any] | None, *,
                       may_hold: bool = False) -> tuple[list[Any], Any] | None:
        """Absorb the registers behind an output bus, if each bit in use goes to one of them and nowhere else.

        Returns their clock, which must be `clock` if that is given, and their enable, which is "1" unless they
        `may_hold`.
        """
        connections = self.cells[name]["connections"]
        registers = {}
        for port, bits in connections.items():
            if not (port.rstrip("0123456789") in prefixes and bits and self.readers[bits[0]]):
                continue
            readers = self.readers[bits[0]]
            reader, pin = next(iter(readers))
            if len(readers) != 1 or pin != "DI" or reader not in self.registers.values():
                return None
            registers[port] = reader
        control = self._control(set(registers.values()))
        if control is None or (clock is not None and control[0] != clock) or (control[1] != "1" and not may_hold):
            return None
        for port, register in registers.items():
            output = self.cells.pop(register)["connections"]["Q"]
            del self.registers[output[0]]
            connections[port] = output
        return control

    def _absorb_input(self, name: str) -> list[Any] | None:
        """Absorb the registers in front of both operands, if every bit is registered or constant; return the clock."""
        connections = self.cells[name]["connections"]
        ports = [f"{operand}{bit}" for operand in "AB" for bit in range(_MULTIPLIER_BITS)]
        variable = [port for port in ports if connections[port] and isinstance(connections[port][0], int)]
        if not all(connections[port][0] in self.registers for port in variable):
            return None
        control = self._control({self.registers[connections[port][0]] for port in variable})
        if control is None or control[1] != "1":
            return None
        for port in variable:
            net = connections[port][0]
            register = self.registers[net]
            source = self.cells[register]["connections"]["DI"]
            connections[port] = source
            self.readers[net].discard((name, port))
            self.readers[source[0]].add((name, port))
        # Others may still read a register; one that nobody reads any more goes.
        for net in [net for net, register in self.registers.items() if not self.readers[net]]:
            source = self.cells[self.registers[net]]["connections"]["DI"][0]
            self.readers[source].discard((self.registers[net], "DI"))
            del self.cells[self.registers.pop(net)]
        return control[0]


def _is_free(cell: Cell) -> bool:
    """Whether a cell is a rising-edge flip-flop without reset, always on or with an enable that is not inverted."""
    if cell["type"] != "TRELLIS_FF":
        return False
    parameters, connections = cell["parameters"], cell["connections"]
    return (parameters.get("CLKMUX", "CLK") == "CLK" and parameters.get("CEMUX", "CE").strip() in ("CE", "1")
            and connections.get("LSR", ["0"]) in (["0"], []))


def _enable(cell: Cell) -> Any:
    """Return the net that enables a flip-flop; "1" if it is always on."""
    # Yosys marks a string that looks like a number with a blank.
    always = cell["parameters"].get("CEMUX", "CE").strip() == "1"
    return "1" if always else cell["connections"].get("CE", ["1"])[0]
