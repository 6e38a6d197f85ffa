"""What keys are compared with, and the search for a row's limit, each with streams of its own, under the stall matrix.

A row may come before its mass or after it.
"""

import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import gap_weights
from latte.golden.quantizer import MASS_KEEP_ALL, THETA_FRAC_BITS
from latte.golden.row_limit import mass_threshold
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.gap_table import scale_layout
from latte.rtl.wide.payloads import gap_weight_bits, mass_bits
from latte.rtl.wide.row_limits import (
    LimitSearch,
    MassThreshold,
    limited_row_layout,
    searched_row_layout,
    threshold_row_layout,
)
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits, with_builds
from tests.cocotb.weighed import (
    BY_MASS,
    ONE_GROUP,
    PRUNING,
    SINGLE_PRUNING,
    await_tables,
    fill_tables,
    flat_scale,
    held_scale,
    paused,
)

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class RowLimits(wiring.Component):
    """Threshold by mass, and limit search with two filled tables, side by side.

    Limits are not taken now and then for as long as it takes to fill their queue.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        row, searched, limited = (stream.Signature(layout(config)) for layout in (
            threshold_row_layout, searched_row_layout, limited_row_layout))
        super().__init__({"row": In(row), "mass": In(stream.Signature(mass_bits(config))), "searched": Out(searched),
                          "job": In(stream.Signature(scale_layout())), "i": In(searched), "o": Out(limited)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.threshold = threshold = MassThreshold(self.config)
        m.submodules.search = search = LimitSearch(self.config)
        tables = fill_tables(m, self.config, wiring.flipped(self.job))
        filled = await_tables(m, tables)
        m.submodules.taken = taken = StreamQueue(limited_row_layout(self.config))
        takes = ~paused(m, 150)
        for outer, inner in ((self.row, threshold.row), (self.mass, threshold.mass), (self.searched, threshold.o),
                             (self.o, taken.o)):
            wiring.connect(m, wiring.flipped(outer), inner)
        m.d.comb += [search.fill.eq(tables.fill), search.i.payload.eq(self.i.payload),
                     search.i.valid.eq(self.i.valid & filled), self.i.ready.eq(search.i.ready & filled),
                     taken.i.payload.eq(search.o.payload), taken.i.valid.eq(search.o.valid & takes),
                     search.o.ready.eq(taken.i.ready & takes)]
        return m


def random_row(rng: random.Random, config) -> dict:
    """Return what a row keeps on its way to its limit."""
    low, high = limits(config.est_bits)
    row = {"table": rng.getrandbits(1), "job_last": rng.getrandbits(1), "slot": rng.randrange(config.query_rows),
           "bank": rng.getrandbits(1), "row_max": rng.choice([low, high, rng.randint(low, high)])}
    if config.key_groups:
        row["compensated"] = rng.getrandbits(1)
    if config.group_bits:
        row["group_bits"] = rng.randint(0, config.group_bits)
    return row


def random_threshold(rng: random.Random, kind: ThresholdKind, row_max: int, mass: int, config
                     ) -> tuple[int, dict[str, int]]:
    """Return (a code, often one at a limit, what a row's keys are compared with under it)."""
    low, high = limits(config.est_bits)
    if kind is ThresholdKind.RELATIVE:
        code = rng.choice([0, 1, 2, config.tau_keep_all, rng.randint(1, 400)])
        return code, {"limit": max(1, code), "search": 0}
    if kind is ThresholdKind.ABSOLUTE:
        code = rng.choice([low, high, row_max, max(low, row_max - 1), rng.randint(low, high)])
        return code, {"limit": max(1, row_max - code), "search": 0}
    code = rng.choice([0, 255, MASS_KEEP_ALL, MASS_KEEP_ALL - 1, rng.randrange(MASS_KEEP_ALL),
                       rng.randrange(mass_bits(config) << THETA_FRAC_BITS)])
    if code == MASS_KEEP_ALL:
        return code, {"limit": 1 << config.est_bits, "search": 0}
    least = int(mass_threshold(np.array([mass]), np.array([code]))[0])
    return code, {"least": min(least, (1 << gap_weight_bits(config)) - 1), "search": 1}


def thresholds(rng: random.Random, config) -> tuple[list[dict], list[int], list[dict]]:
    """Return (rows, their masses, what a threshold by mass makes of them)."""
    rows, masses, searched = [], [], []
    for _ in range(300):
        kind = ThresholdKind(rng.choice(config.threshold_kinds))
        if "mass" in config.threshold_kinds and rng.getrandbits(1):
            kind = ThresholdKind.MASS  # of all kinds it has most to compute
        row, mass = random_row(rng, config), rng.getrandbits(rng.choice([mass_bits(config), rng.randint(0, 20)]))
        code, found = random_threshold(rng, kind, row["row_max"], mass, config)
        threshold = {"code": code} if config.code_octaves else {"tau": code}
        if len(config.threshold_kinds) > 1:
            threshold["kind"] = list(ThresholdKind).index(kind)
        rows.append(row | threshold)
        masses.append(mass)
        searched.append(row | found)
    return rows, masses, searched


def searches(rng: random.Random, tables: list[np.ndarray], config) -> tuple[list[dict], list[dict]]:
    """Return (rows on their way to a limit, with it), most of them where the table is one step from another limit."""
    rows, limited = [], []
    for _ in range(300):
        row = random_row(rng, config)
        weights = tables[row["table"]]
        some = int(rng.choice(weights[:int(np.argmin(weights)) + 1]))
        least = min(rng.choice([0, some, some, max(0, some - 1), some + 1]), (1 << gap_weight_bits(config)) - 1)
        given, search = rng.choice([1, 1 << config.est_bits, rng.randint(1, 1 << config.est_bits)]), rng.random() < 0.8
        limit = max(1, int(np.searchsorted(-weights, -least, side="left"))) if search else given
        rows.append(row | {"limit": given, "search": search, "least": least})
        limited.append(row | {"threshold": row["row_max"] - limit})
    return rows, limited


@with_builds(PRUNING, slow=[BY_MASS, ONE_GROUP, SINGLE_PRUNING])
def test_row_limits(config, check):
    rng = random.Random(SEED)
    scales = [flat_scale(config), held_scale(rng, config)]
    rows, masses, searched = thresholds(rng, config)
    tables = [gap_weights(np.arange(config.tau_keep_all + 1), scale, config) for scale in scales]
    on_their_way, limited = searches(rng, tables, config)
    jobs = [{"mantissa": mantissa, "shift": shift, "used": 1} for mantissa, shift in scales[::-1]]
    check(RowLimits(config), f"row-limits-{config.name}",
          {"row": Offer(rows), "mass": Offer(masses), "job": Offer(jobs), "i": Offer(on_their_way)},
          {"searched": Expect(searched), "o": Expect(limited)})
