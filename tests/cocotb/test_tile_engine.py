"""A tile from memory to outputs, against the golden model, under the stall matrix."""

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.jobs import Tile
from latte.rtl.common.primitives import delay
from latte.rtl.memory.spill_store import spill_bytes
from latte.rtl.memory.tile_engine import TileEngine
from latte.rtl.memory.tile_front import failure_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.memory_model import MemoryModel, connect_memory, word_layout
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import BASE, EVERY_KIND, LEAN, Cache, complete_in, first_page, master, read_beats

stalls = pytest.mark.parametrize("stall", STALLS)
builds = pytest.mark.parametrize("build", [EVERY_KIND, pytest.param(LEAN, marks=pytest.mark.slow)],
                                 ids=lambda build: build.core.name)
READS = ("table", "groups", "high", "key_high", "key_low", "values", "spilled")


class EngineBench(wiring.Component):
    """A tile engine with a memory behind it.

    Parameters
    ----------
    build, parameters
    words
        That are filled.
    first_page

    Members
    -------
    verdict_valid, verdict : Out
        Why each tile failed; with its ``counts``: beats and values that were read.
    """

    def __init__(self, build, parameters, words, first_page):
        self.build, self.parameters, self.words, self.first_page = build, parameters, words, first_page
        self.engine = TileEngine(build, parameters)
        self.names = ("row", "q", "o", *(["sums"] if build.core.key_groups else []))
        counts = data.StructLayout({"beats": 32, "values": 32})
        super().__init__({"overflow": Out(1), "fill": In(stream.Signature(word_layout(parameters))),
                          "verdict_valid": Out(1), "verdict": Out(failure_layout()),
                          "counts_valid": Out(1), "counts": Out(counts),
                          **{name: self.engine.signature.members[name] for name in ("tile", *self.names)}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        build = self.build
        m.submodules.engine = engine = self.engine
        words = self.words + spill_bytes(build) * build.tile_rows // build.bus_bytes
        slow = MemoryModel(self.parameters, words, base=BASE)
        reads, writes = connect_memory(m, slow, 1)
        for name in self.names:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(engine, name))
        wiring.connect(m, engine.request, reads.request_0)
        wiring.connect(m, engine.burst, writes.burst)
        wiring.connect(m, engine.beat, writes.beat)
        wiring.connect(m, wiring.flipped(self.fill), slow.fill)
        begins, beats, values = Signal(), Signal.like(slow.read), Signal(32)
        m.d.comb += begins.eq(self.tile.valid & self.tile.ready)
        m.d.sync += values.eq(values + engine.events.value)
        with m.If(begins):
            m.d.sync += [beats.eq(slow.read), values.eq(0)]
        complete_in(m, engine.complete, begins)
        ended = engine.ended & ~delay(m, engine.ended, 1, name="ended")
        # Nothing ends at reset.
        ran = Signal()
        with m.If(begins):
            m.d.sync += ran.eq(1)
        m.d.comb += [
            engine.first_page.eq(self.first_page), engine.spill_address.eq(BASE + self.words * build.bus_bytes),
            engine.write_idle.eq(writes.idle), engine.write_answered.eq(writes.answered),
            engine.write_fault.eq(writes.fault), self.overflow.eq(engine.overflow),
            engine.taken.eq(reads.taken_0), engine.data.eq(reads.data), engine.fault.eq(reads.fault),
            engine.tile.payload.eq(self.tile.payload), engine.tile.valid.eq(self.tile.valid & slow.filled),
            self.tile.ready.eq(engine.tile.ready & slow.filled),
            self.verdict_valid.eq(ended & ran), self.verdict.eq(engine.failure), self.counts_valid.eq(ended & ran),
            self.counts.beats.eq(slow.read - beats), self.counts.values.eq(values),
        ]
        return m


def expected_outputs(tile: Tile, lanes: int) -> list[dict]:
    """Return the beats of a tile's outputs."""
    rows = [row.output.reshape(-1, lanes).tolist() for row in tile.rows]
    return [{"data": beat, "row_last": n == len(row) - 1, "job_last": n == len(row) - 1 and row is rows[-1]}
            for row in rows for n, beat in enumerate(row)]


def weighty(tile: Tile) -> set[int]:
    """Return the places of the keys whose values a tile needs."""
    return set().union(*(row.selection.kept[row.weight > 0].tolist() for row in tile.rows))


def check_tiles(check, cache: Cache, q, entries, tiles: list[Tile], broken: tuple[int, ...] = (), fails: int = -1
                ) -> None:
    """Ask a query of each head; of a tile that fails, only that it does is compared, and what it reads."""
    build, words, offers = cache.build, cache.words(broken), cache.offers(q, entries)
    if build.core.key_groups:
        offers["sums"] = cache.sums()
        offers["tile"][0]["sums"] = len(offers["sums"])
    wanted: dict[str, list] = {"o": [], "verdict": [], "counts": []}
    for n, tile in enumerate(tiles):
        outputs = expected_outputs(tile, build.core.normalizer_lanes)
        wanted["o"] += [{"row_last": beat["row_last"]} for beat in outputs] if n == fails else outputs
        wanted["verdict"].append({"page_unmapped": 0, "memory_error": n == fails})
        wanted["counts"].append({"beats": read_beats(tile, build, *READS), "values": len(weighty(tile))})
    check(EngineBench(build, master(build), len(words), first_page(cache.memory)), f"tile-engine-{build.core.name}",
          {"fill": Offer(words), **{name: Offer(items) for name, items in offers.items()}},
          {name: Expect(items) for name, items in wanted.items()}, quiet=["overflow"], patience=20_000)


@stalls
@builds
def test_tiles(build, check):
    """Tiles that are full and one that is not; the memory is read as often as the golden model says."""
    rng = np.random.default_rng(SEED)
    cache, q, entries = Cache.random(rng, build, 5 * build.page_rows + 7, 2 * build.tile_rows + 1)
    check_tiles(check, cache, q, entries, cache.ask(q, entries))


@stalls
def test_a_value_that_cannot_be_read(check):
    """The tile that needs it says so; the one before and the one behind it are right."""
    build, rng = EVERY_KIND, np.random.default_rng(SEED)
    cache, q, entries = Cache.random(rng, build, 40, 3 * build.tile_rows)
    tiles = cache.ask(q, entries)
    place = min(weighty(tiles[1]) - weighty(tiles[0]) - weighty(tiles[2]))
    page = cache.memory.page_of(cache.handle, place // build.page_rows)
    address = cache.memory.page_address(page) + place % build.page_rows * build.core.head_dim
    check_tiles(check, cache, q, entries, tiles, (address // build.bus_bytes,), 1)
