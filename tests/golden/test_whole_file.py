"""Files on a full disk: named, and nothing of them is left."""

import subprocess
import sys

import pytest

WRITERS = {
    "text": "from latte.golden.results import write_text; write_text(path, 'x' * 100_000)",
    "vectors": "import numpy as np; from latte.golden.whole_file import whole_file\n"
               "with whole_file(path) as file: np.savez(file, q=np.zeros(100_000))",
}
FULL = """
import pathlib, resource, sys
path = pathlib.Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from latte.golden.errors import LatteError
try:
    exec(sys.argv[2])
except LatteError as error:
    sys.exit(f"{error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to a file's size")
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("before", [None, "older"])
def test_no_room_names_the_file_and_leaves_what_was_there(writer, before, tmp_path):
    path = tmp_path / "out.file"
    if before:
        path.write_text(before)
    done = subprocess.run([sys.executable, "-B", "-c", FULL, path, WRITERS[writer]], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1 and str(path) in done.stderr and "make room" in done.stderr, done.stderr
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == ({"out.file": before} if before else {})


def test_room_leaves_the_file_alone(tmp_path):
    from latte.golden.results import write_text

    write_text(tmp_path / "deep" / "out.txt", "text")
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["out.txt"]
