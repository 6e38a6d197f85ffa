"""``--board NAME``: every command knows the build, and a run needs nothing else on each of the five boards."""

import dataclasses
import json

import pytest
from click.testing import CliRunner

from latte.fpga.boards.board import BOARDS
from latte.fpga.cli import cli
from latte.fpga.placement import commands as placement
from latte.fpga.placement.place import Placement
from latte.fpga.synthesis import commands as synthesis
from latte.fpga.synthesis.yosys import Usage
from latte.golden.builds import BUILDS
from latte.golden.config import preset
from latte.golden.thresholds import ThresholdKind
from latte.golden.vectors import embedded_vectors
from latte.sim import vector_sets
from tests.test_cli import refused

SHORT, LONG = 8, 400


def cut(vectors, keys):
    """Return a set cut to a number of keys."""
    return dataclasses.replace(vectors, **{name: getattr(vectors, name)[:, :keys] for name in "qkv"})


LEARNED = {"deit-tiny-best_90", "smollm2-135m-best_90"}
"""Names of the embedded sets as shipped thresholds prune them."""


def that_fit(sets, config):
    """Return the sets that are no longer than a build, and after each how shipped thresholds prune it, if it can."""
    return [version for vectors in sets if vectors.keys <= config.max_seq_len
            for version in (vectors, *(vector_sets.as_learned(vectors) if config.key_groups else ()))]


@pytest.fixture
def embedded(monkeypatch):
    """Return the embedded sets in a short form: the vision heads fit every board, the language heads some."""
    vision, language, *_ = embedded_vectors()
    sets = [cut(vision.select([0, 2]), SHORT), cut(language.select([0, 2]), LONG)]
    monkeypatch.setattr(vector_sets, "embedded_vectors", lambda: iter(sets))
    return sets


@pytest.mark.parametrize("name", BOARDS)
def test_the_embedded_heads_that_fit_are_taken(name):
    config = BUILDS[name]
    fitting, left_out = vector_sets.embedded_that_fit(config)
    assert [vectors.model for vectors in fitting] == [
        vectors.model for vectors in that_fit(embedded_vectors(), config)]
    long = [line for line in left_out if f"at most {config.max_seq_len}" in line]
    pruned = [line for line in left_out if "no thresholds of kind mass" in line]
    assert len(left_out) == len(long) + len(pruned) and all("smollm2" in line for line in long)
    assert len(fitting) + len(left_out) == len(list(embedded_vectors())) + len(LEARNED)


def test_a_build_that_weighs_keys_takes_every_model_as_its_shipped_thresholds_prune_it():
    config = preset("small", threshold_kinds=("relative", "mass"), key_groups=4)
    fitting, left_out = vector_sets.embedded_that_fit(config)
    given = [vectors for vectors in fitting if vectors.threshold is ThresholdKind.RELATIVE]
    learned = [vectors for vectors in fitting if vectors.threshold is ThresholdKind.MASS]
    assert not left_out and [vectors.model for vectors in given] == [vectors.model for vectors in embedded_vectors()]
    assert {vectors.model for vectors in learned} == LEARNED
    assert all(vectors.denominator_gain is not None for vectors in learned)
    fewer = vector_sets.embedded_that_fit(config.replace(key_groups=2))[1]
    assert len(fewer) == len(LEARNED) and all("at most 2 groups of keys, not 4" in line for line in fewer)


@pytest.mark.parametrize("name", [name for name in BOARDS if BUILDS[name].engine == "serial"])
def test_run_on_the_simulated_board(name, embedded, output):
    """The heads that fit agree in every bit; the others are named. A long head would only take longer.

    The wide engine's boards compile for many minutes: ``latte run --board ulx3s_25f --port sim`` runs one by hand.
    """
    vision, _ = embedded
    config = BUILDS[name]
    if config.max_seq_len >= LONG:
        embedded[1] = cut(embedded[1], SHORT)
    done = CliRunner().invoke(cli, ["run", "--board", name, "--port", "sim", "--build", str(output)])
    assert done.exit_code == 0, done.output
    record = json.loads((output / "run.json").read_text())
    assert [entry["name"] for entry in record["results"]] == [
        head for vectors in that_fit(embedded, config) for head in vectors.names()]
    assert record["pass"] and record["board"] == name and record["config"] == config.to_dict()
    long = [line for line in record["left_out"] if "holds at most" in line]
    assert bool(long) == (config.max_seq_len < LONG) and all(f"left out: {line}" in done.output for line in long)


def test_sim_takes_what_fits_too(embedded, output):
    done = CliRunner().invoke(cli, ["sim", "--board", "tang_nano_9k", "--jobs", "1", "--build", str(output)])
    assert done.exit_code == 0 and "2 of 2 heads agree" in done.output
    assert "left out: embedded smollm2-135m, 2 heads: 'k' has 400 keys" in done.output


def test_a_sample_is_spread_over_each_set():
    config = preset("small")
    every, none = vector_sets.gather_vectors([], None, config)
    few, left_out = vector_sets.gather_vectors([], None, config, sample=3)
    assert none == [] and len(left_out) == len(every) == len(few)
    for vectors, sample in zip(every, few, strict=True):
        assert sample.names() == [vectors.names()[h] for h in (0, (len(vectors) - 1) // 2, len(vectors) - 1)]
        assert f"{vectors.model}: {len(vectors) - 3} of {len(vectors)} heads, with --sample 3" in left_out
    assert vector_sets.gather_vectors([], None, config, sample=1000)[1] == []


def test_no_embedded_head_fits(tmp_path):
    refused("sim", "--board", "icebreaker", "--max-seq-len", "100", folder=tmp_path, says="no embedded vectors fit")


@pytest.mark.parametrize("arguments", [
    ("sim",), ("run", "--port", "sim"), ("area",), ("timing",), ("emit", "--output", "x.sv"),
    ("export", "--model", "m", "--thresholds", "t", "--output", "x.json")], ids=lambda arguments: arguments[0])
def test_every_command_refuses_an_unknown_board_and_two_names(arguments, tmp_path):
    refused(*arguments, "--board", "ulx3s", folder=tmp_path, says="unknown board 'ulx3s'")
    refused(*arguments, "--board", "icebreaker", "--config", "tiny", folder=tmp_path, says="leave out --config tiny")


def test_area_and_timing_take_family_and_device_of_the_board(tmp_path, monkeypatch):
    """Tools are not run here: what they are asked for is looked at."""
    asked = []

    def area(config, target, folder, block_rams):
        assert block_rams == 26
        asked.append((config, target.name))
        return {"score_estimator": Usage(lut=1, lut4_equivalents=1)}

    def timing(name, config, device, folder, **options):
        asked.append((config, device.name))
        return [Placement(1, 300.0, 100.0, {}, (name,), 1.0)]

    monkeypatch.setattr(synthesis, "measure_area", area)
    monkeypatch.setattr(placement, "measure_timing", timing)
    monkeypatch.setattr(placement, "check_tools", lambda *tools: None)
    for command in ("area", "timing"):
        done = CliRunner().invoke(cli, [command, "--board", "tang_nano_9k", "--build", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / f"{command}.json").read_text())["config"]["max_seq_len"] == 197
    assert set(asked) == {(BUILDS["tang_nano_9k"], "gowin"), (BUILDS["tang_nano_9k"], "gw1nr-9c")}
