"""Programs: what cannot be handed to a core is refused, and the file for the simulator's process gives it all back."""

import numpy as np
import pytest

from latte.golden.attention import HeadParameters
from latte.golden.config import THRESHOLD_KINDS, preset
from latte.golden.errors import LatteError
from latte.golden.jobs import Job
from latte.golden.thresholds import Threshold
from latte.sim.core_programs import appending, appending_groups
from latte.sim.program import Program

CONFIG = preset("small", head_dim=8, dim_lanes=8, cross_lanes=8, value_lanes=8)
WEIGHING = CONFIG.replace(threshold_kinds=THRESHOLD_KINDS, key_groups=8)
ENTRY = HeadParameters(Threshold.relative(40), 40_000, 20)


def rows(count, seed=0, head_dim=8):
    return np.random.default_rng(seed).integers(-119, 120, (count, head_dim)).astype(np.int8)


Q, K, V = rows(5), rows(5, 1), rows(5, 2)


@pytest.mark.parametrize(("wrong", "words"), [
    (Job(0, Q.astype(np.uint8), K, V), "job 1: 'q' must be an int8 array, not uint8"),
    (Job(0, Q, K, V[:2]), "job 1: 'k' has 5 rows"),
    (Job(-1, Q, K, V), "job 1: a job's head"),
    (Job(0, Q, rows(5, 0, 4), rows(5, 0, 4)), "job 1: 'k' must have shape"),
])
def test_programs_check_their_jobs(wrong, words):
    with pytest.raises(LatteError, match=words):
        Program(CONFIG, {0: ENTRY}, [Job(0, Q, K, V), wrong])


@pytest.mark.parametrize("program", [appending(CONFIG), appending_groups(WEIGHING, 5)], ids=["plain", "weighing"])
def test_round_trip(program, tmp_path):
    program.save(tmp_path)
    again = Program.load(tmp_path)
    assert (again.config, again.parameters) == (program.config, program.parameters)
    assert len(again.jobs) == len(program.jobs)
    for got, want in zip(again.jobs, program.jobs, strict=True):
        assert (got.head, got.fresh, got.causal) == (want.head, want.fresh, want.causal)
        for name in ("q", "k", "v"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
