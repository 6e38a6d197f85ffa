"""A clock loop that is compiled with the model, against cocotb's: the same transfers in the same cycles."""

import json
import random

import pytest

from latte.sim.runner import build_model
from latte.sim.stalls import STALLS
from tests.sim.relay_testbench import WIDTH, Relay


@pytest.fixture(scope="module")
def models(build_folder):
    """Return the relay with cocotb's clock loop, and with a compiled one."""
    return [build_model(Relay(), "relay", build_folder=build_folder, clock_loop=compiled) for compiled in (False, True)]


def reports(models, folder, count, *, stall="none", fault=None, patience=2000):
    """Return what the testbench saw with either loop."""
    rng = random.Random(count)
    parts = [{"i": [rng.getrandbits(WIDTH) for _ in range(length)],
              "other_i": [rng.getrandbits(5) for _ in range(length // 3)]} for length in (count, 7)]
    settings = {"parts": parts, "stall": stall, "seed": 3, "fault": fault, "patience": patience}
    found = []
    for model in models:
        run = folder / f"loop{len(found)}"
        run.mkdir()
        (run / "settings.json").write_text(json.dumps(settings))
        model.run("tests.sim.relay_testbench", run)
        assert (run / "report.json").exists(), (run / "sim.log").read_text()
        found.append(json.loads((run / "report.json").read_text()))
    return found, parts


@pytest.mark.parametrize("stall", STALLS)
def test_same_transfers_in_the_same_cycles(stall, models, tmp_path):
    (cocotbs, compiled), parts = reports(models, tmp_path, 2500, stall=stall)
    assert compiled == cocotbs and compiled["failure"] is None
    assert [payload for payload, _ in compiled["seen"]["o"]] == [item for part in parts for item in part["i"]]


@pytest.mark.parametrize("fault", ["changes", "withdraws"])
def test_same_failure_of_a_stream_that_breaks_a_rule(fault, models, tmp_path):
    (cocotbs, compiled), _ = reports(models, tmp_path, 50, stall="both", fault=fault)
    assert compiled == cocotbs
    words = {"changes": "o: the payload changed from ", "withdraws": "o: valid fell before the payload was taken"}
    assert compiled["failure"].startswith(words[fault])


def test_watchdog(models, tmp_path):
    (cocotbs, compiled), _ = reports(models, tmp_path, 50, fault="hangs", patience=1000)
    assert compiled["failure"] == cocotbs["failure"]
    waits = "i: 0 taken, one waits for ready; other_i: 0 taken, one waits for ready; o: 0 received"
    assert waits in compiled["failure"]


def test_log_of_a_testbench_that_fails(models, tmp_path):
    models[1].run("tests.sim.no_such_testbench", tmp_path)
    assert "No module named 'tests.sim.no_such_testbench'" in (tmp_path / "sim.log").read_text()
