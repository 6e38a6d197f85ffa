"""Entries of the register file as the rows of a tile need them, under the stall matrix."""

import numpy as np
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.attention import HeadParameters
from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.build import MemoryBuild
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.entry_words import entry_words, pack_entry, parameter_layout
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.payloads import code_bits
from latte.rtl.memory.entry_reader import EntryReader, entry_ask_layout
from latte.rtl.memory.tile_payloads import tile_row_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.core_programs import random_entry
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import EVERY_KIND, LEAN
from tests.cocotb.test_sequence_record import groups_fields

HEADS = 70
"""More than one group of the register file's flags."""


def build_of(build: MemoryBuild, name: str, **core: object) -> MemoryBuild:
    """Return a build with more heads."""
    return MemoryBuild(core=build.core.replace(name=f"entries-{name}", heads=HEADS, **core), page_rows=build.page_rows,
                       bus_bytes=build.bus_bytes, slots=2)


BUILDS = {build.core.name: build for build in (
    build_of(EVERY_KIND, "grouped", key_groups=8), build_of(LEAN, "lean"),
    build_of(EVERY_KIND, "one-code", threshold_kinds=("relative",), key_groups=1))}


class EntryBench(wiring.Component):
    """A register file that is written, and asked when so many words were; writes wait for so many entries.

    Parameters
    ----------
    build

    Members
    -------
    parameter, ask : In(stream)
    o : Out(stream)
    look_up : Out
        A push: each word that is looked up.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.registers, self.reader = HeadRegisters(build.core), EntryReader(build)
        write = data.StructLayout({"write": parameter_layout(), "entries": COUNT_BITS})
        ask = data.StructLayout({"ask": entry_ask_layout(build), "writes": COUNT_BITS})
        super().__init__({"parameter": In(stream.Signature(write)), "ask": In(stream.Signature(ask)),
                          "o": self.reader.signature.members["o"], "look_up_valid": Out(1),
                          "look_up": Out(data.StructLayout({"head": COUNT_BITS, "index": self.registers.index.shape()}
                                                           ))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.registers, m.submodules.reader = registers, reader = self.registers, self.reader
        wiring.connect(m, reader.o, wiring.flipped(self.o))
        writes, settled, wait, entries = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(2), Signal(COUNT_BITS)
        write, ask = self.parameter.payload, self.ask.payload
        for outer, inner, payload, opens in (
                (self.parameter, registers.parameter, write.write, write.entries <= entries),
                (self.ask, reader.ask, ask.ask, ask.writes <= settled)):
            m.d.comb += [inner.payload.eq(payload), inner.valid.eq(outer.valid & opens),
                         outer.ready.eq(inner.ready & opens)]
        m.d.comb += [registers.look_up.eq(reader.look_up), registers.head.eq(reader.head),
                     registers.index.eq(reader.index), reader.known.eq(registers.known),
                     reader.word.eq(registers.word), self.look_up_valid.eq(reader.look_up),
                     self.look_up.head.eq(reader.head), self.look_up.index.eq(reader.index)]
        m.d.sync += [entries.eq(entries + (self.o.valid & self.o.ready)), wait.eq(Mux(wait == 0, 0, wait - 1))]
        with m.If(self.parameter.valid & self.parameter.ready):
            m.d.sync += [writes.eq(writes + 1), wait.eq(2)]
        with m.Elif(wait == 0):
            m.d.sync += settled.eq(writes)
        return m


def expected(entry: HeadParameters | None, octave: int, build: MemoryBuild) -> dict:
    """Return what an entry says to a row of that octave."""
    if entry is None:
        return {"known": 0}
    core = build.core
    code = entry.threshold.codes[max(1, octave) if core.code_octaves else 0]
    row = {"code": code & (1 << code_bits(core)) - 1,
           "kind": list(ThresholdKind).index(entry.threshold.kind), "group_bits": len(entry.groups.elements),
           "scale_mantissa": entry.scale_code[0], "scale_shift": entry.scale_code[1],
           "denominator_gain": entry.gains.denominator, "mean_gain": entry.gains.mean}
    known = {name: value for name, value in row.items() if name in tile_row_layout(build).members}
    groups = {"groups": groups_fields(entry.groups, core)} if core.group_bits else {}
    return {"known": 1, "row": known, **groups}


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_entry_reader(check, stall, build):
    rng, core = np.random.default_rng(SEED), build.core
    entries: dict[int, HeadParameters] = {}
    writes, asks, wanted, looked_up = [], [], [], []
    names = list(entry_words(core))
    before = next(n for n, name in enumerate(names) if name in ("tau", *(f"code_{o}" for o in core.code_octaves)))

    def ask(head: int, octave: int) -> None:
        asks.append({"ask": {"head": head, "octave": octave}, "writes": len(writes)})
        wanted.append(expected(entries.get(head), octave, build))
        code = before + (max(1, octave) - 1 if core.code_octaves else 0)
        looked_up.extend({"head": head % (1 << COUNT_BITS), "index": index} for index in (*range(before), code))

    octaves = max(1, core.code_octaves.stop)
    for head in (0, HEADS - 1, 64, 1, *rng.integers(HEADS, size=20).tolist()):
        ask(head, int(rng.integers(octaves)))
        entry = random_entry(rng, core)
        words = list(pack_entry(head, entry, core))
        whole = rng.random() < 0.8
        writes += [{"write": word, "entries": len(asks)} for word in (words if whole else words[:-1])]
        entries.pop(head, None)
        if whole:
            entries[head] = entry
        for octave in range(octaves):
            ask(head, octave)
        for other in (HEADS, 1 << COUNT_BITS | head, int(rng.integers(HEADS)), head ^ 1 << int(rng.integers(16))):
            ask(other, int(rng.integers(octaves)))
    check(EntryBench(build), core.name, {"parameter": Offer(writes), "ask": Offer(asks)},
          {"o": Expect(wanted), "look_up": Expect(looked_up)})
