"""Proofs need a solver, which has no wheel for some systems."""

import pytest

from latte.golden.errors import LatteError
from latte.sim.formal.prove import check_solver


@pytest.fixture(autouse=True)
def solver() -> None:
    """Skip, visibly, where there is none."""
    try:
        check_solver()
    except LatteError as error:
        pytest.skip(str(error))
