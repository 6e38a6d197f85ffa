"""Folders that are held: who comes second waits or is refused, and a process that was killed holds nothing."""

import subprocess
import sys

import pytest

from latte.golden.errors import LatteError
from latte.sim.locks import claimed, emptied, locked

HOLD = """
import pathlib, sys
from latte.sim.locks import claimed
with claimed(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Return another process, which holds ``work``, and the folder."""
    folder = tmp_path / "build" / "work"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process, folder
        process.kill()


def test_who_comes_second_is_refused(other):
    process, folder = other
    with pytest.raises(LatteError, match="work is in use by another run; .* folder with --build"), claimed(folder):
        pass
    process.stdin.close()
    process.wait()
    with claimed(folder):
        pass


def test_a_killed_process_holds_nothing(other):
    process, folder = other
    process.kill()
    process.wait()
    with locked(folder), pytest.raises(LatteError, match="in use"), claimed(folder):
        pass


def test_emptied_folder(tmp_path):
    folder = tmp_path / "v1.2"
    folder.mkdir()
    (folder / "left").write_text("")
    with emptied(folder), claimed(tmp_path / "v1.3"):
        assert list(folder.iterdir()) == []
        (folder / "made").write_text("")
    assert (folder / "made").exists()
