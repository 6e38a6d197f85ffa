"""Addresses of rows by a page table as it was read, against the golden format of a page, under the stall matrix."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.page_format import PageFormat
from latte.rtl.common.primitives import delay
from latte.rtl.memory.page_table import PagePart, PageTable, look_up_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE

stalls = pytest.mark.parametrize("stall", STALLS)

RESTART, BEAT, LOOK = range(3)
BUILD = MemoryBuild(core=WIDE.replace(name="short-bus", max_seq_len=600, key_groups=8), page_rows=16, bus_bytes=8)
BROAD = MemoryBuild(core=WIDE.replace(name="broad-bus", max_seq_len=3000, key_groups=2, estimate_bits=3), page_rows=64)


class TableBench(wiring.Component):
    """A page table with what is done to it in one order.

    Parameters
    ----------
    build, from_middle
    """

    def __init__(self, build: MemoryBuild, from_middle: bool) -> None:
        self.table = PageTable(build, from_middle=from_middle)
        members = self.table.signature.members
        self.standing = [name for name in ("first_page", "first", "pages") if name in members]
        step = {"what": 2, "beat": members["beat"].shape, "look_up": look_up_layout(build),
                **{name: members[name].shape for name in self.standing}}
        super().__init__({"steps": In(stream.Signature(data.StructLayout(step))), "found_valid": Out(1),
                          "found": Out(data.StructLayout({"address": members["address"].shape, "unmapped": 1}))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.table = table = self.table
        step, latency = self.steps.payload, table.latency
        looks = self.steps.valid & (step.what == LOOK)
        standing = {name: Signal.like(step[name], name=name) for name in self.standing}
        m.d.comb += [
            # A table is read when nothing is looked up.
            self.steps.ready.eq((step.what == LOOK) | ~self._under_way(m, looks, latency)),
            table.restart.eq(self.steps.valid & self.steps.ready & (step.what == RESTART)),
            table.beat_valid.eq(self.steps.valid & self.steps.ready & (step.what == BEAT)),
            table.beat.eq(step.beat), table.look_up.eq(step.look_up),
            self.found.address.eq(table.address), self.found.unmapped.eq(table.unmapped),
        ]
        with m.If(table.restart):
            m.d.sync += [held.eq(step[name]) for name, held in standing.items()]
            m.d.comb += [getattr(table, name).eq(step[name]) for name in self.standing]
        with m.Else():
            m.d.comb += [getattr(table, name).eq(held) for name, held in standing.items()]
        return m

    def _under_way(self, m: Module, looks: Signal, latency: int) -> Signal:
        """Return whether an address is on its way, and give those that arrive."""
        under_way = []
        for _ in range(latency):
            looks = delay(m, looks, 1, name=f"look_{len(under_way)}")
            under_way.append(looks)
        m.d.comb += self.found_valid.eq(looks)
        busy = Signal()
        m.d.comb += busy.eq(sum(under_way) != 0)
        return busy


@stalls
@pytest.mark.parametrize(("build", "from_middle"), [(BUILD, True), (BUILD, False), pytest.param(
    BROAD, True, marks=pytest.mark.slow)], ids=["from-middle", "whole", "broad-bus"])
def test_rows_are_found(build, from_middle, stall, check):
    """In pages of any number, from any address on; a page without entry is told if it is one of those that are read."""
    rng, form = random.Random(SEED), PageFormat(build)
    entries = build.bus_bytes // ENTRY_BYTES
    sizes = {PagePart.STREAM: (form.groups_offset, build.bus_bytes), PagePart.HIGH: (form.high_offset, form.high_bytes),
             PagePart.LOW: (form.low_offset, form.low_bytes), PagePart.VALUE: (0, form.value_bytes)}
    steps, found = [], []
    for _ in range(60):
        pages = rng.choice([1, build.page_limit, rng.randint(1, build.page_limit)])
        first = rng.randrange(pages) if from_middle else 0
        table = [rng.choice([1, (1 << 32) - 1, rng.randint(1, 1 << 20), rng.randrange(1, 1 << 32)])
                 for _ in range(ceil_div(build.page_limit, entries) * entries)]
        for page in range(len(table)):
            # What lies in front of the first page and behind the last is not looked at.
            if not first <= page < pages and rng.random() < 0.5:
                table[page] = 0
        if rng.getrandbits(1):
            table[rng.randrange(first, pages)] = 0
        first_page, beats = rng.getrandbits(64), range(first // entries, ceil_div(pages, entries))
        steps.append({"what": RESTART, "first_page": first_page, "pages": pages}
                     | ({"first": first} if from_middle else {}))
        steps += [{"what": BEAT, "beat": sum(table[beat * entries + n] << 32 * n for n in range(entries))}
                  for beat in beats]
        unmapped = 0 in table[first:pages]
        for _ in range(30):
            page = rng.choice([first, pages - 1, rng.randrange(first, pages)])
            part, row = rng.choice(list(PagePart)), rng.choice([0, build.page_rows - 1, rng.randrange(build.page_rows)])
            offset, size = sizes[part]
            steps.append({"what": LOOK, "look_up": {"part": part, "page": page, "row": row}})
            place = first_page + (table[page] - 1) * form.page_bytes + offset + row * size
            found.append({"address": place % (1 << 64) if table[page] else None, "unmapped": unmapped})
    check(TableBench(build, from_middle), f"page-table-{build.core.name}-{'middle' if from_middle else 'whole'}",
          {"steps": Offer(steps)}, {"found": Expect(found)})
