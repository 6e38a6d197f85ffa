"""A block between free inputs: what is assumed of them, what is claimed, and what must be reachable."""

import collections
import dataclasses
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, Literal

from amaranth import Const, Module, Mux, ResetSignal, Signal, Value
from amaranth.back import rtlil
from amaranth.hdl import Fragment, Instance, ShapeLike
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CELLS", "Inside", "Proof", "Property", "Setting"]

CELLS = ("assert", "assume", "cover", "anyconst", "initstate")
"""Cells of Yosys that an Amaranth instance cannot name: they are written as ``\\$assert`` and renamed afterwards.

Beside them, ``\\$seek`` is an assumption where something is sought, and else nothing.
"""


@dataclasses.dataclass(frozen=True)
class Property:
    """What is claimed of a block.

    Parameters
    ----------
    name
    meaning
        A phrase for the document.
    """

    name: str
    meaning: str


class Inside:
    """Registers and memories of a block by the names that its source gives them, for invariants.

    An invariant says how the block's state belongs to that of the model beside it. A proof needs it where the state
    alone would allow what no input leads to; it is proved with the claims, so that a wrong one cannot hide anything.

    Parameters
    ----------
    block
        It is elaborated here.

    Attributes
    ----------
    block
    """

    def __init__(self, block: Any) -> None:
        self.block = block
        self._module, self._variables = _elaborate(block)
        self._fragment: Fragment | None = None
        block.elaborate = self._take

    def _take(self, platform: object) -> Fragment:
        if self._fragment is None:
            self._fragment = Fragment.get(self._module, platform)
        return self._fragment

    def part(self, name: str) -> "Inside":
        """Return the inside of a submodule; ask before anything else of it is used."""
        return Inside(self._module.submodules[name])

    def leave_out(self, name: str) -> Any:
        """Put nothing in a submodule's place and return it; ask before anything else is used."""
        part = self._module.submodules[name]
        part.elaborate = lambda platform: Module()
        return part

    def memory(self, name: str) -> memory.Memory:
        """Return a memory, to which a read port may be added."""
        return self._module.submodules[name]

    def __getitem__(self, name: str) -> Any:
        """Return what a local variable of `elaborate`, or of what it calls in its file, held in the end.

        ``function.name`` says which, if several have one of that name.
        """
        [value] = {id(value): value for value in self._variables[name]}.values()
        return value

    def each(self, name: str) -> list[Any]:
        """Return what a local variable held at the end of each call, in order; ``function.name`` says of which."""
        return self._variables[name]

    def named(self, name: str) -> Any:
        """Return the signal that has this name, where a local variable stands for several."""
        [signal] = [signal for signal in self._module._driving if signal.name == name]
        return signal

    def state(self, *names: str, machine: str = "fsm") -> Value:
        """Return whether the block's state machine is in one of these states; without names, in any that it has."""
        fsm = self._take(None).generated[machine]
        here: Value = Const(0)
        for name in names or fsm.encoding:
            here = here | (fsm._data["signal"] == fsm.encoding[name])
        return here


def _elaborate(block: Any) -> tuple[Module, dict[str, list[Any]]]:
    """Elaborate a block; return its module and the variables of the functions of its file that did it."""
    variables: dict[str, list[Any]] = collections.defaultdict(list)

    def watch(frame: types.FrameType, event: str, argument: Any) -> None:
        if event == "return" and frame.f_globals.get("__name__") == type(block).__module__:
            for name, value in frame.f_locals.items():
                variables[name].append(value)
                variables[f"{frame.f_code.co_name}.{name}"].append(value)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        module = block.elaborate(None)
    finally:
        sys.setprofile(before)
    return module, variables


class Setting:
    """What a proof is about.

    Everything begins in an arbitrary state, with reset in the first cycle and, unless it is assumed otherwise, in any
    other: what is claimed holds from then on, whenever reset comes again. Registers of `m` are reset with the block's.

    Attributes
    ----------
    m
        Holds the blocks, and models of what is expected of them.
    reset, after_reset
        Reset is high; it was in the cycle before.
    properties
        Claimed so far, by name.
    seeks
        What is sought is sought only where a condition holds.
    cuts
        Parts were cut out: logic on which no claim depends is left out of the solver's questions.
    """

    def __init__(self) -> None:
        self.m = Module()
        self.properties: dict[str, Property] = {}
        self.seeks = self.cuts = False
        self.reset, self._first = Signal(name="in_reset"), Signal(name="first_cycle")
        self.after_reset = Signal(name="after_reset", reset_less=True)
        self._ports: dict[str, tuple[Value, None]] = {}
        self.m.submodules.first = Instance("$initstate", o_Y=self._first)
        self.m.d.comb += self.reset.eq(ResetSignal())
        self.m.d.sync += self.after_reset.eq(self.reset)
        self._cell("assume", "reset_at_first", self.reset | ~self._first)

    def _cell(self, kind: str, name: str, condition: Value) -> None:
        truth = Signal(name=f"{kind}_{name}")
        self.m.d.comb += truth.eq(condition)
        self.m.submodules[f"{kind}-{name}"] = Instance(f"${kind}", i_A=truth, i_EN=Const(1))

    def add(self, block: wiring.Component, name: str = "dut", *, without: Iterable[str] = ()) -> Inside:
        """Put a block in; inputs that nothing drives are free. Its registers are in what is returned.

        So are the outputs of parts that it is put in `without`: what they promise is to be assumed.
        """
        inside = Inside(block)
        self.m.submodules[name] = block
        self._free_ports(name, block, In)
        for part in without:
            self._free_ports(f"{name}__{part}", inside.leave_out(part), Out)
        return inside

    def _free_ports(self, name: str, block: wiring.Component, flow: wiring.Flow) -> None:
        for path, member, value in block.signature.flatten(block):
            if member.flow == flow:
                self._ports["__".join(map(str, (name, *path)))] = (Value.cast(value), None)

    def cut(self, inside: Inside, name: str) -> Any:
        """Leave a part of a block out, before anything else of it is used; return it.

        Its outputs are anything in every cycle, whatever it would have made of its inputs: what is claimed then holds
        with it as well. Registers on which no claim depends any more are left out, too.
        """
        block = inside.leave_out(name)
        self._free_ports(f"cut{len(self._ports)}__{name}", block, Out)
        self.cuts = True
        return block

    def free(self, name: str, shape: ShapeLike = 1) -> Any:
        """Return a value that is anything in every cycle."""
        signal = Signal(shape, name=name)
        self._ports[name] = (Value.cast(signal), None)
        return signal

    def constant(self, name: str, shape: ShapeLike = 1) -> Any:
        """Return a value that is anything, but always the same."""
        signal = Signal(shape, name=name)
        value = Value.cast(signal)
        self.m.submodules[name] = Instance("$anyconst", p_WIDTH=len(value), o_Y=value)
        return signal

    def held(self, name: str, value: Value, cycles: int = 1) -> Any:
        """Return `value` as it was some cycles ago; 0 if reset came since."""
        for n in range(cycles):
            register = Signal(value.shape(), name=f"{name}_{n + 1}")
            self.m.d.sync += register.eq(value)
            value = register
        return value

    def window(self, array: memory.Memory, address: Value | int) -> Value:
        """Return what a block's memory holds at an address, as bits."""
        port = array.read_port(domain="comb")
        self.m.d.comb += port.addr.eq(address)
        return Value.cast(port.data)

    def count(self, name: str, up: Value, down: Value, most: int) -> Signal:
        """Return how many `up` there were more than `down`; the proof is worth nothing beyond `most`."""
        number = Signal(range(most + 1), name=name)
        self.m.d.sync += number.eq(number + up - down)
        return number

    def assume(self, name: str, condition: Value) -> None:
        """Confine the inputs."""
        self._cell("assume", name, condition)

    def reset_once(self) -> None:
        """Assume that reset comes in the first cycle alone.

        Nothing bounded is lost: whatever follows another reset, from whatever state, follows the first as well.
        """
        self._cell("assume", "reset_once", self._first | ~self.reset)

    def claim(self, name: str, meaning: str, then: Value, *, when: Value | None = None) -> None:
        """Claim a property: in every cycle of `when`, `then`. And that there is such a cycle."""
        self.properties[name] = Property(name, meaning)
        case = Const(1) if when is None else when.bool()
        self._cell("assert", name, self._first | ~case | then.bool())
        self.reach(name, case & ~self.reset)

    def invariant(self, name: str, condition: Value) -> None:
        """Prove what is of no interest by itself, but without which nothing else can be."""
        self._cell("assert", f"invariant_{name}", self._first | condition.bool())

    def reach(self, name: str, condition: Value) -> None:
        """Demand that this can happen."""
        self._cell("cover", name, ~self._first & condition.bool())

    def seek(self, condition: Value) -> None:
        """Seek witnesses, and the way to a failure, where this holds in each cycle, without another reset.

        What is proved is not confined by it.
        """
        self._cell("seek", "witness", self._first | (condition.bool() & ~self.reset))
        self.seeks = True

    def stable(self, name: str, meaning: str, valid: Value, ready: Value, payload: Value) -> None:
        """Claim that what is offered stands until it is taken."""
        waits, before = self.held(f"{name}_waits", valid & ~ready), self.held(f"{name}_before", Value.cast(payload))
        self.claim(name, meaning, valid & (Value.cast(payload) == before), when=waits)

    def assume_stable(self, name: str, valid: Value, ready: Value, payload: Value) -> None:
        """Assume it of an input."""
        waits, before = self.held(f"{name}_waits", valid & ~ready), self.held(f"{name}_before", Value.cast(payload))
        self.assume(name, ~waits | (valid & (Value.cast(payload) == before)))

    def within(self, name: str, meaning: str, cycles: int, *, waits: Value) -> None:
        """Claim that `waits` is true for at most so many cycles on end, and that it can be for as many."""
        gone = Signal(range(cycles + 1), name=f"{name}_gone")
        self.m.d.sync += gone.eq(Mux(waits, Mux(gone == cycles, cycles, gone + 1), 0))
        self.claim(name, meaning, gone != cycles, when=waits & (gone >= cycles - 1))

    def emit(self) -> str:
        """Return the setting as RTLIL, with cells of `CELLS` still to be renamed."""
        return rtlil.convert(self.m, name="setting", ports=self._ports, emit_src=False)


@dataclasses.dataclass(frozen=True)
class Proof:
    """Properties of one build of a block that are proved together.

    Parameters
    ----------
    block
        Start of the properties' names.
    describe
        Puts the block and what is said of it into a setting.
    mode
        ``"induction"``: for all times, if the claims held in the `depth` cycles before. ``"bounded"``: for the first
        `depth` cycles.
    depth
    steps
        Cycles that are searched for a counterexample, and for a witness of each cover point.
    build
        What was chosen of the block's parameters, for the document.
    variant
        End of the properties' names, where a block has several proofs of the same.
    """

    block: str
    describe: Callable[[Setting], None]
    mode: Literal["induction", "bounded"]
    depth: int
    steps: int
    build: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Of its files."""
        function = getattr(self.describe, "func", self.describe)
        return "-".join(filter(None, (self.block, function.__name__.strip("_"), self.variant)))

    def setting(self) -> Setting:
        """Return a new setting with everything in it."""
        setting = Setting()
        self.describe(setting)
        return setting

    def properties(self) -> tuple[Property, ...]:
        """Return what is claimed, without proving it."""
        setting = self.setting()
        Fragment.get(setting.m, None)  # Amaranth complains of modules that nobody elaborates.
        return tuple(setting.properties.values())

    def full_name(self, of: Property) -> str:
        """Return a property's name in results and documents."""
        return ".".join(filter(None, (self.block, of.name, self.variant)))
