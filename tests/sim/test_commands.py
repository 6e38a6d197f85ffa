"""``latte sim`` around the simulator: what is written and printed, and in which order."""

import json
import types

import numpy as np
import pytest
from click.testing import CliRunner

from latte.golden.errors import LatteError
from latte.golden.vectors import VectorSet, save_vectors
from latte.rtl.axi.bus_core import REGISTER_PORTS
from latte.rtl.axi.bus_cores import DATA_PORTS
from latte.sim import axi_run, commands, core_run, options
from latte.sim.verdict import HeadRun

MODEL = "mymodel[/v2] [red] :smile:"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Return a function that runs the command in `tmp_path` on one head whose simulation is replaced by its outcome."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = {name: rng.integers(-100, 100, (1, 3, 64), np.int8) for name in "qkv"}
    scales = {name: np.full(1, 0.02, np.float32) for name in ("q_scale", "k_scale", "v_scale", "tau")}
    save_vectors(tmp_path / "head.npz", VectorSet(**rows, **scales, causal=False, block=np.zeros(1, np.int32),
                                                  head=np.zeros(1, np.int32), model=MODEL))
    problems: list[str] = []

    def simulate(sets, model, config, folder, **settings):
        (folder / "shard0").mkdir(parents=True)
        (folder / "shard0" / "dump.vcd").write_text("")
        head = HeadRun(sets[0].names()[0], MODEL, 0, 0, 3, problems, kept=9, visible=9, cycles=50,
                       keep=np.ones((3, 3), bool), score=np.zeros((3, 3), np.int32),
                       output=np.zeros((3, 64), np.int32))
        return [head], [types.SimpleNamespace(cycles=50, elapsed=40, folder=folder / "shard0")]

    monkeypatch.setattr(commands, "simulate", simulate)
    monkeypatch.setattr(core_run, "build_core", lambda *arguments, **settings: None)
    monkeypatch.setattr(axi_run, "build_axi_core", lambda *arguments, **settings: None)

    def run(*arguments, problem=""):
        problems[:] = [problem] if problem else []
        return CliRunner().invoke(commands.simulate_command, ["--vectors", "head.npz", *arguments])
    return run


def test_names_are_shown_as_given(command, tmp_path):
    result = command("--build", "w[/x] [b]", "--waves")
    assert result.exit_code == 0, result.output
    assert MODEL in result.output and "waves: w[/x] [b]/sim/runs/" in result.output
    assert json.loads((tmp_path / "w[/x] [b]" / "sim.json").read_text())["results"][0]["name"].startswith(MODEL)


def test_cycles_behind_axi_stand_beside_those_of_the_bare_core(command, tmp_path):
    result = command("--interface", "axi", "--data-bits", "128")
    assert result.exit_code == 0, result.output
    assert "bare core" in result.output and "behind AXI, 128 bits" in result.output and "+0.00%" in result.output
    record = json.loads((tmp_path / "build" / "sim.json").read_text())
    assert record["results"][0]["core_cycles"] == 50


@pytest.mark.parametrize(("option", "value", "says"), [("--sim", "icarus", "verilator alone"),
                                                       ("--data-bits", "32", "64 or 128")])
def test_what_axi_is_not_simulated_with(command, option, value, says):
    result = command("--interface", "axi", option, value)
    assert isinstance(result.exception, LatteError) and says in str(result.exception)


def test_problems_are_shown_as_given(command, tmp_path):
    result = command(problem="estimate at [/row] 3: expected 1, got 2")
    assert result.exit_code == 1
    assert f"{MODEL}.block0.head0: estimate at [/row] 3" in result.output and "--seed 1" in result.output
    assert not json.loads((tmp_path / "build" / "sim.json").read_text())["pass"]


def test_results_are_written_before_anything_is_printed(command, tmp_path, monkeypatch):
    def broken(*arguments, **settings):
        raise BrokenPipeError

    monkeypatch.setattr(commands, "print_heads", broken)
    result = command("--dump", "dump.npz")
    assert isinstance(result.exception, BrokenPipeError)
    assert json.loads((tmp_path / "build" / "sim.json").read_text())["pass"] and (tmp_path / "dump.npz").exists()


def test_options_name_what_the_hardware_has():
    """Names stand in the options, too, so that a command line is read without Amaranth."""
    assert ("core", *DATA_PORTS) == options.INTERFACES
    assert tuple(REGISTER_PORTS) == options.REGISTER_PORTS
