"""Mutants that exchange addresses of a memory are equivalent where all of its ports have them, and only there."""

import json

import pytest
from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.emit import run_yosys
from latte.sim.mutation.cases import TOP, harness_netlist
from latte.sim.mutation.mutants import list_mutants
from latte.sim.mutation.permutation import AddressPermutations

SOURCE = "tests/sim/mutation/test_permutation.py"


class Sums(wiring.Component):
    """Adds to a word of a memory; `split`: from one address to another. `init` are the first words.

    Parameters
    ----------
    split, init
    """

    def __init__(self, split: bool = False, init: tuple[int, ...] = ()) -> None:
        self.split, self.init = split, init
        super().__init__({"address": In(2), "to": In(2), "adds": In(4), "sum": Out(4)})

    def elaborate(self, platform):
        """Add in the second cycle behind the address."""
        m = Module()
        m.submodules.words = words = memory.Memory(shape=4, depth=4, init=self.init)
        write, read = words.write_port(), words.read_port(domain="comb")
        address, held, to, adds = (Signal(width, name=name, reset_less=True) for name, width in (
            ("first", 2), ("second", 2), ("third", 2), ("adds_d", 4)))
        m.d.sync += [address.eq(self.address), held.eq(address), to.eq(self.to), adds.eq(self.adds)]
        m.d.comb += [read.addr.eq(held), write.addr.eq(to if self.split else held), write.en.eq(1),
                     write.data.eq(read.data + adds), self.sum.eq(read.data)]
        return m


@pytest.mark.parametrize(("block", "permuted"), [
    (Sums(), {("first", "Q", "cnot1"), ("second", "Q", "cnot1"), ("first", "D", "cnot1"), ("second", "D", "cnot1"),
              ("second", "Q", "inv"), ("second", "Q", "cnot0")}),
    (Sums(split=True), set()), (Sums(init=(0, 1, 2, 3)), set())], ids=["one-address", "two-addresses", "other-words"])
def test_exchanged_addresses(block, permuted, tmp_path):
    """A fault in front of a register leaves its initial value alone: only such that do so, too, change nothing."""
    flat, listed = list_mutants(harness_netlist(block, "sums"), {SOURCE: 10_000}, 1)
    (tmp_path / "base.il").write_text(flat)
    run_yosys("read_rtlil base.il; write_json base.json", tmp_path)
    module = json.loads((tmp_path / "base.json").read_text())["modules"][TOP]
    names = {tuple(wire["bits"]): name.removeprefix("dut.") for name, wire in module["netnames"].items()}
    permutations = AddressPermutations(module)
    found = {(names.get(tuple(module["cells"][one.cell]["connections"].get("Q", ()))), one.port, one.mode)
             for one in listed[SOURCE] if permutations.holds(one)}
    assert found == permuted
