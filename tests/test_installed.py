"""What is installed is whole: run without the sources by ``make wheel``, and in the tree like any test."""

import json
import pathlib
import subprocess
import sys
from importlib import metadata

import pytest

from latte.fpga.baselines import DOCUMENT, read_baseline
from latte.fpga.package.contents import SOURCES
from latte.golden import distribution
from latte.golden.vectors import embedded_vectors

LATTE = pathlib.Path(sys.executable).parent / "latte"


def run(*arguments, folder):
    return subprocess.run([LATTE, *arguments], cwd=folder, text=True, capture_output=True)


def test_the_version_is_the_distributions():
    """The package latte comes from latte-attention; PyPI's latte is another project."""
    assert "latte-attention" in metadata.packages_distributions()["latte"]
    assert distribution.version() == metadata.version("latte-attention")


def test_every_command_starts(tmp_path):
    listed = run("--help", folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert run("--version", folder=tmp_path).stdout.strip().endswith(distribution.version())


def test_data_travel_with_the_package():
    assert sum(len(vectors) for vectors in embedded_vectors()) == 60
    assert read_baseline("area") and read_baseline("bench") and read_baseline("bitstream")
    assert "## Boards" in DOCUMENT.read_text()
    assert {path.suffix for path in SOURCES.iterdir()} >= {".c", ".core", ".cpp", ".h", ".md", ".py", ".tcl"}


@pytest.mark.slow  # make wheel runs it as well
def test_one_head_in_rtl(tmp_path, short_vectors):
    short_vectors(tmp_path / "short.npz")
    done = run("sim", "--config", "tiny", "--vectors", "short.npz", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "build" / "sim.json").read_text())
    assert written["pass"] and written["version"] == distribution.version()
