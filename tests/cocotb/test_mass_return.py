"""Virtual survivors and denominators of a tile's rows against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import GAIN_MAX, MASS_FRAC_BITS, apply_gain, rescale_mass, unit_weight
from latte.rtl.common.payloads import length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import Ram
from latte.rtl.memory.mass_return import MassReturn
from latte.rtl.wide.reciprocal import Reciprocal
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits
from tests.cocotb.tiles import LONE_ROW, ONE_GROUP, THREE_ROWS, TWO_GROUPS, WHOLE, hold_up
from tests.cocotb.weighed import held_scale, paused, rescaling

stalls = pytest.mark.parametrize("stall", STALLS)
builds = pytest.mark.parametrize("build", [
    THREE_ROWS, ONE_GROUP, LONE_ROW, *(pytest.param(build, marks=pytest.mark.slow) for build in (TWO_GROUPS, WHOLE))],
    ids=lambda build: build.core.name)


class ReturnedMasses(wiring.Component):
    """Mass return with a reciprocal that is busy now and then, and a memory of the numbers of keys of all tiles.

    Units are not taken now and then for as long as it takes to fill their queue, and masses come late.

    Parameters
    ----------
    build
    counts : int64 [tiles, tile_rows, key_groups]
    """

    def __init__(self, build, counts):
        self.build = build
        self.counts = counts
        self.masses = MassReturn(build)
        members = self.masses.signature.members
        self.streams = [name for name in members if name == "denominator" or name.startswith("pruned_")]
        # The gains stand until so many rows have their denominators.
        tile = data.StructLayout({"gains": members["gains"].shape, "rows": range(build.tile_rows + 1)})
        super().__init__({
            "tile": In(stream.Signature(tile)), **{name: members[name] for name in ("rescale", "unit", *self.streams)},
            "mass_valid": Out(1), "mass": members["mass"], "divided_valid": Out(1),
            "divided": Out(length_shape(build.core)), "overflow": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config, masses = self.build.core, self.masses
        m.submodules.masses = masses
        late = paused(m, 150)
        for name in self.streams:
            ours, theirs = getattr(self, name), getattr(masses, name)
            wiring.connect(m, wiring.flipped(ours), theirs)
            if name != "denominator":
                m.d.comb += [theirs.valid.eq(ours.valid & ~late), ours.ready.eq(theirs.ready & ~late)]
        given, number, taken = Signal(range(self.build.tile_rows + 1)), Signal(range(len(self.counts))), Signal()
        m.d.comb += taken.eq(masses.denominator.valid & masses.denominator.ready)
        ended = taken & (given == self.tile.payload.rows - 1)
        # A tile stays on offer until it has ended.
        m.d.comb += [
            self.overflow.eq(masses.overflow), self.tile.ready.eq(ended), masses.gains.eq(self.tile.payload.gains),
            masses.rescale.payload.eq(self.rescale.payload),
            masses.rescale.valid.eq(self.rescale.valid & self.tile.valid), self.rescale.ready.eq(masses.rescale.ready),
        ]
        m.d.sync += [given.eq(Mux(ended, 0, given + taken)), number.eq(number + ended)]

        m.submodules.counts = counts = Ram(length_shape(config), self.counts.size, self.counts.reshape(-1).tolist())
        _, rows, groups = self.counts.shape
        m.d.comb += [counts.read_addr.eq((number * rows + masses.count_row) * groups + masses.count_group),
                     masses.count.eq(counts.read_data)]
        m.submodules.reciprocal = reciprocal = Reciprocal(config)
        busy = Signal(3)
        divided = masses.keys.valid & masses.keys.ready
        m.d.sync += busy.eq(busy + 1)
        m.d.comb += [
            masses.keys.ready.eq((busy != 0) & ~paused(m, 50)),
            reciprocal.weight_sum.eq(masses.keys.payload << (config.weight_bits - 1)),
            masses.counted.eq(delay(m, divided, reciprocal.latency, name="counted")),
            masses.reciprocal.mantissa.eq(reciprocal.mantissa), masses.reciprocal.exponent.eq(reciprocal.exponent),
            self.divided_valid.eq(divided), self.divided.eq(masses.keys.payload),
            self.mass_valid.eq(masses.mass_valid), self.mass.eq(masses.mass),
        ]
        hold_up(m, "units_taken", masses.unit, wiring.flipped(self.unit), 400)
        return m


@stalls
@builds
def test_tiles(build, check):
    rng, config, rows = random.Random(SEED), build.core, build.tile_rows
    offers = {name: [] for name in ("tile", "rescale", *(f"pruned_{n}" for n in range(rows)))}
    wanted = {name: [] for name in ("unit", "denominator", "mass", "divided")}
    counts, low, high = [], *limits(config.est_bits)
    for _ in range(120 // rows + 5):
        bits = rng.randint(0, config.group_bits)
        compensated = sorted(rng.sample(range(rows), rng.randint(1, rows)))
        tile = {"gains": [], "rows": len(compensated)}
        keys = config.max_seq_len >> config.group_bits
        count = np.array([[rng.choice([0, 1, keys, *[rng.randrange(keys)] * 3])
                           for _ in range(config.key_groups)] for _ in range(rows)])
        if bits == 0 and rng.random() < 0.5:
            count[:, 0] = config.max_seq_len
        counts.append(count)
        for row in range(rows):
            denominator = rng.choice([0, 1, 64, GAIN_MAX, *[rng.randrange(GAIN_MAX)] * 4])
            mean = rng.choice([0, denominator, *[rng.randint(0, denominator)] * 4])
            tile["gains"].append({"denominator_gain": denominator, "mean_gain": mean})
            if row not in compensated:
                continue
            scale, row_max = held_scale(rng, config), rng.randint(low, high)
            # Some octaves either way, and more than there are bits.
            octaves = rng.choice([*[rng.uniform(-4, 4)] * 2, rng.uniform(-12, 12), rng.uniform(-40, 40)])
            distance = rng.choice([0, rng.randint(-300, 300), *[round(
                octaves * 2**(config.exp_frac_bits + scale[1]) / scale[0])] * 3])
            score_max = (row_max << config.estimate_shift) + distance
            offers["rescale"].append({"row": row} | rescaling(row_max, score_max, scale, config))
            seen = count[row:row + 1, :1 << bits]
            most = rng.choice([1, 1 << 10, ((1 << config.weight_bits) - 1) << MASS_FRAC_BITS])
            mass = np.where(seen, [[rng.choice([most * int(n), rng.randint(0, most * int(n))]) for n in seen[0]]], 0)
            offers[f"pruned_{row}"] += [{"mass": int(value), "last": n == len(mass[0]) - 1}
                                        for n, value in enumerate(mass[0])]
            mass = rescale_mass(mass, np.array([row_max]), np.array([score_max]), scale, config)
            unit = unit_weight(apply_gain(mass, mean), seen, config)
            wanted["unit"] += [{"row": row, "group": group, "unit": int(weight), "last": group == len(unit[0]) - 1}
                               for group, weight in enumerate(unit[0])]
            wanted["denominator"].append({
                "row": row, "denominator": int(apply_gain(mass.sum(axis=1), denominator)[0])})
            wanted["mass"].append(int(mass.sum()))
            wanted["divided"] += np.maximum(count[row], 1).tolist()
        offers["tile"].append(tile)
    check(ReturnedMasses(build, np.array(counts)), f"mass-return-{config.name}",
          {name: Offer(items) for name, items in offers.items()},
          {name: Expect(items) for name, items in wanted.items()}, quiet=["overflow"])
