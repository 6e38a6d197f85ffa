"""One engine of the benchmark in RTL, and the area figures of the tool."""

import pytest

from latte.fpga.benchmark import workloads
from latte.fpga.benchmark.areas import engine_area
from latte.fpga.benchmark.engine import run_engine
from latte.fpga.synthesis.multiplier import lut4_per_multiplier
from latte.fpga.synthesis.targets import find_target
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.sim.core_run import build_core

SMALL = preset("small")


def short_heads() -> workloads.Workload:
    return workloads.of_length(128)


# One dense pair a cycle compiles in half the time of two.
@pytest.mark.parametrize("config", [
    pytest.param(SMALL, id="latte"),
    pytest.param(SMALL.replace(query_lanes=1).dense(), id="dense", marks=pytest.mark.slow)])
def test_hardware_counts_the_golden_work(config, tmp_path, build_folder):
    workload = short_heads()
    run = run_engine(workload, config, build_core(config, build_folder=build_folder), tmp_path / "run")
    assert run.counted_bit_operations == run.golden_bit_operations
    assert run.pairs.visible == 3 * 128 ** 2
    assert run.kept == pytest.approx(1 if config.engine == "dense" else 0.15, abs=0.005)
    assert run.bound < run.cycles < 1.3 * run.bound
    assert run.utilisation["estimator"] > 0.75
    assert run.model_error is None if config.engine == "dense" else abs(run.model_error) < 0.01


def test_a_wrong_core_is_not_measured(tmp_path, build_folder):
    model = build_core(SMALL, build_folder=build_folder)
    workload = short_heads()
    sliced = SMALL.replace(split="slice")  # the golden model of another split disagrees with this core
    with pytest.raises(LatteError, match="differs from the golden model"):
        run_engine(workload, sliced, model, tmp_path / "run")


def test_areas_come_from_the_tool_and_are_kept(tmp_path):
    config = preset("tiny")
    rate = lut4_per_multiplier(config, find_target("ecp5"), tmp_path / "product")
    assert 150 < rate < 400
    first = engine_area(config, find_target("ecp5"), rate, tmp_path)
    assert sum(first.by_role().values()) == pytest.approx(first.lut4)
    assert first.lut4 == first.usage.lut4_equivalents + rate * first.usage.dsp
    statistics = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/statistics.json")}
    assert engine_area(config, find_target("ecp5"), rate, tmp_path) == first
    assert statistics == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/statistics.json")}
