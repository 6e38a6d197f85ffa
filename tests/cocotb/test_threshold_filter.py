"""The threshold filter against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest

from latte.golden.row_limit import row_limits
from latte.golden.threshold_filter import row_maximum, threshold_filter
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, bits, limits, row_lengths, wide_config

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


@wide_config
def test_threshold_filter(config, check):
    rng = random.Random(SEED)
    pairs, (low, high) = config.pairs_per_cycle, limits(config.est_bits)
    scanned, kept_groups = [], []
    for length in row_lengths(config, rng, 30):
        padded = -(-length // pairs) * pairs
        spread = rng.choice([0, 3, 200])
        centre = rng.choice([low, 0, high])
        estimates = np.array([[min(high, max(low, centre + rng.randint(-spread, spread))) for _ in range(padded)]])
        estimates[0, length:] = high  # beyond the row: must not survive
        visible = np.arange(padded)[None] < length
        tau = rng.choice([1, 1, 2, config.tau_keep_all, rng.randint(1, 2 * spread + 1)])
        keep = threshold_filter(estimates, visible, tau)[0]
        common = {"slot": rng.randrange(config.query_rows), "bank": rng.getrandbits(1)}
        last = np.flatnonzero(keep)[-1] // pairs
        for group in range(padded // pairs):
            part = slice(group * pairs, (group + 1) * pairs)
            seen = {"estimate": estimates[0, part].tolist(), "key": group * pairs, **common}
            scanned.append({**seen, "visible": bits(visible[0, part]), "tau": tau, "row_last": part.stop == padded,
                            "row_max": int(row_maximum(estimates, visible)[0])})
            if keep[part].any():
                kept_groups.append({**seen, "keep": bits(keep[part]), "row_last": group == last})
    check(ThresholdFilter(config), f"filter-{config.name}", {"i": Offer(scanned)}, {"o": Expect(kept_groups)})


@pytest.mark.parametrize("config", [WIDE.replace(name="absolute", threshold_kinds=("relative", "absolute"))],
                         ids=["absolute"])
def test_absolute_thresholds(config, check):
    rng = random.Random(SEED)
    pairs, (low, high) = config.pairs_per_cycle, limits(config.est_bits)
    scanned, kept_groups = [], []
    for length in row_lengths(config, rng, 60):
        padded = -(-length // pairs) * pairs
        spread, centre = rng.choice([0, 3, 200]), rng.choice([low, 0, high])
        estimates = np.array([[min(high, max(low, centre + rng.randint(-spread, spread))) for _ in range(padded)]])
        visible = np.arange(padded)[None] < length
        row_max = row_maximum(estimates, visible)
        kind = ThresholdKind(rng.choice(config.threshold_kinds))
        code = rng.choice([low, high, int(row_max[0]), int(row_max[0]) - 1, rng.randint(low, high)])
        if kind is ThresholdKind.RELATIVE:
            code = rng.choice([0, 1, 2, config.tau_keep_all])
        limit = row_limits(Threshold(kind, (code,) * LENGTH_OCTAVES), estimates, visible, row_max, (0, 0), config)
        keep = threshold_filter(estimates, visible, limit)[0]
        common = {"slot": rng.randrange(config.query_rows), "bank": rng.getrandbits(1)}
        last = np.flatnonzero(keep)[-1] // pairs
        for group in range(padded // pairs):
            part = slice(group * pairs, (group + 1) * pairs)
            seen = {"estimate": estimates[0, part].tolist(), "key": group * pairs, **common}
            scanned.append({**seen, "visible": bits(visible[0, part]), "code": code, "row_last": part.stop == padded,
                            "row_max": int(row_max[0]), "kind": list(ThresholdKind).index(kind)})
            if keep[part].any():
                kept_groups.append({**seen, "keep": bits(keep[part]), "row_last": group == last})
    check(ThresholdFilter(config), f"filter-{config.name}", {"i": Offer(scanned)}, {"o": Expect(kept_groups)})
