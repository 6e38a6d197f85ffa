"""The threshold filter against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest

from latte.golden.threshold_filter import row_maximum, threshold_filter
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, bits, limits, row_lengths, wide_config

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
