"""The first half of a tile, from memory to scores, against the golden model, under the stall matrix."""

import dataclasses

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.attention import HeadParameters
from latte.golden.memory.jobs import Tile
from latte.golden.pruned_mass import NO_COMPENSATION
from latte.golden.quantizer import mass_code
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.common.primitives import delay
from latte.rtl.memory.spill_store import spill_bytes
from latte.rtl.memory.tile_front import TileFront, failure_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.memory_model import MemoryModel, connect_memory, word_layout
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import BASE, EVERY_KIND, Cache, complete_in, first_page, master, read_beats

stalls = pytest.mark.parametrize("stall", STALLS)
FINE = {"page_unmapped": 0, "memory_error": 0}
TWO_SCORES_A_BEAT = dataclasses.replace(EVERY_KIND, core=EVERY_KIND.core.replace(name="two-scores"), bus_bytes=16)
READS = ("table", "groups", "high", "key_high", "key_low", "spilled")


class FrontBench(wiring.Component):
    """The front half with a memory behind it; a tile ends with its scores.

    Parameters
    ----------
    cache, parameters

    Members
    -------
    verdict_valid, verdict : Out
        Why each tile failed.
    read_valid, read : Out
        Beats that each tile has read.
    """

    def __init__(self, cache, parameters):
        self.cache, self.build, self.parameters = cache, cache.build, parameters
        self.front = TileFront(self.build, parameters)
        masses = [f"masses_{n}" for n in range(self.build.tile_rows) if self.build.core.key_groups]
        self.names = ("row", "q", "scores", *masses)
        super().__init__({"overflow": Out(1), "fill": In(stream.Signature(word_layout(parameters))),
                          "verdict_valid": Out(1), "verdict": Out(failure_layout()),
                          "read_valid": Out(1), "read": Out(32),
                          **{name: self.front.signature.members[name] for name in ("tile", *self.names)}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        build, memory = self.build, self.cache.memory
        m.submodules.front = front = self.front
        words = len(memory.image.data) // build.bus_bytes
        slow = MemoryModel(self.parameters, words + spill_bytes(build) * build.tile_rows // build.bus_bytes, base=BASE)
        reads, writes = connect_memory(m, slow, 1)
        for name in self.names:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(front, name))
        wiring.connect(m, front.request, reads.request_0)
        wiring.connect(m, front.burst, writes.burst)
        wiring.connect(m, front.beat, writes.beat)
        wiring.connect(m, wiring.flipped(self.fill), slow.fill)
        last = self.scores.valid & self.scores.ready & self.scores.payload.last
        ended, before = delay(m, front.end | front.failed, 2, name="ended"), Signal.like(slow.read)
        complete_in(m, front.complete, self.tile.valid & self.tile.ready)
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += before.eq(slow.read)
        m.d.comb += [
            front.first_page.eq(first_page(memory)), front.spill_address.eq(BASE + words * build.bus_bytes),
            front.write_idle.eq(writes.idle), front.write_answered.eq(writes.answered),
            front.write_fault.eq(writes.fault), self.overflow.eq(front.overflow),
            front.taken.eq(reads.taken_0), front.data.eq(reads.data), front.fault.eq(reads.fault),
            front.tile.payload.eq(self.tile.payload), front.tile.valid.eq(self.tile.valid & slow.filled),
            self.tile.ready.eq(front.tile.ready & slow.filled), front.end.eq(delay(m, last, 3, name="last")),
            self.verdict_valid.eq(ended), self.verdict.eq(front.failure),
            self.read_valid.eq(ended), self.read.eq(slow.read - before),
        ]
        return m


def merged_scores(tile: Tile, build) -> list[dict]:
    """Return the scores of a tile's survivors as they are merged."""
    last_page = (tile.keys - 1) // build.page_rows * build.page_rows
    of: dict[int, dict[int, int]] = {}
    for row, trace in enumerate(tile.rows):
        for place, score in zip(trace.selection.kept.tolist(), trace.score.tolist(), strict=True):
            of.setdefault(place, {})[row] = score
    places = sorted(of, key=lambda place: (place < last_page, place))
    return [{"place": place, "rows": sum(1 << row for row in of[place]),
             "values": [of[place].get(row) for row in range(build.tile_rows)], "last": place == places[-1]}
            for place in places]


def run(check, cache: Cache, q, entries, tiles, verdicts, words) -> None:
    """Offer tiles and compare scores, masses, verdicts and what was read of those that did not fail."""
    build, parameters = cache.build, master(cache.build)
    wanted = {"scores": [item for tile in tiles for item in merged_scores(tile, build)], "verdict": verdicts,
              "read": [read_beats(tile, build, *READS) for tile in tiles] or [None] * len(verdicts)}
    heads = iter(entries)
    masses = {f"masses_{n}": [] for n in range(build.tile_rows) if build.core.key_groups}
    for tile in tiles:
        for n, row in enumerate(tile.rows):
            if next(heads).gains != NO_COMPENSATION:
                mass = row.selection.mass.tolist()
                masses[f"masses_{n}"] += [{"mass": one, "last": at == len(mass) - 1} for at, one in enumerate(mass)]
    check(FrontBench(cache, parameters), f"tile-front-{build.core.name}",
          {"fill": Offer(words), **{name: Offer(items) for name, items in cache.offers(q, entries).items()}},
          {name: Expect(items) for name, items in (wanted | masses).items()}, quiet=["overflow"], patience=20_000)


@stalls
def test_tiles(check):
    """Of a partly filled last page; tiles that are full and one that is not; some rows spill, and some scores."""
    build, rng = EVERY_KIND, np.random.default_rng(SEED)
    cache, q, entries = Cache.random(rng, build, 5 * build.page_rows + 7, 2 * build.tile_rows + 1)
    tiles = cache.ask(q, entries)
    selections = [row.selection for tile in tiles for row in tile.rows]
    assert any(selection.spilled for selection in selections)
    assert any(selection.spilled_survivors for selection in selections)
    run(check, cache, q, entries, tiles, [FINE] * len(tiles), cache.words())


@stalls
def test_sequences_of_any_length(check):
    """Of one key, whole pages, and one more; of some many tiles, so that tables of weights are used again."""
    build, rng = EVERY_KIND, np.random.default_rng(SEED)
    page = build.page_rows
    for keys, tiles in ((1, 2), (2, 5), (page, 2), (2 * page + 1, 5), (3 * page - 1, 2), (6 * page, 2)):
        cache, q, entries = Cache.random(rng, build, keys, tiles * build.tile_rows - keys % 2)
        run(check, cache, q, entries, cache.ask(q, entries), [FINE] * tiles, cache.words())


@stalls
def test_a_page_without_entry_and_a_table_that_cannot_be_read(check):
    """The tile fails before it streams anything; its rows and queries are taken."""
    build, rng = EVERY_KIND, np.random.default_rng(SEED)
    cache, q, entries = Cache.random(rng, build, 100, 5)
    words = cache.words()
    table = cache.memory.state(cache.handle).table_address // build.bus_bytes
    words[table + 1]["data"] &= 0xffffffff
    run(check, cache, q, entries, [], [FINE | {"page_unmapped": 1}] * 2, words)
    words = cache.words(broken=(table + 2,))
    run(check, cache, q, entries, [], [FINE | {"memory_error": 1}] * 2, words)


@stalls
@pytest.mark.parametrize("build", [EVERY_KIND, TWO_SCORES_A_BEAT], ids=lambda build: build.core.name)
def test_the_last_survivor_was_spilled(build, check):
    """Of as many equal keys as the list holds and one that is a little smaller, and goes when the mass is known."""
    keys, d = build.candidates + 1, build.core.head_dim
    k = np.full((keys, d), 48, np.int8)
    k[(keys - 1) // build.page_rows * build.page_rows - 1, :4] = 32
    entries = [HeadParameters(Threshold(ThresholdKind.MASS, (mass_code(3.0),) * LENGTH_OCTAVES), 40000, 17)
               for _ in range(build.tile_rows)]
    cache = Cache(build, k, k, entries[0])
    q = np.full((build.tile_rows, d), 16, np.int8)
    tiles = cache.ask(q, entries)
    for row in (row for tile in tiles for row in tile.rows):
        assert row.selection.spilled_survivors == len(row.selection.kept) == build.candidates
    run(check, cache, q, entries, tiles, [FINE], cache.words())
