"""cocotb testbench that judges the mutants of one model, one after the other, by recorded cases.

Runs inside the simulator's process; `latte.sim.mutation.judge` prepares its folder and reads the
verdicts, one line each in ``verdicts.jsonl``: a simulator that a mutant stops leaves those before it.
"""

import json
import pathlib
from typing import Any

import cocotb

from latte.sim.agents import TestbenchFailure
from latte.sim.block_testbench import QUIET_CYCLES, break_off, create_agents
from latte.sim.mutation.mutants import FRESH, PORT
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


class _Case:
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


async def _fails(testbench: Testbench, chosen: Any, number: int, case: _Case, limit: int | None
                 ) -> tuple[str | None, int]:
    """Return (what is wrong, None if nothing is, cycles) of a case on a mutant, with fresh memories behind a reset."""
    start = testbench.cycle
    # What stands still for longer than the case may take at all has failed, also in the part that is broken off.
    testbench.patience = case.patience if limit is None else min(case.patience, limit)
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
    cases = [_Case(setting) for setting in batch["cases"]]
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
