"""Which surviving mutants no test could kill: proofs that block and mutant never differ where somebody looks.

Both run side by side on the same inputs. Claimed are equal registers, and, of those that differ, registers that are
equal while some bit is set, or while it is not; what a counterexample refutes is claimed no longer. What is left holds
behind reset and from each cycle to the next, for all inputs, and must make the outputs equal: the payload of a stream
and the value of a push while they are valid, all others always.

What the block's registers never are is found before, in the same way: values that a bit never has, or two bits of a
narrow register at once, as of states, and of counters that do not reach all of their range.

At first memories are left out: both find the same word where they read at the same address, and must write the same.
What that does not prove is tried with small memories as registers. That a mutant keeps the words of a memory at other
addresses is seen without a solver (`latte.sim.mutation.permutation`).
"""

import dataclasses
import functools
import itertools
import json
import math
import pathlib
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from latte.rtl.emit import run_yosys
from latte.sim.formal.prove import check_solver
from latte.sim.harness import PortBits
from latte.sim.mutation import circuit as circuits
from latte.sim.mutation import permutation
from latte.sim.mutation.cases import TOP, Netlist
from latte.sim.mutation.circuit import Circuit, LeftOutMemory, leave_out_memories, memory_bits
from latte.sim.mutation.mutants import NUMBER_BITS, PORT, Mutant, mutate_script
from latte.sim.mutation.permutation import AddressPermutations

__all__ = ["COMBINATIONAL", "INDUCTIVE", "PERMUTED", "RECIPE", "find_equivalent"]

COMBINATIONAL, INDUCTIVE, PERMUTED = "combinational", "induction", "permutation"
"""How a mutant was proved: with all registers equal in every cycle, with weaker claims, or by where words are kept."""
_MUTATE = ("read_rtlil base.il; write_json base.json; script mutate.ys; memory_nordff; opt_clean; "
           "write_rtlil mutated.il")
_MAP = "read_rtlil mapped.il; memory_map; async2sync; dffunmap; opt_clean; write_smt2 design.smt2"
_MOST_MEMORY_BITS = 20_000
"""Memories of larger netlists do not become registers."""
_ROUNDS = 400
"""Counterexamples after which a proof is given up."""
_NARROW = 4
"""Bits of a register that may say when another is looked at, and whose bits may be looked at at different times."""
_COUNTER = 8
"""Bits of a register whose pairs of bits may have values that exclude each other."""
_INVARIANT_SECONDS = 30
"""Of the processor's time, in which what the registers of a netlist never are must be found, else nothing is."""
_SECONDS = 3
"""Of the processor's time, for a mutant and a way to prove it: what is decided does not depend on what else a machine
does."""
RECIPE = "".join(pathlib.Path(source).read_text() for source in (circuits.__file__, permutation.__file__, __file__))
"""What decides which mutants are proved: where this changed, survivors are tried again."""


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


_Literal = tuple[str, int, bool]
"""(Register, its bit, that bit's value)."""


def _never(literals: tuple[_Literal, ...], values: dict[str, str]) -> str:
    """Return that bits of registers with some values are not so all at once."""
    terms = (f"(= {_bit(values[name], bit)} #b{int(not value)})" for name, bit, value in literals)
    return f"(or {' '.join(terms)} false)"


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
    if not mutants:
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "base.il").write_text(flat)
        (folder / "mutate.ys").write_text(mutate_script(mutants))
        run_yosys(_MUTATE, folder)
        permutations = AddressPermutations(json.loads((folder / "base.json").read_text())["modules"][TOP])
        proved = [PERMUTED if permutations.holds(mutant) else None for mutant in mutants]
        whole = (folder / "mutated.il").read_text()
        ways = [leave_out_memories(whole)]
        if ways[0][1] and memory_bits(whole) <= _MOST_MEMORY_BITS:
            ways.append((whole, []))
        for rtlil, memories in ways:
            if all(proved):
                break
            (folder / "mapped.il").write_text(rtlil)
            run_yosys(_MAP, folder)
            proof = _Proof(Circuit.read((folder / "design.smt2").read_text()), netlist, memories, folder)
            proved = [how or proof.prove(number) for number, how in enumerate(proved, 1)]
    return proved


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

    def __init__(self, circuit: Circuit, netlist: Netlist, memories: Sequence[LeftOutMemory], folder: pathlib.Path
                 ) -> None:
        self.circuit = circuit
        self.netlist = netlist
        self.memories = memories
        self.folder = folder
        self.registers = list(circuit.steps)
        self.kinds = {name: kind for name, kind, _ in circuit.defined}
        words = [f"{memory.name}_RD_DATA" for memory in memories]
        self.inputs = {name: circuit.input_behind(name) for name in ("rst", PORT, *words)
                       if f"{TOP}_n {name}" in self.kinds}
        self.words = {self.inputs[name] for name in words}
        self.path = check_solver()
        self.until, self.left = 0.0, 0
        self.invariants: list[str] = []
        self.invariants = self._find_invariants()

    def _find_invariants(self) -> list[str]:
        """Return what holds of the block's registers behind a first cycle, one with reset, and so in all later ones."""
        self.until = _seconds_of_children() + _INVARIANT_SECONDS
        if "rst" not in self.inputs:
            return []
        lines, values, _ = self._copies(0, {_Claim(register) for register in self.registers})
        following = {name: f"|{name}@next|" for name in self.registers}
        lines += [f"(define-fun |{name}@next| () {self.circuit.free[name]} {self.circuit.next_of(name, 'b', values)})"
                  for name in following]
        claims = self._values_of_bits()
        held = [self._resets(values), *(f"(= |{name}| #b{word})" for name, word in self.circuit.initial.items())]
        while True:
            answers = self._check_each([*lines, *(f"(assert {term})" for term in held)],
                                       [f"(not {_never(claim, following)})" for claim in claims])
            if len(answers) < len(claims):
                return []
            claims = [claim for claim, answer in zip(claims, answers, strict=True) if answer == "unsat"]
            if held == (held := [_never(claim, values) for claim in claims]):
                break
        constant = {claim[0] for claim in claims if len(claim) == 1}
        return [_never(claim, values) for claim in claims if len(claim) == 1 or not constant & set(claim)]

    def _values_of_bits(self) -> list[tuple[_Literal, ...]]:
        """Return values of one bit, or of two bits of a narrow register."""
        claims: list[tuple[_Literal, ...]] = []
        for name in self.registers:
            width = self.circuit.width(name)
            literals = [(name, bit, value) for bit in range(width) for value in (False, True)]
            claims += [(literal,) for literal in literals]
            if width <= _COUNTER:
                claims += [(low, high) for low, high in itertools.combinations(literals, 2) if low[1] != high[1]]
        return claims

    def _resets(self, values: dict[str, str]) -> str:
        """Return that a cycle is one with reset."""
        reset = self.inputs["rst"]
        return f"(= {values[reset]} {'true' if self.circuit.free[reset] == 'Bool' else '#b1'})"

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
                if claim.bit is None and self.circuit.width(claim.register) > 1:
                    claims |= {_Claim(claim.register, bit) for bit in range(self.circuit.width(claim.register))}
            if not guarded:
                continue
            # A guard must be the same bit in both.
            bits = {(claim.register, claim.bit or 0) for claim in lost
                    if claim.bit is not None or self.circuit.width(claim.register) == 1}
            claims = {claim for claim in claims if claim.guard is None or claim.guard[:2] not in bits}
            guards = list(self._guards(claims))
            claims |= {_Claim(claim.register, claim.bit, (*guard, value)) for claim in lost
                       for guard in [*guards, *self._beside(claim, claims)]
                       for value in (False, True) if claim.bit is None or self.circuit.width(claim.register) <= _NARROW
                       or guard[0] == claim.register}
        else:
            return None
        if not self._holds_behind_reset(number, claims):
            return None
        return COMBINATIONAL if first else INDUCTIVE

    def _guards(self, claims: set[_Claim]) -> Iterator[tuple[str, int]]:
        """Yield bits of narrow registers that are equal in both copies: valid bits, states, places."""
        for claim in claims:
            width = self.circuit.width(claim.register)
            if claim.guard is None and width <= _NARROW:
                yield from ((claim.register, bit) for bit in (range(width) if claim.bit is None else (claim.bit,)))

    def _beside(self, lost: _Claim, claims: set[_Claim]) -> Iterator[tuple[str, int]]:
        """Yield bits that are equal in both copies of the register that a bit lost its claim in."""
        if lost.bit is not None:
            yield from ((lost.register, claim.bit) for claim in claims if claim.guard is None and claim.bit is not None
                        and claim.register == lost.register)

    def _ask(self, number: int, claims: set[_Claim]) -> set[_Claim] | None:
        """Return the claims that need not hold in the next cycle if all hold in one; None: the outputs may differ."""
        lines, block, mutant = self._copies(number, claims)
        for claim in claims:
            if claim.guard is not None:
                term = claim.holds(block[claim.guard[0]], block[claim.register], mutant[claim.register])
                lines.append(f"(assert {term})")
        differs = self._differences() + self._writes_differ()
        if self._check([*lines, f"(assert (or {' '.join(differs)} false))"]) != "unsat":
            return None
        ordered = sorted(claims, key=repr)
        broken = [f"(not {self._holds_next(claim, block, mutant)})" for claim in ordered]
        answer = self._check([*lines, f"(assert (or {' '.join(broken)} false))"])
        if answer == "unsat":
            return set()
        refuted = [claim for claim, answer in zip(ordered, self._check_each(lines, broken), strict=False)
                   if answer == "sat"]
        return set(refuted) or None

    def _holds_next(self, claim: _Claim, block: dict[str, str], mutant: dict[str, str]) -> str:
        """Return that a claim holds in the next cycle."""
        guard = self.circuit.next_of(claim.guard[0], "b", block) if claim.guard else ""
        return claim.holds(guard, self.circuit.next_of(claim.register, "b", block),
                           self.circuit.next_of(claim.register, "m", mutant))

    def _holds_behind_reset(self, number: int, claims: set[_Claim]) -> bool:
        """Return whether the claims hold in the cycle after one with reset, the second, which both begin as equals."""
        lines, block, mutant = self._copies(number, {_Claim(register) for register in self.registers})
        if "rst" not in self.inputs:
            return False
        lines.append(f"(assert {self._resets(block)})")
        broken = [*(f"(not {self._holds_next(claim, block, mutant)})" for claim in claims), *self._writes_differ()]
        return self._check([*lines, f"(assert (or {' '.join(broken)} false))"]) == "unsat"

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
        lines = ["(set-logic QF_BV)"]
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
                         for bit in reversed(range(self.circuit.width(name)))]
                mutant[name] = functools.reduce(lambda high, low: f"(concat {high} {low})", parts)
        chosen = self.inputs[PORT]
        block[chosen], mutant[chosen] = (f"#b{value:0{NUMBER_BITS}b}" for value in (0, number))
        lines += self.circuit.copy("b", block) + self.circuit.copy("m", mutant)
        for memory in self.memories:
            for port in range(memory.reads):
                address, word = ([self._port(f"{memory.name}_{name}", port * bits, bits, tag) for tag in ("b", "m")]
                                 for name, bits in (("RD_ADDR", memory.address_bits), ("RD_DATA", memory.width)))
                lines.append(f"(assert (or (distinct {' '.join(address)}) (= {' '.join(word)})))")
        lines += [f"(assert {term})" for term in self.invariants]
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

    def _check(self, lines: Sequence[str]) -> str:
        """Return ``sat`` or ``unsat``, another word or none if the solver does not say."""
        return "".join(self._solve([*lines, "(check-sat)"]))

    def _check_each(self, lines: Sequence[str], terms: Sequence[str]) -> list[str]:
        """Return ``sat`` or ``unsat`` for each of some terms, of fewer of them if the time ends."""
        asked = [f"(push 1)\n(assert {term})\n(check-sat)\n(pop 1)" for term in terms]
        answers = self._solve([*lines, *asked], "--incremental")
        return [*itertools.takewhile(lambda answer: answer in ("sat", "unsat"), answers)]

    def _solve(self, lines: Sequence[str], *options: str) -> list[str]:
        """Return the lines that the solver says, none if no time is left."""
        path = self.folder / "question.smt2"
        path.write_text("\n".join(lines))
        self.left = math.ceil(self.until - _seconds_of_children())
        if self.left <= 0:
            return []
        done = subprocess.run(["yices-smt2", *options, str(path)], env={"PATH": self.path}, text=True,
                              capture_output=True, check=False, preexec_fn=self._limit_time)
        return done.stdout.splitlines()


def _bit(value: str, bit: int | None) -> str:
    """Return a bit of a value, all of it for None."""
    return value if bit is None else f"((_ extract {bit} {bit}) {value})"


def _seconds_of_children() -> float:
    """Return the processor's time that ended processes of this one have taken."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
