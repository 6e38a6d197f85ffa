"""Shared pieces of all tests: compiled models are kept in the project's ``build`` folder."""

import dataclasses
import pathlib
from collections.abc import Callable

import pytest

from latte.golden.errors import LatteError
from latte.golden.vectors import embedded_vectors, save_vectors
from latte.sim.runner import check_simulator

BUILD = pathlib.Path(__file__).parent.parent / "build"


@pytest.fixture(scope="session")
def build_folder() -> pathlib.Path:
    """Return the output folder; the same as of ``make sim``, so that nothing is compiled twice."""
    return BUILD


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> str:
    """Return the simulator named by an indirect parameter; skip, visibly, what is not installed."""
    name = getattr(request, "param", "verilator")
    try:
        check_simulator(name)
    except LatteError as error:
        if name == "icarus":
            pytest.skip(str(error))
        raise
    return name


@pytest.fixture
def short_vectors() -> Callable[[pathlib.Path], None]:
    """Return what writes a vector file of one embedded head, cut to 8 keys."""
    def write(path: pathlib.Path) -> None:
        vectors = next(iter(embedded_vectors())).select([0])
        save_vectors(path, dataclasses.replace(vectors, **{name: getattr(vectors, name)[:, :8] for name in "qkv"}))

    return write
