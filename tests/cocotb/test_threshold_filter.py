"""The threshold filter against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from latte.golden.row_limit import row_limits
from latte.golden.threshold_filter import row_maximum, threshold_filter
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.common.probes import filter_probe_layout
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, bits, limits, row_lengths, wide_config

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class ProbedFilter(wiring.Component):
    """Filter whose probe is an output beside its valid bit.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.filter = ThresholdFilter(config)
        super().__init__({name: member for name, member in self.filter.signature.members.items() if name != "probe"} | {
            "compared_valid": Out(1), "compared": Out(filter_probe_layout(config))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.filter = inner = self.filter
        m.d.comb += [inner.i_valid.eq(self.i_valid), inner.i.eq(self.i), self.o_valid.eq(inner.o_valid),
                     self.o.eq(inner.o), self.compared.eq(inner.probe), self.compared_valid.eq(inner.probe.valid)]
        return m


def check_filter(check, config, rows):
    """Check which keys survive.

    Parameters
    ----------
    check
    config
    rows
        (estimates [1, n], whether each is visible, the row's threshold, whether each is kept, place) of each row.
    """
    pairs = config.pairs_per_cycle
    scanned, compared, kept_groups = [], [], []
    for estimates, visible, threshold, keep, place in rows:
        last = np.flatnonzero(keep)[-1] // pairs
        row_max = int(row_maximum(estimates, visible)[0])
        for group in range(len(keep) // pairs):
            part = slice(group * pairs, (group + 1) * pairs)
            seen = {"estimate": estimates[0, part].tolist(), "key": group * pairs, **place}
            row_last = part.stop == len(keep)
            scanned.append({**seen, "visible": bits(visible[0, part]), **threshold, "row_last": row_last,
                            "row_max": row_max})
            compared.append({"valid": 1, "row_last": row_last, "visible": bits(visible[0, part]),
                             "keep": bits(keep[part]), "estimate": seen["estimate"]})
            if keep[part].any():
                kept_groups.append({**seen, "keep": bits(keep[part]), "row_last": group == last})
    check(ProbedFilter(config), f"filter-{config.name}", {"i": Offer(scanned)},
          {"o": Expect(kept_groups), "compared": Expect(compared)})


@wide_config
def test_threshold_filter(config, check):
    rng = random.Random(SEED)
    pairs, (low, high) = config.pairs_per_cycle, limits(config.est_bits)
    rows = []
    for length in row_lengths(config, rng, 30):
        padded = -(-length // pairs) * pairs
        spread = rng.choice([0, 3, 200])
        centre = rng.choice([low, 0, high])
        estimates = np.array([[min(high, max(low, centre + rng.randint(-spread, spread))) for _ in range(padded)]])
        estimates[0, length:] = high  # beyond the row: must not survive
        visible = np.arange(padded)[None] < length
        tau = rng.choice([1, 1, 2, config.tau_keep_all, rng.randint(1, 2 * spread + 1)])
        keep = threshold_filter(estimates, visible, tau)[0]
        rows.append((estimates, visible, {"tau": tau}, keep,
                     {"slot": rng.randrange(config.query_rows), "bank": rng.getrandbits(1)}))
    check_filter(check, config, rows)


@pytest.mark.parametrize("config", [WIDE.replace(name="absolute", threshold_kinds=("relative", "absolute"))],
                         ids=["absolute"])
def test_absolute_thresholds(config, check):
    rng = random.Random(SEED)
    pairs, (low, high) = config.pairs_per_cycle, limits(config.est_bits)
    rows = []
    for length in row_lengths(config, rng, 60):
        padded = -(-length // pairs) * pairs
        spread, centre = rng.choice([0, 3, 200]), rng.choice([low, 0, high])
        estimates = np.array([[min(high, max(low, centre + rng.randint(-spread, spread))) for _ in range(padded)]])
        visible = np.arange(padded)[None] < length
        row_max = row_maximum(estimates, visible)
        kind = ThresholdKind(rng.choice(config.threshold_kinds))
        code = rng.choice([low, high, int(row_max[0]), int(row_max[0]) - 1, rng.randint(low, high)])
        if kind is ThresholdKind.RELATIVE:
            code = rng.choice([0, 1, 2, config.tau_keep_all, rng.randint(1, 400)])
        limit = row_limits(Threshold(kind, (code,) * LENGTH_OCTAVES), estimates, visible, row_max, (0, 0), config)
        keep = threshold_filter(estimates, visible, limit)[0]
        rows.append((estimates, visible, {"code": code, "kind": list(ThresholdKind).index(kind)}, keep,
                     {"slot": rng.randrange(config.query_rows), "bank": rng.getrandbits(1)}))
    check_filter(check, config, rows)
