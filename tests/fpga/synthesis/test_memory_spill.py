"""Memories beyond a device's block RAMs go into LUT RAM, the cheapest first, and compute the same."""

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.fpga.synthesis.memory_spill import block_rams_of, spill_memories
from latte.fpga.synthesis.targets import TARGETS
from latte.fpga.synthesis.yosys import synthesise
from latte.rtl.common.ram import Ram
from latte.rtl.emit import emit_rtlil

SHAPES = ((36, 512), (8, 64), (40, 100), (12, 20))


class Memories(wiring.Component):
    """Memories of `SHAPES`, each with its ports."""

    def __init__(self):
        super().__init__({f"{port}_{n}": direction(Ram(*shape).signature.members[port].shape)
                          for n, shape in enumerate(SHAPES)
                          for port, direction in (("write_en", In), ("write_addr", In), ("write_data", In),
                                                  ("read_addr", In), ("read_data", Out))})

    def elaborate(self, platform):
        """Connect them."""
        m = Module()
        for n, shape in enumerate(SHAPES):
            m.submodules[f"memory_{n}"] = memory = Ram(*shape)
            m.d.comb += [getattr(memory, port).eq(getattr(self, f"{port}_{n}"))
                         for port in ("write_en", "write_addr", "write_data", "read_addr")]
            m.d.comb += getattr(self, f"read_data_{n}").eq(memory.read_data)
        return m


def spilled(text):
    """Return the shapes of the memories that are marked."""
    lines = text.splitlines()
    return [tuple(int(lines[n + 1].split()[word]) for word in (2, 4)) for n, line in enumerate(lines)
            if "ram_style" in line]


@pytest.mark.parametrize(("width", "words", "count"), [
    (36, 512, 1), (18, 1024, 1), (1, 16384, 1), (37, 512, 2), (9, 2048, 1), (256, 512, 8), (176, 1024, 10)])
def test_block_rams_of_a_memory(width, words, count):
    assert block_rams_of(width, words, TARGETS["ecp5"]) == count


@pytest.mark.parametrize(("block_rams", "expected"), [
    (4, []), (3, [(8, 64)]), (2, [(8, 64), (40, 100)]), (1, [(8, 64), (40, 100)]),
    (0, [(36, 512), (8, 64), (40, 100)])])
def test_the_cheapest_go_first(block_rams, expected):
    """Four block RAMs, since the second is one, the third two, and 20 words are none."""
    text = emit_rtlil(Memories(), "dut")
    assert spilled(spill_memories(text, TARGETS["ecp5"], block_rams)) == expected
    assert spill_memories(text, TARGETS["ecp5"], 4) == text
    assert spill_memories(text, TARGETS["ice40"], block_rams) == text  # no LUT RAM


def test_what_is_synthesised_has_no_more(tmp_path):
    (usage,) = synthesise(Memories(), TARGETS["ecp5"], tmp_path, top="dut", block_rams=2).values()
    assert usage.bram <= 2 and usage.lutram > 2 * 4


def test_a_table_stays_in_block_ram(tmp_path):
    """LUT RAM has no initial contents, and Yosys would find no place for it."""
    table = Ram(12, 1024, [n * 3 % 4096 for n in range(1024)])
    text = emit_rtlil(table, "dut")
    assert spill_memories(text, TARGETS["ecp5"], 0) == text
    table = Ram(12, 1024, [n * 3 % 4096 for n in range(1024)])
    (usage,) = synthesise(table, TARGETS["ecp5"], tmp_path, top="dut", block_rams=0).values()
    assert (usage.bram, usage.lutram) == (1, 0)
