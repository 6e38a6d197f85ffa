"""Programs for the core with keys in memory behind AXI: of its own tests, and of `latte coverage`."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from latte.golden.attention import HeadParameters
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.golden.memory.traffic import OPERANDS
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_OFFSET
from latte.sim.axi_cache_program import AxiCacheProgram, DescribedJob, Fault
from latte.sim.cache_core_programs import CacheScript

__all__ = ["FAULTS", "AxiCacheScript", "beats_read", "every_invalid_descriptor", "fail_each_operand",
           "host_between_jobs"]

_READ = ("record", "table", "groups", "high", "survivor", "low", "values", "spilled")
_WRITTEN = ("values", "low", "groups", "high", "spilled", "record")
FAULTS = (*(f"read of {operand}" for operand in (*_READ, "k", "v", "q", "descriptor")),
          *(f"write of {operand}" for operand in (*_WRITTEN, "o", "status")))
"""What `fail_each_operand` lets fail; ``survivor``: the first beat of what survives, behind all that is streamed."""


class AxiCacheScript(CacheScript):
    """A script, and the program that is made of it job by job.

    Parameters
    ----------
    build, seed, entries
    ring_log2, scattered
        Of `AxiCacheProgram`, whose seed is the latter.

    Attributes
    ----------
    program : AxiCacheProgram
    failing : dict of int to (str, str)
        By job, one of `FAULTS` and the response.
    """

    def __init__(self, build: MemoryBuild, seed: int, entries: Sequence[HeadParameters] | None = None, *,
                 ring_log2: int, scattered: int | None = None) -> None:
        super().__init__(build, seed, entries)
        self.program = AxiCacheProgram(self.memory, self.entries, ring_log2=ring_log2, seed=scattered)
        self.failing: dict[int, tuple[str, str]] = {}

    def take(self, job: CacheJob, **settings: Any) -> DescribedJob:
        """Add a job behind the others; `settings` are those of `AxiCacheProgram.add`."""
        super().take(job)
        return self.program.add(job, **settings)


def every_invalid_descriptor(script: AxiCacheScript) -> None:
    """Add descriptors that ask for nothing that there is, for each reason."""
    first = script.first
    for changes, cause in (({"type": 1}, "unknown_type"), ({"type": 0, "reserved_half": 1}, "unknown_type"),
                           ({"reserved_flags": 64}, "reserved_set"), ({"reserved_half": 1 << 15}, "reserved_set"),
                           ({"k_address": 4}, "unaligned"), ({"o_stride": 1}, "unaligned"),
                           ({"queries": 0}, "shape_invalid"), ({"queries": 2}, "shape_invalid"),
                           ({"heads": 0}, "shape_invalid"), ({"rows": 2}, "shape_invalid"),
                           ({"type": 2}, "shape_invalid"), ({"type": 4, "queries": 0}, "shape_invalid")):
        script.add(JobKind.DECODE, first, 2, 1, 1, changes=changes, causes={cause})
    script.add(JobKind.DECODE, first, 1, 1, 1, changes={"queries": 9, "reserved_flags": 1, "q_stride": 2},
               causes={"shape_invalid", "reserved_set", "unaligned"})


def host_between_jobs(script: AxiCacheScript) -> None:
    """Add jobs between which the host takes a page, gives it back, and frees a sequence; behind `every_refusal`."""
    build, memory, first, second = script.build, script.memory, script.first, script.second
    memory.unmap(second, 0)                                               # a tile finds no page
    script.add(JobKind.PREFILL, second, 2, 2, 2)
    memory.reserve(second, 1)                                             # how far it came is not specified
    script.add(JobKind.PREFILL, second, 2, 2, 2)
    script.add(JobKind.DECODE, second, build.tile_rows + 1, 1, 1)
    memory.free(first)
    again = memory.open()
    memory.reserve(again, build.page_rows)
    script.add(JobKind.DECODE, first, 1, 1, 1)                            # freed
    script.add(JobKind.PREFILL, again, 2, 4, build.page_rows)
    script.add(JobKind.DECODE, again, 2, 1, 0)


def beats_read(memory: CacheMemory, job: CacheJob, entries: dict[int, HeadParameters],
               *kinds: str) -> int:
    """Return the beats that the core reads of its memory for a job, of some kinds of traffic or of all."""
    moved = carry_out(job, copy.deepcopy(memory), entries).traffic.moved
    chosen = kinds or tuple(kind for kind in moved if kind not in (OPERANDS, "written"))
    return sum(moved[kind] // (2 if kind == "spilled" else 1) for kind in chosen) // memory.build.bus_bytes


def fail_each_operand(script: AxiCacheScript, response: str) -> None:
    """Add jobs each of which meets an error on one operand, and behind each the same job without one.

    Parameters
    ----------
    script
        The first sequence has more keys than a list holds, and pages for `FAULTS` more; all rows of head 0 spill, those
        of head 1 do not.
    response
        ``SLVERR`` or ``DECERR``.
    """
    grouped = script.build.core.group_bits > 0
    for name in FAULTS:
        direction, _, operand = name.partition(" of ")
        if operand == "groups" and not grouped:
            continue
        job = script.job(JobKind.DECODE, script.first, 1, 1, 1, head=int(operand != "spilled"))
        script.failing[len(script.jobs)] = name, response
        if operand in ("k", "v", "q", "o"):
            _fail_row(script, job, operand, response)
        elif operand == "descriptor":
            script.take(job, faults=[Fault("m_axi", False, address=_slot(script) + 16, response=response)],
                        causes={"fetch_failed"})
        elif operand == "status":
            script.take(job, faults=[Fault("m_axi", True, address=_slot(script) + STATUS_OFFSET, response=response)])
        else:
            where = _written(script, operand, job) if direction == "write" else _read(script, operand, job)
            script.take(job, faults=[Fault("m_axi_cache", direction == "write", response=response, **where)],
                        causes={"failed_memory_error"})
        if name == "write of record":
            script.program.restore_record(job.sequence.slot)
        if operand not in ("q", "o", "status"):
            script.take(job)


def _slot(script: AxiCacheScript) -> int:
    """Return where the next descriptor lies."""
    program = script.program
    return program.ring + DESCRIPTOR_BYTES * (len(program.jobs) % (1 << program.ring_log2))


def _fail_row(script: AxiCacheScript, job: CacheJob, operand: str, response: str) -> None:
    """Add a job of which the first beat of a row fails on the way to or from the core."""
    causes = [] if operand in "qo" else ["read_failed", "failed_memory_error"]
    described = script.take(job, alone=True, causes=causes)
    told = described.causes | {"write_failed" if operand == "o" else "read_failed"}
    fault = Fault("m_axi", operand == "o", address=described.fields[f"{operand}_address"], response=response)
    script.program.jobs[-1] = dataclasses.replace(described, causes=told, faults=[fault])


def _read(script: AxiCacheScript, operand: str, job: CacheJob) -> dict[str, int]:
    """Return which beat of an operand a job reads, as a `Fault` has it."""
    memory, program, form = script.memory, script.program, script.memory.format
    if operand == "survivor":
        return {"at": beats_read(memory, job, program.entries, "state", "table", "groups", "high")}
    if operand == "spilled":
        return {"address": program.spill}
    if operand == "record":
        return {"address": program.place_of(memory.state_address(job.sequence.slot))}
    if operand == "table":
        return {"address": program.place_of(memory.state(job.sequence).table_address)}
    if operand in ("groups", "high"):
        return _of_page(script, job, 0, form.groups_offset if operand == "groups" else form.high_offset)
    row, = carry_out(job, copy.deepcopy(memory), program.entries).rows
    if operand == "low":
        return _of_page(script, job, int(row.selection.kept[0]), form.low_offset, form.low_bytes)
    return _of_page(script, job, int(row.selection.kept[row.weight.argmax()]), 0, form.value_bytes)


def _written(script: AxiCacheScript, operand: str, job: CacheJob) -> dict[str, int]:
    """Return which beat of an operand a job writes, as a `Fault` has it."""
    if operand in ("spilled", "record"):
        return _read(script, operand, job)
    form, place = script.memory.format, script.memory.state(job.sequence).length
    if operand == "groups":
        in_page = place % script.build.page_rows
        return _of_page(script, job, place - in_page, form.groups_offset + in_page * script.build.core.group_bits // 8)
    offset, size = {"values": (0, form.value_bytes), "low": (form.low_offset, form.low_bytes),
                    "high": (form.high_offset, form.high_bytes)}[operand]
    return _of_page(script, job, place, offset, size)


def _of_page(script: AxiCacheScript, job: CacheJob, place: int, offset: int, row_bytes: int = 0) -> dict[str, int]:
    """Return the beat where a key's row of a plane begins."""
    page, row = divmod(place, script.build.page_rows)
    memory = script.memory
    address = int(memory.page_address(memory.page_of(job.sequence, page))) + offset + row * row_bytes
    return {"address": script.program.place_of(address - address % script.build.bus_bytes)}
