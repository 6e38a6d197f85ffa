"""Words made of beats, under the stall matrix."""

import random

import pytest
from amaranth import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.word_packer import WordPacker
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, of_signed

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class PackedWords(wiring.Component):
    """A word packer whose word and end-of-row flag are one value.

    Parameters
    ----------
    packer
    """

    def __init__(self, packer):
        self.packer = packer
        word = data.StructLayout({"elements": packer.word.shape(), "row_last": 1})
        super().__init__({"i_valid": In(1), "i": In(packer.beat.shape()), "o_valid": Out(1), "o": Out(word)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.packer = packer = self.packer
        m.d.comb += [packer.beat_valid.eq(self.i_valid), packer.beat.eq(self.i), self.o_valid.eq(packer.word_valid),
                     self.o.elements.eq(packer.word), self.o.row_last.eq(packer.row_last)]
        return m


@pytest.mark.parametrize(("beat", "word", "row"), [(2, 6, 16), (4, 4, 16)])
def test_word_packer(beat, word, row, check):
    rng = random.Random(SEED)
    rows = [[of_signed(rng, 8) for _ in range(row)] for _ in range(20)]
    beats = [elements[start:start + beat] for elements in rows for start in range(0, row, beat)]
    words = [{"elements": [*elements[start:start + word], *[0] * (start + word - row)], "row_last": start + word >= row}
             for elements in rows for start in range(0, row, word)]
    check(PackedWords(WordPacker(signed(8), beat, word, row)), f"packer-{beat}-{word}-{row}", {"i": Offer(beats)},
          {"o": Expect(words)})
