"""Memories of the serial core's keys and values against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.key_groups import KeyGroups
from latte.golden.quantizer import QK_MAX
from latte.golden.split import split_halves
from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.payloads import groups_layout, key_shape, load_layout
from latte.rtl.serial.serial_scratchpad import SerialScratchpad
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, extreme_rows, with_builds
from tests.cocotb.test_serial_blocks import PAIRED, UNEVEN, of_split

GROUPED = PAIRED.replace(name="grouped", max_seq_len=23, key_groups=4)

pytestmark = [pytest.mark.parametrize("stall", STALLS)]

_PLANES = ("high", "halves", "values")
_EVENTS = ("loaded", "restart", "saturated", "conflict")


class StoredKeys(wiring.Component):
    """Keys and values that are loaded, and then read by all readers at once, until a read says that it is the last.

    While a command is carried out, `watched` planes are read all the time. Of what is told a 1 comes for each time.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.scratchpad = scratchpad = SerialScratchpad(config)
        load, read, found = {"load": load_layout(), "watched": len(_PLANES)}, {"last": 1}, {}
        for name in _PLANES:
            port = getattr(scratchpad, name)
            read[name] = data.StructLayout({"read": 1, "key": key_shape(config), "slice": port.slice.shape()})
            found[name] = port.data.shape()
        if config.group_bits:
            load["groups"] = groups_layout(config)
            read |= dict.fromkeys(("scored", "summed"), key_shape(config))
            found |= dict.fromkeys(("scored", "summed"), config.group_bits)
        beat = scratchpad.k.payload.shape()
        super().__init__({
            "load": In(stream.Signature(data.StructLayout(load))), "k": In(stream.Signature(beat)),
            "v": In(stream.Signature(beat)), "read": In(stream.Signature(data.StructLayout(read))),
            "found_valid": Out(1), "found": Out(data.StructLayout(found)),
            **{name: Out(1) for event in _EVENTS for name in (event, f"{event}_valid")}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.scratchpad = scratchpad = self.scratchpad
        wiring.connect(m, wiring.flipped(self.k), scratchpad.k)
        wiring.connect(m, wiring.flipped(self.v), scratchpad.v)
        load, read, held = self.load.payload, self.read.payload, Signal.like(self.load.payload)
        loading, reading, found = Signal(), Signal(), Signal()
        taken = self.read.valid & self.read.ready
        m.d.comb += [
            scratchpad.load.payload.eq(load.load), scratchpad.load.valid.eq(self.load.valid & ~reading),
            self.load.ready.eq(scratchpad.load.ready & ~reading), self.read.ready.eq(reading & ~loading),
        ]
        m.d.sync += found.eq(taken)
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += [held.eq(load), loading.eq(1), reading.eq(1)]
        with m.If(scratchpad.loaded):
            m.d.sync += loading.eq(0)
        with m.If(taken & read.last):
            m.d.sync += reading.eq(0)
        m.d.comb += self.found_valid.eq(found)
        for place, name in enumerate(_PLANES):
            port, wanted = getattr(scratchpad, name), read[name]
            m.d.comb += [port.read.eq((loading & held.watched[place]) | (taken & wanted.read)),
                         port.key.eq(wanted.key), port.slice.eq(wanted.slice), self.found[name].eq(port.data)]
        if self.config.group_bits:
            m.d.comb += scratchpad.groups.eq(held.groups)
            for name in ("scored", "summed"):
                m.d.comb += [getattr(scratchpad, f"{name}_key").eq(read[name]),
                             self.found[name].eq(getattr(scratchpad, f"{name}_group"))]
        for event in _EVENTS:
            m.d.comb += [getattr(self, event).eq(1), getattr(self, f"{event}_valid").eq(getattr(scratchpad, event))]
        return m


def random_groups(rng: random.Random, config) -> tuple[KeyGroups, dict]:
    """Return (groups, what says so)."""
    used = rng.randint(0, config.group_bits)
    elements, cuts = rng.sample(range(config.head_dim), used), [rng.choice([-30, 0, 40]) for _ in range(used)]
    spare = [0] * (config.group_bits - used)
    return KeyGroups(tuple(elements), tuple(cuts)), {"group_bits": used, "elements": elements + spare,
                                                     "cuts": cuts + spare}


def words_of(k: np.ndarray, v: np.ndarray, config) -> dict[str, list]:
    """Return the words of each plane."""
    high = split_halves(k.reshape(-1, config.dim_lanes), config.split)[0]
    return {"high": high.tolist(), "halves": of_split(k, config), "values": v.reshape(-1, config.value_lanes).tolist()}


def reads_of(rng: random.Random, words: dict[str, list], groups: list[int], config) -> tuple[list[dict], list[dict]]:
    """Return (reads of what is stored, what they find): each word once at least, of keys a few."""
    reads, found, count = [], [], max(len(groups), 1)
    order = {name: rng.sample(range(len(of_plane)), len(of_plane)) for name, of_plane in words.items()}
    longest = max(map(len, order.values()))
    for n in range(max(longest, 1)):
        read, wanted = {"last": n == max(longest, 1) - 1}, {}
        for name, places in order.items():
            slices = len(words[name]) // count
            is_read = n < len(places)
            key, part = divmod(places[n], slices) if is_read else (rng.randrange(count), 0)
            read[name] = {"read": is_read, "key": key, "slice": part}
            if is_read:
                wanted[name] = words[name][places[n]]
        if config.group_bits:
            for name in ("scored", "summed"):
                read[name] = rng.randrange(count)
                # The groups of the last keys come some cycles later.
                if groups and n > KeyMembership.latency:
                    wanted[name] = groups[read[name]]
        reads.append(read)
        found.append(wanted)
    return reads, found


@with_builds(GROUPED, UNEVEN)
def test_serial_scratchpad(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    loads, beats, reads, found, told = [], {"k": [], "v": []}, [], [], dict.fromkeys(_EVENTS, 0)
    k = v = np.zeros((0, config.head_dim), np.int8)
    for _ in range(40):
        if len(k) == 0 or rng.random() < 0.3:
            k, v = k[:0], v[:0]
            groups, described = random_groups(rng, config)
        present, drop = len(k), rng.random() < 0.15
        left = config.max_seq_len - present
        rows = rng.randint(0, 5) if drop else rng.choice([left, min(left, 1), rng.randint(0, left), 0])
        watched = rng.choice([0, 1, 2, 4])
        new = {port: extreme_rows(generator, max(rows, 2), config, 127)[::-1][:rows] for port in beats}
        for port, of_port in new.items():
            beats[port] += of_port.reshape(-1, config.bus_bytes).tolist()
        loads.append({"load": {"start": present, "rows": rows, "bank": rng.getrandbits(1), "drop": drop},
                      "watched": watched} | ({"groups": described} if config.group_bits else {}))
        told["loaded"] += 1
        told["restart"] += present == 0
        told["saturated"] += int((new["k"].reshape(-1, config.bus_bytes) > QK_MAX).any(axis=1).sum())
        if not drop:
            lanes = [config.dim_lanes, config.cross_lanes, config.value_lanes]
            told["conflict"] += sum(rows * config.head_dim // of_plane for place, of_plane in enumerate(lanes)
                                    if watched >> place & 1)
            k = np.concatenate([k, np.minimum(new["k"], QK_MAX)])
            v = np.concatenate([v, new["v"]])
        of_keys = np.argmax(groups.membership(k), axis=1).tolist()
        of_load = reads_of(rng, words_of(k, v, config), of_keys, config)
        reads += of_load[0]
        found += of_load[1]
    check(StoredKeys(config), f"serial-scratchpad-{config.name}",
          {"load": Offer(loads), "k": Offer(beats["k"]), "v": Offer(beats["v"]), "read": Offer(reads)},
          {"found": Expect(found), **{event: Expect([1] * count) for event, count in told.items()}})
