"""``latte area``: every engine's own lanes, and builds with keys in memory."""

import json

from click.testing import CliRunner

from latte.fpga import baselines
from latte.fpga.baselines import read_baseline
from latte.fpga.synthesis import area, commands
from latte.fpga.synthesis.commands import area_command
from latte.fpga.synthesis.yosys import Usage
from tests.test_cli import refused


def test_sweep_varies_the_lanes_that_an_engine_has(tmp_path, monkeypatch):
    """Of synthesis only the configurations are looked at: it has tests of its own."""
    asked = []

    def measure(config, target, folder, block_rams):
        assert block_rams is None
        asked.append((config.query_lanes, config.dim_lanes))
        return {"score_estimator": Usage(lut=config.dim_lanes, lut4_equivalents=config.dim_lanes)}

    monkeypatch.setattr(commands, "measure_area", measure)
    for preset, lanes in (("tiny", [(1, lanes) for lanes in (8, 2, 4, 8, 16)]),
                          ("small", [(lanes, 64) for lanes in (2, 1, 2, 4, 6)])):
        asked.clear()
        result = CliRunner().invoke(area_command, ["--config", preset, "--sweep", "--build", str(tmp_path)])
        assert result.exit_code == 0, result.output
        assert asked == lanes
        names = [figure["name"] for figure in json.loads((tmp_path / "area.json").read_text())["results"]]
        assert sum(name.startswith("sweep.") for name in names) == 4
        assert (tmp_path / "area_sweep.png").stat().st_size > 1000 and (tmp_path / "area_sweep.svg").exists()


def test_keys_in_memory(tmp_path, monkeypatch):
    asked = []

    def measure(build, target, folder, block_rams):
        asked.append(build)
        return {"engine": Usage(lut=9, lut4_equivalents=10, ff=4, bram=3)}

    def run(*options):
        done = CliRunner().invoke(area_command, ["--keys-in-memory", "--build", str(tmp_path), *options])
        return done.output, done.exception

    written = tmp_path / "rtl.md"
    written.write_text("<!-- BEGIN memory-areas: latte area -->\n<!-- END memory-areas -->\n")
    monkeypatch.setattr(commands, "measure_area", measure)
    monkeypatch.setattr(baselines, "_FOLDER", tmp_path)
    monkeypatch.setattr(area.block_table, "DOCUMENT", written)
    sizes = ("--tile-rows", "1", "--candidates", "1024", "--data-bits", "64")
    output, _ = run(*sizes, "--max-seq-len", "65536", "--rebase")
    [build] = asked
    assert (build.tile_rows, build.candidates, build.bus_bytes, build.core.max_seq_len) == (1, 1024, 8, 65536)
    assert "small-memory-1x1024-64" in output
    assert read_baseline("area")["small-memory-1x1024-64.ecp5.engine.lut4_equivalents"] == 10
    assert "| `small`, 1 row, lists of 1024, a bus of 64 bits | ecp5 | 10 | 4 |  | 3 |" in written.read_text()
    assert "with --max-seq-len 65536" in str(run(*sizes, "--rebase")[1])


def test_options_of_keys_in_memory(tmp_path):
    def says(sentence, *options):
        for command in ("area", "timing"):
            refused(command, *options, folder=tmp_path, says=sentence)

    says("--tile-rows is of the core with keys in memory (--keys-in-memory)", "--tile-rows", "2")
    says("--query-lanes is of a core with keys on chip", "--keys-in-memory", "--query-lanes", "4")
    says("--board is of a core with keys on chip", "--keys-in-memory", "--board", "ulx3s_85f")
    says("has no serial engine", "--keys-in-memory", "--config", "tiny")
    refused("area", "--keys-in-memory", "--sweep", folder=tmp_path, says="--sweep is of lanes")
    refused("timing", "--keys-in-memory", "--block", "softmax", folder=tmp_path, says="the core is placed as a whole")
