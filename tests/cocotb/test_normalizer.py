"""The normaliser against the golden model, under the stall matrix."""


import numpy as np
import pytest
from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.normalizer import normalize
from latte.rtl.common.payloads import output_layout
from latte.rtl.wide.normalizer import Normalizer
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, output_beats, padded_words, wide_config, with_builds

# Words of more beats than two steps of eights choose among; the second build has two words to a row.
ONE_WORD = WIDE.replace(name="one-word", head_dim=72, dim_lanes=72, value_lanes=72, normalizer_lanes=1)
TWO_WORDS = ONE_WORD.replace(name="two-words", head_dim=144)


class NormalizedRows(wiring.Component):
    """Normaliser whose rows, sum and words, come as one item of a stream.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        words = data.ArrayLayout(data.ArrayLayout(signed(config.acc_bits), config.value_lanes), config.value_slices)
        row = data.StructLayout({"weight_sum": config.sum_bits, "job_last": 1, "words": words})
        super().__init__({"i": In(stream.Signature(row)), "o": Out(stream.Signature(output_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        slices = self.config.value_slices
        m.submodules.normalizer = normalizer = Normalizer(self.config)
        wiring.connect(m, wiring.flipped(self.o), normalizer.o)
        row, left, starts = self.i.payload, Signal(range(slices + 1)), Signal()
        words = Signal.like(row.words)
        m.d.comb += [
            starts.eq(self.i.valid & normalizer.row_room & (left == 0)), self.i.ready.eq(starts),
            normalizer.row_reserve.eq(starts), normalizer.sum_valid.eq(starts),
            normalizer.weight_sum.eq(row.weight_sum), normalizer.job_last.eq(row.job_last),
            normalizer.word_valid.eq(left != 0), normalizer.word.eq(words[0]),
        ]
        with m.If(starts):
            m.d.sync += [left.eq(slices), words.eq(row.words)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
            m.d.sync += [words[n].eq(words[n + 1]) for n in range(slices - 1)]
        return m


def check_rows(config, check):
    """Hold rows of random and extreme sums to the golden model."""
    generator = np.random.default_rng(SEED)
    least = (1 << config.weight_bits) - 1
    corners = [least, least + 1, least + 2, 2 * least, 2 * least + 1, 4 * least + 3, 4 * least + 4,
               least * config.max_seq_len]
    sums = np.array([*corners, *generator.integers(least, least * config.max_seq_len + 1, 60)])
    low, high = -128 * sums[:, None], 127 * sums[:, None]
    accumulated = generator.integers(low, high + 1, (len(sums), config.head_dim))
    accumulated[:, :5] = np.concatenate([low, high, 0 * low, 0 * low - 1, low + 1], axis=1)
    job_last = generator.integers(0, 2, len(sums))
    rows = [{"weight_sum": int(total), "job_last": int(last),
             "words": padded_words(row[None], config.value_lanes).tolist()}
            for total, last, row in zip(sums, job_last, accumulated, strict=True)]
    beats = [beat for row, last in zip(normalize(accumulated, sums, config), job_last, strict=True)
             for beat in output_beats(row, int(last), config)]
    check(NormalizedRows(config), f"normalizer-{config.name}", {"i": Offer(rows)}, {"o": Expect(beats)})


@wide_config
@pytest.mark.parametrize("stall", STALLS)
def test_normalizer(config, check):
    check_rows(config, check)


@with_builds(ONE_WORD, TWO_WORDS)
@pytest.mark.parametrize("stall", ["both"])
def test_words_of_many_beats(config, check):
    check_rows(config, check)
