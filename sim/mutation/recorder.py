"""pytest plugin: tests of blocks hand over what they ask, in place of simulating it.

``pytest -p latte.sim.mutation.recorder --record-cases FOLDER tests/...``
"""

import os
import pathlib
from typing import Any

from amaranth.lib import wiring

from latte.sim import block_testbench
from latte.sim.mutation.cases import Case, harness_netlist, save_case

__all__ = ["pytest_addoption", "pytest_configure", "pytest_unconfigure"]


def pytest_addoption(parser: Any) -> None:
    """Declare where the cases go."""
    parser.addoption("--record-cases", metavar="FOLDER", required=True, type=pathlib.Path,
                     help="Keep what run_block is asked for in this folder, and simulate nothing.")


def pytest_configure(config: Any) -> None:
    """Begin to record."""
    folder = config.getoption("--record-cases")

    def record(component: wiring.Component, name: str, plan: dict[str, Any],
               expected: dict[str, list[tuple[int, int]]]) -> None:
        items = {port: [f"{bits:x}/{mask:x}" for bits, mask in pairs] for port, pairs in expected.items()}
        test = os.environ["PYTEST_CURRENT_TEST"].partition(" (")[0]
        save_case(folder, harness_netlist(component, name), Case(test, plan | {"expected": items}))

    block_testbench.recorder = record


def pytest_unconfigure(config: Any) -> None:
    """Record no more."""
    block_testbench.recorder = None
