"""Groups of keys at their port against the golden model."""

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.key_groups import KeyGroups
from latte.golden.quantizer import QK_MAX
from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.payloads import groups_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, extreme_rows

CONFIGS = {"two-a-beat": WIDE.replace(key_groups=8, bus_bytes=2), "one": WIDE.replace(key_groups=4, bus_bytes=1),
           "whole-key": WIDE.replace(key_groups=2, bus_bytes=16, cross_lanes=16, value_lanes=16)}


class KeysInGroups(wiring.Component):
    """The block beside the groups that keys are to be put in; items without a beat change them."""

    def __init__(self, config):
        self.config = config
        beat = data.ArrayLayout(8, config.bus_bytes)
        item = data.StructLayout({"groups": groups_layout(config), "keys": 1, "beat": beat})
        super().__init__({"i": In(item), "i_valid": In(1), "o": Out(config.group_bits), "o_valid": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.membership = membership = KeyMembership(self.config)
        held = Signal(groups_layout(self.config))
        with m.If(self.i_valid & ~self.i.keys):
            m.d.sync += held.eq(self.i.groups)
        m.d.comb += [
            membership.groups.eq(held), membership.beat_valid.eq(self.i_valid & self.i.keys),
            self.o.eq(membership.group), self.o_valid.eq(membership.valid),
        ]
        m.d.comb += [membership.beat[n].eq(self.i.beat[n].as_signed()) for n in range(self.config.bus_bytes)]
        return m


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_key_membership(name, check):
    config = CONFIGS[name]
    rng = np.random.default_rng(SEED)
    items, expected = [], []
    for used in [*range(config.group_bits + 1)] * 12:
        elements, cuts = rng.permutation(config.head_dim)[:used], rng.integers(-60, 60, used)
        if used and rng.random() < 0.3:
            cuts[0] = rng.choice([-128, 127, QK_MAX])
        groups = KeyGroups(tuple(elements.tolist()), tuple(cuts.tolist()))
        keys = np.minimum(extreme_rows(rng, 9, config, QK_MAX), QK_MAX)
        keys[2:4, elements] = cuts  # not above
        keys[4:6, elements] = np.minimum(cuts + 1, QK_MAX)  # just above
        spare = config.group_bits - used
        # What is not used counts for nothing, whatever it says.
        layout = {"group_bits": used, "elements": [*groups.elements, *[1] * spare],
                  "cuts": [*groups.cuts, *[-128] * spare]}
        items += [{"groups": layout, "keys": 0, "beat": [0] * config.bus_bytes}] * KeyMembership.latency
        for key in keys:
            items += [{"groups": layout, "keys": 1, "beat": [int(x) & 0xFF for x in beat]} for beat in
                      key.reshape(-1, config.bus_bytes)]
        expected += np.argmax(groups.membership(keys), axis=1).tolist()
    check(KeysInGroups(config), f"key-membership-{name}", {"i": Offer(items)}, {"o": Expect(expected)})
