"""Files are written whole or not at all, and what could not be written is named."""

import contextlib
import json
import resource

import numpy as np
import pytest

from latte.golden import results
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.results import write_arrays, write_results, write_text, write_whole


@contextlib.contextmanager
def little_space(limit=4096):
    """Let no file grow beyond `limit` bytes, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRITERS = {
    "text": lambda path: write_text(path, "x" * 100_000),
    "arrays": lambda path: write_arrays(path, {"a": np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)}),
    "results": lambda path: write_results(path, "sim", preset("tiny"), [
        {"name": f"head {i}", "unit": "pass", "value": 1} for i in range(1000)], True),
}


@pytest.mark.parametrize("before", [None, "the file as it was"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_nothing(kind, before, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "git_revision", lambda: "abc")  # git may write its index
    path = tmp_path / "file.out"
    if before is not None:
        path.write_text(before)
    with little_space(), pytest.raises(LatteError, match="file.out cannot be written: File too large"):
        WRITERS[kind](path)
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if before is None else ["file.out"])
    assert before is None or path.read_text() == before


@pytest.mark.parametrize("kind", WRITERS)
def test_written_whole_in_a_new_folder(kind, tmp_path):
    path = tmp_path / "new" / "folder" / "file.out"
    WRITERS[kind](path)
    assert [entry.name for entry in path.parent.iterdir()] == ["file.out"]


def test_result_file_has_the_agreed_fields(tmp_path):
    write_results(tmp_path / "sim.json", "sim", preset("tiny"), [], True, seed=3)
    record = json.loads((tmp_path / "sim.json").read_text())
    assert {"target", "version", "git", "config", "results", "pass", "seed"} == set(record)
    assert record["config"]["name"] == "tiny" and record["pass"] is True


def test_any_failure_leaves_nothing(tmp_path):
    path = tmp_path / "file.out"
    with pytest.raises(ZeroDivisionError), write_whole(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    (tmp_path / "in the way").write_text("")
    with pytest.raises(LatteError, match="cannot be written"):
        write_text(tmp_path / "in the way" / "file.out", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in the way"]
