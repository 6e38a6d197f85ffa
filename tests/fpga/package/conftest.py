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


def written(tmp_path_factory, name, design) -> pathlib.Path:
    """Return the folder of a package."""
    pytest.importorskip("systemrdl", reason="the extra package is not installed")
    folder = tmp_path_factory.mktemp("package") / name
    write_package(design, folder)
    return folder


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CONFIG` and `MASTER`."""
    return written(tmp_path_factory, "latte", bus_design(CONFIG, MASTER))


@pytest.fixture(scope="session")
def stream_package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CONFIG` and `STREAM`."""
    return written(tmp_path_factory, "latte_stream", bus_design(CONFIG, STREAM))


@pytest.fixture(scope="session")
def cache_package(tmp_path_factory) -> pathlib.Path:
    """Return the folder of a package of `CACHED`."""
    return written(tmp_path_factory, "latte_cache", cache_design(CACHED))
