"""The PE array against NumPy: every structure, shape and bank schedule."""

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from latte.golden.config import AttentionConfig
from latte.rtl.wide.score_estimator import ScoreEstimator

STRUCTURES = ["table", "multiplier", "dsp"]
SEED = 7519


def config(**changes):
    fields = {"head_dim": 16, "query_lanes": 2, "key_lanes": 1, "pe_structure": "table"} | changes
    fields.setdefault("dim_lanes", fields["head_dim"])
    return AttentionConfig(name="array", cross_lanes=2, value_lanes=2, normalizer_lanes=1, bus_bytes=1, **fields)


class Bench:
    """Drives an estimator; checks each result, and the cycle in which it comes, against NumPy."""

    def __init__(self, **changes):
        self.config = config(**changes)
        self.dut = ScoreEstimator(self.config)
        self.reset = Signal()
        self.cycle = 0
        self.expected = []
        self.results = []

    def run(self, stimulus):
        sim = Simulator(ResetInserter(self.reset)(self.dut))
        sim.add_clock(1e-8)

        async def drive(ctx):
            await stimulus(self, ctx)
            for _ in range(self.dut.latency + 1):
                await self.tick(ctx)

        sim.add_testbench(drive)
        sim.run()
        assert [when for when, _ in self.results] == [when for when, _ in self.expected]
        for (when, result), (_, expected) in zip(self.results, self.expected, strict=True):
            assert np.array_equal(result, expected), f"cycle {when}: {result} is not {expected}"
        return [result for _, result in self.results]

    async def tick(self, ctx):
        if ctx.get(self.dut.est_valid):
            est = [[ctx.get(self.dut.est[r][n]) for n in range(self.config.key_lanes)]
                   for r in range(self.config.query_lanes)]
            self.results.append((self.cycle, np.array(est)))
        await ctx.tick()
        self.cycle += 1

    def offer(self, ctx, bank, row, hi):
        ctx.set(self.dut.q.payload, {"row": row, "bank": bank, "hi": [int(x) for x in hi]})
        ctx.set(self.dut.q.valid, 1)

    async def load(self, ctx, bank, rows, wait=True):
        """Load rows; with `wait`, until the last one may be used."""
        for row, hi in enumerate(rows):
            self.offer(ctx, bank, row, hi)
            while not ctx.get(self.dut.q.ready):
                await self.tick(ctx)
            await self.tick(ctx)
            ctx.set(self.dut.q.valid, 0)
        while wait and not ctx.get(self.dut.q.ready):
            await self.tick(ctx)

    async def score(self, ctx, bank, rows, keys, gap=lambda: 0):
        """Present one group of keys and expect its estimates."""
        width = self.config.dim_lanes
        for n in range(self.config.dim_slices):
            for _ in range(gap()):
                await self.tick(ctx)
            ctx.set(self.dut.k_valid, 1)
            ctx.set(self.dut.k_bank, bank)
            ctx.set(self.dut.k_first, n == 0)
            ctx.set(self.dut.k_hi, [[int(x) for x in key[n * width:(n + 1) * width]] for key in keys])
            if n == self.config.dim_slices - 1:
                self.expected.append((self.cycle + self.dut.latency, rows @ keys.T))
            await self.tick(ctx)
            ctx.set(self.dut.k_valid, 0)
            # Between beats these mean nothing.
            ctx.set(self.dut.k_bank, 1 - bank)
            ctx.set(self.dut.k_first, 1)

    def random(self, rng, count):
        end = 1 << (self.config.estimate_bits - 1)
        return rng.integers(-end, end, (count, self.config.head_dim))


def corner_vectors(dims, bits):
    end = 1 << (bits - 1)
    alternating = np.where(np.arange(dims) % 2, end - 1, -end)
    return [np.full(dims, x) for x in (-end, -1, 0, end - 1)] + [alternating, alternating[::-1]]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("head_dim", "bits"), [(16, 4), (48, 4), (64, 4), (48, 3), (16, 2)])
def test_corners(structure, head_dim, bits):
    async def stimulus(bench, ctx):
        vectors = corner_vectors(head_dim, bits)
        for n, hi in enumerate(vectors):
            rows = np.array([hi, vectors[-1 - n]])
            await bench.load(ctx, n % 2, rows)
            for key in vectors:
                await bench.score(ctx, n % 2, rows, key[None])

    Bench(pe_structure=structure, head_dim=head_dim, estimate_bits=bits).run(stimulus)


async def tiles(bench, ctx, seed, count=4):
    """Tiles back to back: a bank is loaded while the other is in use, and taken up without a pause."""
    rng = np.random.default_rng(seed)
    current = bench.random(rng, bench.config.query_lanes)
    await bench.load(ctx, 0, current)
    for n in range(count):
        following = bench.random(rng, bench.config.query_lanes)
        waiting = list(enumerate(following))
        beats = 0
        # Score for as long as the load takes, then hold on to the tile for some beats more or none.
        while waiting or not ctx.get(bench.dut.q.ready) or beats < n:
            # The bank that is loaded was in use up to the cycle before: the earliest that is allowed.
            if waiting and ctx.get(bench.dut.q.ready):
                bench.offer(ctx, 1 - n % 2, *waiting.pop(0))
            await bench.score(ctx, n % 2, current, bench.random(rng, bench.config.key_lanes))
            ctx.set(bench.dut.q.valid, 0)
            beats += 1
        current = following


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("query_lanes", [1, 2, 3, 6])
@pytest.mark.parametrize("key_lanes", [1, 2])
def test_banks_swap_back_to_back(structure, query_lanes, key_lanes):
    print(f"seed {SEED}")
    bench = Bench(pe_structure=structure, query_lanes=query_lanes, key_lanes=key_lanes)
    bench.run(lambda bench, ctx: tiles(bench, ctx, SEED))


@pytest.mark.parametrize("shape", [(16, 3, 4, 4), (64, 2, 1, 4), (20, 1, 2, 4), (20, 2, 2, 3), (16, 1, 2, 2)])
def test_structures_agree(shape):
    """The same beats give the same results, bit by bit."""
    print(f"seed {SEED}")
    head_dim, query_lanes, key_lanes, bits = shape

    async def stimulus(bench, ctx):
        rng = np.random.default_rng(SEED)
        for bank in (0, 1, 0):
            rows = bench.random(rng, query_lanes)
            await bench.load(ctx, bank, rows)
            for _ in range(8):
                await bench.score(ctx, bank, rows, bench.random(rng, key_lanes))

    results = [Bench(pe_structure=structure, head_dim=head_dim, query_lanes=query_lanes,
                     key_lanes=key_lanes, estimate_bits=bits).run(stimulus) for structure in STRUCTURES]
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("structure", STRUCTURES)
def test_both_banks_loaded_ahead(structure):
    """The old bank may be loaded again before any key has asked for the new one."""
    print(f"seed {SEED}")

    async def stimulus(bench, ctx):
        rng = np.random.default_rng(SEED)
        held = [bench.random(rng, 2) for _ in range(5)]
        await bench.load(ctx, 0, held[0])
        for n in range(4):
            await bench.load(ctx, (n + 1) % 2, held[n + 1])
            for _ in range(3):
                await bench.score(ctx, n % 2, held[n], bench.random(rng, 1))

    Bench(pe_structure=structure).run(stimulus)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_same_bank_again(structure):
    """One bank alone can be used for tile after tile, in either bank."""
    print(f"seed {SEED}")

    async def stimulus(bench, ctx):
        rng = np.random.default_rng(SEED)
        for bank in (1, 1, 1, 0, 0, 1):
            rows = bench.random(rng, 2)
            await bench.load(ctx, bank, rows)
            for _ in range(2):
                await bench.score(ctx, bank, rows, bench.random(rng, 1))

    Bench(pe_structure=structure).run(stimulus)


@pytest.mark.parametrize(("head_dim", "dim_lanes"), [(16, 4), (16, 8), (16, 16), (48, 16), (20, 5)])
@pytest.mark.parametrize("gaps", [False, True])
def test_time_multiplexed(head_dim, dim_lanes, gaps):
    print(f"seed {SEED}")

    async def stimulus(bench, ctx):
        rng = np.random.default_rng(SEED)
        for bank in (0, 1, 0):
            rows = bench.random(rng, 3)
            await bench.load(ctx, bank, rows)
            for _ in range(6):
                await bench.score(ctx, bank, rows, bench.random(rng, 2),
                                  gap=lambda: int(rng.integers(0, 4)) if gaps else 0)

    Bench(pe_structure="multiplier", head_dim=head_dim, dim_lanes=dim_lanes, query_lanes=3,
          key_lanes=2).run(stimulus)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("during", ["load", "keys"])
def test_reset_in_mid_stream(structure, during):
    print(f"seed {SEED}")
    dim_lanes = 4 if structure == "multiplier" else 16

    async def stimulus(bench, ctx):
        rng = np.random.default_rng(SEED)
        for bank in (1, 0):
            rows = bench.random(rng, 2)
            await bench.load(ctx, bank, rows, wait=during == "keys")
            if during == "keys":
                for _ in range(3):
                    await bench.score(ctx, bank, rows, bench.random(rng, 1))
                ctx.set(bench.dut.k_valid, 1)  # Leaves a group unfinished, where groups have several beats.
                await bench.tick(ctx)
                ctx.set(bench.dut.k_valid, 0)
            ctx.set(bench.reset, 1)
            await bench.tick(ctx)
            ctx.set(bench.reset, 0)
            bench.expected = [(when, est) for when, est in bench.expected if when < bench.cycle]
            rows = bench.random(rng, 2)
            await bench.load(ctx, bank, rows)
            for _ in range(3):
                await bench.score(ctx, bank, rows, bench.random(rng, 1))

    Bench(pe_structure=structure, dim_lanes=dim_lanes).run(stimulus)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_load_cycles(structure):
    """Ready comes back exactly `load_cycles` after the row was taken."""
    async def stimulus(bench, ctx):
        bench.offer(ctx, 0, 0, [0] * 16)
        await bench.tick(ctx)
        ctx.set(bench.dut.q.valid, 0)
        cycles = 1
        while not ctx.get(bench.dut.q.ready):
            await bench.tick(ctx)
            cycles += 1
        assert cycles == bench.dut.load_cycles

    Bench(pe_structure=structure).run(stimulus)
