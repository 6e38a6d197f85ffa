"""Mutants of a block whose test has a known hole: killed, surviving, and equivalent ones are told apart."""

import dataclasses
import pathlib

import pytest
from amaranth import ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.errors import LatteError
from latte.sim import block_testbench
from latte.sim.block_testbench import Expect, Offer, run_block
from latte.sim.mutation.cases import Case, Netlist, harness_netlist
from latte.sim.mutation.equivalence import COMBINATIONAL, INDUCTIVE, find_equivalent
from latte.sim.mutation.judge import judge
from latte.sim.mutation.mutants import Mutant, component_sizes, list_mutants

SOURCE = "tests/sim/mutation/test_judge.py"


class Masked(wiring.Component):
    """Offers each byte again; with it go terms that change nothing.

    `either` and `idle` are such terms: the first is masked, the second is loaded where nothing is valid.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    mask: In(8)

    def elaborate(self, platform):
        """Register what comes."""
        m = Module()
        either, masked, idle = (Signal(8, name=name) for name in ("either", "masked", "idle"))
        m.d.comb += [either.eq(self.i.payload | self.mask), masked.eq(either & self.i.payload),
                     idle.eq(self.i.payload ^ 0x5A), self.i.ready.eq(~self.o.valid | self.o.ready)]
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(Mux(self.i.valid, masked, idle))]
        return m


class Kept(wiring.Component):
    """Offers each byte again, from a memory in Verilog."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        """Write to one word and read the other."""
        m = Module()
        takes, place = Signal(), Signal(name="place")
        m.submodules.words = Instance(
            "latte_words", p_WIDTH=8, p_DEPTH=2, p_ADDRESS_BITS=1, i_clk=ClockSignal(), i_write_addr=place,
            i_write_en=takes, i_write_data=self.i.payload, i_read_addr=~place, o_read_data=self.o.payload)
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), takes.eq(self.i.valid & self.i.ready)]
        m.d.sync += place.eq(place ^ takes)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        return m


def recorded(block: wiring.Component, items: list[int]) -> Netlist:
    """Return the netlist of a block that offers bytes again, with one case."""
    asked = []
    block_testbench.recorder = lambda component, name, plan, expected: asked.append((component, plan, expected))
    try:
        assert not run_block(block, "block", None, {"i": Offer(items)}, {"o": Expect(items)}, stall="both")
    finally:
        block_testbench.recorder = None
    [(component, plan, expected)] = asked
    wanted = {port: [f"{bits:x}/{mask:x}" for bits, mask in pairs] for port, pairs in expected.items()}
    return dataclasses.replace(harness_netlist(component, "block"),
                               cases=(Case("bytes", plan | {"expected": wanted}),))


@pytest.fixture(scope="module")
def netlist() -> Netlist:
    """Return the block's netlist, with a case that never sends an odd byte."""
    return recorded(Masked(), list(range(0, 256, 2)))


@pytest.fixture(scope="module")
def listed(netlist) -> tuple[str, list[Mutant]]:
    """Return the flat netlist, and all of its mutants."""
    flat, found = list_mutants(netlist, {SOURCE: 10_000}, 1)
    return flat, found[SOURCE]


def named(mutants: list[Mutant], wire: str, port: str, mode: str) -> dict[int, Mutant]:
    """Return mutants of one port by bit."""
    return {one.bit: one for one in mutants if (one.wire, one.port, one.mode) == (f"dut.{wire}", port, mode)}


def test_a_component_is_known_by_its_file(netlist):
    assert component_sizes(netlist)[SOURCE] > 0


def test_places_are_lines_of_this_file(listed):
    places = {one.place for one in listed[1]}
    lines = dict(enumerate(pathlib.Path(__file__).read_text().splitlines(), 1))
    assert any("masked.eq(either" in lines[int(place.rpartition(":")[2])] for place in places
               if place.startswith(f"{SOURCE}:"))


def test_no_mutant_is_of_a_clock(listed):
    assert listed[1] and not [one for one in listed[1] if one.port.endswith("CLK")]


def test_few_mutants_are_some_of_all(netlist, listed):
    _, few = list_mutants(netlist, {SOURCE: 12}, 1)
    assert len(few[SOURCE]) == 12 and set(few[SOURCE]) <= set(listed[1])
    assert list_mutants(netlist, {SOURCE: 12}, 1)[1] == few
    assert list_mutants(netlist, {SOURCE: 12}, 2)[1] != few


def test_verdicts(netlist, listed, build_folder):
    """A bit that the test never sets may be stuck at 0; all others are looked at, with any fault."""
    flat, mutants = listed
    stuck, inverted = (named(mutants, "masked", "Y", mode) for mode in ("const0", "inv"))
    assert set(stuck) == set(inverted) == set(range(8))
    some = [*stuck.values(), *inverted.values()]
    verdicts = dict(zip(some, judge(netlist, flat, some, build_folder), strict=True))
    assert [bit for bit, one in stuck.items() if not verdicts[one].killed] == [0]
    assert all(verdicts[one].killed for one in inverted.values())
    assert "o: item" in verdicts[inverted[3]].failure and verdicts[inverted[3]].case == 0


def test_a_case_that_fails_without_a_fault_is_told(netlist, listed, build_folder):
    [case] = netlist.cases
    wrong = case.setting | {"expected": {"o": ["1/ff", *case.setting["expected"]["o"][1:]]}}
    broken = dataclasses.replace(netlist, cases=(Case("odd byte", wrong),))
    with pytest.raises(LatteError, match="without a fault, odd byte fails.*item 0 differs in 0x1"):
        judge(broken, listed[0], listed[1][:1], build_folder)


def test_equivalent_mutants_are_recognised(netlist, listed):
    """What is masked by logic, and what is registered while nothing is valid; not the hole in the test."""
    flat, mutants = listed
    masked = named(mutants, "either", "Y", "const1")[5]
    idle = named(mutants, "idle", "Y", "inv")[2]
    hole = named(mutants, "masked", "Y", "const0")[0]
    assert find_equivalent(netlist, flat, [masked, idle, hole]) == [COMBINATIONAL, INDUCTIVE, None]


def test_a_memory_in_verilog_is_beside_the_mutants(build_folder):
    """It is part of their netlist and of the proofs, and has none itself."""
    netlist = recorded(Kept(), list(range(0, 256, 3)))
    flat, found = list_mutants(netlist, {SOURCE: 10_000}, 1)
    assert "cell $mem_v2" in flat and not [one for one in found[SOURCE] if "words" in one.cell]
    stuck = [named(found[SOURCE], "words.write_addr", "Q", mode)[0] for mode in ("const0", "const1")]
    assert all(verdict.killed for verdict in judge(netlist, flat, stuck, build_folder))
    assert find_equivalent(netlist, flat, stuck) == [None, None]
