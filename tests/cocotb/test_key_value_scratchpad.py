"""Keys and values as they lie before the array's readers, against golden's parts and groups, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.payloads import groups_layout, load_layout
from latte.rtl.common.primitives import delay
from latte.rtl.wide.key_value_scratchpad import KeyValueScratchpad
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, SINGLE, WIDE, extreme_rows, padded_words, split_elements, with_builds
from tests.cocotb.test_serial_scratchpad import random_groups
from tests.cocotb.turns import count, take_turns, turn_layout

GROUPED = WIDE.replace(name="grouped", max_seq_len=13, key_lanes=4, dim_lanes=8, key_groups=4)
ONE_BANK = SINGLE.replace(name="one-bank", max_seq_len=6, kv_banks=1)
_READERS = ("estimator", "cross", "value")


class StoredKeys(wiring.Component):
    """Keys and values that are loaded, and read by all readers at once; loads and reads wait for each other.

    Members
    -------
    load, read : In(stream)
    k, v : In(stream)
    found_valid, found : Out
    loaded, saturated : Out(1)
        Pushes of 1.
    """

    def __init__(self, config):
        self.config = config
        self.scratchpad = scratchpad = KeyValueScratchpad(config)
        members = scratchpad.signature.members
        load, found = {"load": load_layout()}, {name: members[f"{name}_data"].shape for name in _READERS}
        self.addresses = [f"{name}_{part}" for name, key in zip(_READERS, ("group", "key", "key"), strict=True)
                          for part in ("bank", key, "slice")]
        if config.group_bits:
            load["groups"] = groups_layout(config)
            self.addresses += ["group_bank", "group_key"]
            found |= {name: members[name].shape for name in ("estimator_groups", "group")}
        read = data.StructLayout({name: members[name].shape for name in self.addresses})
        super().__init__({
            "load": In(stream.Signature(turn_layout(data.StructLayout(load)))),
            "read": In(stream.Signature(turn_layout(read))), "k": members["k"], "v": members["v"],
            "found_valid": Out(1), "found": Out(data.StructLayout(found)),
            **{name: Out(1) for event in ("loaded", "saturated") for name in (event, f"{event}_valid")}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.scratchpad = scratchpad = self.scratchpad
        wiring.connect(m, wiring.flipped(self.k), scratchpad.k)
        wiring.connect(m, wiring.flipped(self.v), scratchpad.v)
        # The last keys' groups come some cycles later.
        there = delay(m, count(m, scratchpad.loaded, "loads"), KeyMembership.latency * (self.config.group_bits > 0),
                      name="there")
        read, load, begun = take_turns(m, self.read, there), Signal(), Signal.like(there)
        ready = scratchpad.load.ready & (there == begun)
        m.d.comb += [load.eq(take_turns(m, self.load, count(m, read, "reads"), ready)),
                     scratchpad.load.payload.eq(self.load.payload.item.load), scratchpad.load.valid.eq(load)]
        with m.If(load):
            m.d.sync += begun.eq(begun + 1)
            if self.config.group_bits:
                m.d.sync += scratchpad.groups.eq(self.load.payload.item.groups)
        m.d.comb += [getattr(scratchpad, name).eq(self.read.payload.item[name]) for name in self.addresses]
        m.d.comb += self.found_valid.eq(delay(m, read, scratchpad.latency, name="read"))
        m.d.comb += [self.found[name].eq(getattr(scratchpad, f"{name}_data")) for name in _READERS]
        if self.config.group_bits:
            m.d.comb += [self.found[name].eq(getattr(scratchpad, name)) for name in ("estimator_groups", "group")]
        for event in ("loaded", "saturated"):
            m.d.comb += [getattr(self, event).eq(1), getattr(self, f"{event}_valid").eq(getattr(scratchpad, event))]
        return m


class Bank:
    """What golden says that a bank holds.

    Parameters
    ----------
    config

    Attributes
    ----------
    k, v
    groups, described
        How its keys are grouped, and what says so.
    passed
        Reads up to the last one of it.
    """

    def __init__(self, config):
        self.config = config
        self.k = self.v = np.zeros((0, config.head_dim), np.int8)
        self.groups = self.described = None
        self.passed = 0

    def words(self) -> dict[str, list[tuple[int, int, object]]]:
        """Return, of each reader, (key or group of keys, slice, what is found there) of all that is there."""
        config = self.config
        lanes, cross, high = config.key_lanes, config.cross_lanes, config.dim_lanes
        rows = split_elements(self.k, config)
        groups = [rows[start:start + lanes] + [None] * (start + lanes - len(rows))
                  for start in range(0, len(rows), lanes)]
        padding = [{"high": 0, "low": 0}] * (-config.head_dim % cross)
        return {
            "estimator": [(n, part, [row and [element["high"] for element in row[part * high:(part + 1) * high]]
                                     for row in group]) for n, group in enumerate(groups)
                          for part in range(config.dim_slices)],
            "cross": [(key, part, (row + padding)[part * cross:(part + 1) * cross]) for key, row in enumerate(rows)
                      for part in range(config.cross_slices)],
            "value": [(*divmod(place, config.value_slices), word)
                      for place, word in enumerate(padded_words(self.v, config.value_lanes).tolist())],
            **({"group": [(key, 0, group) for key, group in enumerate(self.of_keys())]} if config.group_bits else {})}

    def of_keys(self) -> list[int]:
        """Return the keys' groups."""
        return np.argmax(self.groups.membership(self.k), axis=1).tolist()


def random_reads(rng: random.Random, banks: dict[int, Bank], config) -> tuple[list[dict], list[dict]]:
    """Return (reads, what they find) of all that some banks hold, each reader in an order of its own."""
    places: dict[str, list] = {}
    for number, bank in banks.items():
        for name, words in bank.words().items():
            places.setdefault(name, []).extend((number, *word) for word in words)
    for of_reader in places.values():
        rng.shuffle(of_reader)
    reads, found = [], []
    for n in range(max(map(len, places.values()), default=0)):
        read, wanted = {}, {}
        for name, of_reader in places.items():
            bank, key, part, wanted[name] = of_reader[n % len(of_reader)]
            read |= {f"{name}_bank": bank, f"{name}_{'group' if name == 'estimator' else 'key'}": key}
            if name != "group":
                read[f"{name}_slice"] = part
            if name == "estimator" and config.group_bits:
                groups = banks[bank].of_keys()[key * config.key_lanes:][:config.key_lanes]
                wanted["estimator_groups"] = groups + [None] * (config.key_lanes - len(groups))
        reads.append(read)
        found.append(wanted)
    return reads, found


@pytest.mark.parametrize("stall", STALLS)
@with_builds(GROUPED, ONE_BANK)
def test_key_value_scratchpad(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    banks = [Bank(config) for _ in range(config.kv_banks)]
    loads, beats, reads, found, saturated, now = [], {"k": [], "v": []}, [], [], 0, 0
    for index in range(40):
        fresh = index == 0 or rng.random() < 0.4
        if fresh:
            now = rng.randrange(config.kv_banks)
            banks[now].k = banks[now].v = banks[now].k[:0]
        bank, drop = banks[now], not fresh and rng.random() < 0.15
        if fresh and config.group_bits:
            bank.groups, bank.described = random_groups(rng, config)
        present, left = len(bank.k), config.max_seq_len - len(bank.k)
        rows = rng.randint(0, 5) if drop else rng.choice([left, min(left, 1), rng.randint(0, left)])
        new = {port: extreme_rows(generator, max(rows, 2), config, 127)[::-1][:rows] for port in beats}
        for port, of_port in new.items():
            beats[port] += of_port.reshape(-1, config.bus_bytes).tolist()
        saturated += int((new["k"].reshape(-1, config.bus_bytes) > config.qk_max).any(axis=1).sum())
        load = {"load": {"start": present, "rows": rows, "bank": now, "drop": drop}}
        loads.append({"item": load | ({"groups": bank.described} if config.group_bits else {}),
                      "after": bank.passed if present == 0 else 0})
        if not drop:
            bank.k = np.concatenate([bank.k, np.minimum(new["k"], config.qk_max)])
            bank.v = np.concatenate([bank.v, new["v"]])
        begun = {number: bank for number, bank in enumerate(banks) if len(bank.k)}
        # Of both at once, or of one after the other: the next keys are loaded while those of one are still read.
        for some in rng.choice([[begun], [{number: bank} for number, bank in begun.items()]]):
            of_some = random_reads(rng, some, config)
            reads += [{"item": read, "after": len(loads)} for read in of_some[0]]
            found += of_some[1]
            for of_bank in some.values():
                of_bank.passed = len(reads)
    check(StoredKeys(config), f"key-value-scratchpad-{config.name}",
          {"load": Offer(loads), "k": Offer(beats["k"]), "v": Offer(beats["v"]), "read": Offer(reads)},
          {"found": Expect(found), "loaded": Expect([1] * len(loads)), "saturated": Expect([1] * saturated)})
