"""What the tools write, and what is read from it; the samples are cut from real runs."""

import json
import pathlib

import pytest

from latte.fpga import baselines
from latte.fpga.boards.devices import DEVICES
from latte.fpga.placement import place
from latte.fpga.placement.fit import check_fits
from latte.fpga.synthesis import area
from latte.fpga.synthesis.targets import TARGETS
from latte.fpga.synthesis.yosys import OWN_LOGIC, Usage, parse_statistics
from latte.golden.config import preset
from latte.golden.errors import LatteError

REPORTS = pathlib.Path(__file__).parent / "reports"


def test_statistics_give_each_block_its_own_cells():
    blocks = parse_statistics((REPORTS / "yosys_ecp5.json").read_text(), "core", TARGETS["ecp5"])
    assert set(blocks) == {OWN_LOGIC, "softmax", "row_queue"}
    assert blocks[OWN_LOGIC] == Usage(lut=17, carry=179, ff=371, lut4_equivalents=17 + 2 * 179)
    softmax = blocks["softmax"]
    assert (softmax.dsp, softmax.bram, softmax.bram_bits) == (2, 1, 18432)
    assert softmax.lut4_equivalents == softmax.lut + 2 * softmax.carry + 6 * softmax.lutram


def test_report_names_the_blocks_of_the_critical_path():
    run = place.parse_report((REPORTS / "nextpnr_ecp5.json").read_text(), seed=7)
    assert (run.seed, round(run.fmax, 1), run.constraint, run.met) == (7, 78.0, 130, False)
    assert run.path == ("value_accumulator",)
    assert run.utilisation["DP16KD"] == (52, 56)
    assert "DCUA" not in run.utilisation
    assert run.path_ns == pytest.approx(1000 / run.fmax, rel=1e-3)


def test_slowest_clock_is_the_one_furthest_behind_its_constraint():
    report = {"fmax": {"fast": {"achieved": 90, "constraint": 120}, "slow": {"achieved": 30, "constraint": 25}},
              "critical_paths": [], "utilization": {}}
    run = place.parse_report(json.dumps(report), seed=1)
    assert (run.fmax, run.constraint, run.path) == (90, 120, ())


@pytest.mark.parametrize(("cell", "block"), [
    ("softmax.pipeline.product_TRELLIS_FF_Q", "softmax"), ("hosted.attention_core.softmax.x", "softmax"),
    ("hosted.host_link.receiver.x", "host_link"), ("busy_TRELLIS_FF_Q", OWN_LOGIC)])
def test_block_of_a_cell(cell, block):
    assert place.block_of(cell) == block


def test_too_large_says_by_how_much_and_what_fits():
    others = {"tiny": Usage(lut4_equivalents=4000, bram=20), "base": Usage(lut4_equivalents=90000)}
    with pytest.raises(LatteError, match=r"ECP5-25F.*70 block RAMs, 14 more than its 56.*tiny fits"):
        check_fits(Usage(bram=70), DEVICES["25k"], "'small'", others)
    check_fits(Usage(bram=56), DEVICES["25k"], "'small'", others)


def test_results_have_the_names_of_the_notes():
    config = preset("small")
    blocks = {"score_estimator": Usage(lut=1000, carry=500, ff=3, lut4_equivalents=2000), "softmax": Usage(dsp=2)}
    figures = {figure["name"]: figure["value"] for figure in area.results(config, TARGETS["ecp5"], blocks)}
    assert figures["small.ecp5.lut4_per_mac"] == round(2000 / (config.pairs_per_cycle * config.dim_lanes), 3)
    assert (figures["small.ecp5.lut4"], figures["small.ecp5.dsp"], figures["small.ecp5.softmax.dsp"]) == (1000, 2, 2)


def test_the_dense_array_makes_four_products_per_pair():
    config = preset("base").dense()
    assert area.per_mac(config, {"score_array": Usage(lut4_equivalents=4 * 6 * 64 * 25)}) == 25


def test_a_new_baseline_replaces_only_its_own_preset_and_target(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "_FOLDER", tmp_path)
    monkeypatch.setattr(area, "TABLES", {})
    config, blocks = preset("small"), {"score_estimator": Usage(lut=10, carry=1, lut4_equivalents=12)}
    for target in ("ecp5", "ice40"):
        area.make_baseline(config, TARGETS[target], area.results(config, TARGETS[target], blocks))
    blocks = {"score_estimator": Usage(lut=8, lut4_equivalents=8)}
    area.make_baseline(config, TARGETS["ecp5"], area.results(config, TARGETS["ecp5"], blocks))
    baseline = baselines.read_baseline("area")
    assert (baseline["small.ecp5.lut4"], baseline["small.ice40.lut4"]) == (8, 10)
    assert "small.ecp5.carry" not in baseline
    assert area.baseline_usages("ecp5") == {"small": Usage(lut=8, lut4_equivalents=8)}
    with pytest.raises(LatteError, match="a baseline is kept of the presets"):
        area.make_baseline(config.replace(max_seq_len=9), TARGETS["ecp5"], [])
