"""Figures come from Yosys itself, and registers move into blocks without changing what is computed."""

import json

import pytest
from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.fpga.synthesis.targets import TARGETS
from latte.fpga.synthesis.yosys import synthesise
from latte.rtl.common.ram import RAM_LATENCY, Ram, part_sizes


class Multiplier(wiring.Component):
    """A product with a register before, and two behind."""

    a: In(signed(12))
    b: In(signed(8))
    product: Out(signed(20))

    def elaborate(self, platform):
        """Multiply."""
        m = Module()
        a, b, inner = Signal(signed(12), reset_less=True), Signal(signed(8), reset_less=True), Signal(
            signed(20), reset_less=True)
        outer = Signal(signed(20), reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), inner.eq(a * b), outer.eq(inner)]
        m.d.comb += self.product.eq(outer)
        return m


def _cells(folder, kind):
    modules = json.loads((folder / "dut.json").read_text())["modules"]
    return [cell for cell in modules["dut"]["cells"].values() if cell["type"] == kind]


def test_registers_around_a_multiplier_are_absorbed(tmp_path):
    (usage,) = synthesise(Multiplier(), TARGETS["ecp5"], tmp_path, top="dut").values()
    assert (usage.dsp, usage.ff) == (1, 0)
    (cell,) = _cells(tmp_path, "MULT18X18D")
    for register in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
        assert cell["parameters"][f"REG_{register}_CLK"] == "CLK0"


def test_second_register_behind_a_multiplier_is_driven_on_ice40(tmp_path):
    (usage,) = synthesise(Multiplier(), TARGETS["ice40"], tmp_path, top="dut").values()
    assert (usage.dsp, usage.ff) == (1, 20)
    module = json.loads((tmp_path / "dut.json").read_text())["modules"]["dut"]
    constants = [bit for bit in module["ports"]["product"]["bits"] if isinstance(bit, str)]
    assert not constants


def test_register_behind_a_memory_is_absorbed(tmp_path):
    (usage,) = synthesise(Ram(36, 512), TARGETS["ecp5"], tmp_path, top="dut").values()
    assert (usage.bram, usage.lutram) == (1, 0)
    (cell,) = _cells(tmp_path, "DP16KD")
    assert "OUTREG" in (cell["parameters"]["REGMODE_A"], cell["parameters"]["REGMODE_B"])
    # What is left travels beside the memory, to choose between parts; a whole one has none.
    assert usage.ff == 0


@pytest.mark.parametrize("target", ["ice40", pytest.param("xilinx7", marks=pytest.mark.slow), "gowin", "cmos"])
def test_every_target_counts_a_memory_and_gates(tmp_path, target):
    (usage,) = synthesise(Ram(16, 256), TARGETS[target], tmp_path, top="dut").values()
    assert usage.bram == 1 and usage.bram_bits >= 4096
    assert usage.ff == 16


@pytest.mark.parametrize("depth", [1, 2, 512, 768, 1024, 1025, 1536, 6144])
def test_part_sizes_cover_the_depth(depth):
    parts = part_sizes(depth)
    assert sum(parts) == depth
    assert all(part & (part - 1) == 0 for part in parts[:-1])
    assert RAM_LATENCY == 2
