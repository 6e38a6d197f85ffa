"""Survivor queue under the stall matrix: every survivor once, in order, and none lost."""

import random

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.wide.payloads import group_layout, survivor_layout
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, both_configs, of_signed

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class OfferedSurvivors(wiring.Component):
    """Survivor queue whose consumer is not ready before a survivor is offered, as a stream's consumer may be.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"i_valid": In(1), "i": In(group_layout(config)), "room": Out(1), "overflow": Out(1),
                          "o": Out(stream.Signature(survivor_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.queue = queue = SurvivorQueue(self.config)
        m.d.comb += [queue.i_valid.eq(self.i_valid), queue.i.eq(self.i), self.room.eq(queue.room),
                     self.overflow.eq(queue.overflow), self.o.payload.eq(queue.o.payload),
                     self.o.valid.eq(queue.o.valid), queue.o.ready.eq(self.o.ready & queue.o.valid)]
        return m


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
    check(OfferedSurvivors(config), f"survivors-{config.name}",
          {"i": Offer(groups, "room", SurvivorQueue.producer_latency_of(config))},
          {"o": Expect(survivors)}, quiet=["overflow"])
