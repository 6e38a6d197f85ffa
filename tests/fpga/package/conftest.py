"""Packages that several tests look at."""

import pathlib

import pytest

from latte.fpga.package.contents import write_package
from latte.fpga.package.forms import bus_design, cache_design
from latte.golden.config import preset
from latte.rtl.axi.bus import MasterParameters, StreamParameters
from tests.cocotb.cached import LEAN

CONFIG, MASTER = preset("tiny", max_seq_len=256, heads=4).lean(), MasterParameters(data_bits=128)
STREAM = StreamParameters()
CACHED = LEAN


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CONFIG` and `MASTER`."""
    pytest.importorskip("systemrdl", reason="the extra package is not installed")
    folder = tmp_path_factory.mktemp("package") / "latte"
    write_package(bus_design(CONFIG, MASTER), folder)
    return folder


@pytest.fixture(scope="session")
def stream_package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CONFIG` and `STREAM`."""
    pytest.importorskip("systemrdl", reason="the extra package is not installed")
    folder = tmp_path_factory.mktemp("package") / "latte_stream"
    write_package(bus_design(CONFIG, STREAM), folder)
    return folder


@pytest.fixture(scope="session")
def cache_package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CACHED`."""
    pytest.importorskip("systemrdl", reason="the extra package is not installed")
    folder = tmp_path_factory.mktemp("package") / "latte_cache"
    write_package(cache_design(CACHED), folder)
    return folder
