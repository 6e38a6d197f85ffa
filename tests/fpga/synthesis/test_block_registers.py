"""Moving registers into block RAMs and multipliers changes nothing: proved, and the proof is shown to see mistakes."""

import dataclasses
import json
import pathlib
import shutil

import pytest
from amaranth import Module, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from latte.fpga.synthesis import block_registers, yosys
from latte.fpga.synthesis.targets import TARGETS
from latte.fpga.synthesis.tools import ToolFailure
from latte.golden.config import preset
from latte.rtl.common.ram import Ram
from latte.rtl.wide.row_scaler import RowScaler
from latte.rtl.wide.weight_pipeline import WeightPipeline
from tests.fpga.synthesis import netlist_proof


class Product(wiring.Component):
    """A product behind operand registers, and before registers that may have an enable or a second reader.

    Parameters
    ----------
    enabled
        The last register has an enable.
    tapped
        The middle register is an output too.
    """

    def __init__(self, *, enabled: bool = False, tapped: bool = False):
        self.enabled, self.tapped = enabled, tapped
        super().__init__({"a": In(signed(12)), "b": In(signed(8)), "enable": In(1), "product": Out(signed(20)),
                          "tap": Out(signed(20))})

    def elaborate(self, platform):
        """Multiply."""
        m = Module()
        a, b = Signal(signed(12), reset_less=True), Signal(signed(8), reset_less=True)
        inner, outer = (Signal(signed(20), name=name, reset_less=True) for name in ("inner", "outer"))
        m.d.sync += [a.eq(self.a), b.eq(self.b), inner.eq(a * b)]
        with m.If(self.enable | (not self.enabled)):
            m.d.sync += outer.eq(inner)
        m.d.comb += self.product.eq(outer)
        if self.tapped:
            m.d.comb += self.tap.eq(inner)
        return m


class HeldWord(wiring.Component):
    """A word of a memory behind a register with an enable.

    Parameters
    ----------
    width
        Of a word: as wide as a block RAM takes it, it needs both ports.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({"write": In(1), "address": In(9), "data": In(width), "enable": In(1), "word": Out(width)})

    def elaborate(self, platform):
        """Write and read at one address."""
        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=self.width, depth=512, init=[])
        write, read = storage.write_port(), storage.read_port()
        word = Signal(self.width, reset_less=True)
        m.d.comb += [write.addr.eq(self.address), write.data.eq(self.data), write.en.eq(self.write),
                     read.addr.eq(self.address), self.word.eq(word)]
        with m.If(self.enable):
            m.d.sync += word.eq(read.data)
        return m


@dataclasses.dataclass(frozen=True)
class Netlists:
    """A component's netlist before and after registers were moved."""

    before: pathlib.Path
    after: pathlib.Path
    absorbed: int

    def prove(self, enables: tuple[str, ...] = ()) -> None:
        """Prove them equal."""
        netlist_proof.prove_equal(self.before, self.after, "dut", self.after.parent / "proof", enables)


@pytest.fixture
def synthesise(tmp_path, monkeypatch):
    """Return a function that makes the `Netlists` of a component."""
    def run(component) -> Netlists:
        before, absorbed = tmp_path / "before.json", []

        def absorb(netlist):
            shutil.copy(netlist, before)
            absorbed.append(block_registers.absorb_registers(netlist))

        monkeypatch.setattr(yosys, "absorb_registers", absorb)
        yosys.synthesise(component, TARGETS["ecp5"], tmp_path, top="dut")
        return Netlists(before, tmp_path / "dut.json", *absorbed)
    return run


SMALL = preset("small")
COMPONENTS = {
    "memory": (lambda: Ram(36, 512), 36), "table": (lambda: Ram(33, 512, range(7, 519)), 9),
    "held": (lambda: HeldWord(36), 36), "held, narrow": (lambda: HeldWord(9), 9),
    "memory of parts": (lambda: Ram(18, 1536), 36), "product": (Product, 60),
    "enabled": (lambda: Product(enabled=True), 40), "tapped": (lambda: Product(tapped=True), 20),
    "weights": (lambda: WeightPipeline(SMALL), 40), "scaler": (lambda: RowScaler(SMALL), 40)}
"""Component, and how many flip-flops must go at least."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in ("weights", "scaler") else ())
                                  for name in COMPONENTS])
def test_absorption_is_equivalent(name, synthesise):
    make, least = COMPONENTS[name]
    netlists = synthesise(make())
    assert netlists.absorbed >= least
    assert netlist_proof.unregistered_parameters(netlists.before) == netlist_proof.unregistered_parameters(
        netlists.after)
    netlists.prove(("enable",) if name in ("enabled", "held", "held, narrow") else ())


@pytest.mark.parametrize("parameter", ["REG_INPUTA_CLK", "REG_PIPELINE_CLK", "REG_OUTPUT_CLK"])
def test_a_register_too_few_is_found(parameter, synthesise):
    netlists = synthesise(Product())
    _edit(netlists.after, "MULT18X18D", lambda cell: cell["parameters"].update({parameter: "NONE"}))
    with pytest.raises(ToolFailure):
        netlists.prove()


def test_a_memory_without_its_register_is_found(synthesise):
    netlists = synthesise(Ram(36, 512))
    _edit(netlists.after, "DP16KD", lambda cell: cell["parameters"].update(REGMODE_A="NOREG", REGMODE_B="NOREG"))
    with pytest.raises(ToolFailure):
        netlists.prove()


def test_exchanged_bits_are_found(synthesise):
    netlists = synthesise(Product())

    def exchange(cell):
        nets = cell["connections"]
        nets["P3"], nets["P4"] = nets["P4"], nets["P3"]

    _edit(netlists.after, "MULT18X18D", exchange)
    with pytest.raises(ToolFailure):
        netlists.prove()


def test_absorbing_an_enabled_register_is_found(synthesise, monkeypatch):
    monkeypatch.setattr(block_registers, "_enable", lambda cell: "1")
    with pytest.raises(ToolFailure):
        synthesise(Product(enabled=True)).prove(("enable",))


def test_an_enable_that_is_lost_is_found(synthesise):
    netlists = synthesise(HeldWord(36))
    _edit(netlists.after, "DP16KD", lambda cell: cell["connections"].update(OCEA=["1"], OCEB=["1"]))
    with pytest.raises(ToolFailure):
        netlists.prove(("enable",))


def test_registers_of_two_clocks_stay_outside(synthesise):
    netlists = synthesise(Product())

    def split(design):
        registers = [cell for cell in design["modules"]["dut"]["cells"].values() if cell["type"] == "TRELLIS_FF"]
        for cell in registers[::2]:
            cell["connections"]["CLK"] = design["modules"]["dut"]["ports"]["enable"]["bits"]

    design = json.loads(netlists.before.read_text())
    split(design)
    netlists.before.write_text(json.dumps(design))
    assert block_registers.absorb_registers(netlists.before) == 0


def _edit(netlist: pathlib.Path, kind: str, change) -> None:
    design = json.loads(netlist.read_text())
    for cell in design["modules"]["dut"]["cells"].values():
        if cell["type"] == kind:
            change(cell)
    netlist.write_text(json.dumps(design))
