"""Keys and values on their way to their memories, under the stall matrix; keys are split and grouped by golden."""

import numpy as np
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.key_groups import KeyGroups
from latte.golden.quantizer import saturate_qk
from latte.rtl.common.key_value_loader import KeyValueLoader
from latte.rtl.common.payloads import COUNT_BITS, groups_layout, load_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, SINGLE, WIDE, extreme_rows, split_elements, with_builds

WHOLE_KEYS = WIDE.replace(name="whole-keys", key_groups=4, bus_bytes=16, cross_lanes=16, value_lanes=16)
PAUSE = 16
"""Cycles between a command's end and the next one, in which its last keys get their groups."""
LONGEST = 1_100
"""Beats of the first command."""


class LoadedRows(wiring.Component):
    """The loader; a command comes with the groups of its keys.

    `loaded`: how many beats were written for the command by then. `saturated`: once for each beat with an element that
    was limited.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.loader = KeyValueLoader(config)
        members = self.loader.signature.members
        command = {"command": load_layout()} | ({"groups": groups_layout(config)} if config.group_bits else {})
        pushes = {"key": members["key_elements"].shape, "value": members["value_elements"].shape, "restart": 1,
                  "saturated": 1, "loaded": data.StructLayout({"keys": COUNT_BITS, "values": COUNT_BITS})}
        if config.group_bits:
            pushes["group"] = config.group_bits
        super().__init__({"load": In(stream.Signature(data.StructLayout(command))),
                          **{name: members[name] for name in ("k", "v")},
                          **{name: Out(shape) for name, shape in pushes.items()},
                          **{f"{name}_valid": Out(1) for name in pushes}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.loader = loader = self.loader
        for name in ("k", "v"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(loader, name))
        pause, starts = Signal(range(PAUSE + 1)), self.load.valid & self.load.ready
        m.d.comb += [
            loader.load.payload.eq(self.load.payload.command), loader.load.valid.eq(self.load.valid & (pause == 0)),
            self.load.ready.eq(loader.load.ready & (pause == 0)), self.loaded_valid.eq(loader.loaded),
            self.key.eq(loader.key_elements), self.key_valid.eq(loader.key_valid),
            self.value.eq(loader.value_elements), self.value_valid.eq(loader.value_valid),
            self.restart.eq(loader.restart_bank), self.restart_valid.eq(loader.restart),
            self.saturated.eq(1), self.saturated_valid.eq(loader.saturated),
        ]
        m.d.sync += pause.eq(Mux(loader.loaded, PAUSE, Mux(pause == 0, 0, pause - 1)))
        for name, valid in (("keys", loader.key_valid), ("values", loader.value_valid)):
            m.d.sync += self.loaded[name].eq(Mux(starts, 0, self.loaded[name] + valid))
        if self.config.group_bits:
            with m.If(starts):
                m.d.sync += loader.groups.eq(self.load.payload.groups)
            m.d.comb += [self.group.eq(loader.group), self.group_valid.eq(loader.group_valid)]
        return m


def beats(rows: np.ndarray, config) -> list[list[int]]:
    """Return rows as beats of the bus."""
    return rows.reshape(-1, config.bus_bytes).tolist()


@pytest.mark.parametrize("stall", STALLS)
@with_builds(WHOLE_KEYS, WIDE, SINGLE)
def test_key_value_loader(config, check):
    rng = np.random.default_rng(SEED)
    commands, keys, values, beats_each = [], [], [], config.head_dim // config.bus_bytes
    outputs = {name: [] for name in ("key", "value", "restart", "saturated", "loaded",
                                     *(["group"] if config.group_bits else []))}
    for number in range(70):
        rows = int(rng.choice([0, 1, 1, 2, 16, rng.integers(40)])) if number else LONGEST // beats_each
        start = int(rng.choice([0, 1, 1 << int(rng.integers(COUNT_BITS))]))
        bank, drop = int(rng.integers(2)), bool(rng.random() < 0.2)
        command = {"command": {"rows": rows, "start": start, "bank": bank, "drop": drop}}
        k, v = (extreme_rows(rng, max(2, rows), config, 127)[rng.permutation(max(2, rows))[:rows]] for _ in range(2))
        k = np.where(rng.random((rows, 1)) < 0.5, np.minimum(k, config.qk_max), k).astype(np.int8)
        limited, _ = saturate_qk(k, config.qk_max)
        keys += beats(k, config)
        values += beats(v, config)
        outputs["saturated"] += [1] * int((k.reshape(-1, config.bus_bytes) > config.qk_max).any(axis=1).sum())
        outputs["restart"] += [bank] if start == 0 else []
        written = 0 if drop else rows * beats_each
        outputs["loaded"].append({"keys": written, "values": written})
        if config.group_bits:
            bits = int(rng.integers(config.group_bits + 1))
            groups = KeyGroups(tuple(rng.integers(0, config.head_dim, bits).tolist()),
                               tuple(rng.integers(-60, 60, bits).tolist()))
            spare = [0] * (config.group_bits - bits)
            command["groups"] = {"group_bits": bits, "elements": [*groups.elements, *spare],
                                 "cuts": [*groups.cuts, *spare]}
            outputs["group"] += [] if drop else np.argmax(groups.membership(limited), axis=1).tolist()
        commands.append(command)
        if not drop:
            outputs["key"] += split_elements(k.reshape(-1, config.bus_bytes), config)
            outputs["value"] += beats(v, config)
    check(LoadedRows(config), f"key-value-loader-{config.name}",
          {"load": Offer(commands), "k": Offer(keys), "v": Offer(values)},
          {name: Expect(items) for name, items in outputs.items()})
