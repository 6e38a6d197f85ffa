"""Tables of gap weights against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import GAP_TABLE_SIZE, gap_weights
from latte.rtl.common.primitives import delay
from latte.rtl.wide.gap_table import GapTable, scale_layout
from latte.rtl.wide.payloads import gap_weight_bits
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, with_builds
from tests.cocotb.weighed import PRUNING, SINGLE_PRUNING, fill_tables, held_scale

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class LookUps(wiring.Component):
    """Tables of a list of jobs, each with some look-ups.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        look_up = data.StructLayout({"gap": config.est_bits + 1, "valid": 1, "last": 1})
        super().__init__({"job": In(stream.Signature(scale_layout())), "look_up": In(stream.Signature(look_up)),
                          "weight_valid": Out(1), "weight": Out(gap_weight_bits(config))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        tables = fill_tables(m, self.config, wiring.flipped(self.job))
        m.submodules.table = table = GapTable(self.config)
        active, present = Signal(), Signal()
        item, taken = self.look_up.payload, self.look_up.valid & self.look_up.ready
        with m.If(tables.table.valid & tables.table.ready):
            m.d.sync += [active.eq(1), present.eq(tables.table.payload)]
        with m.Elif(taken & item.last):
            m.d.sync += active.eq(0)
        m.d.comb += [
            tables.table.ready.eq(~active), self.look_up.ready.eq(active),
            tables.release.eq(delay(m, taken & item.last, table.latency, name="release")),
            tables.release_table.eq(delay(m, present, table.latency, name="release_table")),
            table.fill.eq(tables.fill), table.gap.eq(item.gap), table.valid.eq(item.valid), table.table.eq(present),
            self.weight_valid.eq(delay(m, taken, table.latency, name="taken")), self.weight.eq(table.weight),
        ]
        return m


@with_builds(PRUNING, slow=[SINGLE_PRUNING])
def test_gap_tables(config, check):
    rng = random.Random(SEED)
    jobs, look_ups, weights = [], [], []
    scale = held_scale(rng, config)
    for _ in range(12):
        scale = rng.choice([scale, held_scale(rng, config), held_scale(rng, config)])
        used = rng.random() < 0.8 or not jobs
        jobs.append({"mantissa": scale[0], "shift": scale[1], "used": used})
        if not used:  # it may take any table, so nothing is known of what it would find
            look_ups.append({"gap": 0, "valid": 0, "last": 1})
            weights.append(0)
            continue
        expected = gap_weights(np.arange(1 << (config.est_bits + 1)), scale, config)
        end = np.count_nonzero(expected)
        gaps = [0, 1, end - 1, end, end + 1, GAP_TABLE_SIZE - 1, GAP_TABLE_SIZE, GAP_TABLE_SIZE + 1,
                (1 << config.est_bits) - 1, *(rng.randrange(end) for _ in range(rng.choice([0, 40, 400])))]
        for n, gap in enumerate(gaps):
            valid = rng.random() < 0.9
            look_ups.append({"gap": int(gap), "valid": valid, "last": n == len(gaps) - 1})
            weights.append(int(expected[gap]) if valid else 0)
    check(LookUps(config), f"gap-table-{config.name}", {"job": Offer(jobs), "look_up": Offer(look_ups)},
          {"weight": Expect(weights)})
