"""The array's estimates against sums of integers' products, by each dot product, under the stall matrix."""

import random

import pytest
from amaranth import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.wide.payloads import query_row_layout
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, limits, with_builds
from tests.cocotb.turns import load_rows, loaded_tiles, turn_layout

TABLES = WIDE.replace(name="tables", pe_structure="table", head_dim=6, dim_lanes=6)
PACKED = TABLES.replace(name="packed", pe_structure="dsp", query_lanes=1, split="slice")
SLICES = WIDE.replace(name="slices", head_dim=18, dim_lanes=6, key_lanes=4, estimate_bits=3)
HALF_PACKED = PACKED.replace(name="half-packed", query_lanes=2, key_lanes=1, estimate_bits=2, split="balanced")
NARROW_TABLES = TABLES.replace(name="narrow-tables", query_lanes=1, key_lanes=1, estimate_bits=2)
PLANES = WIDE.replace(name="planes", head_dim=6, dim_lanes=6, query_rows=12, query_lanes=3, key_lanes=1,
                      split="slice")
MANY_PACKED = PACKED.replace(name="many-packed", head_dim=32, dim_lanes=32, key_lanes=4)


class Estimates(wiring.Component):
    """The array between rows and keys that wait for each other.

    Members
    -------
    row, key : In(stream)
    est_valid, est : Out
    late : Out(1)
        The array is not ready in time for the next row.
    """

    def __init__(self, config):
        self.config = config
        self.estimator = ScoreEstimator(config)
        members = self.estimator.signature.members
        row = query_row_layout(config, signed(config.estimate_bits))
        beat = data.StructLayout({"bank": 1, "first": 1, "hi": members["k_hi"].shape})
        super().__init__({
            "row": In(stream.Signature(turn_layout(row))), "key": In(stream.Signature(turn_layout(beat))),
            "est_valid": Out(1), "est": Out(members["est"].shape), "late": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.estimator = estimator = self.estimator
        key, late = load_rows(m, self.row, self.key, estimator.q, estimator.load_cycles)
        beat = self.key.payload.item
        m.d.comb += [
            estimator.k_valid.eq(key), estimator.k_bank.eq(beat.bank), estimator.k_first.eq(beat.first),
            estimator.k_hi.eq(beat.hi), self.late.eq(late),
            self.est_valid.eq(estimator.est_valid), self.est.eq(estimator.est),
        ]
        return m


def vector(rng: random.Random, config) -> list[int]:
    """Return high halves of a row or key: in half of the cases all of them at limits, where sums are the largest."""
    low, high = limits(config.estimate_bits)
    some = rng.choice([[low], [high], [low, high], *[range(low, high + 1)] * 3])
    return [rng.choice(some) for _ in range(config.head_dim)]


@pytest.mark.parametrize("stall", STALLS)
@with_builds(TABLES, PACKED, SLICES, slow=[HALF_PACKED, NARROW_TABLES, PLANES, MANY_PACKED])
def test_score_estimator(config, check):
    rng, slices, width = random.Random(SEED), config.dim_slices, config.dim_lanes
    rows, beats, estimates = [], [], []
    for bank, lanes, before, loaded, number in loaded_tiles(rng, config, 80):
        # A row that is not loaded again means nothing.
        held = [None] * config.query_lanes
        for lane in lanes:
            held[lane] = vector(rng, config)
            rows.append({"item": {"row": lane, "bank": bank, "hi": held[lane]}, "after": before * slices})
        for _ in range(number):
            keys = [vector(rng, config) for _ in range(config.key_lanes)]
            for part in range(slices):
                beats.append({"item": {"bank": bank, "first": part == 0 if slices > 1 else rng.getrandbits(1),
                                       "hi": [key[part * width:(part + 1) * width] for key in keys]}, "after": loaded})
            estimates.append([row and [sum(q * k for q, k in zip(row, key, strict=True)) for key in keys]
                              for row in held])
    check(Estimates(config), f"score-estimator-{config.name}", {"row": Offer(rows), "key": Offer(beats)},
          {"est": Expect(estimates)}, quiet=["late"])
