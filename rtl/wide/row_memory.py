"""Rows of sums between the value accumulator and the scaler: one arrives while another leaves."""

import functools
import operator

from amaranth import Cat, Module, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.primitives import delay, next_modulo, register
from latte.rtl.wide.payloads import word_bits

__all__ = ["ROW_LATENCY", "RowMemory", "RowRegister", "row_signature"]


def row_signature(config: AttentionConfig) -> dict:
    """Return the members of what holds rows before the scaler, `RowMemory` or `RowRegister`.

    ``write_en``, ``write_slice``, ``write_data``: a word of the arriving row; it stands until the next one.
    ``hand_over``: the arrived row becomes the leaving one. ``step``: its next elements, from the first, are in
    ``elements`` `ROW_LATENCY` cycles later.
    """
    element = signed(word_bits(config))
    return {"write_en": In(1), "write_slice": In(range(max(2, config.value_slices))),
            "write_data": In(data.ArrayLayout(element, config.value_lanes)),
            "hand_over": In(1), "step": In(1), "elements": Out(data.ArrayLayout(element, config.normalizer_lanes))}


ROW_LATENCY = 3
"""Cycles from a step to its elements: which they are, then a choice in two steps."""


_JOINED = 8
"""Chunks of a row that are joined in the first of the two steps."""


class RowMemory(wiring.Component):
    """Two rows of several words each: LUT RAM where they are wide and few, block RAM where they are many.

    Latency: `latency` cycles from a step to its elements. Nothing is read while it is written.

    Members are those of `row_signature`.
    """

    LUT_RAM_DEPTH = 16
    latency = ROW_LATENCY

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__(row_signature(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        beats_per_word = config.value_lanes // config.normalizer_lanes
        write_half, in_word = Signal(), Signal(range(max(2, beats_per_word)))
        read_slice = Signal.like(self.write_slice)
        with m.If(self.step):
            m.d.sync += in_word.eq(next_modulo(in_word, beats_per_word))
            with m.If(in_word == beats_per_word - 1):
                m.d.sync += read_slice.eq(read_slice + 1)
        with m.If(self.hand_over):
            m.d.sync += [write_half.eq(~write_half), in_word.eq(0), read_slice.eq(0)]

        write_address, read_address = Cat(self.write_slice, write_half), Cat(read_slice, ~write_half)
        depth = 1 << len(read_address)
        m.submodules.array = array = memory.Memory(shape=self.write_data.shape(), depth=depth, init=[])
        write = array.write_port()
        if depth <= self.LUT_RAM_DEPTH:
            # The element mux has its register behind the memory: one here would be the size of a word.
            read = array.read_port(domain="comb")
            read_address = delay(m, read_address, 1, name="read_address", reset_less=True)
        else:
            read = array.read_port()
        m.d.comb += [write.en.eq(self.write_en), write.addr.eq(write_address), write.data.eq(self.write_data),
                     read.addr.eq(read_address)]
        m.d.comb += self.elements.eq(_choose(m, read.data.as_value(), len(self.elements.as_value()), in_word))
        return m


class RowRegister(wiring.Component):
    """A row that comes as one word, and is held: a memory would have to be as wide, a shifter more logic.

    Latency: `latency` cycles from a step to its elements.

    Members are those of `row_signature`.
    """

    latency = ROW_LATENCY

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__(row_signature(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats = self.config.head_dim // self.config.normalizer_lanes
        row, beat = Signal(len(self.write_data.as_value()), reset_less=True), Signal(range(max(2, beats)))
        with m.If(self.step):
            m.d.sync += beat.eq(next_modulo(beat, beats))
        with m.If(self.hand_over):
            m.d.sync += [row.eq(self.write_data), beat.eq(0)]
        m.d.comb += self.elements.eq(_choose(m, row, len(self.elements.as_value()), beat))
        return m


def _choose(m: Module, word: Value, width: int, chunk: Value) -> Value:
    """Return the chunk of `width` bits of the number that `chunk` had a cycle before, two cycles later.

    A bit each says which one it is, so that a LUT4 chooses among two, and others only join what they chose: first the
    chunks of each eight, then all of those.
    """
    count = len(word) // width
    here = Signal(count, name="here", reset_less=True)
    m.d.sync += here.eq(1 << chunk)
    chosen = [word[n * width:(n + 1) * width] & here[n].replicate(width) for n in range(count)]
    joined = [register(m, functools.reduce(operator.or_, chosen[first:first + _JOINED]), f"chosen_0_{first // _JOINED}")
              for first in range(0, count, _JOINED)]
    return register(m, functools.reduce(operator.or_, joined), "chosen_1_0")
