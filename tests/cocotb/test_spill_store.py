"""What does not fit a tile's lists: how it lies in memory, how it is read and what leaves, under the stall matrix."""

import dataclasses
import random

import pytest
from amaranth import Array, Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.selection import SPILLED_BYTES
from latte.rtl.axi.bus import ADDRESS_BITS, fault_layout
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.spill_store import RECALLED_BEATS, SpillStore, recall_layout, spill_bytes
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits, of_signed
from tests.cocotb.cached import EVERY_KIND, master
from tests.cocotb.weighed import paused

stalls = pytest.mark.parametrize("stall", STALLS)

_COUNT_BITS = 10
_CORE = EVERY_KIND.core.replace(max_seq_len=127)
TWO_SCORES = dataclasses.replace(EVERY_KIND, core=_CORE, bus_bytes=16)
"""A beat has two scores; the longest row of scores ends in mid-beat."""
ONE_SCORE = dataclasses.replace(EVERY_KIND, core=_CORE, bus_bytes=8, tile_rows=2)
UNANSWERED = 5
"""Most bursts without an answer."""


class SpillBench(wiring.Component):
    """A store whose tiles go through their phases: lists come, are read back, scores come, and are read back.

    Members
    -------
    job : In(stream)
        Of a tile: `address`; of each row the `candidates` and the `scores`; `keys` that are scored; `lines` that are
        written of candidates, and of all.
    spilled_<r>, candidate_<r>, score_<r> : as of the store
    scored : In(stream)
        As the store's, behind the tile's first candidate, the last one behind all candidates.
    answer : In(stream of fault_layout)
        Of each beat that is written.
    written_<r> : Out(stream)
        Beats that are written to what the row may spill to, whole.
    asked_<r> : Out, stored_<r> : In(stream)
        Beats of the row that are asked for, and come.
    verdict : Out
        Behind each tile.
    wrong : Out(1)
        A beat is asked for before all is written that lies there; bursts have more than a beat or another row's
        address; a key leaves that did not come.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build, self.parameters = build, master(build, reads_in_flight=4)
        self.store = store = SpillStore(build, self.parameters)
        rows = range(build.tile_rows)
        count = data.ArrayLayout(_COUNT_BITS, build.tile_rows)
        job = data.StructLayout({"address": ADDRESS_BITS, "candidates": count, "scores": count, "keys": _COUNT_BITS,
                                 "lines": data.ArrayLayout(_COUNT_BITS, 2)})
        line = data.StructLayout({"address": ADDRESS_BITS, "strobe": build.bus_bytes,
                                  "data": data.ArrayLayout(32, build.bus_bytes // 4)})
        ask = data.StructLayout({name: recall_layout(build)[name].shape for name in ("offset", "beats")})
        members = store.signature.members
        self.ports = [f"{name}_{row}" for name in ("spilled", "candidate", "score") for row in rows]
        super().__init__({
            "job": In(stream.Signature(job)), "scored": In(stream.Signature(members["scored"].shape)),
            "answer": In(stream.Signature(fault_layout())), "overflow": Out(1), "wrong": Out(1),
            "verdict_valid": Out(1), "verdict": Out(data.StructLayout({"faulty": 1, "kept": _COUNT_BITS})),
            **{name: members[name] for name in self.ports},
            **{f"written_{row}": Out(stream.Signature(line)) for row in rows},
            **{f"stored_{row}": In(stream.Signature(data.ArrayLayout(32, build.bus_bytes // 4))) for row in rows},
            **{f"asked_{row}": Out(ask) for row in rows}, **{f"asked_{row}_valid": Out(1) for row in rows}})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.store = store = self.store
        rows, job = range(self.build.tile_rows), self.job.payload
        # Of the tile, what has passed at each port.
        passed = {name: Signal(_COUNT_BITS, name=f"passed_{name}") for name in self.ports}
        keys, answered, kept = (Signal(_COUNT_BITS, name=name) for name in ("keys", "answered", "kept"))
        begins, takes_lists, takes_scores = Signal(), Signal(), Signal()
        for name, counter in passed.items():
            port, inner = getattr(self, name), getattr(store, name)
            moves = port.valid & port.ready
            if name.startswith("spilled"):
                opens = takes_lists & (counter != job.candidates[int(name.rpartition("_")[2])])
                m.d.comb += [inner.valid.eq(port.valid & opens), port.ready.eq(inner.ready & opens),
                             inner.payload.eq(port.payload)]
            else:
                wiring.connect(m, inner, wiring.flipped(port))
            m.d.sync += counter.eq(counter + moves)
        listed, recalled, given = (Cat(passed[f"{name}_{row}"] == job[field][row] for row in rows).all()
                                   for name, field in (("spilled", "candidates"), ("candidate", "candidates"),
                                                       ("score", "scores")))
        begun = (job.lines[0] == 0) | Cat(passed[f"candidate_{row}"] != 0 for row in rows).any()
        opens = takes_scores & (keys != job.keys) & (kept != store.items) & begun & ((keys != job.keys - 1) | recalled)
        m.d.comb += [
            store.address.eq(job.address), store.restart.eq(begins), store.scored.eq(self.scored.payload),
            store.scored_valid.eq(self.scored.valid & opens), self.scored.ready.eq(opens),
            self.overflow.eq(store.overflow), self.verdict.faulty.eq(store.faulty), self.verdict.kept.eq(kept),
        ]
        keeps = store.scored_valid & store.scored.spilled.any()
        m.d.sync += [keys.eq(keys + store.scored_valid), kept.eq(kept + keeps - store.scored_leaves)]
        strays = self._write(m, answered) | (store.scored_leaves & (kept == 0)) | self._read(m)
        gives_scores = Signal()
        m.d.comb += self.wrong.eq(strays | (store.recall.valid & (answered < job.lines[gives_scores])))
        with m.FSM():
            with m.State("TILE"), m.If(self.job.valid):
                m.d.comb += begins.eq(1)
                m.d.sync += [signal.eq(0) for signal in (*passed.values(), keys, answered, gives_scores)]
                m.next = "LISTS"
            with m.State("LISTS"):
                m.d.comb += takes_lists.eq(1)
                with m.If(listed):
                    m.next = "RECALL"
            with m.State("RECALL"):
                m.d.comb += store.recall_candidates.eq(1)
                m.next = "SURVIVORS"
            with m.State("SURVIVORS"):
                m.d.comb += takes_scores.eq(1)
                with m.If(keys == job.keys):
                    m.d.comb += store.recall_scores.eq(1)
                    m.d.sync += gives_scores.eq(1)
                    m.next = "SCORES"
            with m.State("SCORES"), m.If(given & (answered == job.lines[1])):
                m.next = "END"
            with m.State("END"):
                m.d.comb += [self.verdict_valid.eq(1), self.job.ready.eq(1)]
                m.next = "TILE"
        return m

    def _write(self, m: Module, answered: Signal) -> Value:
        """Take bursts of a beat, and answer them; return whether one is none that may be."""
        store, owed, unanswered = self.store, Signal(), Signal(range(UNANSWERED + 1))
        address, row = Signal(ADDRESS_BITS), Signal(range(max(2, self.build.tile_rows)))
        begins, writes = store.burst.valid & store.burst.ready, store.beat.valid & store.beat.ready
        offset = (store.burst.payload.address - self.job.payload.address)[:ADDRESS_BITS]
        place = offset >> (spill_bytes(self.build).bit_length() - 1)
        lines = [getattr(self, f"written_{n}") for n in range(self.build.tile_rows)]
        m.d.comb += [
            store.burst.ready.eq(~owed & (unanswered != UNANSWERED) & ~paused(m, 150)),
            store.beat.ready.eq(owed & Array(line.ready for line in lines)[row]),
            self.answer.ready.eq(unanswered > owed), store.write_idle.eq(unanswered == 0),
            store.write_answered.eq(self.answer.valid & self.answer.ready), store.write_fault.eq(self.answer.payload),
        ]
        for n, line in enumerate(lines):
            m.d.comb += [line.valid.eq(store.beat.valid & owed & (row == n)), line.payload.address.eq(address),
                         line.payload.strobe.eq(store.beat.payload.strobe),
                         line.payload.data.eq(store.beat.payload.data)]
        with m.If(begins):
            m.d.sync += [owed.eq(1), address.eq(store.burst.payload.address), row.eq(place)]
        with m.If(writes):
            m.d.sync += owed.eq(0)
        m.d.sync += unanswered.eq(unanswered + begins - store.write_answered)
        with m.If(store.write_answered):
            m.d.sync += answered.eq(answered + 1)
        return (store.burst.valid & ((store.burst.payload.beats != 1) | (place >= self.build.tile_rows))) | (
            store.beat.valid & ~owed)

    def _read(self, m: Module) -> Value:
        """Give the beats that are asked for, in order; return whether they are of no row."""
        store, rows, beat = self.store, self.build.tile_rows, Signal(range(RECALLED_BEATS))
        m.submodules.asks = asks = StreamQueue(store.recall.payload.shape(), 2)
        ask, now = store.recall.payload, asks.o.payload
        stored = [getattr(self, f"stored_{n}") for n in range(rows)]
        comes = asks.o.valid & Array(one.valid for one in stored)[now.row]
        last = beat == now.beats - 1
        m.d.comb += [
            asks.i.valid.eq(store.recall.valid), asks.i.payload.eq(ask),
            store.recall.ready.eq(store.recall.valid & asks.i.ready), asks.o.ready.eq(comes & last),
            store.recalled_valid.eq(comes), store.recalled_row.eq(now.row),
            store.recalled_beat.eq(Array(one.payload.as_value() for one in stored)[now.row]),
        ]
        for n, one in enumerate(stored):
            asked = getattr(self, f"asked_{n}")
            m.d.comb += [
                one.ready.eq(asks.o.valid & (now.row == n)), asked.offset.eq(ask.offset), asked.beats.eq(ask.beats),
                getattr(self, f"asked_{n}_valid").eq(store.recall.valid & store.recall.ready & (ask.row == n)),
            ]
        with m.If(comes):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last):
                m.d.sync += beat.eq(0)
        return store.recall.valid & ((ask.row >= rows) | (ask.beats == 0))


class Spilled:
    """What is offered of some tiles, and what comes of it.

    Parameters
    ----------
    build
    rng
    """

    def __init__(self, build: MemoryBuild, rng: random.Random) -> None:
        self.build, self.rng = build, rng
        self.inputs: dict[str, list] = {name: [] for name in ("job", "scored", "answer")}
        self.outputs: dict[str, list] = {"verdict": []}
        for row in range(build.tile_rows):
            self.inputs |= {f"{name}_{row}": [] for name in ("spilled", "stored")}
            self.outputs |= {f"{name}_{row}": [] for name in ("written", "asked", "candidate", "score")}

    def _lie(self, row: int, address: int, offset: int, beats: list[list[int | None]]) -> None:
        """Beats of a row are written there, and read back in pieces."""
        bus, rng = self.build.bus_bytes, self.rng
        offset += row * spill_bytes(self.build)
        self.outputs[f"written_{row}"] += [
            {"address": (address + offset + n * bus) % (1 << ADDRESS_BITS), "strobe": (1 << bus) - 1, "data": beat}
            for n, beat in enumerate(beats)]
        self.outputs[f"asked_{row}"] += [{"offset": offset + n * bus, "beats": min(RECALLED_BEATS, len(beats) - n)}
                                         for n in range(0, len(beats), RECALLED_BEATS)]
        self.inputs[f"stored_{row}"] += [[rng.getrandbits(32) if word is None else word for word in beat]
                                         for beat in beats]

    def _candidates(self, row: int, address: int, lists: list[int]) -> int:
        """Spill a row's lists of so many candidates; return their beats."""
        rng, slots, beats = self.rng, self.build.bus_bytes // SPILLED_BYTES, []
        for length in lists:
            low, high = limits(16)
            entries = [{"place": rng.getrandbits(16), "estimate": max(low + 1, of_signed(rng, 16))}
                       for _ in range(length)]
            self.inputs[f"spilled_{row}"] += [entry | {"last": n == length - 1} for n, entry in enumerate(entries)]
            self.outputs[f"candidate_{row}"] += entries
            words = [entry["place"] | (entry["estimate"] & 0xFFFF) << 16 for entry in entries]
            words += [1 << 31] * (-length % slots)
            beats += [words[n:n + slots] for n in range(0, len(words), slots)]
        self._lie(row, address, 0, beats)
        return len(beats)

    def _scores(self, row: int, address: int, scores: list[tuple[int, int]]) -> int:
        """Spill a row's scores with their places; return their beats."""
        self.outputs[f"score_{row}"] += [{"place": place, "value": score, "last": n == len(scores) - 1}
                                         for n, (place, score) in enumerate(scores)]
        words: list[int | None] = [word for place, score in scores for word in (place, score & 0xFFFF_FFFF)]
        size = self.build.bus_bytes // 4
        words += [None] * (-len(words) % size)
        beats = [words[n:n + size] for n in range(0, len(words), size)]
        self._lie(row, address, spill_bytes(self.build) // 2, beats)
        return len(beats)

    def add(self, lists: list[list[int]], keys: int, dense: float) -> None:
        """Add a tile of which each row spills such lists, and so many keys have scores, a part of them spilled."""
        build, rng, rows = self.build, self.rng, range(self.build.tile_rows)
        address = rng.getrandbits(ADDRESS_BITS) // build.bus_bytes * build.bus_bytes
        beats = [self._candidates(row, address, lists[row]) for row in rows]
        scores: list[list[tuple[int, int]]] = [[] for _ in rows]
        for n in range(keys):
            spilled = [bool(lists[row]) and rng.random() < dense for row in rows]
            place = rng.randrange(build.core.max_seq_len)
            values = [of_signed(rng, build.core.score_bits) for _ in rows]
            self.inputs["scored"].append({"place": place, "rows": rng.getrandbits(len(rows)), "values": values,
                                          "spilled": sum(one << row for row, one in enumerate(spilled)),
                                          "last": n == keys - 1})
            for row in rows:
                scores[row] += [(place, values[row])] if spilled[row] else []
        lines = [sum(beats), sum(beats) + sum(self._scores(row, address, scores[row]) for row in rows)]
        self.inputs["job"].append({"address": address, "candidates": [sum(lists[row]) for row in rows],
                                   "scores": [len(scores[row]) for row in rows], "keys": keys, "lines": lines})
        broken = rng.choice(range(lines[1])) if lines[1] and rng.random() < 0.5 else None
        faults = [(1, 0), (0, 1)]
        answers = [rng.choice(faults) if n == broken else (0, 0) for n in range(lines[1])]
        self.inputs["answer"] += [{"slverr": slverr, "decerr": decerr} for slverr, decerr in answers]
        self.outputs["verdict"].append({"faulty": broken is not None, "kept": 0})

    def run(self, check) -> None:
        """Compare."""
        build = self.build
        check(SpillBench(build), f"spill-{8 * build.bus_bytes}", {name: Offer(items) for name, items
                                                                  in self.inputs.items()},
              {name: Expect(items) for name, items in self.outputs.items()}, quiet=["overflow", "wrong"])


@pytest.mark.parametrize("build", [TWO_SCORES, ONE_SCORE], ids=["two-scores", "one-score"])
@stalls
def test_tiles(check, build):
    """Of rows that spill nothing, or lists that end in mid-beat; of a few keys, and of as many as a row may have."""
    rng, most = random.Random(SEED), build.core.max_seq_len
    tiles, slots = Spilled(build, rng), build.bus_bytes // SPILLED_BYTES

    def lists() -> list[int]:
        return [rng.choice([1, 2, slots, slots + 1, rng.randint(1, 3 * slots), rng.randint(1, 12 * slots)])
                for _ in range(rng.choice([0, 1, 1, 2]))]

    for _ in range(16):
        tiles.add([lists() for _ in range(build.tile_rows)], rng.choice([1, 2, rng.randint(1, 40)]),
                  rng.choice([0.3, 0.9]))
    full = [slots * (most // slots)] * 2
    tiles.add([full, *([[most]] * (build.tile_rows - 1))], most, 1.0)
    tiles.add([[3]] * build.tile_rows, 3, 1.0)
    tiles.run(check)
