"""The first half of a tile, from memory to scores, against the golden model, under the stall matrix."""

import dataclasses

import numpy as np
import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.attention import HeadParameters
from latte.golden.config import preset
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import CacheJob, JobKind, Tile, carry_out
from latte.golden.pruned_mass import NO_COMPENSATION, Gains
from latte.golden.quantizer import mass_code
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.common.primitives import delay, next_modulo
from latte.rtl.memory.tile_front import TileFront, failure_layout
from latte.rtl.wide.weight_pipeline import FineWeightPipeline
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE
from tests.cocotb.memory_before import connect_memory, word_layout

stalls = pytest.mark.parametrize("stall", STALLS)


class FrontBench(wiring.Component):
    """The front half with a memory before it and a pipeline that weighs gaps; a tile ends with its scores.

    Parameters
    ----------
    build, parameters, words
    first_page
    """

    def __init__(self, build, parameters, words, first_page):
        self.build, self.parameters, self.words, self.first_page = build, parameters, words, first_page
        self.front = TileFront(build, parameters)
        names = ("tile", "row", "q", "scores", *(f"masses_{n}" for n in range(build.tile_rows) if build.core.key_groups))
        super().__init__({"fill": In(stream.Signature(word_layout(parameters))),
                          "verdict_valid": Out(1), "verdict": Out(failure_layout()), "beats_valid": Out(1),
                          "beats": Out(32),
                          **{name: self.front.signature.members[name] for name in names}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        core, rows = self.build.core, self.build.tile_rows
        m.submodules.front = front = self.front
        engine, slow = connect_memory(m, self.parameters, self.words, 1)
        m.submodules.pipeline = pipeline = FineWeightPipeline(core)
        for name in self.signature.members:
            if hasattr(front, name) and name != "tile":
                wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(front, name))
        wiring.connect(m, front.request, engine.request_0)
        wiring.connect(m, wiring.flipped(self.fill), slow.fill)
        turn, asked = Signal(range(max(2, rows))), Signal(rows)
        m.d.sync += turn.eq(next_modulo(turn, rows))
        for n in range(rows):
            ask = getattr(front, f"ask_{n}")
            m.d.comb += [ask.ready.eq(turn == n), asked[n].eq(ask.valid & ask.ready)]
            with m.If(turn == n):
                m.d.comb += [pipeline.delta.eq(ask.payload.gap << core.estimate_shift),
                             pipeline.scale_mantissa.eq(ask.payload.mantissa),
                             pipeline.scale_shift.eq(ask.payload.shift)]
        last = self.scores.valid & self.scores.ready & self.scores.payload.last
        ended = delay(m, front.end | front.failed, 2, name="ended")
        begun = Signal.like(slow.beats)
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += begun.eq(slow.beats)
        m.d.comb += [
            front.first_page.eq(self.first_page), front.taken.eq(engine.taken_0), front.data.eq(engine.data),
            front.fault.eq(engine.fault), front.answer.eq(pipeline.fine_weight),
            front.answer_valid.eq(delay(m, asked, pipeline.latency, name="asked")),
            front.tile.payload.eq(self.tile.payload), front.tile.valid.eq(self.tile.valid & slow.filled),
            self.tile.ready.eq(front.tile.ready), front.end.eq(delay(m, last, 3, name="last")),
            self.verdict_valid.eq(ended), self.verdict.eq(front.failure),
            self.beats_valid.eq(ended), self.beats.eq(slow.beats - begun),
        ]
        return m


@dataclasses.dataclass
class Cache:
    """A memory with a sequence in it.

    Parameters
    ----------
    memory, handle
    groups
    """

    memory: CacheMemory
    handle: object
    groups: KeyGroups


def filled_cache(build, k, v, groups=ONE_GROUP, entry=None, gap=3) -> Cache:
    """Return a memory whose sequence's pages are not one behind the other."""
    memory = CacheMemory(build, len(k) // build.page_rows * 2 + 2 * gap)
    other, handle = memory.open(), memory.open()
    for keys in range(build.page_rows, len(k) + build.page_rows, build.page_rows):
        memory.reserve(handle, min(keys, len(k)))
        if keys // build.page_rows % gap == 0:
            memory.reserve(other, min(keys // gap, build.core.max_seq_len))
    head = entry or HeadParameters(Threshold(ThresholdKind.RELATIVE, (1,) * LENGTH_OCTAVES), 40000, 14,
                                   NO_COMPENSATION, groups)
    outcome = carry_out(CacheJob(JobKind.APPEND, handle, 0, np.zeros((0, 0, k.shape[1]), np.int8), k, v), memory,
                        {0: head})
    assert outcome.status is None
    return Cache(memory, handle, groups)


def asked(cache: Cache, q: np.ndarray, entries: list[HeadParameters]) -> list[Tile]:
    """Return what the golden model makes of a query of each head."""
    empty = np.zeros((0, q.shape[-1]), np.int8)
    outcome = carry_out(CacheJob(JobKind.DECODE, cache.handle, 0, q[:, None], empty, empty), cache.memory,
                        dict(enumerate(entries)))
    assert outcome.status is None
    return outcome.tiles


def row_fields(entry: HeadParameters, keys: int) -> dict[str, int]:
    """Return the fields of a `tile_row_layout`."""
    return {"keys": keys, "code": entry.threshold.codes[keys.bit_length() - 1],
            "kind": list(ThresholdKind).index(entry.threshold.kind), "group_bits": len(entry.groups.elements),
            "scale_mantissa": entry.scale_code[0], "scale_shift": entry.scale_code[1],
            "denominator_gain": entry.gains.denominator, "mean_gain": entry.gains.mean}


def offers_of(cache: Cache, q: np.ndarray, entries: list[HeadParameters], keys: int) -> dict[str, list]:
    """Return what the engine is offered for a query of each head."""
    build = cache.memory.build
    from latte.rtl.memory.tile_payloads import tile_row_layout
    tiles, rows = [], []
    for first in range(0, len(q), build.tile_rows):
        tiles.append({"rows": len(q[first:first + build.tile_rows]), "keys": keys,
                      "table_address": cache.memory.state(cache.handle).table_address})
    known = tile_row_layout(build).members
    rows = [{name: value for name, value in row_fields(entry, keys).items() if name in known} for entry in entries]
    return {"tile": tiles, "row": rows, "q": q.reshape(-1, build.bus_bytes).tolist()}


def merged_scores(tile: Tile, build) -> list[dict]:
    """Return the scores of a tile as they are merged."""
    last_page = (tile.keys - 1) // build.page_rows * build.page_rows
    of = {}
    for row, trace in enumerate(tile.rows):
        for place, score in zip(trace.selection.kept.tolist(), trace.score.tolist(), strict=True):
            of.setdefault(place, {})[row] = score
    places = sorted(of, key=lambda place: (place < last_page, place))
    return [{"place": place, "rows": sum(1 << row for row in of[place]),
             "values": [of[place].get(row) for row in range(build.tile_rows)], "last": place == places[-1]}
            for place in places]


def words_of(cache: Cache, broken: tuple[int, ...] = ()) -> list[dict]:
    """Return the memory's words."""
    beat = cache.memory.build.bus_bytes
    image = cache.memory.image.data
    padded = np.pad(image, (0, -len(image) % beat)).reshape(-1, beat)
    return [{"data": int.from_bytes(word.tobytes(), "little"), "broken": n in broken} for n, word in enumerate(padded)]


def build_of(core, name, **sizes) -> MemoryBuild:
    return MemoryBuild(core=core.replace(name=name, max_seq_len=4096), **sizes)


EVERY_KIND = build_of(WIDE.replace(threshold_kinds=("relative", "mass", "absolute"), key_groups=4, head_dim=32,
                                   dim_lanes=32, heads=16), "front-every-kind", page_rows=16, candidates=256, tile_rows=3, slots=2,
                      bus_bytes=8)


def random_entries(rng, build, groups, count):
    """Return entries of all kinds."""
    entries = []
    for n in range(count):
        kind = ThresholdKind(build.core.threshold_kinds[n % len(build.core.threshold_kinds)])
        code = {"relative": int(rng.integers(1, 300)), "absolute": int(rng.integers(0, 400)),
                "mass": mass_code(float(rng.uniform(1.5, 4)))}[kind]
        gains = Gains(70, 60) if n % 2 and build.core.key_groups else NO_COMPENSATION
        entries.append(HeadParameters(Threshold(kind, (code,) * LENGTH_OCTAVES), 40000, 15 + n % 2, gains, groups))
    return entries


@stalls
def test_tiles(check, stall):
    build = EVERY_KIND
    rng = np.random.default_rng(SEED)
    parameters = MasterParameters(data_bits=8 * build.bus_bytes, burst_beats=16, reads_in_flight=8)
    d = build.core.head_dim
    keys = 150
    groups = KeyGroups((3, 7), (0, 5))
    entries = random_entries(rng, build, groups, 7)
    k = rng.integers(-100, 100, (keys, d)).astype(np.int8)
    cache = filled_cache(build, k, rng.integers(-128, 128, (keys, d)).astype(np.int8), groups, entries[0])
    q = rng.integers(-100, 100, (7, d)).astype(np.int8)
    words = words_of(cache)
    tiles = asked(cache, q, entries)
    offers = offers_of(cache, q, entries, keys)
    scores = [item for tile in tiles for item in merged_scores(tile, build)]
    masses = {f"masses_{n}": [] for n in range(build.tile_rows)}
    for tile in tiles:
        for n, row in enumerate(tile.rows):
            mass = row.selection.mass
            if row.selection.mass.any() or entries[0] and entries[tiles.index(tile) * 3 + n].gains != NO_COMPENSATION:
                masses[f"masses_{n}"] += [{"mass": int(one), "last": at == len(mass) - 1} for at, one in enumerate(mass)]
    component = FrontBench(build, parameters, len(words), cache.memory.first_page)
    check(component, build.core.name, {"fill": Offer(words), **{name: Offer(items) for name, items in offers.items()}},
          {"scores": Expect(scores), **{name: Expect(items) for name, items in masses.items()},
           "verdict": Expect([0] * 0 + [{"page_unmapped": 0, "memory_error": 0, "list_full": 0}] * len(tiles))},
          patience=20000)
