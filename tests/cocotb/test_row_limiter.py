"""Masses of rows, their limits and the wait for them, against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import GAP_TABLE_SIZE, gap_weights
from latte.golden.quantizer import MASS_KEEP_ALL, THETA_FRAC_BITS
from latte.golden.row_limit import mass_threshold, row_limits
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.common.primitives import delay
from latte.rtl.wide.gap_table import scale_layout
from latte.rtl.wide.row_limiter import RowLimiter, group_mass_layout, limited_layout
from latte.rtl.wide.row_scanner import RowScanner, scanned_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, bits, limits, with_builds
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


class LimitedRows(wiring.Component):
    """Row limiter with two filled tables, behind a scanner's latency; rows end as far apart as a scanner's.

    Its consumer has no room now and then for as long as it takes to fill the queues of rows.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        masses = {"masses": Out(stream.Signature(group_mass_layout(config)))} if config.key_groups else {}
        super().__init__({
            "job": In(stream.Signature(scale_layout())), "i": In(stream.Signature(scanned_layout(config))),
            "o_valid": Out(1), "o": Out(limited_layout(config)), "o_room": In(1), "overflow": Out(1), **masses})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        tables = fill_tables(m, self.config, wiring.flipped(self.job))
        m.submodules.limiter = limiter = RowLimiter(self.config)
        filled = await_tables(m, tables)
        taken = self.i.valid & self.i.ready
        waits = Signal(range(max(2, self.config.key_groups)))
        if self.config.group_bits:
            with m.If(taken & self.i.payload.row_last):
                m.d.sync += waits.eq((1 << self.i.payload.group_bits) - 1)
            with m.Elif(waits != 0):
                m.d.sync += waits.eq(waits - 1)
        m.d.comb += [
            self.i.ready.eq(limiter.room & filled & ~(self.i.payload.row_last & (waits != 0))),
            limiter.fill.eq(tables.fill), limiter.o_room.eq(self.o_room & ~paused(m, 150)),
            limiter.i_valid.eq(delay(m, taken, RowScanner.latency, name="taken")),
            limiter.i.eq(delay(m, self.i.payload, RowScanner.latency, name="scanned")),
            self.o_valid.eq(limiter.o_valid), self.o.eq(limiter.o), self.overflow.eq(limiter.overflow),
        ]
        if self.config.key_groups:
            wiring.connect(m, wiring.flipped(self.masses), limiter.masses)
        return m


def random_code(rng: random.Random, kind: ThresholdKind, row_max: int, weight: np.ndarray, table: np.ndarray,
                config) -> int:
    """Return a code, often one at a limit; by mass often one under which a weight of the table just survives or not.

    Parameters
    ----------
    rng, kind, row_max
    weight
        Of the row's keys.
    table
        Of all gaps.
    config
    """
    low, high = limits(config.est_bits)
    if kind is not ThresholdKind.MASS:
        return {"relative": rng.choice([0, 1, 2, config.tau_keep_all, rng.randint(1, 400)]),
                "absolute": rng.choice([low, high, row_max, row_max - 1, rng.randint(low, high)])}[kind]
    if rng.random() < 0.3:
        return rng.choice([0, 255, MASS_KEEP_ALL, MASS_KEEP_ALL - 1, *(rng.randint(0, most) for most in (
            40 << 8, 8 << 8))])
    # Where the least weight that survives is all but one of the table's, each bit of the mass and the code counts.
    octave = rng.choice([0, rng.randrange(4), rng.randrange(12)]) << THETA_FRAC_BITS
    codes = octave + np.arange(1 << THETA_FRAC_BITS)
    least = mass_threshold(np.full(len(codes), weight.sum()), codes)
    off = np.abs(least[:, None] - table[:GAP_TABLE_SIZE]).min(axis=1)
    return int(rng.choice(codes[np.argsort(off, kind="stable")[:3]]))


def random_estimates(rng: random.Random, length: int, config) -> np.ndarray:
    """Return estimates whose distances to the largest are of all sizes, and beyond what a table has, or all extreme."""
    low, high = limits(config.est_bits)
    centre, spread = rng.choice([low, 0, high]), rng.choice([0, 3, 60, 300, 3 * high])
    if rng.getrandbits(1):
        return np.array([max(low, high - rng.getrandbits(rng.randint(0, config.est_bits))) for _ in range(length)])
    return np.clip([centre + rng.randint(-spread, spread) for _ in range(length)], low, high)


@with_builds(PRUNING, BY_MASS, ONE_GROUP, slow=[SINGLE_PRUNING])
def test_row_limiter(config, check):
    rng = random.Random(SEED)
    pairs, (low, high) = config.pairs_per_cycle, limits(config.est_bits)
    scales = [flat_scale(config), held_scale(rng, config)]
    tables = [gap_weights(np.arange(config.tau_keep_all + 1), scale, config) for scale in scales]
    scanned, limited, masses = [], [], []
    for length in [1, 1, config.max_seq_len, 1, *(rng.randint(1, config.max_seq_len) for _ in range(200)), *[1] * 50,
                   *(rng.randint(1, 3) for _ in range(100))]:
        padded = -(-length // pairs) * pairs
        estimates = random_estimates(rng, padded, config)[None]
        row_max = int(estimates[0, :length].max())
        estimates[0, length:] = [rng.randint(low, high) for _ in range(padded - length)]
        visible = np.arange(padded)[None] < length
        table, kind = rng.getrandbits(1), ThresholdKind(rng.choice(config.threshold_kinds))
        if "mass" in config.threshold_kinds and rng.getrandbits(1):
            kind = ThresholdKind.MASS  # of all kinds it has most to compute
        weight = np.where(visible, tables[table][np.where(visible, row_max - estimates, 0)], 0)
        code = random_code(rng, kind, row_max, weight[0, :length], tables[table], config)
        limit = int(row_limits(Threshold(kind, (code,) * LENGTH_OCTAVES), np.where(visible, estimates, low), visible,
                               np.array([row_max]), scales[table], config)[0])
        group_bits = rng.randint(0, config.group_bits)
        group = np.array([rng.randrange(1 << group_bits) for _ in range(padded)])
        compensated = config.key_groups and rng.random() < 0.7
        if compensated:
            masses += [{"mass": int(weight[0, group == g].sum()), "last": g == (1 << group_bits) - 1}
                       for g in range(1 << group_bits)]
        mark = {"table": table, "job_last": rng.getrandbits(1), "slot": rng.randrange(config.query_rows),
                "bank": rng.getrandbits(1)}
        if config.key_groups:
            mark |= {"compensated": compensated, "row_max": row_max}
        if config.group_bits:
            mark["group_bits"] = group_bits
        threshold = {"code": code} if config.code_octaves else {"tau": code}
        if len(config.threshold_kinds) > 1:
            threshold["kind"] = list(ThresholdKind).index(kind)
        for first in range(0, padded, pairs):
            part = slice(first, first + pairs)
            seen = {"estimate": estimates[0, part].tolist(), "visible": bits(visible[0, part]), "key": first,
                    "row_last": part.stop == padded, **mark}
            if config.group_bits:
                seen["groups"] = group[part].tolist()
            scanned.append({**seen, "row_max": row_max, **threshold})
            limited.append({**seen, "threshold": row_max - limit})
    outputs = {"o": Expect(limited, "o_room")} | ({"masses": Expect(masses)} if config.key_groups else {})
    jobs = [{"mantissa": mantissa, "shift": shift, "used": 1} for mantissa, shift in scales[::-1]]
    check(LimitedRows(config), f"row-limiter-{config.name}", {"job": Offer(jobs), "i": Offer(scanned)}, outputs,
          quiet=["overflow"])
