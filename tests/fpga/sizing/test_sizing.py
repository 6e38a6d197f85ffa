"""Areas from measured blocks, sizing for a device, and the sweep."""

import json

import pytest
from click.testing import CliRunner

from latte.fpga.boards.devices import DEVICES
from latte.fpga.sizing.block_area import block_features, block_memories, block_rams, estimate_area, find_samples
from latte.fpga.sizing.commands import size_command, sweep_command
from latte.fpga.sizing.measure_blocks import plan_samples
from latte.fpga.sizing.proposal import balanced_config, find_sized_device, propose, sample_work, total_area
from latte.fpga.sizing.sweep import evaluate, pareto_front, sweep_configs
from latte.fpga.synthesis.targets import find_target
from latte.golden.config import preset
from latte.golden.errors import LatteError


def measured_samples(target):
    """Yield (block, configuration, measured sample) of everything that was synthesised."""
    samples = {block: iter(entries) for block, entries in find_samples(target).items()}
    for block, _, config in plan_samples(find_target(target)):
        yield block, config, next(samples[block])


def test_samples_are_of_the_present_plan():
    for block, config, sample in measured_samples("ecp5"):
        assert tuple(sample["features"]) == block_features(config)[block]


def test_counted_block_rams_are_those_of_the_synthesis():
    for block, config, sample in measured_samples("ecp5"):
        memories = block_memories(config).get(block.partition("/")[0], [])
        assert sum(n * block_rams(words, bits, "ecp5") for n, words, bits in memories) == sample["bram"], block


def test_fitted_areas_are_near_the_synthesis():
    for block, config, sample in measured_samples("ecp5"):
        area = estimate_area(config, "ecp5")[block.partition("/")[0]]
        assert area.lut4 == pytest.approx(sample["lut4_equivalents"], rel=0.08, abs=20), block
        assert area.dsp == sample["dsp"], block


def test_area_grows_with_lanes_and_memory():
    small, base = (total_area(estimate_area(preset(name).lean(), "ecp5")) for name in ("small", "base"))
    assert base.lut4 > 1.7 * small.lut4
    assert base.dsp > 1.8 * small.dsp
    assert total_area(estimate_area(preset("small", max_seq_len=256).lean(), "ecp5")).bram < small.bram / 2


@pytest.mark.parametrize("causal", [False, True])
def test_sampled_heads_keep_what_was_asked(causal):
    for keep in (0.02, 0.15, 1.0):
        for work in sample_work(100, keep, causal, 2):
            assert work.keep.sum() / work.visible == pytest.approx(keep, abs=0.03)


def test_balanced_units_do_not_limit_the_estimator():
    for lanes, keep in ((1, 0.3), (2, 0.15), (6, 0.15), (4, 0.1)):
        config = balanced_config(lanes, 1, 64, keep=keep, keys=197, causal=False)
        assert lanes * keep * max(config.cross_slices, config.value_slices) <= 1
    assert balanced_config(16, 4, 64, keep=0.5, keys=197, causal=False) is None


def test_larger_device_and_fewer_survivors_are_faster():
    def rate(device, keep):
        proposal = propose(find_sized_device(device), keep=keep, keys=128, causal=False)
        area = proposal.area
        found = find_sized_device(device)
        assert area.lut4 <= found.lut4 and area.dsp <= found.dsp and area.bram <= found.bram
        return proposal.copies / proposal.cycles_per_head

    assert rate("ecp5-85f", 0.15) > rate("ecp5-25f", 0.15) > rate("ecp5-25f", 0.6)


def test_refusals_name_what_would_do():
    with pytest.raises(LatteError, match="unknown device 'ecp5-84f', the nearest is ecp5-85f"):
        find_sized_device("ecp5-84f")
    assert find_sized_device("85k") is find_sized_device("ecp5-85f") is DEVICES["85k"]
    with pytest.raises(LatteError, match="ECP5-25F cannot hold even the smallest build for 1024 keys.*ecp5-45f"):
        propose(find_sized_device("ecp5-25f"), keep=0.1, keys=1024, causal=True)
    for keep in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(LatteError, match="must be above 0 and at most 1"):
            propose(find_sized_device("ecp5-25f"), keep=keep, keys=64, causal=False)
    with pytest.raises(LatteError, match="no block areas were measured for 'xilinx7'"):
        find_samples("xilinx7")


def test_size_prints_loads_area_and_rate():
    result = CliRunner().invoke(size_command, ["--keep", "0.15", "--device", "ecp5-25f", "--n", "64", "--fmax", "90"])
    assert result.exit_code == 0, result.output
    for text in ("query_lanes", "cross", "score_estimator", "ECP5-25F", "heads/s at 90 MHz", "latte emit"):
        assert text in result.output


def test_front_holds_the_best_of_each_area():
    configs = sweep_configs(0.15, 64, causal=False, most_pairs=3)
    points = [evaluate(config, sample_work(64, 0.15, False, 1), "ecp5") for config in configs[::5]]
    front = pareto_front(points)
    for point in points:
        assert any(best.area <= point.area and best.heads_per_mega_cycle >= point.heads_per_mega_cycle
                   for best in front)
    assert [p.heads_per_mega_cycle for p in front] == sorted(p.heads_per_mega_cycle for p in front)


def test_unreachable_scheduler_is_one_sentence(tmp_path):
    pytest.importorskip("distributed")
    result = CliRunner().invoke(sweep_command, ["--scheduler", "tcp://127.0.0.1:9", "--build", str(tmp_path)])
    assert isinstance(result.exception, LatteError)
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in str(result.exception)


def test_sweep_writes_results_and_plots(tmp_path):
    pytest.importorskip("distributed")
    result = CliRunner().invoke(sweep_command, ["--n", "48", "--pairs", "1", "--build", str(tmp_path)])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert record["target"] == "sweep" and record["pass"] is True
    assert any(entry["pareto"] for entry in record["results"])
    assert (tmp_path / "sweep.png").stat().st_size > 1000 and (tmp_path / "sweep.svg").exists()
