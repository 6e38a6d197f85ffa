"""Memories beyond a device's block RAMs go into LUT RAM, the cheapest first, and compute the same."""

import pytest
from amaranth import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from latte.fpga.synthesis.memory_spill import block_rams_of, fill_block_rams, spill_memories
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


class Asynchronous(wiring.Component):
    """A memory that is read without a clock."""

    def __init__(self):
        super().__init__({"address": In(5), "write": In(1), "data": In(72), "o": Out(72)})

    def elaborate(self, platform):
        """Connect it."""
        m = Module()
        m.submodules.memory = array = memory.Memory(shape=72, depth=32, init=[])
        write, read = array.write_port(), array.read_port(domain="comb")
        m.d.comb += [write.addr.eq(self.address), write.data.eq(self.data), write.en.eq(self.write),
                     read.addr.eq(self.address), self.o.eq(read.data)]
        return m


def marked(text):
    """Return the shapes of the memories that are told where to be."""
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
    assert marked(spill_memories(text, TARGETS["ecp5"], block_rams)) == expected
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


@pytest.mark.parametrize(("shape", "block_rams", "expected"), [
    ((36, 32), 1, True), ((36, 32), 0, False),
    ((44, 16), 9, False),  # two block RAMs for 11 cells
    ((28, 32), 1, True), ((24, 16), 1, False), ((36, 512), 9, False)])
def test_small_memories_take_what_is_left(shape, block_rams, expected):
    text = emit_rtlil(Ram(*shape), "dut")
    filled = fill_block_rams(text, TARGETS["ecp5"], block_rams)
    assert marked(filled) == ([shape] if expected else [])
    assert fill_block_rams(text, TARGETS["ice40"], block_rams) == text


def test_what_is_read_without_a_clock_stays_in_lut_ram():
    text = emit_rtlil(Asynchronous(), "dut")
    assert fill_block_rams(text, TARGETS["ecp5"], 9) == text


def test_what_is_filled_is_in_block_ram(tmp_path):
    for fill, expected in ((False, (0, 36)), (True, (2, 0))):
        (usage,) = synthesise(Ram(72, 32), TARGETS["ecp5"], tmp_path, top="dut", block_rams=2, fill=fill).values()
        assert (usage.bram, usage.lutram) == expected
