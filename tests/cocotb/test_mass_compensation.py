"""Virtual survivors and denominators of rows against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import GAIN_MAX, MASS_FRAC_BITS, apply_gain, rescale_mass, unit_weight
from latte.rtl.common.payloads import length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.key_counts import ROW_BITS, added_key_layout
from latte.rtl.wide.mass_compensation import MassCompensation, compensation_layout
from latte.rtl.wide.payloads import denominator_bits, row_layout
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_limiter import group_mass_layout
from latte.rtl.wide.softmax import rescale_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits, with_builds
from tests.cocotb.weighed import ONE_GROUP, PRUNING, SINGLE_PRUNING, held_scale, paused, rescaling

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class CompensatedRows(wiring.Component):
    """Mass compensation with a reciprocal that is busy now and then, and the groups of given keys.

    What comes out is not taken now and then for as long as it takes to fill its queue.

    Parameters
    ----------
    config
    groups : list of lists of int
        Of each key, by bank.
    """

    def __init__(self, config, groups):
        self.config = config
        self.groups = groups
        super().__init__({
            "row": In(stream.Signature(row_layout(config))), "rescale": In(stream.Signature(rescale_layout(config))),
            "pruned": In(stream.Signature(group_mass_layout(config))),
            "added": Out(stream.Signature(added_key_layout(config))),
            "divided_valid": Out(1), "divided": Out(length_shape(config)),
            "o": Out(stream.Signature(compensation_layout(config))),
            "denominator": Out(stream.Signature(denominator_bits(config))),
            "mass_valid": Out(1), "mass": Out(config.sum_bits + config.group_bits), "overflow": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.unit = unit = MassCompensation(self.config)
        m.submodules.reciprocal = reciprocal = Reciprocal(self.config)
        m.submodules.groups = groups = Ram(
            max(1, self.config.group_bits), 2 * self.config.max_seq_len, sum(self.groups, []))
        for name in ("row", "pruned", "denominator"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        for name, cycles in ("added", 120), ("o", 90):
            given, takes = getattr(unit, name), ~paused(m, cycles)
            m.submodules[f"{name}_taken"] = queue = StreamQueue(given.payload.shape())
            m.d.comb += [queue.i.payload.eq(given.payload), queue.i.valid.eq(given.valid & takes),
                         given.ready.eq(queue.i.ready & takes)]
            wiring.connect(m, wiring.flipped(getattr(self, name)), queue.o)
        # A row's power comes some cycles after the row has begun.
        begun = delay(m, unit.row.valid & unit.row.ready, 9, name="begun")
        due = Signal(range(16))
        busy = Signal(3)
        m.d.sync += [due.eq(due + begun - unit.rescale_valid), busy.eq(busy + 1)]
        m.d.comb += [
            self.rescale.ready.eq(due != 0), unit.rescale_valid.eq(self.rescale.valid & self.rescale.ready),
            unit.rescale.eq(self.rescale.payload), unit.keys.ready.eq(busy != 0),
            reciprocal.weight_sum.eq(unit.keys.payload << (self.config.weight_bits - 1)),
            unit.counted.eq(delay(m, unit.keys.valid & unit.keys.ready, reciprocal.latency, name="counted")),
            unit.count.mantissa.eq(reciprocal.mantissa), unit.count.exponent.eq(reciprocal.exponent),
            groups.read_addr.eq(Cat(unit.group_key, unit.group_bank)), unit.group.eq(groups.read_data),
            self.divided_valid.eq(unit.keys.valid & unit.keys.ready), self.divided.eq(unit.keys.payload),
            self.mass_valid.eq(unit.mass_valid), self.mass.eq(unit.mass), self.overflow.eq(unit.overflow),
        ]
        return m


@with_builds(PRUNING, ONE_GROUP, slow=[SINGLE_PRUNING])
def test_mass_compensation(config, check):
    rng = random.Random(SEED)
    groups = [[rng.randrange(config.key_groups) for _ in range(config.max_seq_len)],
              [config.key_groups - 1] * config.max_seq_len]  # as many keys and as much mass as a group can have
    rows, rescales, pruned, added, divided, items, denominators, totals = [], [], [], [], [], [], [], []
    counted, keys, restart, bank = 0, 0, 1, 0
    for number in range(200):
        # Causal rows, rows of the same keys, and sequences that begin anew or are taken up by another query head.
        keys = rng.choice([keys, min(keys + 1, config.max_seq_len), rng.randint(1, config.max_seq_len),
                           config.max_seq_len])
        keys = max(1, keys)
        begins = not rows or rng.random() < 0.15
        if begins:
            restart, bank = 1, rng.getrandbits(1)
        group_of_key = groups[bank]
        group_bits = config.group_bits
        denominator = rng.choice([0, 1, 64, GAIN_MAX, rng.randrange(GAIN_MAX)])
        mean = rng.choice([0, denominator, rng.randint(0, denominator)])
        low, high = limits(config.est_bits)
        scale, row_max = held_scale(rng, config), rng.randint(low, high)
        # Some octaves either way, and more than there are bits.
        octaves = rng.choice([rng.uniform(-4, 4), rng.uniform(-12, 12), rng.uniform(-40, 40)])
        distance = rng.choice([0, rng.randint(-300, 300), *[round(
            octaves * 2**(config.exp_frac_bits + scale[1]) / scale[0])] * 3])
        score_max = (row_max << config.estimate_shift) + distance
        row = {"scale_mantissa": scale[0], "scale_shift": scale[1], "bank": bank if denominator else rng.getrandbits(1),
               "job_last": rng.getrandbits(1), "row_max": row_max, "keys": keys, "restart": begins,
               "denominator_gain": denominator, "mean_gain": mean}
        rows.append(row | ({"group_bits": group_bits} if config.group_bits else {}))
        rescales.append(rescaling(row_max, score_max, scale, config))
        if not denominator:
            denominators.append(0)
            items.append({"virtual": 0, "last": 1})
            continue
        counted = 0 if restart or keys < counted else counted
        restart = 0
        before = group_of_key[:counted]
        for key in range(counted, keys):
            group = group_of_key[key]
            added.append({"first": group not in before, "key": key, "bank": bank, "row": number % (1 << ROW_BITS)}
                         | ({"group": group} if config.group_bits else {}))
            before.append(group)
        count = np.array([[group_of_key[:keys].count(g) for g in range(config.key_groups)]])
        if counted < keys:  # of other keys than the last row's
            divided += count[count != 0].tolist()
        counted = keys
        most = rng.choice([1, 1 << 10, ((1 << config.weight_bits) - 1) << MASS_FRAC_BITS])
        mass = np.where(count, [[rng.choice([most * int(n), rng.randint(0, most * int(n))]) for n in count[0]]], 0)
        pruned += [{"mass": int(value), "last": n == config.key_groups - 1} for n, value in enumerate(mass[0])]
        mass = rescale_mass(mass, np.array([row_max]), np.array([score_max]), scale, config)
        unit = unit_weight(apply_gain(mass, mean), count, config)
        denominators.append(int(apply_gain(mass.sum(axis=1), denominator)[0]))
        totals.append(int(mass.sum()))
        items += [{"virtual": 1, "unit": int(weight), "last": g == config.key_groups - 1}
                  | ({"group": g} if config.group_bits else {}) for g, weight in enumerate(unit[0])]
    check(CompensatedRows(config, groups), f"compensation-{config.name}",
          {"row": Offer(rows), "rescale": Offer(rescales), "pruned": Offer(pruned)},
          {"added": Expect(added), "divided": Expect(divided),
           "o": Expect(items), "denominator": Expect(denominators), "mass": Expect(totals)}, quiet=["overflow"])
