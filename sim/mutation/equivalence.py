"""Which surviving mutants no test could kill: proofs that block and mutant never differ where somebody looks.

Both run side by side on the same inputs. Claimed are equal registers, and, of those that differ, registers that are
equal while some bit is set, or while it is not; what a counterexample refutes is claimed no longer. What is left holds
behind reset and from each cycle to the next, for all inputs, and must make the outputs equal: the payload of a stream
and the value of a push while they are valid, all others always.

At first memories are left out: both find the same word where they read at the same address, and must write the same.
What that does not prove is tried with small memories as registers.
"""

import dataclasses
import functools
import math
import pathlib
import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from latte.rtl.emit import run_yosys
from latte.sim.formal.prove import check_solver
from latte.sim.harness import PortBits
from latte.sim.mutation.cases import TOP, Netlist
from latte.sim.mutation.mutants import NUMBER_BITS, PORT, Mutant, mutate_script

__all__ = ["COMBINATIONAL", "INDUCTIVE", "RECIPE", "find_equivalent"]

COMBINATIONAL, INDUCTIVE = "combinational", "induction"
"""How a mutant was proved: with all registers equal in every cycle, or with weaker claims."""
_MUTATE = "read_rtlil base.il; script mutate.ys; memory_nordff; opt_clean; write_rtlil mutated.il"
_MAP = "read_rtlil mapped.il; memory_map; dffunmap; opt_clean; write_smt2 design.smt2"
_MOST_MEMORY_BITS = 20_000
"""Memories of larger netlists do not become registers."""
_MEMORY = re.compile(r"^(?:  attribute [^\n]*\n)*  cell \$mem_v2 .*?^  end$", re.MULTILINE | re.DOTALL)
_ROUNDS = 400
"""Counterexamples after which a proof is given up."""
_NARROW = 4
"""Bits of a register that may say when another is looked at, and whose bits may be looked at at different times."""
_SECONDS = 3
"""Of the processor's time, for a mutant and a way to prove it: what is decided does not depend on what else a machine
does."""
RECIPE = pathlib.Path(__file__).read_text()
"""What decides which mutants are proved: where this changed, survivors are tried again."""
_DECLARED = re.compile(r"^\(declare-fun \|(?P<name>[^|]+)\| \(\|harness_s\|\) (?P<type>.+)\) ;")
_DEFINED = re.compile(r"^\(define-fun \|(?P<name>[^|]+)\| \(\(state \|harness_s\|\)\) (?P<type>Bool|\(_ BitVec \d+\)) "
                      r"(?P<body>.+)\) ?(?:;.*)?$")
_STEP = re.compile(r"^  \(= (?P<next>\(.+) \((?P<register>\|[^|]+\|) next_state\)\) ;")
_USE = re.compile(r"\(\|([^|]+)\| state\)")
_VALUE = re.compile(r"\((d\d+) (true|false)\)")


@dataclasses.dataclass(frozen=True)
class _Circuit:
    """A netlist with mutants as definitions of SMT-LIB, each a function of registers, inputs and others before it.

    Parameters
    ----------
    free
        (name, type) of registers and inputs.
    defined
        (name, type, body).
    steps
        Next value of each register, as an expression.
    """

    free: dict[str, str]
    defined: list[tuple[str, str, str]]
    steps: dict[str, str]

    @classmethod
    def read(cls, text: str) -> "_Circuit":
        """Read what Yosys' ``write_smt2`` wrote."""
        free, defined, steps = {}, [], {}
        for line in text.splitlines():
            if found := _DECLARED.match(line):
                free[found["name"]] = found["type"]
            elif found := _DEFINED.match(line):
                defined.append((found["name"], found["type"], found["body"]))
            elif found := _STEP.match(line):
                steps[found["register"].strip("|")] = found["next"]
        return cls(free, defined, steps)

    def copy(self, tag: str, values: dict[str, str]) -> list[str]:
        """Return definitions of a copy whose registers and inputs have `values`; equal terms are one to the solver."""
        def name_of(found: re.Match[str]) -> str:
            return values.get(found[1]) or f"|{found[1]}@{tag}|"

        return [f"(define-fun |{name}@{tag}| () {kind} {_USE.sub(name_of, body)})" for name, kind, body in self.defined]

    def next_of(self, register: str, tag: str, values: dict[str, str]) -> str:
        """Return the next value of a register in a copy."""
        return _USE.sub(lambda found: values.get(found[1]) or f"|{found[1]}@{tag}|", self.steps[register])


@dataclasses.dataclass(frozen=True)
class _Claim:
    """A register, or a bit of it, that is equal in both copies.

    Parameters
    ----------
    register
    bit
        None: all of them.
    guard
        (register, its bit, that bit's value) for which it is; None: always.
    """

    register: str
    bit: int | None = None
    guard: tuple[str, int, bool] | None = None

    def holds(self, guard: str, left: str, right: str) -> str:
        """Return that it holds of the values of the guard's register, and of its own in block and mutant."""
        equal = f"(= {_bit(left, self.bit)} {_bit(right, self.bit)})"
        if self.guard is None:
            return equal
        _, bit, value = self.guard
        return f"(or (= {_bit(guard, bit)} #b{int(not value)}) {equal})"


@dataclasses.dataclass(frozen=True)
class _Memory:
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


def _leave_out_memories(rtlil: str) -> tuple[str, list[_Memory]]:
    """Return a netlist without the memories that can be written, and these; all of them are read asynchronously."""
    memories: list[_Memory] = []
    wires: list[str] = []

    def leave_out(found: re.Match[str]) -> str:
        cell = found[0]
        width, address_bits, reads, writes = (_parameter(cell, name) for name in (
            "WIDTH", "ABITS", "RD_PORTS", "WR_PORTS"))
        if not writes:
            return cell
        memory = _Memory(f"left_out_{len(memories)}", width, address_bits, reads, writes)
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


def _parameter(cell: str, name: str) -> int:
    """Return a number that a cell of a netlist has."""
    return int(re.search(rf"parameter (?:signed )?\\{name} (\d+)", cell)[1])  # type: ignore[index]


def find_equivalent(netlist: Netlist, flat: str, mutants: Sequence[Mutant]) -> list[str | None]:
    """Return how each mutant was proved equivalent to the block without a fault; None: it was not.

    Parameters
    ----------
    netlist
    flat
        Of `latte.sim.mutation.mutants.list_mutants`.
    mutants
        Of it.
    """
    proved: list[str | None] = [None] * len(mutants)
    if not mutants:
        return proved
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "base.il").write_text(flat)
        (folder / "mutate.ys").write_text(mutate_script(mutants))
        run_yosys(_MUTATE, folder)
        whole = (folder / "mutated.il").read_text()
        ways = [_leave_out_memories(whole)]
        if ways[0][1] and _memory_bits(whole) <= _MOST_MEMORY_BITS:
            ways.append((whole, []))
        for rtlil, memories in ways:
            (folder / "mapped.il").write_text(rtlil)
            run_yosys(_MAP, folder)
            proof = _Proof(_Circuit.read((folder / "design.smt2").read_text()), netlist, memories, folder)
            proved = [how or proof.prove(number) for number, how in enumerate(proved, 1)]
    return proved


def _memory_bits(rtlil: str) -> int:
    """Return the bits of all memories that can be written."""
    return sum(_parameter(cell, "SIZE") * _parameter(cell, "WIDTH") * bool(_parameter(cell, "WR_PORTS"))
               for cell in _MEMORY.findall(rtlil))


class _Proof:
    """Questions about the mutants of one netlist.

    Parameters
    ----------
    circuit
    netlist
        Says which outputs are looked at, and when.
    memories
        That are left out of the circuit.
    folder
        For files.
    """

    def __init__(self, circuit: _Circuit, netlist: Netlist, memories: Sequence[_Memory], folder: pathlib.Path) -> None:
        self.circuit = circuit
        self.netlist = netlist
        self.memories = memories
        self.folder = folder
        self.registers = list(circuit.steps)
        self.kinds = {name: kind for name, kind, _ in circuit.defined}
        named = {name: body for name, _, body in circuit.defined}
        words = [f"{memory.name}_RD_DATA" for memory in memories]
        self.inputs = {name: _USE.search(named[f"{TOP}_n {name}"])[1]  # type: ignore[index]
                       for name in ("rst", PORT, *words) if f"{TOP}_n {name}" in named}
        self.words = {self.inputs[name] for name in words}
        self.path = check_solver()
        self.until, self.left = 0.0, 0

    def prove(self, number: int) -> str | None:
        """Return how mutant `number` was proved equivalent, None if it was not."""
        self.until = _seconds_of_children() + _SECONDS
        return self._prove(number, guarded=False) or self._prove(number, guarded=True)

    def _prove(self, number: int, *, guarded: bool) -> str | None:
        """Return how a mutant was proved with claims that hold always, or also such that hold while a bit is set."""
        claims = {_Claim(register) for register in self.registers}
        first = True
        for _ in range(_ROUNDS):
            refuted = self._ask(number, claims)
            if refuted is None:
                return None
            if not refuted:
                break
            first = False
            claims -= refuted
            lost = {claim for claim in refuted if claim.guard is None}
            for claim in lost:
                if claim.bit is None and self._width(claim.register) > 1:
                    claims |= {_Claim(claim.register, bit) for bit in range(self._width(claim.register))}
            if not guarded:
                continue
            # A guard must be the same bit in both.
            bits = {(claim.register, claim.bit or 0) for claim in lost
                    if claim.bit is not None or self._width(claim.register) == 1}
            claims = {claim for claim in claims if claim.guard is None or claim.guard[:2] not in bits}
            guards = list(self._guards(claims))
            claims |= {_Claim(claim.register, claim.bit, (*guard, value)) for claim in lost for guard in guards
                       for value in (False, True) if claim.bit is None or self._width(claim.register) <= _NARROW}
        else:
            return None
        if not self._holds_behind_reset(number, claims):
            return None
        return COMBINATIONAL if first else INDUCTIVE

    def _width(self, register: str) -> int:
        return int(self.circuit.free[register].split()[-1].rstrip(")"))

    def _guards(self, claims: set[_Claim]) -> Iterator[tuple[str, int]]:
        """Yield bits of narrow registers that are equal in both copies: valid bits, states, places."""
        for claim in claims:
            width = self._width(claim.register)
            if claim.guard is None and width <= _NARROW:
                yield from ((claim.register, bit) for bit in (range(width) if claim.bit is None else (claim.bit,)))

    def _ask(self, number: int, claims: set[_Claim]) -> set[_Claim] | None:
        """Return the claims that need not hold in the next cycle if all hold in one; None: the outputs may differ."""
        lines, block, mutant = self._copies(number, claims)
        for claim in claims:
            if claim.guard is not None:
                term = claim.holds(block[claim.guard[0]], block[claim.register], mutant[claim.register])
                lines.append(f"(assert {term})")
        differs = self._differences() + self._writes_differ()
        if self._check([*lines, f"(assert (or {' '.join(differs)} false))"]) != {}:
            return None
        ordered = sorted(claims, key=repr)
        terms = [f"(define-fun d{index} () Bool (not {self._holds_next(claim, block, mutant)}))"
                 for index, claim in enumerate(ordered)]
        found = self._check([*lines, *terms, f"(assert (or {' '.join(f'd{index}' for index in range(len(terms)))} "
                             "false))"], len(terms))
        return None if found is None else {claim for index, claim in enumerate(ordered) if found.get(f"d{index}")}

    def _holds_next(self, claim: _Claim, block: dict[str, str], mutant: dict[str, str]) -> str:
        """Return that a claim holds in the next cycle."""
        guard = self.circuit.next_of(claim.guard[0], "b", block) if claim.guard else ""
        return claim.holds(guard, self.circuit.next_of(claim.register, "b", block),
                           self.circuit.next_of(claim.register, "m", mutant))

    def _holds_behind_reset(self, number: int, claims: set[_Claim]) -> bool:
        """Return whether the claims hold in the cycle after one with reset, which both begin in the same state."""
        lines, block, mutant = self._copies(number, {_Claim(register) for register in self.registers})
        if "rst" not in self.inputs:
            return False
        reset = self.inputs["rst"]
        lines.append(f"(assert (= {block[reset]} {'true' if self.circuit.free[reset] == 'Bool' else '#b1'}))")
        broken = [*(f"(not {self._holds_next(claim, block, mutant)})" for claim in claims), *self._writes_differ()]
        return self._check([*lines, f"(assert (or {' '.join(broken)} false))"]) == {}

    def _limit_time(self) -> None:
        """Let the solver, whose process this is called in, end with the time that is left for the mutant."""
        resource.setrlimit(resource.RLIMIT_CPU, (self.left, self.left))

    def _copies(self, number: int, claims: set[_Claim]) -> tuple[list[str], dict[str, str], dict[str, str]]:
        """Return (lines that define block and mutant, values of the block's registers and inputs, the mutant's).

        What is equal is one variable: the solver looks at nothing but what lies behind the fault.
        """
        equal: dict[str, set[int | None]] = {}
        for claim in claims:
            if claim.guard is None:
                equal.setdefault(claim.register, set()).add(claim.bit)
        lines = ["(set-option :produce-models true)", "(set-logic QF_BV)"]
        block, mutant = {}, {}
        for name, kind in self.circuit.free.items():
            block[name] = mutant[name] = f"|{name}|"
            lines.append(f"(declare-fun |{name}| () {kind})")
            bits = equal.get(name, set())
            if name in self.words:
                lines.append(f"(declare-fun |{name}'| () {kind})")
                mutant[name] = f"|{name}'|"
            if name in self.circuit.steps and None not in bits:
                lines.append(f"(declare-fun |{name}'| () {kind})")
                parts = [_bit(f"|{name}|" if bit in bits else f"|{name}'|", bit)
                         for bit in reversed(range(self._width(name)))]
                mutant[name] = functools.reduce(lambda high, low: f"(concat {high} {low})", parts)
        chosen = self.inputs[PORT]
        block[chosen], mutant[chosen] = (f"#b{value:0{NUMBER_BITS}b}" for value in (0, number))
        lines += self.circuit.copy("b", block) + self.circuit.copy("m", mutant)
        for memory in self.memories:
            for port in range(memory.reads):
                address, word = ([self._port(f"{memory.name}_{name}", port * bits, bits, tag) for tag in ("b", "m")]
                                 for name, bits in (("RD_ADDR", memory.address_bits), ("RD_DATA", memory.width)))
                lines.append(f"(assert (or (distinct {' '.join(address)}) (= {' '.join(word)})))")
        return lines, block, mutant

    def _port(self, name: str, offset: int, width: int, tag: str) -> str:
        """Return some bits of a port of a copy."""
        whole = f"|{TOP}_n {name}@{tag}|"
        if self.kinds[f"{TOP}_n {name}"] == "Bool":
            return f"(ite {whole} #b1 #b0)"
        return f"((_ extract {offset + width - 1} {offset}) {whole})"

    def _writes_differ(self) -> list[str]:
        """Return the terms that say that a memory that is left out does not get the same words."""
        terms = []
        for memory in self.memories:
            for port in range(memory.writes):
                (enables, enables_m), (addresses, addresses_m), (words, words_m) = (
                    [self._port(f"{memory.name}_{name}", port * bits, bits, tag) for tag in ("b", "m")]
                    for name, bits in (("WR_EN", memory.width), ("WR_ADDR", memory.address_bits),
                                       ("WR_DATA", memory.width)))
                terms += [f"(distinct {enables} {enables_m})",
                          f"(distinct (bvand {enables} {words}) (bvand {enables} {words_m}))",
                          f"(and (distinct {enables} #b{0:0{memory.width}b}) (distinct {addresses} {addresses_m}))"]
        return terms

    def _differences(self) -> list[str]:
        """Return the terms that say that an output differs where somebody looks."""
        width = sum(bits.width for bits in self.netlist.outputs.values())

        def of(bits: PortBits, tag: str) -> str:
            return self._port("observe", bits.offset, bits.width, tag)

        assert width, "a block without outputs"
        terms = []
        for name, bits in self.netlist.outputs.items():
            if not bits.width:
                continue
            term = f"(distinct {of(bits, 'b')} {of(bits, 'm')})"
            valid = self.netlist.outputs.get(name.removesuffix("__payload") + "__valid" if name.endswith("__payload")
                                             else f"{name}_valid")
            if valid is not None:
                term = f"(and (= {of(valid, 'b')} #b1) {term})"
            terms.append(term)
        return terms

    def _check(self, lines: Sequence[str], values: int = 0) -> dict[str, bool] | None:
        """Return the values of d0, d1 ... in a model; {} if there is none, None if the solver does not say."""
        asked = [f"(get-value ({' '.join(f'd{index}' for index in range(values))}))"] if values else []
        path = self.folder / "question.smt2"
        path.write_text("\n".join([*lines, "(check-sat)", *asked]))
        self.left = math.ceil(self.until - _seconds_of_children())
        if self.left <= 0:
            return None
        done = subprocess.run(["yices-smt2", str(path)], env={"PATH": self.path}, text=True, capture_output=True,
                              check=False, preexec_fn=self._limit_time)
        answer = done.stdout.partition("\n")[0]
        if answer == "unsat":
            return {}
        if answer != "sat":
            return None
        return {name: word == "true" for name, word in _VALUE.findall(done.stdout)} | {"": True}


def _bit(value: str, bit: int | None) -> str:
    """Return a bit of a value, all of it for None."""
    return value if bit is None else f"((_ extract {bit} {bit}) {value})"


def _seconds_of_children() -> float:
    """Return the processor's time that ended processes of this one have taken."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
