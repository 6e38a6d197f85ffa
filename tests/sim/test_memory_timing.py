"""When a part has moved bursts: pins, banks, the window of activations."""

import math
import random

import pytest
from amaranth.sim import Simulator

from latte.golden.memory.parts import PARTS
from latte.sim.memory_timing import TIME_BITS, MemoryTiming, PartTiming

ARTY = PartTiming.of(PARTS["arty_ddr3"])
_STRIDE = 200
"""Cycles of a pause that are simulated as one."""


def moved(timing: PartTiming, bursts: list[list[tuple[int, int]]], pause: int = 0) -> list[list[int]]:
    """Return when the bursts (address, bytes) of each cycle, one for each direction, have been moved.

    Times are from the first of these cycles, so long before which nothing came.
    """
    dut = MemoryTiming(timing, 2)
    found: list[list[int]] = []

    async def bench(ctx):
        for time in range(0, pause, _STRIDE):
            ctx.set(dut.time, time % (1 << TIME_BITS))
            await ctx.tick()
        for cycle, offers in enumerate(bursts):
            ctx.set(dut.time, (pause + cycle) % (1 << TIME_BITS))
            for n, (address, size) in enumerate(offers):
                for name, value in (("valid", 1), ("address", address), ("bytes", size)):
                    ctx.set(getattr(dut, f"{name}_{n}"), value)
            found.append([(ctx.get(getattr(dut, f"moved_{n}")) - pause) % (1 << TIME_BITS)
                          for n in range(len(offers))])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_stream_runs_at_the_rate_of_the_pins(part):
    """Less what refresh takes; rows are opened meanwhile."""
    [first], *_, [last] = moved(PartTiming.of(part), [[(256 * n, 256)] for n in range(400)])
    cycles = 256 * 399 / part.bytes_per_second * 1e6 * part.core_mhz / (1 - part.refresh / part.refresh_interval)
    assert last - first == pytest.approx(max(cycles, 399), rel=0.01, abs=2)


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_rows_at_random_come_as_fast_as_a_stream(part):
    """Values of 64 bytes anywhere in 4 MB, in the order in which they are asked for: as fast as pins and bus are."""
    rng = random.Random(1)
    [first], *_, [last] = moved(PartTiming.of(part), [[(rng.randrange(1 << 16) * 64, 64)] for _ in range(400)])
    pins = part.bytes_per_second * (1 - part.refresh / part.refresh_interval) / (1e6 * part.core_mhz)
    assert 64 * 399 / (last - first) > 0.98 * min(pins, part.bus_bytes)


def test_rows_of_one_bank_wait_for_each_other():
    """Rows of a bank, one after the other; the same row again; rows of other banks, as the window allows."""
    same = ARTY.row_bytes * ARTY.banks
    times = [end for [end] in moved(ARTY, [[(same * n, 16)] for n in range(6)])]
    assert times[-1] - times[0] == pytest.approx(5 * ARTY.reopens, abs=1)
    assert times[0] == math.ceil(ARTY.opens + ARTY.transfer)
    times = [end for [end] in moved(ARTY, [[(16 * n, 16)] for n in range(6)])]
    assert times[-1] - times[0] == pytest.approx(5 * ARTY.transfer, abs=1)
    times = [end for [end] in moved(ARTY, [[(ARTY.row_bytes * n, 16)] for n in range(6)])]
    assert times[-1] - times[0] == pytest.approx(5 * max(ARTY.window, ARTY.transfer), abs=1)


def test_a_burst_takes_whole_accesses():
    """Of 64 bytes on the LPDDR4, wherever it begins."""
    timing = PartTiming.of(PARTS["zynq_lpddr4"])
    [[one], *_, [last]] = moved(timing, [[(0, 16)], *[[(16 + 128 * n, 64)] for n in range(20)]])
    assert last - one == pytest.approx(20 * max(1, 2 * timing.transfer), abs=2)


def test_directions_share_the_pins():
    """What is read and what is written in the same cycles, reads first."""
    alone = moved(ARTY, [[(64 * n, 64)] for n in range(10)])
    both = moved(ARTY, [[(64 * n, 64), (4096 + 64 * n, 64)] for n in range(10)])
    assert both[0][0] == alone[0][0] < both[0][1]
    assert both[-1][1] - both[0][0] == pytest.approx(19 * 4 * ARTY.transfer, abs=2)


def test_what_was_long_ago_does_not_come_round():
    """Banks that were free for half of all times, or longer."""
    wait = (1 << TIME_BITS - 1) + 100
    [[first]] = moved(ARTY, [[(0, 64)]])
    [[later]] = moved(ARTY, [[(0, 64)]], pause=wait)
    assert later == first
