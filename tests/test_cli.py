"""The command line, and above all what it says to bad input: one sentence, exit code 2, no traceback."""

import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

from latte.fpga.cli import COMMANDS, cli
from latte.golden.vectors import VectorSet, save_vectors


def latte(*arguments: object, folder: pathlib.Path, path: str | None = None) -> subprocess.CompletedProcess:
    """Run the command in `folder`, perhaps with another PATH."""
    environment = os.environ | ({} if path is None else {"PATH": path})
    return subprocess.run([sys.executable, "-m", "latte.fpga.cli", *map(str, arguments)], cwd=folder, text=True,
                          capture_output=True, check=False, env=environment)


def refused(*arguments: object, folder: pathlib.Path, says: str, path: str | None = None) -> None:
    """Check one sentence on stderr that has `says` in it, exit code 2, and that nothing was written."""
    before = sorted(folder.rglob("*"))
    done = latte(*arguments, folder=folder, path=path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
    assert sorted(folder.rglob("*")) == before


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Return the arrays of a good small vector file."""
    rng = np.random.default_rng(0)
    rows = {name: rng.integers(-100, 100, (2, 9, 64), np.int8) for name in "qkv"}
    scales = {name: np.full(2, 0.02, np.float32) for name in ("q_scale", "k_scale", "v_scale", "tau")}
    return rows | scales | {"causal": np.bool_(False), "block": np.zeros(2, np.int32),
                            "head": np.arange(2, dtype=np.int32), "model": np.str_("made-up")}


BROKEN = {
    "missing": lambda a: a.pop("k"),
    "dtype": lambda a: a.update(q=a["q"].astype(np.int16)),
    "shape": lambda a: a.update(v=a["v"][:, :5]),
    "nan_scale": lambda a: a.update(q_scale=np.full(2, np.nan, np.float32)),
    "negative_tau": lambda a: a.update(tau=np.full(2, -1, np.float32)),
    "pickled": lambda a: a.update(q=np.array([None, {}], object)),
    "too_long": lambda a: a.update({name: np.zeros((2, 513, 64), np.int8) for name in "qkv"}),
    "head_dim": lambda a: a.update({name: np.zeros((2, 9, 32), np.int8) for name in "qkv"}),
    "mask": lambda a: a.update(mask=np.ones((2, 9), bool)),
}
NAMED = {"missing": "'k'", "dtype": "'q'", "shape": "'v'", "nan_scale": "'q_scale'", "negative_tau": "'tau'",
         "pickled": "'q'", "too_long": "--max-seq-len", "head_dim": "--head-dim", "mask": "'mask'"}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_vector_file(kind, arrays, tmp_path):
    BROKEN[kind](arrays)
    np.savez(tmp_path / "bad.npz", **arrays)
    refused("sim", "--config", "tiny", "--vectors", "bad.npz", "--dump", "out.npz", folder=tmp_path, says=NAMED[kind])


def test_truncated_and_foreign_files(arrays, tmp_path):
    np.savez(tmp_path / "good.npz", **arrays)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:3000])
    (tmp_path / "text.npz").write_text("not an archive")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    for name in ("cut.npz", "text.npz", "zip.npz", "absent.npz", "."):
        refused("sim", "--vectors", name, folder=tmp_path, says=name)


@pytest.mark.parametrize(("options", "says"), [
    (["--sim", "modelsim"], "modelsim"),
    (["--config", "huge"], "huge"),
    (["--query-lanes", "0"], "query_lanes"),
    (["--bus-bytes", "7"], "bus_bytes"),
    (["--split", "odd"], "split"),
    (["--stall", "always"], "stall"),
    (["--vector", "x.npz"], "--vector"),
    (["--dump", "absent/out.npz"], "absent"),
    (["--jobs", "0"], "jobs"),
])
def test_bad_options(options, says, arrays, tmp_path):
    np.savez(tmp_path / "good.npz", **arrays)
    refused("sim", "--vectors", "good.npz", *options, folder=tmp_path, says=says)


@pytest.mark.parametrize(("simulator", "says"), [("verilator", "g++"), ("icarus", "iverilog")])
def test_missing_compiler(simulator, says, arrays, tmp_path):
    np.savez(tmp_path / "good.npz", **arrays)
    refused("sim", "--vectors", "good.npz", "--sim", simulator, folder=tmp_path, says=says, path="/nonexistent")


def test_emit_refuses_what_it_cannot_write(tmp_path):
    refused("emit", "--output", "core.txt", folder=tmp_path, says="core.txt")
    refused("emit", "--output", "absent/core.sv", folder=tmp_path, says="absent")
    refused("emit", "--output", "core.sv", "--name", "3x", folder=tmp_path, says="3x")
    refused("emit", "--output", "core.sv", "--register-port", "wishbone", folder=tmp_path, says="--register-port")
    refused("emit", "--output", "core.sv", "--slots", "2", folder=tmp_path, says="--top cache")
    refused("emit", "--output", "core.sv", "--top", "cache", "--register-port", "wishbone", folder=tmp_path,
            says="--register-port")
    refused("emit", "--output", "core.sv", "--top", "cache", "--data-bits", "32", folder=tmp_path, says="64 or 128")
    for option in ("--query-lanes", "--bus-bytes"):
        refused("emit", "--output", "core.sv", "--top", "cache", option, "2", folder=tmp_path, says="keys on chip")
    refused("emit", "--output", "core.sv", "--top", "cache", "--config", "tiny", folder=tmp_path, says="serial engine")
    refused("emit", "--output", "core.sv", "--top", "axi-cache", "--kv-banks", "2", folder=tmp_path,
            says="keys on chip")
    refused("emit", "--package", "p", "--top", "cache", folder=tmp_path, says="axi-cache")
    refused("emit", "--package", "p", "--top", "axi-cache", "--register-port", "wishbone", folder=tmp_path,
            says="--register-port out")
    refused("emit", "--registers", "r", folder=tmp_path, says="axi-cache")
    refused("emit", "--registers", "r", "--output", "core.sv", folder=tmp_path, says="name one")
    refused("emit", "--registers", "absent/r", "--top", "axi-cache", folder=tmp_path, says="existing")
    refused("sim", "--data-bits", "128", folder=tmp_path, says="--data-bits")
    refused("nonsense", folder=tmp_path, says="nonsense")


def test_help_is_everywhere_and_imports_little(tmp_path):
    done = latte("--help", folder=tmp_path)
    assert done.returncode == 0 and "sim" in done.stdout and "vectors" in done.stdout
    code = "import sys, latte.fpga.cli; sys.exit(any(m in sys.modules for m in ('torch', 'amaranth', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
    for command in ("sim", "emit"):
        assert latte(command, "--help", folder=tmp_path).returncode == 0


def test_sim_and_dump(arrays, output):
    arrays["model"] = "made-up"
    save_vectors(output / "good.npz", VectorSet(**arrays | {"causal": True}))
    done = latte("sim", "--config", "tiny", "--vectors", "good.npz", "--dump", "out.npz", "--jobs", "2",
                 "--build", output, folder=output)
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(output / "out.npz", allow_pickle=False) as dump:
        kinds = {name: (dump[name].dtype, dump[name].shape) for name in dump.files}
        assert (dump["score"][~dump["keep"]] == 0).all()
    assert kinds == {"keep": (bool, (2, 9, 9)), "score": (np.int32, (2, 9, 9)), "out": (np.float32, (2, 9, 64)),
                     "cycles": (np.int64, (2,))}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = CliRunner().invoke(cli, [name, "--help"], catch_exceptions=False)
    assert result.exit_code == 0 and "Usage:" in result.output
