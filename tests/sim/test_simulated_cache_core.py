"""One simulator, many batches on the same memory: each finds the sequences as the one before it left them."""

import numpy as np
import pytest

from latte.golden.backend import BackendFailure
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.sim.cache_core_programs import group_of, random_entries
from latte.sim.cache_run import build_cache_core
from latte.sim.simulated_cache_core import simulated_cache_core
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import EVERY_KIND


@pytest.fixture(scope="module")
def model(build_folder):
    """Return the model of tests/sim/test_cache_run.py."""
    return build_cache_core(EVERY_KIND, 4096, latency=20, build_folder=build_folder)


@pytest.fixture
def memory():
    """Return a memory with two sequences that have pages for 90 keys."""
    memory = CacheMemory(EVERY_KIND, 12)
    for _ in range(2):
        memory.reserve(memory.open(), 90)
    return memory


class Program:
    """Makes jobs and register entries."""

    def __init__(self):
        self._rng = np.random.default_rng(SEED)
        self._groups = group_of(EVERY_KIND, self._rows(99))

    def _rows(self, *shape):
        rows = self._rng.normal(0, 50, (*shape, EVERY_KIND.core.head_dim)).round()
        return np.clip(rows, -119, 119).astype(np.int8)

    def entries(self):
        """Return others each time, of the same key groups."""
        return dict(enumerate(random_entries(self._rng, EVERY_KIND, self._groups, 4)))

    def job(self, slot, heads, tokens):
        """Return a job that appends some tokens and asks as many of each head."""
        kind = JobKind.DECODE if tokens == 1 else JobKind.PREFILL
        return CacheJob(kind, Handle(slot, 1), 0, self._rows(heads, tokens), self._rows(tokens), self._rows(tokens))


def test_batches(model, memory, tmp_path):
    """Outputs, rows fetched and bytes read are the golden model's, whose memory has all jobs behind it, too."""
    program = Program()
    with simulated_cache_core(model, memory, tmp_path / "run") as core:
        for sizes in (((0, 3, 20), (1, 1, 30)), ((0, 3, 1), (1, 2, 1)), ((1, 4, 1),), ((0, 1, 40), (1, 3, 2))):
            entries, jobs = program.entries(), [program.job(*size) for size in sizes]
            result = core.run(entries, jobs)
            expected = [carry_out(job, memory, entries) for job in jobs]
            for produced, golden, job in zip(result.outputs, expected, jobs, strict=True):
                np.testing.assert_array_equal(produced, golden.outputs(job.q.shape[0]))
            assert result.keys_fetched == sum(golden.traffic.requests["key_low"] for golden in expected)
            assert result.values_fetched == sum(golden.traffic.requests["values"] for golden in expected)
            assert result.cycles > 100 and result.bytes_written > 0
            assert result.bytes_read == sum(
                golden.traffic.total - golden.traffic.moved["written"] - golden.traffic.moved["spilled"] // 2
                for golden in expected)


def test_what_goes_wrong_is_a_failure(model, memory, tmp_path):
    """A job has no page; the simulator is gone; nothing moves."""
    program = Program()
    with simulated_cache_core(model, memory, tmp_path / "run") as core:
        with pytest.raises(BackendFailure, match="slot 0 ended with page_unmapped"):
            core.run(program.entries(), [program.job(0, 1, 97)])
        core._connection.close()
        with pytest.raises(BackendFailure, match="ended in the middle"):
            core.run(program.entries(), [program.job(0, 1, 1)])
    with simulated_cache_core(model, memory, tmp_path / "run", patience=4) as core, \
            pytest.raises(BackendFailure, match="nothing moved"):
        core.run(program.entries(), [program.job(0, 1, 30)])
