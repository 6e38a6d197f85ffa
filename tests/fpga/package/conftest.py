"""Packages that several tests look at."""

import pathlib

import pytest

from latte.fpga.package.contents import write_package
from latte.golden.config import preset
from latte.rtl.axi.bus import MasterParameters, StreamParameters

CONFIG, MASTER = preset("tiny", max_seq_len=256, heads=4).lean(), MasterParameters(data_bits=128)
STREAM = StreamParameters()


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CONFIG` and `MASTER`."""
    pytest.importorskip("systemrdl", reason="the extra package is not installed")
    folder = tmp_path_factory.mktemp("package") / "latte"
    write_package(CONFIG, MASTER, folder)
    return folder


@pytest.fixture(scope="session")
def stream_package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CONFIG` and `STREAM`."""
    pytest.importorskip("systemrdl", reason="the extra package is not installed")
    folder = tmp_path_factory.mktemp("package") / "latte_stream"
    write_package(CONFIG, STREAM, folder)
    return folder
