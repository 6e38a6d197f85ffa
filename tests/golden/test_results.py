"""Result files have the agreed fields, and are there whole."""

import json

from latte.golden.config import preset
from latte.golden.results import write_results


def test_fields_of_a_result_file(tmp_path):
    results = [{"name": "head", "unit": "pass", "value": 1}]
    write_results(tmp_path / "new" / "sim.json", "sim", preset("tiny"), results, True, seed=3)
    record = json.loads((tmp_path / "new" / "sim.json").read_text())
    assert set(record) == {"target", "version", "git", "config", "results", "pass", "seed"}
    assert record["config"]["name"] == "tiny" and record["results"] == results and record["pass"] is True
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sim.json"]
