"""Rows of sums between the value accumulator and the scaler: one arrives while another leaves."""

from amaranth import Array, Cat, Module, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.primitives import delay, next_modulo
from latte.rtl.wide.payloads import word_bits

__all__ = ["ROW_LATENCY", "RowMemory", "RowShifter", "row_signature"]


def row_signature(config: AttentionConfig) -> dict:
    """Return the members of what holds rows before the scaler, `RowMemory` or `RowShifter`.

    ``write_en``, ``write_slice``, ``write_data``: a word of the arriving row; it stands until the next one.
    ``hand_over``: the arrived row becomes the leaving one. ``step``: its next elements, from the first, are in
    ``elements`` `ROW_LATENCY` cycles later.
    """
    element = signed(word_bits(config))
    return {"write_en": In(1), "write_slice": In(range(max(2, config.value_slices))),
            "write_data": In(data.ArrayLayout(element, config.value_lanes)),
            "hand_over": In(1), "step": In(1), "elements": Out(data.ArrayLayout(element, config.normalizer_lanes))}


ROW_LATENCY = 3
"""Cycles from a step to its elements: address, then a choice in two steps; or a shift, then the way to the scaler."""


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
        # The elements are chosen in two steps: one of four, then the rest.
        width = len(self.elements.as_value())
        chunks = [read.data.as_value()[first:first + width] for first in range(0, beats_per_word * width, width)]
        chunk = delay(m, in_word, 1, name="chunk", reset_less=True)
        group = delay(m, chunk[2:], 1, name="group", reset_less=True)
        chosen = [Signal(width, name=f"chosen_{first}", reset_less=True) for first in range(0, beats_per_word, 4)]
        m.d.sync += [target.eq(Array(chunks[4 * n:4 * n + 4])[chunk[:2]]) for n, target in enumerate(chosen)]
        m.d.sync += self.elements.eq(Array(chosen)[group])
        return m


class RowShifter(wiring.Component):
    """A row that comes as one word and leaves by shifting: one LUT per bit, where a memory would have to be as wide.

    Latency: `latency` cycles from a step to its elements.

    Members are those of `row_signature`.
    """

    latency = ROW_LATENCY

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__(row_signature(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = len(self.elements.as_value())
        row = Signal(len(self.write_data.as_value()), reset_less=True)
        shift = delay(m, self.step, 1, name="shift")
        with m.If(self.hand_over):
            m.d.sync += row.eq(self.write_data)
        with m.Elif(shift):
            m.d.sync += row.eq(row >> width)
        m.d.comb += self.elements.eq(delay(m, row[:width], ROW_LATENCY - 1, name="elements", reset_less=True))
        return m
