"""What a job of a core with keys in memory fails for, if there are two reasons."""

import pytest
from amaranth.sim import Simulator

from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.memory.cache_sequencer import CacheSequencer
from latte.sim.formal.proofs.memory_builds import small_build

CYCLES = 100


@pytest.mark.parametrize(("append_fault", "page_unmapped", "reasons"), [
    (0, 0, []), (1, 0, ["memory_error"]), (0, 1, ["page_unmapped"]), (1, 1, ["memory_error"])])
def test_the_first_failure_is_the_reason(append_fault, page_unmapped, reasons):
    dut, told = CacheSequencer(small_build()), []

    async def bench(ctx):
        # Neighbours that are always ready; beats of the record, which has one key, and of the page table come at once.
        for name in ("piece", "append", "ask", "tile", "row", "record_piece", "drop"):
            ctx.set(getattr(dut, name).ready, 1)
        for name in ("read_beat", "record_complete", "record_live", "record_length", "appended", "ended", "written",
                     "dropped"):
            ctx.set(getattr(dut, name), 1)
        ctx.set(dut.append_fault, append_fault)
        ctx.set(dut.failure.page_unmapped, page_unmapped)
        ctx.set(dut.entry.payload.known, 1)
        ctx.set(dut.entry.valid, 1)
        ctx.set(dut.job.payload, {"heads": 1, "rows": 1, "queries": 1})
        ctx.set(dut.job.valid, 1)
        await ctx.tick()
        ctx.set(dut.job.valid, 0)
        *_, verdict = await ctx.tick().sample(dut.verdict).until(dut.verdict.valid)
        told.append([name for name in (*REFUSALS, *FAILURES) if verdict[name]])

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run_until(CYCLES * 1e-8)
    assert told == [reasons]
