"""What brings a tile's lists into one order, keeps its scores and unpacks its planes, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.page_format import PageFormat, pack_bits
from latte.rtl.common.payloads import key_shape
from latte.rtl.memory.place_merge import PlaceMerge
from latte.rtl.memory.plane_unpacker import PlaneUnpacker, plane_lane
from latte.rtl.memory.score_store import ScoreStore
from latte.rtl.memory.tile_payloads import chunk_lanes, score_shape
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits, of_signed
from tests.cocotb.cached import EVERY_KIND, SLICED, THREE_BITS

stalls = pytest.mark.parametrize("stall", STALLS)


class MergeBench(wiring.Component):
    """A merge of one tile's lists after the other's; a row without a list in this one may have one in the next.

    Parameters
    ----------
    build
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.merge = merge = PlaceMerge(build, score_shape(build))
        job = data.StructLayout({"rows": build.tile_rows, "last_page": key_shape(build.core)})
        self.lists = [f"i_{row}" for row in range(build.tile_rows)]
        super().__init__({"job": In(stream.Signature(job)),
                          **{name: merge.signature.members[name] for name in (*self.lists, "o")}})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.merge = merge = self.merge
        merges = Signal()
        m.d.comb += [merge.rows.eq(self.job.payload.rows), merge.last_page.eq(self.job.payload.last_page)]
        for name in self.lists:
            ours, theirs = getattr(self, name), getattr(merge, name)
            m.d.comb += [theirs.valid.eq(ours.valid & merges), theirs.payload.eq(ours.payload),
                         ours.ready.eq(theirs.ready & merges)]
        wiring.connect(m, merge.o, wiring.flipped(self.o))
        with m.FSM():
            with m.State("JOB"), m.If(self.job.valid):
                m.d.comb += merge.restart.eq(1)
                m.next = "MERGE"
            with m.State("MERGE"):
                m.d.comb += merges.eq(1)
                with m.If(merge.o.valid & merge.o.ready & merge.o.payload.last):
                    m.d.comb += self.job.ready.eq(1)
                    m.next = "JOB"
        return m


@stalls
def test_lists_are_merged(check):
    """Of some rows or all; keys that all have or one alone, of every turn of the stream, and next to its begin."""
    build, rng = EVERY_KIND, random.Random(SEED)
    most, rows = build.core.max_seq_len, build.tile_rows
    jobs, lists, merged = [], [[] for _ in range(rows)], []
    for _ in range(120):
        present = [row for row in range(rows) if rng.random() < 0.8] or [rng.randrange(rows)]
        last_page = rng.choice([0, most - 16, rng.randrange(most), rng.randrange(0, most, build.page_rows)])
        near = [place for place in range(last_page - 3, last_page + 3) if 0 <= place < most]
        keys = set(rng.sample(range(most), rng.choice([0, 1, 2, rng.randint(0, 20)]))) | set(
            rng.sample(near, rng.randint(0, len(near)))) | set(rng.sample([0, most - 1], rng.randint(0, 2)))
        has = {place: [row for row in present if rng.random() < 0.6] or [rng.choice(present)] for place in keys}
        for row in present:
            if not any(row in of for of in has.values()):
                has.setdefault(rng.randrange(most), []).append(row)
        order = sorted(has, key=lambda place: (place < last_page, place))
        newest = {row: max(n for n, place in enumerate(order) if row in has[place]) for row in present}
        jobs.append({"rows": sum(1 << row for row in present), "last_page": last_page})
        for n, place in enumerate(order):
            of = has[place]
            values = [of_signed(rng, build.core.score_bits) if row in of else None for row in range(rows)]
            spilled = [row in of and rng.random() < 0.5 for row in range(rows)]
            for row in of:
                lists[row].append({"place": place, "value": values[row], "spilled": spilled[row],
                                   "last": n == newest[row]})
            merged.append({"place": place, "rows": sum(1 << row for row in of), "values": values,
                           "spilled": sum(one << row for row, one in enumerate(spilled)),
                           "last": n == len(order) - 1})
    check(MergeBench(build), f"place-merge-{build.core.name}",
          {"job": Offer(jobs), **{f"i_{row}": Offer(items) for row, items in enumerate(lists)}},
          {"o": Expect(merged)})


class ScoreBench(wiring.Component):
    """A store that is filled with a tile's scores and read, or given up.

    Members
    -------
    job : In(stream)
        Of a tile: `keys`; `lists`, a bit for each row of which scores are kept; whether it is `read`.
    item : In(stream)
    state : Out
        When all scores have come, and again when all are read: what the store says of the rows, and how often it has
        told that one is lost.
    o_<r> : as of the store
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.store = store = ScoreStore(build)
        members = store.signature.members
        job = data.StructLayout({"keys": 8, "lists": build.tile_rows, "read": 1})
        state = data.StructLayout({"row_max": members["row_max"].shape, "empty": build.tile_rows, "lost": 4})
        self.lists = [f"o_{row}" for row in range(build.tile_rows)]
        super().__init__({
            "job": In(stream.Signature(job)), "item": In(stream.Signature(members["item"].shape)),
            "state_valid": Out(1), "state": Out(state), **{name: members[name] for name in self.lists}})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.store = store = self.store
        job, left, takes = self.job.payload, Signal.like(self.job.payload.keys), Signal()
        lost, given = Signal(4), Signal(len(self.lists))
        for row, name in enumerate(self.lists):
            ours, theirs = getattr(self, name), getattr(store, name)
            wiring.connect(m, theirs, wiring.flipped(ours))
            with m.If(ours.valid & ours.ready & ours.payload.last):
                m.d.sync += given[row].eq(1)
        m.d.comb += [
            self.item.ready.eq(takes), store.valid.eq(self.item.valid & takes), store.item.eq(self.item.payload),
            self.state.row_max.eq(store.row_max), self.state.empty.eq(store.empty), self.state.lost.eq(lost),
        ]
        m.d.sync += lost.eq(lost + store.overflow)
        with m.FSM():
            with m.State("JOB"), m.If(self.job.valid):
                m.d.comb += store.restart.eq(1)
                m.d.sync += [left.eq(job.keys), lost.eq(0), given.eq(0)]
                m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += takes.eq(left != 0)
                with m.If(store.valid):
                    m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.comb += self.state_valid.eq(1)
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += store.read.eq(job.read)
                m.next = "GIVE"
            with m.State("GIVE"), m.If((given == job.lists) | ~job.read):
                m.d.comb += [self.state_valid.eq(1), self.job.ready.eq(1)]
                m.next = "JOB"
        return m


@stalls
def test_scores_are_kept(check):
    """Of rows that keep none, one, some, as many as they may, and one more, of which the store tells."""
    build, rng = EVERY_KIND, random.Random(SEED)
    rows, bits = build.tile_rows, build.core.score_bits
    jobs, items, states, lists = [], [], [], [[] for _ in range(rows)]
    for tile in range(50):
        # How many each row keeps.
        kept = [rng.choice([0, 1, 2, rng.randint(0, build.candidates), build.candidates]) for _ in range(rows)]
        over = rng.randrange(rows) if tile % 10 == 5 else None
        if over is not None:
            kept[over] = build.candidates + 1
        spilled = [rng.choice([0, 1, 5]) for _ in range(rows)]
        keys = max(max(a + b for a, b in zip(kept, spilled, strict=True)), 1) + rng.choice([0, 0, 3])
        # Of each key, whether a row keeps it, has it in memory, or neither.
        of = [rng.sample(["kept"] * a + ["spilled"] * b + [""] * (keys - a - b), keys)
              for a, b in zip(kept, spilled, strict=True)]
        low, high = rng.choice([limits(bits), (limits(bits)[0], -1), (0, 3), limits(4)])
        largest: list[int | None] = [None] * rows
        reads = over is None and rng.random() < 0.9
        given: list[list[dict]] = [[] for _ in range(rows)]
        for n in range(keys):
            place = rng.randrange(build.core.max_seq_len)
            values = [rng.choice([low, high, rng.randint(low, high), rng.randint(low, high)]) for _ in range(rows)]
            has = [bool(one[n]) for one in of]
            items.append({"place": place, "values": values, "rows": sum(one << row for row, one in enumerate(has)),
                          # Of rows that have not this key, anything.
                          "spilled": sum((one[n] == "spilled" or (not one[n] and rng.random() < 0.5)) << row
                                         for row, one in enumerate(of)), "last": n == keys - 1})
            for row in range(rows):
                if has[row]:
                    largest[row] = values[row] if largest[row] is None else max(largest[row], values[row])
                if of[row][n] == "kept":
                    given[row].append({"place": place, "value": values[row], "spilled": 0, "last": 0})
        jobs.append({"keys": keys, "lists": sum(bool(count) << row for row, count in enumerate(kept)), "read": reads})
        state = {"row_max": largest, "empty": sum((not count) << row for row, count in enumerate(kept)),
                 "lost": over is not None}
        states += [state, state]
        for row in range(rows):
            if reads and given[row]:
                given[row][-1]["last"] = 1
                lists[row] += given[row]
    check(ScoreBench(build), f"score-store-{build.core.name}", {"job": Offer(jobs), "item": Offer(items)},
          {"state": Expect(states), **{f"o_{row}": Expect(expected) for row, expected in enumerate(lists)}})


class UnpackBench(wiring.Component):
    """An unpacker that is watched: `wrong` if it says that it is idle with a chunk left, or that it is not with none.

    Parameters
    ----------
    build
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.unpacker = PlaneUnpacker(build)
        super().__init__({"wrong": Out(1), **{name: self.unpacker.signature.members[name] for name in "io"}})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.unpacker = unpacker = self.unpacker
        wiring.connect(m, unpacker.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), unpacker.i)
        left = Signal(16)
        m.d.sync += left.eq(left - (self.o.valid & self.o.ready & self.o.payload.last))
        with m.If(self.i.valid & self.i.ready & self.i.payload.first):
            m.d.sync += left.eq(self.i.payload.rows)
        m.d.comb += self.wrong.eq(unpacker.idle != (left == 0))
        return m


@pytest.mark.parametrize("build", [THREE_BITS, SLICED], ids=lambda build: build.core.name)
@stalls
def test_planes_are_unpacked(check, build):
    """Pieces of one row, some, or a page of either plane, that begin in mid-beat, with beats of others behind them."""
    rng, core, form = random.Random(SEED), build.core, PageFormat(build)
    generator = np.random.default_rng(SEED)
    lane, lanes = plane_lane(build), chunk_lanes(build)
    beats, chunks = [], []
    for piece in range(120):
        low, skip = rng.getrandbits(1), rng.choice([0, rng.randrange(build.bus_bytes // lane)])
        many = {7: build.page_rows, 13: rng.randint(9, build.page_rows), 22: rng.randint(9, build.page_rows)}
        rows = many.get(piece % 24, rng.choice([1, 1, 2, 3, rng.randint(1, 9)]))
        bits, signed = (core.low_bits, core.split == "balanced") if low else (core.estimate_bits, True)
        start = limits(bits)[0] if signed else 0
        elements = generator.integers(start, start + (1 << bits), (rows, core.head_dim))
        packed = pack_bits(elements, bits)
        assert packed.shape[1] == (form.low_bytes if low else form.high_bytes)
        stream_bytes = rng.randbytes(skip * lane) + packed.tobytes()
        stream_bytes += rng.randbytes(-len(stream_bytes) % build.bus_bytes + build.bus_bytes * rng.choice([0, 0, 1, 2]))
        for n in range(0, len(stream_bytes), build.bus_bytes):
            first = n == 0
            beats.append({"data": int.from_bytes(stream_bytes[n:n + build.bus_bytes], "little"), "first": first,
                          # With the first beat alone.
                          "low": low if first else rng.getrandbits(1),
                          "skip": skip if first else rng.randrange(build.bus_bytes // lane),
                          "rows": rows if first else rng.randint(1, build.page_rows)})
        chunks += [{"elements": part.tolist(), "low": low, "number": number, "last": number == len(parts) - 1}
                   for parts in elements.reshape(rows, -1, lanes) for number, part in enumerate(parts)]
    check(UnpackBench(build), f"unpacker-{core.name}", {"i": Offer(beats)}, {"o": Expect(chunks)}, quiet=["wrong"])
