"""Width converter between an input stream's beats and the words of a memory."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.primitives import next_modulo

__all__ = ["WordPacker"]


class WordPacker(wiring.Component):
    """Collects beats of `beat_lanes` elements into words of `word_lanes` elements, row by row.

    A row of `row_lanes` elements ends in a word of its own; elements beyond the row are zero.

    Latency: `latency` cycles after a word's last beat. Throughput: one beat per cycle; nothing is ever refused.

    Parameters
    ----------
    element
        Shape of one element.
    beat_lanes, word_lanes, row_lanes
        Elements per beat, word and row; `beat_lanes` divides the other two.

    Members
    -------
    beat_valid : In(1)
    beat : In(ArrayLayout(element, beat_lanes))
    word_valid : Out(1)
        One cycle per word.
    word : Out(ArrayLayout(element, word_lanes))
    row_last : Out(1)
        The word ends its row.
    """

    latency = 1

    def __init__(self, element: ShapeLike, beat_lanes: int, word_lanes: int, row_lanes: int) -> None:
        self.element = element
        self.beat_lanes = beat_lanes
        self.word_lanes = word_lanes
        self.row_lanes = row_lanes
        super().__init__({
            "beat_valid": In(1), "beat": In(data.ArrayLayout(element, beat_lanes)), "word_valid": Out(1),
            "word": Out(data.ArrayLayout(element, word_lanes)), "row_last": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats_per_word = self.word_lanes // self.beat_lanes
        beats_per_row = self.row_lanes // self.beat_lanes
        # One bit per place in the word: what enables a place is as short as it can be.
        here = Signal(beats_per_word, init=1)
        in_row = Signal(range(max(2, beats_per_row)))
        row_ends = in_row == beats_per_row - 1
        word_ends = here[-1] | row_ends
        word = Signal(data.ArrayLayout(data.ArrayLayout(self.element, self.beat_lanes), beats_per_word),
                      reset_less=True)
        m.d.comb += self.word.eq(word)
        m.d.sync += self.word_valid.eq(self.beat_valid & word_ends)
        with m.If(self.beat_valid):
            m.d.sync += [in_row.eq(next_modulo(in_row, beats_per_row)), here.eq(Mux(word_ends, 1, here << 1)),
                         self.row_last.eq(row_ends)]
        # A word's first beat clears the places that a row's short last word leaves empty.
        filled = beats_per_row % beats_per_word or beats_per_word
        for place in range(beats_per_word):
            with m.If(self.beat_valid & here[place]):
                m.d.sync += word[place].eq(self.beat)
            if place >= filled:
                with m.Elif(self.beat_valid & here[0]):
                    m.d.sync += word[place].eq(0)
        return m
