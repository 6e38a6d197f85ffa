"""Proofs need a solver, which has no wheel for some systems."""

import platform
import sys

import pytest

from latte.golden.errors import LatteError
from latte.sim.formal.prove import check_solver

_HAS_WHEEL = sys.platform in ("linux", "win32") and platform.machine().lower() in ("x86_64", "amd64")


@pytest.fixture(autouse=True)
def solver() -> None:
    """Skip, visibly, where none can be installed from a wheel; elsewhere a solver that is missing is a fault."""
    try:
        check_solver()
    except LatteError as error:
        if _HAS_WHEEL:
            raise
        pytest.skip(str(error))
