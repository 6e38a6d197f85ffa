"""Weighted values, divided, against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.normalizer import normalize
from latte.golden.value_accumulator import accumulate_values
from latte.rtl.common.payloads import output_layout
from latte.rtl.common.ram import Ram
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.payloads import weight_layout
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, extreme_rows, output_beats, padded_words, row_lengths, wide_config

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class OutputFromMemory(wiring.Component):
    """Value accumulator in front of a value plane with given contents, and normaliser.

    Parameters
    ----------
    config
    v : int8 [max_seq_len, head_dim]
    """

    def __init__(self, config, v):
        self.config = config
        self.v = v
        super().__init__({"i": In(stream.Signature(weight_layout(config))),
                          "o": Out(stream.Signature(output_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config = self.config
        m.submodules.accumulator = accumulator = ValueAccumulator(config)
        m.submodules.normalizer = normalizer = Normalizer(config)
        wiring.connect(m, wiring.flipped(self.i), accumulator.i)
        wiring.connect(m, wiring.flipped(self.o), normalizer.o)
        m.d.comb += [getattr(normalizer, name).eq(getattr(accumulator, name)) for name in (
            "row_reserve", "sum_valid", "weight_sum", "job_last", "word_valid", "word")]
        words = padded_words(self.v, config.value_lanes).tolist()
        m.submodules.plane = plane = Ram(data.ArrayLayout(signed(8), config.value_lanes), len(words), words)
        m.d.comb += [
            accumulator.row_room.eq(normalizer.row_room), accumulator.values.eq(plane.read_data),
            plane.read_addr.eq(accumulator.key * config.value_slices + accumulator.slice),
        ]
        return m


@wide_config
def test_values_to_output(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    v = extreme_rows(generator, config.max_seq_len, config, 127)
    most = (1 << config.weight_bits) - 1
    items, outputs = [], []
    for index, length in enumerate(row_lengths(config, rng, 20)):
        # Of equal values -128 at first: the only case that reaches the limit of the output.
        keys = [index] if index < 2 else sorted(rng.sample(range(config.max_seq_len), length))
        row = np.zeros((1, config.max_seq_len), np.int64)
        row[0, keys] = [rng.choice([0, most, rng.randint(0, most)]) for _ in keys]
        row[0, rng.choice(keys)] = most  # the weight of the row's largest score
        job_last = rng.getrandbits(1)
        items += [{"weight": int(row[0, key]), "key": key, "row_last": key == keys[-1],
                   "job_last": job_last and key == keys[-1]} for key in keys]
        outputs += output_beats(normalize(*accumulate_values(row, v), config)[0], job_last, config)
    check(OutputFromMemory(config, v), f"values-{config.name}", {"i": Offer(items)}, {"o": Expect(outputs)})
