"""A program's jobs as descriptors and rows in memory."""

import dataclasses
import random

import numpy as np

from latte.golden.config import AttentionConfig, ceil_div
from latte.golden.jobs import REFUSALS, Job
from latte.rtl.axi.bus import BOUNDARY, MasterParameters
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DescriptorType, descriptor_layout, status_word_layout
from latte.rtl.axi.registers import output_element_bytes
from latte.sim.packing import locate, pack_struct

__all__ = ["MemoryPlan", "PlacedJob", "expected_status", "place_jobs", "read_rows", "status_names"]

_PLACE_BITS = 49
"""Of the number of the 4 KB that a scattered program begins in: there are as many addresses again behind them."""


@dataclasses.dataclass(frozen=True)
class PlacedJob:
    """A job, and where it lies.

    Parameters
    ----------
    job
    fields
        Of its descriptor.
    """

    job: Job
    fields: dict[str, int]

    def descriptor(self) -> bytes:
        """Return the descriptor as it lies in memory."""
        return pack_struct(descriptor_layout(), **self.fields).to_bytes(DESCRIPTOR_BYTES, "little")

    def operands(self) -> dict[int, bytes]:
        """Return each row of the operands by its address."""
        return {self.fields[f"{name}_address"] + n * self.fields[f"{name}_stride"]: row.tobytes()
                for name in "qkv" for n, row in enumerate(getattr(self.job, name))}

    def output_rows(self) -> list[int]:
        """Return the addresses of the output rows."""
        return [self.fields["o_address"] + n * self.fields["o_stride"] for n in range(len(self.job.q))]


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """Where everything lies.

    Parameters
    ----------
    ring
        Address of the ring.
    ring_log2
        Base-2 logarithm of its descriptors.
    jobs
    end
        First address behind all of it.
    """

    ring: int
    ring_log2: int
    jobs: list[PlacedJob]
    end: int

    def slot(self, number: int) -> int:
        """Return the address of a descriptor."""
        return self.ring + DESCRIPTOR_BYTES * (number % (1 << self.ring_log2))


def place_jobs(jobs: list[Job], config: AttentionConfig, master: MasterParameters, *, ring_log2: int, seed: int | None
               ) -> MemoryPlan:
    """Give each operand a place of its own.

    Parameters
    ----------
    jobs
    config, master
    ring_log2
    seed
        None: rows lie one behind the other, operands too. Else strides and gaps are random, rows cross 4 KB, and all of
        it is anywhere in memory.
    """
    rng, beat = random.Random(seed), master.data_bytes
    ring = BOUNDARY * (1 if seed is None else 1 + rng.getrandbits(_PLACE_BITS))
    at = ring + (DESCRIPTOR_BYTES << ring_log2)
    placed = []
    sizes = {"q": config.head_dim, "k": config.head_dim, "v": config.head_dim,
             "o": config.head_dim * output_element_bytes(config)}
    for job in jobs:
        rows = {"q": len(job.q), "k": len(job.k), "v": len(job.v), "o": len(job.q)}
        fields = {"type": DescriptorType.JOB, "fresh": job.fresh, "causal": job.causal, "interrupt": 1,
                  "head": job.head, "query_rows": len(job.q), "load_rows": len(job.k)}
        for name, size in sizes.items():
            stride = ceil_div(size, beat) * beat
            if seed is not None:
                at += beat * rng.randrange(2 * BOUNDARY // beat)
                stride += beat * rng.choice([0, 0, 1, 3, rng.randrange(64)])
            fields |= {f"{name}_address": at, f"{name}_stride": stride}
            at += stride * rows[name]
        placed.append(PlacedJob(job, fields))
    return MemoryPlan(ring, ring_log2, placed, at)


def status_names(word: int) -> set[str]:
    """Return the names of the bits of a status word that are set."""
    layout = status_word_layout()
    return {str(name) for name in layout.members if name != "number" and word >> locate(layout, name)[0] & 1}


def expected_status(refusal: str | None) -> set[str]:
    """Return the bits of a job's status word that has met no error on the bus."""
    assert refusal is None or refusal in REFUSALS
    return {"done"} if refusal is None else {"done", "error", f"refused_{refusal}"}


def read_rows(rows: list[bytes], config: AttentionConfig) -> np.ndarray:
    """Return output rows from memory, int32 [rows, d]."""
    kind = np.dtype(f"<i{output_element_bytes(config)}")
    return np.array([np.frombuffer(row, kind) for row in rows], np.int32).reshape(len(rows), config.head_dim)
