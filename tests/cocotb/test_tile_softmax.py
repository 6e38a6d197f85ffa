"""Weights of a tile's rows and rescalings, against the golden model under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.quantizer import SCALE_SHIFT_MAX
from latte.golden.softmax import softmax_weights
from latte.rtl.memory.tile_softmax import TileSoftmax
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits, spread_scale
from tests.cocotb.tiles import LONE_ROW, NO_GROUPS, ONE_GROUP, THREE_ROWS, TWO_GROUPS, WHOLE, hold_up, standing
from tests.cocotb.weighed import rescaling

stalls = pytest.mark.parametrize("stall", STALLS)
builds = pytest.mark.parametrize("build", [
    THREE_ROWS, LONE_ROW, NO_GROUPS, *(pytest.param(build, marks=pytest.mark.slow)
                                       for build in (ONE_GROUP, TWO_GROUPS, WHOLE))],
    ids=lambda build: build.core.name)

PAUSE = 200
"""Cycles in which nothing is taken, once in eight times as many."""
MANY = 9 * PAUSE


class WeightsOfTiles(wiring.Component):
    """A tile's softmax, told of tile after tile; keys of a tile may be there before it begins.

    What comes out is not taken now and then for as long as it takes to fill its queue.

    Parameters
    ----------
    build
    """

    def __init__(self, build):
        self.build = build
        self.softmax = TileSoftmax(build)
        members = self.softmax.signature.members
        self.stands = [name for name in ("scales", "row_max", "compensated", "estimate_max") if name in members]
        self.streams = [name for name in ("o", "rescale") if name in members]
        super().__init__({
            "tile": In(stream.Signature(data.StructLayout({name: members[name].shape for name in self.stands}))),
            **{name: members[name] for name in ("i", *self.streams)}, "overflow": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.softmax = softmax = self.softmax
        ended = softmax.i.valid & softmax.i.ready & softmax.i.payload.last
        tile, begins = standing(m, wiring.flipped(self.tile), ended)
        m.d.comb += [self.overflow.eq(softmax.overflow),
                     *(getattr(softmax, name).eq(getattr(tile, name)) for name in self.stands)]
        if self.build.core.key_groups:
            m.d.comb += softmax.begin.eq(begins)
        for name in self.streams:
            hold_up(m, f"{name}_taken", getattr(softmax, name), wiring.flipped(getattr(self, name)), PAUSE)
        # A tile's keys are offered from the cycle in which it begins.
        m.d.comb += [softmax.i.payload.eq(self.i.payload), softmax.i.valid.eq(self.i.valid & ~self.tile.ready),
                     self.i.ready.eq(softmax.i.ready & ~self.tile.ready)]
        return m


def random_row(rng: random.Random, length: int, config) -> tuple[int, list[int], tuple[int, int]]:
    """Return (largest estimate, scores of a row's survivors, scale): weights of all sizes, or rescalings."""
    low, high = limits(config.score_bits)
    estimate = rng.choice([*limits(config.est_bits), rng.randint(-300, 300) >> (14 - config.est_bits)])
    if rng.random() < 0.3:
        # Each distance from the largest is a single bit.
        scores = [0, *(-1 << rng.randint(0, config.score_bits - 1) for _ in range(length - 1))]
        rng.shuffle(scores)
        return 0, scores, (1 << 15, rng.choice([0, rng.randint(0, 26)]))
    spread = rng.choice([0, 40, 3000, 1 << (config.score_bits - 2)])
    centre = estimate << config.estimate_shift
    scores = [max(low, min(high, centre + rng.randint(-spread, spread))) for _ in range(length)]
    distance = max(1, abs(max(scores) - centre))
    return estimate, scores, rng.choice([
        spread_scale(rng, max(scores) - min(scores), config), spread_scale(rng, distance, config),
        (rng.choice([1 << 15, (1 << 16) - 1, rng.getrandbits(16)]),
         rng.choice([0, SCALE_SHIFT_MAX, rng.randint(8, 26)]))])


def random_tile(rng: random.Random, build, keys: int, offers: dict, wanted: dict) -> None:
    """Add a tile of some rows to what is offered and wanted; many keys are of one row and weigh the same."""
    config, rows = build.core, build.tile_rows
    alone = keys >= MANY
    present = 1 if alone else rng.randint(1, rows)
    kept = [[row < present and rng.random() < rng.choice([0.2, 0.6]) for _ in range(keys)] for row in range(rows)]
    for row in range(present):
        kept[row][rng.choice([keys - 1, rng.randrange(keys)])] = True
    for key in range(keys):
        kept[rng.randrange(present)][key] = True
    # Of rows that do not keep a key, anything is offered.
    scores = [[rng.getrandbits(config.score_bits - 1) for _ in range(keys)] for _ in range(rows)]
    weights = np.zeros((rows, keys), np.int64)
    tile = {"scales": [], "row_max": [], "compensated": 0, "estimate_max": []}
    falls = rng.random() < 0.7
    for row in range(rows):
        length = max(1, sum(kept[row]))
        estimate, own, (mantissa, shift) = random_row(rng, length, config)
        if alone:
            own = [own[0]] * length
        tile["scales"].append({"scale_mantissa": mantissa, "scale_shift": shift})
        tile["row_max"].append(max(own))
        tile["estimate_max"].append(estimate)
        if row >= present:
            continue
        if config.key_groups and rng.random() < 0.6:
            tile["compensated"] |= 1 << row
            wanted["rescale"].append({"row": row} | rescaling(estimate, max(own), (mantissa, shift), config))
        # The last key often weighs nothing.
        own.sort(reverse=falls)
        found = iter(softmax_weights(np.array([own]), np.ones((1, length), bool), (mantissa, shift), config)[0])
        for key, score in zip(np.flatnonzero(kept[row]), own, strict=True):
            scores[row][key], weights[row, key] = score, next(found)
    offers["tile"].append({name: tile[name] for name in tile if config.key_groups or name in ("scales", "row_max")})
    for key in range(keys):
        place, last = {"place": rng.randrange(config.max_seq_len)}, key == keys - 1
        offers["i"].append(place | {"rows": sum(kept[row][key] << row for row in range(rows)), "last": last,
                                    "values": [scores[row][key] for row in range(rows)]})
        fetch = bool(weights[:, key].any())
        if fetch or last:
            wanted["o"].append(place | {"fetch": fetch, "last": last, "weights": weights[:, key].tolist()})


@stalls
@builds
def test_tiles_of_all_shapes(build, check):
    rng = random.Random(SEED)
    offers = {name: [] for name in ("tile", "i")}
    wanted = {name: [] for name in ("o", *(["rescale"] if build.core.key_groups else []))}
    for keys in [1, 1, 2, *(rng.randint(1, 30) for _ in range(50)), 1, 150, MANY, *[1] * 400]:
        random_tile(rng, build, keys, offers, wanted)
    assert sum(not item["fetch"] for item in wanted["o"]) > 3
    check(WeightsOfTiles(build), f"tile-softmax-{build.core.name}",
          {name: Offer(items) for name, items in offers.items()},
          {name: Expect(items) for name, items in wanted.items()}, quiet=["overflow"])
