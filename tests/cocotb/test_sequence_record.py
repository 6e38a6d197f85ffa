"""The record of a sequence as it is read, counted on and written, against the golden model, under the stall matrix."""

import dataclasses

import numpy as np
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, preset
from latte.golden.key_groups import KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import SequenceState, StateFormat
from latte.rtl.common.payloads import groups_layout
from latte.rtl.memory.sequence_record import SequenceRecord, added_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED

stalls = pytest.mark.parametrize("stall", STALLS)
BEGIN, BEAT, GROUPS, ADD, LOOK, WRITE = range(6)


class RecordBench(wiring.Component):
    """A record with what is done to it in one order.

    Parameters
    ----------
    build
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.record = record = SequenceRecord(build)
        members = record.signature.members
        self.held = [name for name in ("complete", "live", "generation", "length", "table_address", "groups",
                                       "numbers", "keys", "sums") if name in members]
        step = data.StructLayout({"step": 3, "beat": 8 * build.bus_bytes, "groups": groups_layout(build.core),
                                  "add": added_layout(build)})
        super().__init__({"steps": In(stream.Signature(step)), "o": Out(stream.Signature(8 * build.bus_bytes)),
                          "seen_valid": Out(1),
                          "seen": Out(data.StructLayout({name: members[name].shape for name in self.held}))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.record = record = self.record
        wiring.connect(m, record.o, wiring.flipped(self.o))
        step, left, looks = self.steps.payload, Signal(range(record.beats + 1)), Signal()
        done = self.steps.valid & self.steps.ready
        waited = Signal(range(record.latency + 1))
        m.d.sync += waited.eq(Mux(self.steps.valid & (step.step == LOOK) & ~looks, waited + 1, 0))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(record.write):
            m.d.sync += left.eq(record.beats)
        m.d.comb += [
            self.steps.ready.eq(Mux(step.step == LOOK, looks, left == 0)), looks.eq(waited == record.latency),
            record.begin.eq(done & (step.step == BEGIN)), record.beat_valid.eq(done & (step.step == BEAT)),
            record.beat.eq(step.beat), record.add_valid.eq(done & (step.step == ADD)), record.add.eq(step.add),
            record.write.eq(done & (step.step == WRITE)), self.seen_valid.eq(looks),
            *(self.seen[name].eq(getattr(record, name)) for name in self.held),
        ]
        if "groups_set" in record.signature.members:
            m.d.comb += [record.groups_set.eq(done & (step.step == GROUPS)), record.new_groups.eq(step.groups)]
        if "read_group" in record.signature.members:
            # For one cycle.
            with m.If(waited == 0):
                m.d.comb += [record.read_group.eq(step.add.group), record.read_slice.eq(step.add.slice)]
        return m


def groups_fields(groups: KeyGroups, core: AttentionConfig, unused: int = 0) -> dict:
    """Return the fields of a `groups_layout`, with something else where nothing is compared."""
    missing = core.group_bits - len(groups.elements)
    return {"group_bits": len(groups.elements), "elements": [*groups.elements, *[unused] * missing],
            "cuts": [*groups.cuts, *[unused] * missing]}


def random_state(rng: np.random.Generator, build: MemoryBuild, length: int, groups: KeyGroups) -> SequenceState:
    """Return a record of some keys; the first of each group's sums are at the limits, its keys any number."""
    core, low = build.core, -(1 << 23)
    keys = rng.integers(0, core.max_seq_len - 4 * build.page_rows, core.key_groups)
    sums = rng.integers(low, -low, (core.key_groups, core.head_dim))
    sums[:, 0], sums[:, 1] = low + 128 * build.page_rows * 3, -low - 1 - 127 * build.page_rows * 3
    last = np.zeros(build.page_rows, np.int8)
    last[:length % build.page_rows] = rng.integers(0, groups.count, length % build.page_rows)
    return SequenceState(True, int(rng.integers(0, 1 << 16)), length, int(rng.integers(0, 1 << 62)) | 1 << 63, groups,
                         keys, sums, last)


class Steps:
    """What is done to a record, and what is then seen of it and given.

    Parameters
    ----------
    build
    rng
    """

    def __init__(self, build: MemoryBuild, rng: np.random.Generator) -> None:
        self.build, self.rng, self.form = build, rng, StateFormat(build)
        self.steps, self.seen, self.given = [], [], []

    def read(self, state: SequenceState) -> None:
        """Hand a record in."""
        self.state, self.numbers = state, state.last_groups.copy()
        self.steps += [{"step": BEGIN}, *({"step": BEAT, "beat": beat} for beat in self._beats())]

    def take_groups(self, groups: KeyGroups) -> None:
        """Give an empty sequence its groups."""
        self.steps.append({"step": GROUPS, "groups": groups_fields(groups, self.build.core, 5)})
        self.state = dataclasses.replace(self.state, groups=groups)

    def add(self, keys: int) -> None:
        """Add keys with values of every code."""
        build, state = self.build, self.state
        known = min(state.groups.count, max(1, build.core.key_groups))
        for group in self.rng.integers(0, known, keys).tolist():
            value = self.rng.choice([-128, 127, *range(-128, 128)], build.core.head_dim)
            value[:2] = -128, 127
            slices = value.reshape(-1, build.bus_bytes).tolist()
            self.steps += [{"step": ADD, "add": {"group": group, "slice": n, "values": values,
                                                 "last": n == len(slices) - 1}} for n, values in enumerate(slices)]
            row = self.state.length % build.page_rows
            if row == 0:
                self.numbers[:] = 0
            self.numbers[row] = group
            sums, counts = self.state.group_sums.copy(), self.state.group_keys.copy()
            if build.core.key_groups:
                sums[group] += value
                counts[group] += 1
            last = self.numbers if row < build.page_rows - 1 else np.zeros_like(self.numbers)
            self.state = dataclasses.replace(self.state, length=self.state.length + 1, group_keys=counts,
                                             group_sums=sums, last_groups=last)

    def look(self) -> None:
        """Look at each group and slice."""
        core = self.build.core
        for group in range(max(1, core.key_groups)):
            for n in range(core.head_dim // self.build.bus_bytes):
                self.glance(group, n)

    def glance(self, group: int = 0, n: int = 0) -> None:
        """Look at one group and slice."""
        build, core, state = self.build, self.build.core, self.state
        seen = {"complete": 1, "live": 1, "generation": state.generation, "length": state.length,
                  "table_address": state.table_address}
        if core.group_bits:
            numbers = sum(int(group) << core.group_bits * n for n, group in enumerate(self.numbers))
            seen |= {"groups": groups_fields(state.groups, core), "numbers": numbers}
        if core.key_groups:
            part = slice(n * build.bus_bytes, (n + 1) * build.bus_bytes)
            seen |= {"keys": int(state.group_keys[group]), "sums": state.group_sums[group, part].tolist()}
        self.steps.append({"step": LOOK, "add": {"group": group, "slice": n}})
        self.seen.append(seen)

    def write(self) -> None:
        """Have it given."""
        self.steps.append({"step": WRITE})
        self.given += self._beats()

    def _beats(self) -> list[int]:
        image = self.form.encode(self.state).reshape(-1, self.build.bus_bytes)
        return [int.from_bytes(beat.tobytes(), "little") for beat in image]


def build_of(name: str, bus_bytes: int, page_rows: int, **core: object) -> MemoryBuild:
    """Return a build of some length that is no power of two."""
    return MemoryBuild(core=preset("small", max_seq_len=60000, **core).replace(name=name), bus_bytes=bus_bytes,
                       page_rows=page_rows, slots=2)


BUILDS = {build.core.name: build for build in (
    build_of("record-none", 16, 16, head_dim=32, key_groups=0),
    build_of("record-one", 8, 16, head_dim=16, key_groups=1),
    build_of("record-one-slice", 16, 64, head_dim=16, key_groups=1),
    build_of("record-two", 8, 32, head_dim=24, key_groups=2),
    build_of("record-four", 16, 64, head_dim=32, key_groups=4),
    build_of("record-eight", 8, 64, head_dim=16, key_groups=8),
    build_of("record-eight-wide", 16, 16, head_dim=48, key_groups=8))}
QUICK = ("record-four", "record-eight-wide")


@stalls
@pytest.mark.parametrize("build", [build if name in QUICK else pytest.param(build, marks=pytest.mark.slow)
                                   for name, build in BUILDS.items()], ids=BUILDS)
def test_sequence_record(check, stall, build):
    rng = np.random.default_rng(SEED)
    core, rows = build.core, build.page_rows
    steps = Steps(build, rng)
    form = StateFormat(build)
    bits = core.group_bits
    groups = [KeyGroups(tuple(rng.integers(0, core.head_dim, n).tolist()), tuple(rng.integers(-128, 128, n).tolist()))
              for n in (bits, max(0, bits - 1), 0, *[bits] * 8)]
    # Full pages, one behind the other, and none; a length that no build has is seen as it is.
    for length, added, of in ((3 * rows - 2, 1, groups[0]), (2 * rows, 1, groups[1]), (rows - 1, 1, groups[0]),
                              (59999 - rows, rows + 1, groups[0]), (rows, rows, groups[0])):
        steps.read(random_state(rng, build, length, of))
        steps.look()
        steps.add(added)
        steps.write()
        steps.add(1)
        steps.look()
        steps.write()
    # As many keys as leave the page at another row each time.
    for _ in range(4):
        steps.add(rows - 1)
        steps.glance()
    for of in groups[:3]:
        steps.read(form.empty(7, 64))
        if bits:
            steps.take_groups(of)
        steps.add(2)
        steps.look()
        steps.write()
    if bits:
        steps.read(form.empty(7, 64))
        for of in groups[3:]:
            steps.take_groups(of)
            steps.glance()
    steps.read(random_state(rng, build, 5, groups[0]))
    steps.state = dataclasses.replace(steps.state, length=(1 << 31) + 5)
    steps.steps[-form.state_bytes // build.bus_bytes:] = [{"step": BEAT, "beat": beat} for beat in steps._beats()]
    steps.look()
    steps.add(1)
    steps.glance()
    check(RecordBench(build), core.name, {"steps": Offer(steps.steps)},
          {"seen": Expect(steps.seen), "o": Expect(steps.given)})
