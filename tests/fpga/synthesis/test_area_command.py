"""``latte area --sweep``: every engine's own lanes."""

import json

from click.testing import CliRunner

from latte.fpga.synthesis import commands
from latte.fpga.synthesis.commands import area_command
from latte.fpga.synthesis.yosys import Usage


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
