"""Jobs cut in tiles, and tiles' keys as they pass the array, against plain counting, under the stall matrix."""

import itertools
import random

import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import THRESHOLD_KINDS, ceil_div
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.payloads import query_element, tile_job_layout
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.tile_sequencer import TileSequencer
from latte.sim.block_testbench import Expect, Offer, decode
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, SINGLE, WIDE, with_builds
from tests.cocotb.tiles import hold_up

_SMALL = {"head_dim": 6, "cross_lanes": 6, "value_lanes": 6, "bus_bytes": 2}
EVERYTHING = WIDE.replace(name="everything", max_seq_len=60, query_lanes=5, key_lanes=1, query_rows=23, dim_lanes=2,
                          threshold_kinds=THRESHOLD_KINDS, key_groups=4, **_SMALL)
LEAN = SINGLE.replace(name="lean", query_rows=4, key_lanes=2, dim_lanes=6, **_SMALL)
WHOLE = WIDE.replace(name="whole", max_seq_len=20, key_lanes=4, dim_lanes=6, query_rows=8, **_SMALL).dense()
LOAD_CYCLES = 8


class Tiles(wiring.Component):
    """The sequencer, and two banks of rows as an array holds them: a row is there some cycles after it was taken.

    A tile is not taken now and then, until all that is in front of it stands still.

    Members
    -------
    compute : In(stream)
        Jobs, and how many ``tiles`` each of them makes.
    rows : In(stream)
    tile : Out(stream)
    query, key, beat : Out
        Pushes: rows that the array takes, addresses of keys, and beats with the rows that they meet.
    wrong : Out(1)
        A beat comes at another time than `RAM_LATENCY` cycles after its key's address, a tile's first key not in the
        cycle after the tile, or what the sequencer says that it waits for is not so.
    """

    def __init__(self, config):
        self.config = config
        self.sequencer = TileSequencer(config, whole_elements=config.engine == "dense")
        members = self.sequencer.signature.members
        row = members["query"].signature.members["payload"].shape
        pushes = {
            "query": row, "key": data.StructLayout({part: members[f"key_{part}"].shape
                                                    for part in ("bank", "group", "slice")}),
            "beat": data.StructLayout({"bank": 1, "first": 1,
                                       "rows": data.ArrayLayout(row["hi"].shape, config.query_lanes)})}
        job = data.StructLayout({"job": tile_job_layout(config), "tiles": COUNT_BITS})
        super().__init__({"compute": In(stream.Signature(job)), "rows": members["rows"], "tile": members["tile"],
                          "wrong": Out(1), **{name: Out(shape) for name, shape in pushes.items()},
                          **{f"{name}_valid": Out(1) for name in pushes}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer
        wiring.connect(m, wiring.flipped(self.rows), sequencer.rows)
        hold_up(m, "taken", sequencer.tile, wiring.flipped(self.tile), 200)
        handed_over, valid = sequencer.tile.valid & sequencer.tile.ready, sequencer.key_valid
        m.d.comb += [
            sequencer.compute.payload.eq(self.compute.payload.job), sequencer.compute.valid.eq(self.compute.valid),
            self.compute.ready.eq(sequencer.compute.ready),
            self.key_valid.eq(valid), self.key.bank.eq(sequencer.key_bank), self.key.group.eq(sequencer.key_group),
            self.key.slice.eq(sequencer.key_slice),
        ]
        tiles = Signal(COUNT_BITS)
        begins = self.compute.valid & self.compute.ready
        m.d.sync += tiles.eq(tiles + Mux(begins, self.compute.payload.tiles, 0) - handed_over)
        first = valid & (sequencer.key_group == 0) & (sequencer.key_slice == 0)
        m.d.comb += self.wrong.eq(
            (sequencer.beat_valid != delay(m, valid, RAM_LATENCY, name="addressed"))
            | (first != delay(m, handed_over, 1, name="handed_over"))
            | (sequencer.waiting_for_queries != ~valid & ~sequencer.tile.valid & (tiles != 0))
            | (sequencer.waiting_for_filter != ~valid & sequencer.tile.valid & ~sequencer.tile.ready))
        self._hold(m, sequencer)
        return m

    def _hold(self, m, sequencer):
        """Hold rows in two banks; while one is loaded, what lies in its place is something else."""
        query, lanes, cycles = sequencer.query, self.config.query_lanes, ScoreEstimator.operand_latency
        row = query.payload.hi.as_value()
        held = [[Signal(row.shape(), name=f"held_{bank}_{n}") for n in range(lanes)] for bank in range(2)]
        place, word, left = Signal(range(2 * lanes)), Signal(row.shape()), Signal(range(LOAD_CYCLES))
        taken = query.valid & query.ready
        m.d.comb += [query.ready.eq(left == 0), self.query_valid.eq(taken), self.query.eq(query.payload)]
        m.d.sync += left.eq(Mux(taken, LOAD_CYCLES - 1, Mux(left == 0, 0, left - 1)))
        with m.If(taken):
            m.d.sync += [place.eq(query.payload.bank * lanes + query.payload.row), word.eq(row)]
        beat_bank = delay(m, sequencer.beat_query_bank, cycles, name="beat_bank")
        for bank, rows in enumerate(held):
            for n, one in enumerate(rows):
                with m.If(taken & (query.payload.bank == bank) & (query.payload.row == n)):
                    m.d.sync += one.eq(~row)
                with m.Elif((left == 1) & (place == bank * lanes + n)):
                    m.d.sync += one.eq(word)
                with m.If(beat_bank == bank):
                    m.d.comb += self.beat.rows[n].as_value().eq(one)
        m.d.comb += [self.beat_valid.eq(delay(m, sequencer.beat_valid, cycles, name="met")),
                     self.beat.first.eq(delay(m, sequencer.beat_first, cycles, name="beat_first")),
                     self.beat.bank.eq(beat_bank)]


def random_job(rng: random.Random, config) -> dict:
    """Return a job whose rows and keys are one, a few, or the most; causal ones have no more rows than keys."""
    layout = tile_job_layout(config)
    job = decode(layout, rng.getrandbits(layout.size))
    keys = rng.choice([1, 2, rng.randint(1, config.max_seq_len), config.max_seq_len])
    few = 3 * config.query_lanes
    rows = rng.choice([1, config.query_lanes, rng.randint(1, few), rng.randint(1, 2 * config.max_seq_len)])
    return job | {"keys": keys, "rows": min(keys, rows) if job["causal"] else rows}


def tiles_of(job: dict, config) -> list[dict]:
    """Return the tiles of a job, but for their places in the ring of queries."""
    lanes, tiles = config.query_lanes, []
    fields = {name: job[name] for name in ("entry", "causal", "bank", "table") if name in job}
    for start in range(0, job["rows"], lanes):
        end = min(start + lanes, job["rows"])
        keys = [job["keys"] - (job["rows"] - 1 - row if job["causal"] else 0) for row in (start, end - 1)]
        tile = {"rows": end - start, "first_keys": keys[0], "last_keys": keys[1], "job_last": end == job["rows"]}
        if "slot" in job:
            tile["codes"] = job["slot"]
        if "restart" in job:
            tile["restart"] = job["restart"] and start == 0
        tiles.append(fields | tile)
    return tiles


@pytest.mark.parametrize("stall", STALLS)
@with_builds(EVERYTHING, LEAN, slow=[WHOLE])
def test_tile_sequencer(config, check):
    rng = random.Random(SEED)
    row = data.ArrayLayout(query_element(config, config.engine == "dense"), config.head_dim)
    # Behind the others such whose rows count down through each bit.
    jobs = [random_job(rng, config) for _ in range(60)]
    jobs += [random_job(rng, config) | {"rows": rows, "keys": 1, "causal": 0} for rows in (1367, 1194)]
    offered, rows, tiles, queries, keys, beats = [], [], [], [], [], []
    banks = itertools.cycle((0, 1))
    for job in jobs:
        of_job = tiles_of(job, config)
        offered.append({"job": job, "tiles": len(of_job)})
        for tile, bank in zip(of_job, banks, strict=False):
            tiles.append(tile | {"slot": len(rows) % config.query_rows})
            of_tile = [decode(row, rng.getrandbits(row.size)) for _ in range(tile["rows"])]
            rows += of_tile
            queries += [{"row": n, "bank": bank, "hi": hi} for n, hi in enumerate(of_tile)]
            walk = list(itertools.product(range(ceil_div(tile["last_keys"], config.key_lanes)),
                                          range(config.dim_slices)))
            keys += [{"bank": tile["bank"], "group": group, "slice": part} for group, part in walk]
            met = of_tile + [None] * (config.query_lanes - len(of_tile))
            beats += [{"bank": bank, "first": part == 0, "rows": met} for _, part in walk]
    check(Tiles(config), f"tile-sequencer-{config.name}", {"compute": Offer(offered), "rows": Offer(rows)},
          {"tile": Expect(tiles), "query": Expect(queries), "key": Expect(keys), "beat": Expect(beats)},
          quiet=["wrong"])
