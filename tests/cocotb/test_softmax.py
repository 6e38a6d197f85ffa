"""Score queue and softmax against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import GAP_TABLE_SIZE, gap_weights
from latte.golden.quantizer import SCALE_SHIFT_MAX
from latte.golden.softmax import softmax_weights
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.gap_table import ask_layout
from latte.rtl.wide.payloads import gap_weight_bits, row_layout, score_layout, weight_layout
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.softmax import Softmax, rescale_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, limits, row_lengths, spread_scale, wide_config
from tests.cocotb.weighed import PRUNING, rescaling

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class ScoresToWeights(wiring.Component):
    """Score queue and softmax.

    `lost`: 1 for each cycle of `overflow`.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"i_valid": In(1), "i": In(score_layout(config)), "room": Out(1), "overflow": Out(1),
                          "lost_valid": Out(1), "lost": Out(1), "row": In(stream.Signature(row_layout(config))),
                          "o": Out(stream.Signature(weight_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.scores = scores = ScoreQueue(self.config)
        m.submodules.softmax = softmax = Softmax(self.config)
        wiring.connect(m, softmax.i, scores.o)
        wiring.connect(m, softmax.row_max, scores.row_max)
        wiring.connect(m, wiring.flipped(self.row), softmax.row)
        wiring.connect(m, wiring.flipped(self.o), softmax.o)
        m.d.comb += [scores.i_valid.eq(self.i_valid), scores.i.eq(self.i), self.room.eq(scores.room),
                     self.overflow.eq(scores.overflow), self.lost_valid.eq(scores.overflow), self.lost.eq(1)]
        return m


class WeightsForMasses(wiring.Component):
    """Score queue and softmax of a build that compensates: gaps are weighed and masses rescaled beside the scores.

    `lost`: 1 for each cycle of `overflow`.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_valid": In(1), "i": In(score_layout(config)), "room": Out(1), "overflow": Out(1),
            "lost_valid": Out(1), "lost": Out(1),
            "row": In(stream.Signature(row_layout(config))), "o": Out(stream.Signature(weight_layout(config))),
            "ask": In(stream.Signature(ask_layout())), "answer_valid": Out(1), "answer": Out(gap_weight_bits(config)),
            "begun": Out(stream.Signature(row_layout(config))), "rescale_valid": Out(1),
            "rescale": Out(rescale_layout(config))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.scores = scores = ScoreQueue(self.config)
        m.submodules.softmax = softmax = Softmax(self.config)
        wiring.connect(m, softmax.i, scores.o)
        wiring.connect(m, softmax.row_max, scores.row_max)
        for name in ("row", "o", "ask", "begun"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(softmax, name))
        m.d.comb += [scores.i_valid.eq(self.i_valid), scores.i.eq(self.i), self.room.eq(scores.room),
                     self.overflow.eq(scores.overflow), self.lost_valid.eq(scores.overflow), self.lost.eq(1)]
        m.d.comb += [getattr(self, name).eq(getattr(softmax, name))
                     for name in ("answer_valid", "answer", "rescale_valid", "rescale")]
        return m


def single_bits(rng, length, config):
    """Return (a row of scores, a scale): each distance from 0, times the scale, is a single bit, wherever it may be."""
    top = config.score_bits - 1
    row = [0, *(-1 << rng.randint(0, top) for _ in range(length - 1))]
    if length == 1:
        row = [rng.choice([-1, 1]) << rng.randrange(top)]
    rng.shuffle(row)
    return row, (1 << 15, rng.choice([0, rng.randint(0, 26)]))


@pytest.mark.parametrize("config", [PRUNING], ids=["pruning"])
def test_softmax_for_masses(config, check):
    rng = random.Random(SEED)
    low, high = limits(config.est_bits)
    scores, rows, weights, rescales, asks, answers = [], [], [], [], [], []
    for length in [*row_lengths(config, rng, 40), *[1] * 150]:
        row_max = rng.choice([low, high, rng.randint(-300, 300)])
        # The largest score may lie on either side of what the largest estimate says, near or far.
        spread = rng.choice([0, 40, 3000, 1 << (config.score_bits - 2)])
        row = [max(-1 << (config.score_bits - 1), min((1 << (config.score_bits - 1)) - 1, (
            row_max << config.estimate_shift) + rng.randint(-spread, spread))) for _ in range(length)]
        distance = max(1, abs(max(row) - (row_max << config.estimate_shift)))
        code = rng.choice([spread_scale(rng, max(row) - min(row), config), spread_scale(rng, distance, config), (
            rng.choice([1 << 15, (1 << 16) - 1, rng.getrandbits(16)]),
            rng.choice([0, SCALE_SHIFT_MAX, rng.randint(8, 26)]))])
        if rng.random() < 0.3:
            row_max, row, code = 0, *single_bits(rng, length, config)
        expected = softmax_weights(np.array([row]), np.ones((1, length), bool), code, config)[0]
        rows.append({"scale_mantissa": code[0], "scale_shift": code[1], "bank": rng.getrandbits(1), "row_max": row_max,
                     "job_last": rng.getrandbits(1), "keys": rng.randint(1, config.max_seq_len), "restart": 0,
                     "denominator_gain": rng.getrandbits(8), "mean_gain": 0, "group_bits": 0})
        rescales.append(rescaling(row_max, max(row), code, config))
        for n, score in enumerate(row):
            place = {"key": rng.randrange(config.max_seq_len), "row_last": n == length - 1}
            scores.append({"score": score, **place})
            weights.append({"weight": expected[n], "bank": rows[-1]["bank"], **place,
                            "job_last": rows[-1]["job_last"] and place["row_last"]})
        for gap in rng.sample(range(2 * GAP_TABLE_SIZE), rng.choice([0, 20])):
            asks.append({"gap": gap, "mantissa": code[0], "shift": code[1]})
            answers.append(int(gap_weights(np.int64(gap), code, config)))
    check(WeightsForMasses(config), f"softmax-{config.name}",
          {"i": Offer(scores, "room", CrossProductUnit.latency_of(config)), "row": Offer(rows), "ask": Offer(asks)},
          {"o": Expect(weights), "answer": Expect(answers), "rescale": Expect(rescales), "begun": Expect(rows)},
          quiet=["overflow"])


@pytest.mark.parametrize(("config", "bench"), [(PRUNING, WeightsForMasses), (WIDE, ScoresToWeights)],
                         ids=["pruning", "wide"])
def test_scores_without_room_are_lost(config, bench, check):
    # None of an endless row leaves; a queue holds one more at its output.
    scores = [{"score": 0, "key": 0, "row_last": 0}] * (ScoreQueue.depth_of(config) + 1 + 5)
    check(bench(config), f"softmax-{config.name}", {"i": Offer(scores)}, {"lost": Expect([1] * 5)})


@wide_config
def test_softmax(config, check):
    rng = random.Random(SEED)
    low, high = limits(config.score_bits)
    scores, rows, weights = [], [], []
    for length in [*row_lengths(config, rng, 40), *[1] * 200]:
        spread = rng.choice([0, 40, 3000, high])
        row = [rng.choice([low, high]) if spread == high else rng.randint(-spread, spread) for _ in range(length)]
        code = rng.choice([spread_scale(rng, max(row) - min(row), config), (
            rng.choice([1, 1 << 15, (1 << 16) - 1, rng.getrandbits(16)]),
            rng.choice([0, SCALE_SHIFT_MAX, rng.randint(8, 26)]))])
        if rng.random() < 0.3:
            row, code = single_bits(rng, length, config)
        expected = softmax_weights(np.array([row]), np.ones((1, length), bool), code, config)[0]
        rows.append({"scale_mantissa": code[0], "scale_shift": code[1], "bank": rng.getrandbits(1),
                     "job_last": rng.getrandbits(1)})
        for n, score in enumerate(row):
            place = {"key": rng.randrange(config.max_seq_len), "row_last": n == length - 1}
            scores.append({"score": score, **place})
            weights.append({"weight": expected[n], "bank": rows[-1]["bank"], **place,
                            "job_last": rows[-1]["job_last"] and place["row_last"]})
    check(ScoresToWeights(config), f"softmax-{config.name}",
          {"i": Offer(scores, "room", CrossProductUnit.latency_of(config)), "row": Offer(rows)}, {"o": Expect(weights)},
          quiet=["overflow"])
