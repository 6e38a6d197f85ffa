"""Tables of gap weights against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import GAP_TABLE_SIZE, gap_weights, table_holds
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.gap_table import GapTable, scale_layout
from latte.rtl.wide.payloads import gap_weight_bits
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, with_builds
from tests.cocotb.weighed import PRUNING, SINGLE_PRUNING, fill_tables, flat_scale, held_scale

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


_AHEAD = 18
"""Jobs that have their table before the first of them looks anything up."""


class LookUps(wiring.Component):
    """Tables of a list of jobs, each with some look-ups.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        look_up = data.StructLayout({"gap": config.est_bits + 1, "valid": 1, "last": 1})
        found = data.StructLayout({"weight": gap_weight_bits(config), "table": 1})
        super().__init__({"job": In(stream.Signature(scale_layout())), "look_up": In(stream.Signature(look_up)),
                          "found_valid": Out(1), "found": Out(found)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        tables = fill_tables(m, self.config, wiring.flipped(self.job))
        m.submodules.table = table = GapTable(self.config)
        m.submodules.ahead = ahead = StreamQueue(1, _AHEAD)
        wiring.connect(m, tables.table, ahead.i)
        item, taken, present = self.look_up.payload, self.look_up.valid & self.look_up.ready, ahead.o.payload
        released = delay(m, Cat(taken & item.last, present), table.latency, name="released")
        m.d.comb += [
            self.look_up.ready.eq(ahead.o.valid), ahead.o.ready.eq(taken & item.last),
            Cat(tables.release, tables.release_table).eq(released),
            table.fill.eq(tables.fill), table.gap.eq(item.gap), table.valid.eq(item.valid), table.table.eq(present),
            self.found_valid.eq(delay(m, taken, table.latency, name="taken")), self.found.weight.eq(table.weight),
            self.found.table.eq(delay(m, present, table.latency, name="present")),
        ]
        return m


def scales_of_jobs(rng, config):
    """Yield scales: a long run for each table, then each differs from the last in one bit that can, then others.

    A reset in the midst of the first run leaves the scale that comes behind it again.
    """
    for scale in (held_scale(rng, config), flat_scale(config)):
        yield from [scale] * (_AHEAD - 1)
    for bit in range(SCALE_MANTISSA_BITS - 1 + SCALE_SHIFT_BITS):
        yield scale
        near = scale[0] ^ 1 << bit, scale[1]
        if bit >= SCALE_MANTISSA_BITS - 1:
            near = scale[0], scale[1] ^ 1 << (bit - SCALE_MANTISSA_BITS + 1)
        scale = near if table_holds(near, config) else scale
    for _ in range(5):
        scale = held_scale(rng, config)
        yield from [scale] * rng.choice([1, 2, _AHEAD + 4])


@with_builds(PRUNING, slow=[SINGLE_PRUNING])
def test_gap_tables(config, check):
    rng = random.Random(SEED)
    jobs, look_ups, found = [], [], []
    all_gaps = np.arange(1 << (config.est_bits + 1))
    filled, table, before = None, 0, 0 * all_gaps
    for scale in scales_of_jobs(rng, config):
        used = rng.random() < 0.8 or not jobs
        jobs.append({"mantissa": scale[0], "shift": scale[1], "used": used})
        if not used:  # it may take any table, so nothing is known of what it would find
            look_ups.append({"gap": 0, "valid": 0, "last": 1})
            found.append({"weight": 0})
            continue
        expected = gap_weights(all_gaps, scale, config)
        end = np.count_nonzero(expected)
        # At first so many that the next table is filled before any job behind this one has begun.
        many = 1000 if scale != filled and len(jobs) < _AHEAD + 4 else rng.choice([0, 40])
        gaps = [0, 1, end - 1, end, end + 1, GAP_TABLE_SIZE - 1, GAP_TABLE_SIZE, GAP_TABLE_SIZE + 1,
                (1 << config.est_bits) - 1, *(rng.randrange(end) for _ in range(many))]
        if scale == filled:
            gaps = gaps[:rng.randint(1, len(gaps))]
        else:
            filled, table = scale, 1 - table
            gaps += np.flatnonzero(expected != before)[:20].tolist()
        before = expected
        for n, gap in enumerate(gaps):
            valid = rng.random() < 0.9
            look_ups.append({"gap": int(gap), "valid": valid, "last": n == len(gaps) - 1})
            found.append({"weight": int(expected[gap]) if valid else 0, "table": table})
    check(LookUps(config), f"gap-table-{config.name}", {"job": Offer(jobs), "look_up": Offer(look_ups)},
          {"found": Expect(found)})
