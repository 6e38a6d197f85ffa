"""Scores of survivors against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.quantizer import QK_MAX
from latte.golden.score_estimator import estimate_scores
from latte.golden.scores import refine_scores
from latte.golden.split import split_halves
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.ram import Ram
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.payloads import score_layout, survivor_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, extreme_rows, padded_words, wide_config

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class ScoresFromMemory(wiring.Component):
    """Cross product unit between a query ring and a key plane with given contents.

    Parameters
    ----------
    config
    q, k : int8 [query_rows, head_dim], [2 * max_seq_len, head_dim]
        Keys of both banks.
    """

    def __init__(self, config, q, k):
        self.config = config
        self.rows = (q, k)
        counted = {f"{name}{end}": Out(1) for name in ("retired", "stepped") for end in ("", "_valid")}
        super().__init__({"i": In(stream.Signature(survivor_layout(config))), "room": In(1), "o_valid": Out(1),
                          "o": Out(score_layout(config)), **counted})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config = self.config
        m.submodules.unit = unit = CrossProductUnit(config)
        wiring.connect(m, wiring.flipped(self.i), unit.i)
        m.d.comb += [unit.room.eq(self.room), self.retired.eq(1), self.retired_valid.eq(unit.retire),
                     self.stepped.eq(1), self.stepped_valid.eq(unit.step),
                     self.o_valid.eq(unit.o_valid), self.o.eq(unit.o)]
        slices, lanes = config.cross_slices, config.cross_lanes
        place = unit.bank * config.max_seq_len + unit.key
        for name, rows, index, port in zip(("ring", "plane"), self.rows, (unit.slot, place), (unit.query, unit.keys),
                                           strict=True):
            high, low = split_halves(padded_words(rows, lanes), config.split)
            words = [[{"high": int(h), "low": int(w)} for h, w in zip(*pair, strict=True)]
                     for pair in zip(high, low, strict=True)]
            shape = data.ArrayLayout(element_layout(config), lanes)
            m.submodules[name] = ram = Ram(shape, len(words), words)
            m.d.comb += [ram.read_addr.eq(index * slices + unit.slice), port.eq(ram.read_data)]
        return m


@wide_config
def test_cross_product_unit(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    q, k = (extreme_rows(generator, count, config, QK_MAX) for count in (config.query_rows, 2 * config.max_seq_len))
    halves = split_halves(q, config.split), split_halves(k, config.split)
    estimates = estimate_scores(halves[0][0], halves[1][0])
    expected = refine_scores(estimates, *halves)
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), *(
        (rng.randrange(config.query_rows), rng.randrange(2 * config.max_seq_len)) for _ in range(200))]
    survivors = [{"estimate": int(estimates[slot, place]), "bank": place // config.max_seq_len,
                  "key": place % config.max_seq_len, "slot": slot, "row_last": rng.getrandbits(1)}
                 for slot, place in pairs]
    scores = [{"score": expected[slot, place], "key": survivor["key"], "row_last": survivor["row_last"]}
              for (slot, place), survivor in zip(pairs, survivors, strict=True)]
    check(ScoresFromMemory(config, q, k), f"cross-products-{config.name}", {"i": Offer(survivors)},
          {"o": Expect(scores, "room", CrossProductUnit.latency_of(config)),
           "retired": Expect([1] * sum(survivor["row_last"] for survivor in survivors)),
           "stepped": Expect([1] * (len(survivors) * config.cross_slices))})
