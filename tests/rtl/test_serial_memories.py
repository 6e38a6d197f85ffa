"""The serial core's memories: one port serves both uses, and never at the same time unnoticed."""

import random

import pytest
from amaranth import signed
from amaranth.sim import Simulator

from latte.golden.config import preset
from latte.rtl.serial.serial_memories import DualPortRam, SinglePortRam
from latte.rtl.serial.serial_scratchpad import SinglePortPlane

CONFIG = preset("tiny", head_dim=16, max_seq_len=8, dim_lanes=4)
DEPTH = 24


def simulate(dut, testbench):
    """Run a testbench with a clock."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("seed", range(3))
def test_single_port_reads_what_was_written_and_holds_while_writing(seed):
    dut, rng = SinglePortRam(16, DEPTH), random.Random(seed)

    async def testbench(ctx):
        words, read = [0] * DEPTH, 0
        for _ in range(500):
            write, address, word = rng.getrandbits(1), rng.randrange(DEPTH), rng.getrandbits(16)
            ctx.set(dut.write_en, write)
            ctx.set(dut.address, address)
            ctx.set(dut.write_data, word)
            await ctx.tick()
            if write:
                words[address] = word
            else:
                read = words[address]
            assert ctx.get(dut.read_data) == read, f"seed {seed}"

    simulate(dut, testbench)


def test_dual_port_reads_one_address_while_another_is_written():
    dut, rng = DualPortRam(9, DEPTH), random.Random(1)

    async def testbench(ctx):
        words = [0] * DEPTH
        for _ in range(500):
            target, source = rng.sample(range(DEPTH), 2)
            word, write = rng.getrandbits(9), rng.getrandbits(1)
            ctx.set(dut.write_en, write)
            ctx.set(dut.write_addr, target)
            ctx.set(dut.write_data, word)
            ctx.set(dut.read_addr, source)
            await ctx.tick()
            assert ctx.get(dut.read_data) == words[source]
            words[target] = word if write else words[target]

    simulate(dut, testbench)


def test_plane_holds_rows_and_tells_of_conflicts():
    dut, rng = SinglePortPlane(CONFIG, signed(4), CONFIG.dim_lanes), random.Random(2)
    lanes, bus = CONFIG.dim_lanes, CONFIG.bus_bytes
    slices = CONFIG.head_dim // lanes
    rows = [[rng.randint(-8, 7) for _ in range(CONFIG.head_dim)] for _ in range(CONFIG.max_seq_len)]

    async def load(ctx, rows):
        for row in rows:
            for first in range(0, CONFIG.head_dim, bus):
                if rng.getrandbits(1):
                    ctx.set(dut.beat_valid, 0)
                    await ctx.tick()
                ctx.set(dut.beat_valid, 1)
                ctx.set(dut.beat, row[first:first + bus])
                await ctx.tick()
        ctx.set(dut.beat_valid, 0)
        await ctx.tick()

    async def check(ctx, rows):
        ctx.set(dut.port.read, 1)
        for key, row in enumerate(rows):
            for n in range(slices):
                ctx.set(dut.port.key, key)
                ctx.set(dut.port.slice, n)
                await ctx.tick()
                assert [ctx.get(dut.port.data[lane]) for lane in range(lanes)] == row[n * lanes:(n + 1) * lanes]
                assert not ctx.get(dut.conflict)
        ctx.set(dut.port.read, 0)

    async def testbench(ctx):
        await load(ctx, rows[:5])
        await check(ctx, rows[:5])
        await load(ctx, rows[5:])
        await check(ctx, rows)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        await load(ctx, rows[::-1])
        await check(ctx, rows[::-1])
        # A word comes one cycle after its last beat.
        ctx.set(dut.port.read, 1)
        ctx.set(dut.beat_valid, 1)
        seen = 0
        for _ in range(2 * lanes // bus):
            await ctx.tick()
            seen += ctx.get(dut.conflict)
        assert seen == 2

    simulate(dut, testbench)
