"""Reset in a pass over a row's list of candidates."""

import pytest
from amaranth import ResetInserter, Signal
from amaranth.sim import Simulator

from latte.rtl.memory.candidate_list import CandidateList
from latte.sim.formal.proofs.memory_builds import small_build

FLOOR, ABOVE, CANDIDATES = 0, 5, 6


@pytest.mark.parametrize("age", range(CandidateList.pass_latency + 2))
def test_reset_leaves_nothing_of_a_pass(age):
    dut, reset = CandidateList(small_build()), Signal()

    async def bench(ctx):
        ctx.set(dut.floor, FLOOR)
        for place in range(CANDIDATES):
            ctx.set(dut.candidate, {"place": place, "estimate": ABOVE})
            ctx.set(dut.append, 1)
            await ctx.tick()
            ctx.set(dut.append, 0)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        for _ in range(age):
            await ctx.tick()
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(dut.o.ready, 1)
        for cycle in range(2 * CandidateList.pass_latency):
            assert not ctx.get(dut.o.valid) and not ctx.get(dut.busy), f"cycle {cycle} behind reset"
            await ctx.tick()

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
