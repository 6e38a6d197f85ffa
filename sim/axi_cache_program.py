"""Jobs of the core with keys in memory as descriptors and rows in memory, and what must come of them."""

import dataclasses
import json
import pathlib
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import FAILURES, REFUSALS, CacheJob, JobKind, Outcome, carry_out
from latte.golden.results import write_text
from latte.rtl.axi.bus import BOUNDARY
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.memory.cache_descriptors import CacheType, cache_descriptor_layout, cache_status_word_layout
from latte.rtl.memory.spill_store import spill_bytes
from latte.sim.packing import locate, pack_struct

__all__ = ["AxiCacheProgram", "DescribedJob", "Fault", "cache_status_names", "load_build"]

_TYPES = {JobKind.APPEND: CacheType.APPEND, JobKind.DECODE: CacheType.DECODE, JobKind.PREFILL: CacheType.PREFILL}


@dataclasses.dataclass(frozen=True)
class Fault:
    """An error response while a job is under way, with which nothing else is.

    Parameters
    ----------
    master
        ``m_axi`` or ``m_axi_cache``.
    write
        Of a write; else of a read.
    at
        Which beat of that kind from the doorbell on, from 0; with `address`, all beats there.
    response
        ``SLVERR`` or ``DECERR``.
    address
        Its bytes, or none.
    """

    master: str
    write: bool
    at: int = 0
    response: str = "SLVERR"
    address: int | None = None


@dataclasses.dataclass(frozen=True)
class DescribedJob:
    """A descriptor, and what must come of it.

    Parameters
    ----------
    fields
        Of the descriptor.
    operands : dict of int to bytes
        Rows by address.
    rows : list of int
        Addresses of output rows, in the core's order: of each position those of all heads.
    causes
        Bits of its status beside ``done`` and ``error``.
    outcome
        The golden model's; none if the job never came so far.
    patches : list of (int, bytes)
        What the host writes before, when all jobs before have ended.
    alone
        Begins when all jobs before have ended; so does the next.
    faults
    """

    fields: dict[str, int]
    operands: dict[int, bytes]
    rows: list[int]
    causes: frozenset[str]
    outcome: Outcome | None
    patches: list[tuple[int, bytes]]
    alone: bool
    faults: Sequence[Fault]

    @property
    def status(self) -> set[str]:
        """Names of the bits of its status word."""
        return {"done", *(["error", *self.causes] if self.causes else [])}

    def descriptor(self) -> bytes:
        """Return the descriptor as it lies in memory."""
        return pack_struct(cache_descriptor_layout(), **self.fields).to_bytes(DESCRIPTOR_BYTES, "little")


class AxiCacheProgram:
    """Jobs one behind the other, and what the host does to the memory between them.

    Parameters
    ----------
    memory
        As the host left it; afterwards as golden model and host did.
    entries
        Of the register file.
    ring_log2
        Base-2 logarithm of the ring's descriptors.
    seed
        None: rows lie one behind the other, records and pages where the golden model has them. Else gaps and strides
        are random, and records and pages lie elsewhere.

    Attributes
    ----------
    jobs : list of DescribedJob
    """

    def __init__(self, memory: CacheMemory, entries: Mapping[int, HeadParameters], *, ring_log2: int = 4,
                 seed: int | None = None) -> None:
        self.memory = memory
        self.entries = dict(entries)
        self.ring_log2 = ring_log2
        self.jobs: list[DescribedJob] = []
        self._rng = None if seed is None else random.Random(seed)
        build, image = memory.build, memory.image.data
        self._known = image.copy()
        self._first = image.copy()
        far = 0 if self._rng is None else BOUNDARY * self._rng.randrange(1 << 20, 1 << 40)
        at = far + ceil_div(len(image), BOUNDARY) * BOUNDARY
        records = build.slots * memory.records.state_bytes
        self.records = 0 if self._rng is None else at + build.bus_bytes * self._rng.randrange(64)
        at += ceil_div(records, BOUNDARY) * BOUNDARY + BOUNDARY
        self.pages = far + memory.first_page
        self.spill = at
        at += ceil_div(build.tile_rows * spill_bytes(build), BOUNDARY) * BOUNDARY
        self.ring = at
        self._at = at + (DESCRIPTOR_BYTES << ring_log2)
        # What of the golden model's memory lies where: records, page tables, pages.
        self._places = [(0, records, self.records), (records, memory.first_page, records),
                        (memory.first_page, len(image), self.pages)]

    @property
    def end(self) -> int:
        """First address behind everything."""
        return ceil_div(self._at, BOUNDARY) * BOUNDARY

    def add(self, job: CacheJob, *, changes: Mapping[str, int] | None = None, causes: Collection[str] = (),
            faults: Sequence[Fault] = (), alone: bool = False) -> DescribedJob:
        """Carry a job out by the golden model, and describe it.

        Parameters
        ----------
        job
        changes
            Fields of the descriptor that are others.
        causes
            Bits of the status that its changes or `faults` bring. Unless it fails by ``read_failed`` of queries or
            ``write_failed`` alone, the golden model then knows nothing of it.
        faults
        alone
            Begins when all jobs before have ended.
        """
        patches = self._patches()
        outcome = None
        if set(causes) <= {"read_failed", "write_failed"}:
            outcome = carry_out(job, self.memory, self.entries)
        self._known = self.memory.image.data.copy()
        said = set(causes)
        if outcome is not None and outcome.status is not None:
            said.add(f"{'refused' if outcome.status in REFUSALS else 'failed'}_{outcome.status}")
        fields, operands, rows = self._describe(job)
        described = DescribedJob(fields | dict(changes or {}), operands, rows, frozenset(said), outcome, patches,
                                 alone or bool(patches or faults), faults)
        self.jobs.append(described)
        return described

    def restore_record(self, slot: int) -> None:
        """Have the host write the record of a slot again before the next job: the hardware's may be written in part."""
        size = self.memory.records.state_bytes
        self._known[slot * size:(slot + 1) * size] ^= 0xFF

    def place_of(self, address: int) -> int:
        """Return where a byte of the golden model's memory lies."""
        return next(place + address - first for first, stop, place in self._places if first <= address < stop)

    def expected_errors(self) -> set[str]:
        """Return the bits of ERROR after all jobs."""
        causes = {cause for job in self.jobs for cause in job.causes}
        found = {name for name, start in (("job_refused", "refused_"), ("job_failed", "failed_"))
                 if any(cause.startswith(start) for cause in causes)}
        if causes & {"unknown_type", "reserved_set", "unaligned", "shape_invalid", "fetch_failed"}:
            found.add("descriptor_invalid")
        return found | {f"{'write' if fault.write else 'read'}_{fault.response.lower()}"
                        for job in self.jobs for fault in job.faults if fault.master == "m_axi"}

    def expected_status(self) -> set[str]:
        """Return the sticky bits of the core after all jobs, of those that jobs set."""
        return {cause.partition("_")[2] for job in self.jobs for cause in job.causes
                if cause.partition("_")[2] in (*REFUSALS, *FAILURES)}

    def save(self, folder: pathlib.Path) -> None:
        """Write everything for the simulator's process."""
        build = self.memory.build
        words = [[head, word["word"], word["data"]] for head, entry in self.entries.items()
                 for word in pack_entry(head, entry, build.core)]
        jobs = [{"descriptor": job.descriptor().hex(), "rows": job.rows, "alone": job.alone,
                 "operands": [[at, row.hex()] for at, row in job.operands.items()],
                 "patches": [[at, data.hex()] for at, data in job.patches],
                 "faults": [dataclasses.asdict(fault) for fault in job.faults]} for job in self.jobs]
        sizes = dataclasses.asdict(build) | {"core": build.core.to_dict()}
        write_text(folder / "program.json", json.dumps({
            "build": sizes, "words": words, "jobs": jobs, "ring": self.ring, "ring_log2": self.ring_log2,
            "end": self.end, "places": self._places, "row_bytes": self._row_bytes("o"),
            "areas": {"record": self.records, "page": self.pages, "spill": self.spill}}))
        np.save(folder / "image.npy", self._first)

    def _row_bytes(self, name: str) -> int:
        core = self.memory.build.core
        return core.head_dim * (output_element_bytes(core) if name == "o" else 1)

    def _patches(self) -> list[tuple[int, bytes]]:
        """Return what the host has changed since the last job, beat by beat."""
        size, image = self.memory.build.bus_bytes, self.memory.image.data
        changed = np.unique(np.flatnonzero(image != self._known) // size) * size
        return [(self.place_of(int(at)), image[at:at + size].tobytes()) for at in changed]

    def _describe(self, job: CacheJob) -> tuple[dict[str, int], dict[int, bytes], list[int]]:
        """Return a descriptor's fields, its operands, and where its outputs go."""
        heads, queries = job.q.shape[:2]
        fields = {"type": int(_TYPES[job.kind]), "interrupt": 1, "head": job.head, "queries": queries,
                  "rows": len(job.k), "slot": job.sequence.slot, "generation": job.sequence.generation, "heads": heads}
        kv_stride = self._stride(self._row_bytes("k"))
        fields |= {"q_stride": self._stride(heads * self._row_bytes("q")), "kv_stride": kv_stride,
                   "o_stride": self._stride(heads * self._row_bytes("o"))}
        operands: dict[int, bytes] = {}
        for name in "qkvo":
            fields[f"{name}_address"] = self._place(
                (queries if name in "qo" else len(job.k)) * fields[f"{'kv' if name in 'kv' else name}_stride"])
        for name, rows in (("k", job.k), ("v", job.v)):
            operands |= {fields[f"{name}_address"] + n * kv_stride: row.tobytes() for n, row in enumerate(rows)}
        for position in range(queries):
            operands[fields["q_address"] + position * fields["q_stride"]] = job.q[:, position].tobytes()
        rows_at = [fields["o_address"] + position * fields["o_stride"] + head * self._row_bytes("o")
                   for position in range(queries) for head in range(heads)]
        return fields, operands, rows_at

    def _stride(self, size: int) -> int:
        if self._rng is None:
            return size
        return size + self.memory.build.bus_bytes * self._rng.choice([0, 0, 1, 3, self._rng.randrange(64)])

    def _place(self, size: int) -> int:
        if self._rng is not None:
            self._at += self.memory.build.bus_bytes * self._rng.randrange(2 * BOUNDARY // self.memory.build.bus_bytes)
        at, self._at = self._at, self._at + size
        return at


def cache_status_names(word: int) -> set[str]:
    """Return the names of the bits of a status word that are set."""
    layout = cache_status_word_layout()
    return {str(name) for name in layout.members if name != "number" and word >> locate(layout, name)[0] & 1}


def load_build(sizes: Mapping[str, Any]) -> MemoryBuild:
    """Return the build of a saved program."""
    from latte.golden.config import AttentionConfig

    return MemoryBuild(**{**sizes, "core": AttentionConfig(**sizes["core"])})
