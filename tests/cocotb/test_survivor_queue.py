"""Survivor queue under the stall matrix: every survivor once, in order, and none lost."""

import random

import pytest

from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, both_configs, of_signed

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


@both_configs
def test_survivor_queue(config, check):
    rng = random.Random(SEED)
    pairs = config.pairs_per_cycle
    groups, survivors = [], []
    for index in range(150):
        keep = rng.choice([1, 1 << (pairs - 1), (1 << pairs) - 1, rng.randrange(1, 1 << pairs)])
        group = {"keep": keep, "estimate": [of_signed(rng, config.est_bits) for _ in range(pairs)],
                 "key": rng.randrange(config.max_seq_len // pairs) * pairs, "slot": rng.randrange(config.query_rows),
                 "bank": rng.getrandbits(1), "row_last": index % 3 == 2}
        groups.append(group)
        kept = [n for n in range(pairs) if keep >> n & 1]
        survivors += [{"estimate": group["estimate"][n], "key": group["key"] + n, "slot": group["slot"],
                       "bank": group["bank"], "row_last": group["row_last"] and n == kept[-1]} for n in kept]
    check(SurvivorQueue(config), f"survivors-{config.name}",
          {"i": Offer(groups, "room", SurvivorQueue.producer_latency_of(config))},
          {"o": Expect(survivors)}, quiet=["overflow"])
