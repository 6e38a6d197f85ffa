"""Figures, bars, baseline and the processor's side of the benchmark."""

import json

import numpy as np
import pytest

from latte.fpga import baselines
from latte.fpga.benchmark import results
from latte.fpga.benchmark.areas import EngineArea
from latte.fpga.benchmark.cpu import measure_cpu
from latte.fpga.benchmark.engine import EngineRun
from latte.fpga.synthesis.yosys import Usage
from latte.golden.bit_operations import PairCount
from latte.golden.config import preset
from latte.golden.vectors import embedded_vectors

BASE = preset("base")


def made_up_run(config, cycles: int, kept: int = 1500) -> EngineRun:
    counters = dict.fromkeys(
        ("stall_key_load", "stall_query_load", "stall_filter", "filter_stalls", "output_stalls"), 0)
    counters |= {"estimator_beats": 1600, "cross_beats": kept, "value_beats": kept, "pairs_estimated": 10_000,
                 "survivors": kept}
    return EngineRun(config, "made-up", "made-up", PairCount(100, 100, 10_000, kept), 1, cycles, cycles, counters, None)


def comparison(**blocks: int) -> results.Comparison:
    latte = {"score_estimator": 1000, "cross_product_unit": 500, "value_accumulator": 500, "normalizer": 300} | blocks
    dense = {"score_array": 4000, "value_accumulator": 3000, "normalizer": 300}
    areas = [EngineArea({name: Usage(lut4_equivalents=size) for name, size in block.items()}, 0)
             for block in (latte, dense)]
    return results.Comparison(made_up_run(BASE, 2000), made_up_run(BASE.dense(), 1800, 10_000), *areas)


def test_throughput_per_area_is_a_ratio_of_ratios():
    assert comparison().throughput_per_area == pytest.approx((1800 * 7300) / (2000 * 2300))


def test_losses_lead_from_the_limit_to_the_measurement():
    losses = comparison().losses()
    assert losses.bit_operations == pytest.approx(128 / (16 + 96 * 0.15))
    assert losses.real_prices == pytest.approx(7000 / (1000 + 1500 / 1600 * 1000))
    assert losses.whole_units == pytest.approx(7000 / 2000)
    assert losses.whole_core == pytest.approx(7300 / 2300)
    assert losses.measured == comparison().throughput_per_area


def test_roles_hold_every_block():
    blocks = {"score_estimator": Usage(lut4_equivalents=10, dsp=2), "head_registers": Usage(lut4_equivalents=4)}
    area = EngineArea(blocks, 100)
    assert area.by_role()["scores"] == 210 and area.by_role()["control"] == 4


def test_exponent_of_a_power_law():
    sizes = np.array([64.0, 128, 256, 1024])
    assert results.fitted_exponent(sizes, 3 * sizes ** 1.7) == pytest.approx(1.7)


@pytest.mark.parametrize("least, value, met", [(True, 0.95, True), (True, 0.949, False), (False, 1.05, True),
                                               (False, 1.051, False)])
def test_bars(least, value, met):
    bar = results.Bar("figure", value, 0.95 if least else 1.05, least)
    assert bar.met == met and ("MISSED" in str(bar)) == (not met)


def test_differences_to_the_baseline():
    figures = [{"name": "a", "value": 1.0}, {"name": "b", "value": 2.0}, {"name": "new", "value": 3.0},
               {"name": "zero", "value": 0.0}]
    baseline = {"a": 1.0005, "b": 2.1, "zero": 0.0}
    assert results.differences(figures, baseline) == [("b", 2.1, 2.0)]


def test_a_baseline_keeps_the_figures_of_other_presets(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "_FOLDER", tmp_path)
    monkeypatch.setattr(results, "TABLES", {})
    results.make_baseline([{"name": "small.x", "value": 1.0}, {"name": "small.speedup_over_cpu_float", "value": 9}])
    results.make_baseline([{"name": "base.x", "value": 2.0}])
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written == baselines.read_baseline("bench") == {"base.x": 2.0, "small.x": 1.0}


def test_the_processor_computes_the_same_attention_in_float_and_in_integers():
    pytest.importorskip("onnxruntime", reason="ONNX Runtime (extra 'bench') is not installed")
    pytest.importorskip("onnx", reason="ONNX (extra 'bench') is not installed")
    vectors = next(vectors for vectors in embedded_vectors() if vectors.causal).select([0, 3])
    cpu = measure_cpu(vectors)
    # 255 steps for a weight: long rows have many weights of one step or less.
    assert cpu.relative_rms < 0.15
    assert cpu.float_seconds > 0 and cpu.int8_seconds > 0
