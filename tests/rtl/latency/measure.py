"""A clock for test benches that measure latencies, and the builds whose blocks are measured."""

import functools
from collections.abc import Awaitable, Callable

from amaranth.lib import wiring
from amaranth.sim import Simulator

from latte.golden.config import AttentionConfig

WIDE = AttentionConfig(
    name="wide", head_dim=16, max_seq_len=16, heads=4, query_lanes=2, key_lanes=1, dim_lanes=16, cross_lanes=8,
    value_lanes=4, normalizer_lanes=2, bus_bytes=4, query_rows=8, survivor_fifo_depth=16)
TILED = WIDE.replace(name="tiled", dim_lanes=8, cross_lanes=16, value_lanes=16, pe_structure="multiplier",
                     split="slice")
LONG_RING = WIDE.replace(name="long-ring", dim_lanes=4, value_lanes=1, normalizer_lanes=1, bus_bytes=1,
                         cross_lanes=2, pe_structure="multiplier", query_lanes=1)
PRUNING = WIDE.replace(name="pruning", threshold_kinds=("relative", "mass", "absolute"), key_groups=4)
DSP = WIDE.replace(name="dsp", pe_structure="dsp")
DENSE = WIDE.replace(name="dense", engine="dense", value_lanes=16, cross_lanes=16, query_lanes=2)
SERIAL = AttentionConfig(
    name="serial", engine="serial", head_dim=8, max_seq_len=12, heads=4, query_lanes=1, dim_lanes=4,
    cross_lanes=2, value_lanes=2, normalizer_lanes=1, kv_banks=1, query_rows=4, pe_structure="multiplier")
SERIAL_KINDS = SERIAL.replace(name="serial-kinds", threshold_kinds=("relative", "mass"), key_groups=2)
SERIAL_WHOLE = SERIAL.replace(name="serial-whole", cross_lanes=4, value_lanes=4, bus_bytes=1)
LIMIT = 400
"""Cycles after which a block is taken to be dead."""


class Clock:
    """Counts the cycles of one simulation.

    Parameters
    ----------
    ctx
        Of the test bench.
    """

    def __init__(self, ctx):
        self.ctx = ctx

    def set(self, **values):
        """Set inputs; ``a__b`` is the member ``b`` of the port ``a``."""
        for name, value in values.items():
            self.ctx.set(functools.reduce(getattr, name.split("__"), self.dut), value)

    async def tick(self, count=1):
        """Let cycles pass."""
        for _ in range(count):
            await self.ctx.tick()

    async def until(self, condition: Callable[[], object]) -> int:
        """Let cycles pass until a condition holds; return how many."""
        for cycles in range(LIMIT):
            if condition():
                return cycles
            await self.ctx.tick()
        raise AssertionError("nothing came out")

    def get(self, value):
        """Return a value of this cycle."""
        return self.ctx.get(value)

    async def pulse(self, condition: Callable[[], object], **values) -> int:
        """Set inputs for one cycle; return the cycles from it until a condition holds."""
        self.set(**values)
        assert not condition(), "it was there before"
        await self.tick()
        self.set(**dict.fromkeys((name for name in values if name.endswith(("valid", "step", "hand_over"))), 0))
        return 1 + await self.until(condition)

    async def change(self, output, wanted, **values) -> int:
        """Set inputs of a pipeline at rest; return the cycles until its output is as wanted."""
        await self.tick(LIMIT // 10)
        self.set(**values)
        assert self.get(output) != wanted, "it was there before"
        return await self.until(lambda: self.get(output) == wanted)


def measure(dut: wiring.Component, stimulus: Callable[[Clock, wiring.Component], Awaitable[int]]) -> int:
    """Simulate a block; return what its stimulus measured."""
    found = []

    async def bench(ctx):
        clock = Clock(ctx)
        clock.dut = dut
        found.append(await stimulus(clock, dut))

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return found[0]
