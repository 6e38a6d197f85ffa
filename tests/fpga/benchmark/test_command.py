"""Bad input of ``latte bench``: one sentence, before anything is compiled."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from latte.fpga.benchmark.commands import bench_command
from latte.golden.errors import LatteError
from latte.golden.vectors import embedded_vectors, save_vectors


@pytest.fixture
def vector_file(tmp_path):
    """Return a function that writes two embedded heads, changed, and returns the file's options."""
    def write(**changes):
        path = tmp_path / "heads.npz"
        save_vectors(path, dataclasses.replace(next(iter(embedded_vectors())).select([0, 1]), **changes))
        return ["--vectors", str(path)]
    return write


@pytest.mark.parametrize("options, words", [
    (["--config", "huge"], "unknown configuration 'huge'"),
    (["--vectors", "none.npz"], "none.npz: no such vector file")])
def test_unknown_names(options, words, tmp_path):
    refused(options, words, tmp_path)


def test_two_sets_of_one_name(vector_file, tmp_path):
    refused(vector_file(), "two vector sets are named 'deit-tiny'", tmp_path)


def test_heads_that_the_build_cannot_hold(vector_file, tmp_path):
    rows = {name: np.zeros((2, 16, 32), np.int8) for name in ("q", "k", "v")}
    refused(vector_file(model="narrow", **rows), "head_dim 32", tmp_path)


def test_more_heads_than_registers(vector_file, tmp_path):
    many = {name: np.zeros((200, 16, 64), np.int8) for name in ("q", "k", "v")}
    many |= {name: np.ones(200, np.float32) for name in ("q_scale", "k_scale", "v_scale", "tau")}
    many |= {name: np.arange(200, dtype=np.int32) for name in ("block", "head")}
    refused(vector_file(model="many", **many), "200 heads, but the register file of 'small' holds 144", tmp_path)


def refused(options, words, folder):
    result = CliRunner().invoke(bench_command, [*options, "--no-cpu", "--build", str(folder / "build")])
    assert isinstance(result.exception, LatteError)
    assert words in str(result.exception) and "\n" not in str(result.exception)
    assert not (folder / "build" / "bench.json").exists()
