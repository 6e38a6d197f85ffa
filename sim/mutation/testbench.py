"""cocotb testbench that judges the mutants of one model, one after the other, by recorded cases.

Runs inside the simulator's process; `latte.sim.mutation.judge` prepares its folder and reads the
verdicts, one line each in ``verdicts.jsonl``: a simulator that a mutant stops leaves those before it.
"""

import base64
import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from latte.golden.attention import HeadTrace
from latte.golden.config import AttentionConfig
from latte.sim.agents import Agent, StreamDriver, TestbenchFailure
from latte.sim.block_testbench import QUIET_CYCLES, break_off, create_agents
from latte.sim.core_testbench import CoreTestbench
from latte.sim.mutation.mutants import FRESH, PORT
from latte.sim.program import Program
from latte.sim.scoreboard import JobRecord, RowSplitter, compare_job
from latte.sim.testbench import Testbench

__all__ = ["judge_mutants"]

_SLOWER = 10
"""A mutant that takes so many times the cycles of the block without a fault counts as hung."""


class _Expected:
    """Compares the items of one output with those wanted.

    Parameters
    ----------
    name
    items
        ``bits/mask`` of each, hexadecimal.
    """

    def __init__(self, name: str, items: list[str]) -> None:
        self.name = name
        self.items = [tuple(int(word, 16) for word in item.split("/")) for item in items]
        self.count = 0

    def receive(self, payload: int, cycle: int) -> None:
        """Compare the next one."""
        if self.count == len(self.items):
            raise TestbenchFailure(f"{self.name}: more than {len(self.items)} items")
        bits, mask = self.items[self.count]
        if (payload ^ bits) & mask:
            raise TestbenchFailure(f"{self.name}: item {self.count} differs in {(payload ^ bits) & mask:#x}")
        self.count += 1


class _Deadline:
    """Watcher of the clock.

    Parameters
    ----------
    cycle
        The last one of a case; None: there is none.
    """

    count = 0

    def __init__(self, cycle: int | None) -> None:
        self.cycle = cycle

    def step(self, observed: int, cycle: int) -> int:
        """Look at the clock."""
        if self.cycle is not None and cycle > self.cycle:
            raise TestbenchFailure(f"not done in cycle {cycle}")
        return 0

    def describe(self) -> str:
        """Return until when the case may run."""
        return f"may run until cycle {self.cycle}"


class _BlockCase:
    """A case of `run_block`.

    Parameters
    ----------
    setting
        The plan, and what is ``expected``.
    """

    def __init__(self, setting: dict[str, Any]) -> None:
        self.plan = setting
        self.patience = setting["patience"]

    async def run(self, testbench: Testbench, deadline: _Deadline) -> None:
        """Run it as `run_block` does, but end with the first difference."""
        await break_off(testbench, self.plan)
        outputs = {port: _Expected(port, items) for port, items in self.plan["expected"].items()}
        agents, drivers = create_agents(testbench.ports, self.plan,
                                        {port: output.receive for port, output in outputs.items()})
        agents.append(deadline)
        await testbench.run(agents, lambda: all(output.count == len(output.items) for output in outputs.values())
                            and all(driver.finished for driver in drivers))
        end = testbench.cycle + QUIET_CYCLES
        await testbench.run(agents, lambda: testbench.cycle >= end)


class _SameProgram(Program):
    """A program whose golden traces are computed once."""

    def expected(self) -> Iterator[tuple[int, HeadTrace]]:
        """Yield (index, golden trace) of each job that produces output."""
        if "_traces" not in self.__dict__:
            object.__setattr__(self, "_traces", list(super().expected()))
        return iter(self.__dict__["_traces"])

    def row_counts(self) -> list[int]:
        """Return the query rows of each job that produces output."""
        return [len(trace.output) for _, trace in self.expected()]


class _CoreJudge(CoreTestbench):
    """The core's bench, but ended by the first job that differs, or by a deadline; writes nothing."""

    deadline = _Deadline(None)

    def _agents(self, splitters: dict[str, RowSplitter]) -> tuple[list[Agent], list[StreamDriver]]:
        agents, drivers = super()._agents(splitters)
        return [*agents, self.deadline], drivers

    def _judge(self, index: int, record: JobRecord, trace: HeadTrace) -> None:
        mismatches = compare_job(record, trace, self.program.config, self.layouts).mismatches
        if mismatches:
            raise TestbenchFailure(f"job {index}: {mismatches[0]}")
        self._previous_end = record.output.last_cycle
        for name, values in (("pairs_estimated", trace.visible), ("survivors", trace.keep),
                             ("pruned_mass", trace.mass)):
            self._expected_counters[name] += int(values.sum())


class _CoreCase:
    """A program on a core.

    Parameters
    ----------
    setting
        ``config``, ``program`` (the arrays as base64 of an .npz file), ``stall``, ``seed``, ``patience``.
    """

    def __init__(self, setting: dict[str, Any]) -> None:
        self.setting = setting
        self.patience = setting["patience"]
        with np.load(io.BytesIO(base64.b64decode(setting["program"])), allow_pickle=False) as archive:
            self.program = _SameProgram.from_arrays(AttentionConfig(**setting["config"]), dict(archive))

    async def run(self, testbench: Testbench, deadline: _Deadline) -> None:
        """Run it as `latte.sim.core_testbench` does, but end with the first job that differs."""
        core = _CoreJudge(testbench, self.program, self.setting, pathlib.Path(), {})
        core.deadline = deadline
        await core.run()


async def _fails(testbench: Testbench, chosen: Any, number: int, case: _BlockCase | _CoreCase, limit: int | None
                 ) -> tuple[str | None, int]:
    """Return (what is wrong, None if nothing is, cycles) of a case on a mutant, with fresh memories behind a reset."""
    start = testbench.cycle
    testbench.patience = case.patience
    try:
        chosen.value = FRESH
        await testbench.reset()
        chosen.value = number
        await testbench.reset()
        await case.run(testbench, _Deadline(None if limit is None else start + limit))
    except TestbenchFailure as failure:
        return str(failure), testbench.cycle - start
    return None, testbench.cycle - start


@cocotb.test()
async def judge_mutants(dut: Any) -> None:
    """Judge the mutants of ``batch.json``; before the first and behind the last, all cases must pass without one."""
    folder = pathlib.Path()
    batch = json.loads((folder / "batch.json").read_text())
    cases = [_BlockCase(setting) if bench == "block" else _CoreCase(setting) for bench, setting in batch["cases"]]
    chosen = getattr(dut, PORT)
    chosen.value = 0
    testbench = Testbench(dut)
    with (folder / "verdicts.jsonl").open("a") as file:
        def tell(**verdict: Any) -> None:
            file.write(json.dumps(verdict) + "\n")
            file.flush()

        cycles: dict[int, int] = {}
        for index, case in enumerate(cases):
            failure, cycles[index] = await _fails(testbench, chosen, 0, case, None)
            if failure:
                tell(number=0, case=index, failure=failure)
                return
        order = sorted(cycles, key=cycles.__getitem__)
        tell(number=0, case=None, failure=None)
        for number in batch["numbers"]:
            tell(begun=number)
            failure = found = None
            for index in order:
                failure, _ = await _fails(testbench, chosen, number, cases[index], _SLOWER * cycles[index])
                if failure:
                    found = index
                    break
            tell(number=number, case=found, failure=failure)
        for index in order:
            failure, _ = await _fails(testbench, chosen, 0, cases[index], None)
            if failure:
                break
        tell(end=failure)
