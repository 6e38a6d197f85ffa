"""One simulator, many batches: each gives the golden bits, whatever the one before it left behind."""

import numpy as np
import pytest

from latte.golden.attention import HeadParameters
from latte.golden.backend import BackendFailure
from latte.golden.config import preset
from latte.golden.jobs import Job, carry_out
from latte.golden.pruned_mass import Gains
from latte.golden.thresholds import ThresholdKind
from latte.sim.core_run import build_core
from latte.sim.simulated_core import simulated_core

CONFIG = preset("small")
RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def model(build_folder):
    return build_core(CONFIG, build_folder=build_folder)


def random_job(head, queries, keys, **others):
    q, k, v = (RNG.integers(-119, 120, (rows, CONFIG.head_dim)).astype(np.int8) for rows in (queries, keys, keys))
    return Job(head, q, k, v, **others)


def entries(tau, scale=0.02, **others):
    return {head: HeadParameters.encode(tau * (head + 1), scale, scale, CONFIG, **others) for head in range(2)}


def test_batches(model, tmp_path):
    """Full and causal heads, shared keys, decoded tokens, compensation; other register entries in each batch."""
    batches = [
        (entries(0.5), [random_job(0, 5, 9), random_job(1, 4, 9, causal=True), random_job(0, 3, 0, fresh=False)]),
        (entries(2.0), [random_job(1, 1, 30), random_job(0, 2, CONFIG.max_seq_len + 1), random_job(1, 1, 3)]),
        (entries(1.0), [random_job(1, 0, 7), random_job(0, 1, 1, fresh=False, causal=True)]),
        (entries(1.0, 0.04, kind=ThresholdKind.MASS, gains=Gains(64, 32)),
         [random_job(0, 6, 40), random_job(1, 20, 20, causal=True), random_job(1, 2, 0, fresh=False)]),
    ]
    with simulated_core(model, CONFIG, tmp_path / "run") as core:
        for parameters, jobs in batches:
            result = core.run(parameters, jobs)
            expected = [trace.output for _, trace in carry_out(jobs, parameters, CONFIG)]
            assert len(result.outputs) == len(expected)
            for produced, golden in zip(result.outputs, expected, strict=True):
                np.testing.assert_array_equal(produced, golden)
            assert result.cycles > 0
        assert any(trace.mass.any() for _, trace in carry_out(jobs, parameters, CONFIG))
        repeated = core.run(*batches[0]).cycles
        assert repeated == core.run(*batches[0]).cycles


def test_a_hang_and_a_dead_simulator_are_failures(model, tmp_path):
    """No transfer for 16 cycles counts as a hang; the next batch finds the simulator gone."""
    with simulated_core(model, CONFIG, tmp_path / "run", patience=16) as core:
        with pytest.raises(BackendFailure, match="nothing moved"):
            core.run(entries(1.0), [random_job(0, 1, 300)])
        core._connection.close()
        with pytest.raises(BackendFailure, match="ended in the middle"):
            core.run(entries(1.0), [random_job(0, 1, 3)])
