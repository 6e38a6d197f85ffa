"""Fixture of the benches of single blocks."""

import pytest

from latte.sim.block_testbench import run_block
from tests.cocotb.blocks import SEED


@pytest.fixture
def check(stall, tmp_path, build_folder):
    """Return a function that runs a block and fails with what is wrong."""
    def run(component, name, inputs, outputs, **settings):
        problems = run_block(component, f"block-{name}", tmp_path / "run", inputs, outputs, stall=stall, seed=SEED,
                             build_folder=build_folder, **settings)
        assert not problems, "\n".join(problems)
    return run
