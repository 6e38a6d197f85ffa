"""``latte bench``: bad input is one sentence before anything is compiled; results come before what is printed."""

import dataclasses
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from latte.fpga.benchmark import commands
from latte.fpga.benchmark.areas import EngineArea
from latte.fpga.benchmark.commands import bench_command
from latte.fpga.benchmark.figures import draw
from latte.fpga.benchmark.results import (
    LEARNED_WORKLOAD,
    NARROW_WORKLOADS,
    PresetResult,
    model_seconds,
    preset_figures,
)
from latte.fpga.benchmark.tables import TABLES
from latte.fpga.benchmark.workloads import KEEP_RATIOS, LENGTHS, PAPER_KEEP, keep_name
from latte.fpga.synthesis.yosys import Usage
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.vectors import embedded_vectors, save_vectors
from tests.fpga.benchmark.test_results import made_up_run

NAME = "[b]x[/y]"


@pytest.fixture
def vector_file(tmp_path):
    """Return a function that writes two embedded heads, changed, and returns the file's options."""
    def write(**changes):
        path = tmp_path / "heads.npz"
        save_vectors(path, dataclasses.replace(next(iter(embedded_vectors())).select([0, 1]), **changes))
        return ["--vectors", str(path)]
    return write


@pytest.mark.parametrize("options, words", [
    (["--config", "huge"], "unknown configuration 'huge'"),
    (["--vectors", "none.npz"], "none.npz: no such vector file")])
def test_unknown_names(options, words, tmp_path):
    refused(options, words, tmp_path)


def test_two_sets_of_one_name(vector_file, tmp_path):
    refused(vector_file(), "two vector sets are named 'deit-tiny'", tmp_path)


def test_heads_that_the_build_cannot_hold(vector_file, tmp_path):
    rows = {name: np.zeros((2, 16, 32), np.int8) for name in ("q", "k", "v")}
    refused(vector_file(model="narrow", **rows), "head_dim 32", tmp_path)


def test_more_heads_than_registers(vector_file, tmp_path):
    many = {name: np.zeros((200, 16, 64), np.int8) for name in ("q", "k", "v")}
    many |= {name: np.ones(200, np.float32) for name in ("q_scale", "k_scale", "v_scale", "tau")}
    many |= {name: np.arange(200, dtype=np.int32) for name in ("block", "head")}
    refused(vector_file(model="many", **many), "200 heads, but the register file of 'small' holds 144", tmp_path)


def refused(options, words, folder):
    result = CliRunner().invoke(bench_command, [*options, "--no-cpu", "--build", str(folder / "build")])
    assert isinstance(result.exception, LatteError)
    assert words in str(result.exception) and "\n" not in str(result.exception)
    assert not (folder / "build" / "bench.json").exists()


def test_names_are_shown_as_given_and_results_come_first(vector_file, tmp_path, monkeypatch):
    """Measurements are made up; a table that cannot be printed must not cost them."""
    measured = made_up_result(preset("small"), ["deit-tiny", "smollm2-135m", "smollm2-135m-keep10", NAME])
    monkeypatch.setattr(commands, "measure", lambda *arguments, **options: [measured])
    monkeypatch.setattr(commands, "draw", lambda results, folder: [folder / "plot.png"])
    options = [*vector_file(model=NAME), "--config", "small", "--no-cpu", "--build", str(tmp_path)]
    done = CliRunner().invoke(bench_command, options)
    assert done.exit_code == 1, done.output  # made-up cycles miss the bars
    assert NAME in done.output and "MISSED" in done.output

    def fail(*arguments):
        raise RuntimeError("cannot print")

    (tmp_path / "bench.json").unlink()
    monkeypatch.setattr(commands, "_print_preset", fail)
    assert isinstance(CliRunner().invoke(bench_command, options).exception, RuntimeError)
    assert any(NAME in entry["name"] for entry in json.loads((tmp_path / "bench.json").read_text())["results"])


@pytest.mark.parametrize("name", ["small", "small_lm"])
def test_presets_are_explored_or_only_what_they_are_sized_for(name, tmp_path):
    """Figures, plots and tables of both."""
    result = made_up_result(preset(name), ["deit-tiny", "smollm2-135m", "smollm2-135m-keep10"])
    explored = name == "small"
    assert result.explored == explored and list(result.areas) == [
        "latte", *(["lean"] if explored else []), "narrow", "dense"]
    figures = {figure["name"]: figure["value"] for figure in preset_figures(result)}
    assert f"{name}.{LEARNED_WORKLOAD}.throughput_per_area_vs_dense" in figures
    assert (f"{name}.lean.advantage.measured" in figures) == explored
    assert ("smollm2_135m_decode_token" in model_seconds(result, 1e8)) == explored
    assert all(path.stat().st_size for path in draw([result], tmp_path))
    console = Console(file=io.StringIO(), width=200)
    commands._print_preset(console, result)
    assert ("lean" in console.file.getvalue()) == ("deep queues" in console.file.getvalue()) == explored
    assert f"{name}.narrow" in console.file.getvalue()
    for section in ("bench-cycles", "bench-areas", "bench-losses", "bench-keep", "bench-mixed"):
        table = TABLES[section](figures)
        assert "base" not in table
        assert (f"`{name}" in table) == (explored or section not in ("bench-keep", "bench-mixed"))


def made_up_result(config, models):
    """Return a result with every workload of a benchmark, each as `made_up_run` has it."""
    def runs(config, names):
        return {name: dataclasses.replace(made_up_run(config, 2000 + len(name)), workload=name,
                                          shaped_like=shapes.get(name, name)) for name in names}

    def area(array):
        return EngineArea({name: Usage(lut4_equivalents=size) for name, size in (
            (array, 1000), ("cross_product_unit", 500), ("value_accumulator", 500))}, 239)

    keeps = [keep_name(keep) for keep in KEEP_RATIOS]
    learned = {"deit-tiny-best_90-keep15": "deit-tiny", LEARNED_WORKLOAD: "deit-tiny",
               "smollm2-135m-best_90-keep10": "smollm2-135m"}
    shapes = learned | dict.fromkeys(keeps, keep_name(PAPER_KEEP))
    mixed = ["mixed", "mixed-alternating"]
    explored = config.name in commands._EXPLORED
    shapes[NARROW_WORKLOADS[explored]] = "deit-tiny"
    narrow = runs(config.replace(estimate_bits=3), [NARROW_WORKLOADS[explored]]), area("score_estimator")
    if not explored:
        return PresetResult(config, runs(config, [*models, *learned]), runs(config.dense(), models),
                            area("score_estimator"), area("score_array"), *narrow)
    units = {unit: [(1, Usage(lut4_equivalents=100)), (2, Usage(lut4_equivalents=190))]
             for unit in ("estimator", "cross", "P·V")}
    both = [*models, keep_name(PAPER_KEEP)]
    return PresetResult(
        config, runs(config, [*models, *learned, *keeps, *(f"n{keys}" for keys in LENGTHS), "decode", *mixed]),
        runs(config.dense(), both), area("score_estimator"), area("score_array"), *narrow,
        runs(config.lean(), both), runs(config, mixed), area("score_estimator"), units)
