"""Commands that are killed at any moment and run again, and two of them at once in one folder."""

import json
import os
import random
import subprocess
import sys
import time

import pytest

COMMANDS = {
    "sim": ("--config", "tiny", "--vectors", "short.npz", "--stall", "both"),
    "fuzz": ("--config", "tiny", "--cases", "4", "--cycles", "2000", "--sim", "verilator"),
    "formal": ("--block", "StreamQueue", "--block", "KeyMembership", "--block", "WordPacker"),
    "area": ("--config", "tiny", "--target", "ice40"),
    "decode": ("--lengths", "1024", "--sample", "1"),
    "mutation": ("--block", "stream_queue", "--block", "key_membership", "--mutants", "12", "--processes", "1"),
}
QUICK = ("sim", "fuzz")
STRIKES = 3
"""Runs that are killed before the one that may end."""
commands = pytest.mark.parametrize("command", [command if command in QUICK else
                                               pytest.param(command, marks=pytest.mark.slow) for command in COMMANDS])


@pytest.fixture
def start(tmp_path, build_folder, short_vectors):
    """Return what starts a command in a folder of outputs; models are those of all tests, but for ``own``."""
    short_vectors(tmp_path / "short.npz")

    def start(command, name, *, own=False):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        if not own and not (folder / "sim").exists():
            (build_folder / "sim").mkdir(parents=True, exist_ok=True)
            (folder / "sim").symlink_to(build_folder.absolute() / "sim")
        return subprocess.Popen(
            [sys.executable, "-m", "latte.fpga.cli", command, *COMMANDS[command], "--build", str(folder)], cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
    return start


def figures(folder, command) -> dict:
    """Return what a command measured, but for times."""
    record = json.loads((folder / f"{command}.json").read_text())
    return {entry["name"]: entry["value"] for entry in record["results"] if entry["unit"] not in ("s", "1/s", "MHz")}


def finish(process) -> str:
    """Wait for a command that must end well, and return what it printed."""
    text, _ = process.communicate()
    assert process.returncode == 0, text
    return text


def strike(begin, seconds, seed) -> None:
    """Kill runs of a command, the command's own process alone, each at another moment of the time that it takes."""
    for share in random.Random(seed).sample(range(5, 100), STRIKES):
        with begin() as process:
            time.sleep(seconds * share / 100)
            process.kill()


@commands
def test_killed_and_run_again(command, start, tmp_path):
    finish(start(command, "first"))
    begun = time.monotonic()
    finish(start(command, "calm"))
    seconds = time.monotonic() - begun
    strike(lambda: start(command, "struck"), seconds, command)
    finish(start(command, "struck"))
    assert figures(tmp_path / "struck", command) == figures(tmp_path / "calm", command) != {}


@pytest.mark.slow
def test_killed_while_it_compiles(start, tmp_path):
    begun = time.monotonic()
    finish(start("sim", "calm", own=True))
    seconds = time.monotonic() - begun
    strike(lambda: start("sim", "struck", own=True), seconds, "compiling")
    finish(start("sim", "struck", own=True))
    assert figures(tmp_path / "struck", "sim") == figures(tmp_path / "calm", "sim") != {}
    assert not list((tmp_path / "struck" / "sim").glob("*/compiling-*"))


@commands
def test_two_at_once(command, start, tmp_path):
    """Both give the right figures, or the second is told at once that the folder is in use."""
    finish(start(command, "calm"))
    runs = [start(command, "shared") for _ in range(2)]
    texts = [process.communicate()[0] for process in runs]
    codes = [process.returncode for process in runs]
    assert 0 in codes, texts
    for code, text in zip(codes, texts, strict=True):
        if code:
            assert code == 2, text
            [line] = text.strip().splitlines()
            assert "is in use by another run" in line and "--build" in line
    assert figures(tmp_path / "shared", command) == figures(tmp_path / "calm", command)
