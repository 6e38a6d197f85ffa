"""What the C driver of a core with keys in memory is made to do."""

import ctypes
import pathlib
from typing import Any

import numpy as np

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.memory.spill_store import spill_bytes
from latte.sim.axi_cache_program import cache_status_names
from tests.fpga.package.c_session import RING_LOG2, Driver
from tests.fpga.package.cache_twin import PAGES, Twin


class Area(ctypes.Structure):
    """`latte_area`."""

    _fields_ = [("at", ctypes.c_void_p), ("address", ctypes.c_uint64)]


class Memory(ctypes.Structure):
    """`latte_cache_memory`."""

    _fields_ = [("ring", Area), ("records", Area), ("pages", ctypes.c_uint64), ("spill", ctypes.c_uint64),
                ("page_count", ctypes.c_uint32), ("links", ctypes.POINTER(ctypes.c_uint32))]


class Sequence(ctypes.Structure):
    """`latte_sequence`."""

    _fields_ = [("slot", ctypes.c_uint16), ("generation", ctypes.c_uint16), ("length", ctypes.c_uint32),
                ("pages", ctypes.c_uint32), ("live", ctypes.c_bool), ("lost", ctypes.c_bool)]


class Job(ctypes.Structure):
    """`latte_cache_job`."""

    _fields_ = [*((f"{name}_address", ctypes.c_uint64) for name in "qkvo"),
                *((f"{name}_stride", ctypes.c_uint32) for name in ("q", "kv", "o")),
                *((name, ctypes.c_uint16) for name in ("head", "heads", "queries", "rows"))]


class CHost:
    """The C driver."""

    def __init__(self, system: Any, build: MemoryBuild, library: pathlib.Path, interrupt: bool) -> None:
        self.system, self.build = system, build
        self.driver = Driver(system, library, interrupt)
        self.last_status: set[str] = set()

    def call(self, name: str, *arguments: Any) -> str:
        """Call a function."""
        return self.driver.call(name, *arguments)

    def open_core(self, memory: CacheMemory) -> str:
        """Call `latte_cache_open`."""
        build, records = self.build, memory.first_page + 64
        self.links = (ctypes.c_uint32 * PAGES)()
        areas = {"pages": PAGES * memory.format.page_bytes, "spill": build.tile_rows * spill_bytes(build)}
        self.memory = Memory(self._area(DESCRIPTOR_BYTES << RING_LOG2), self._area(records),
                             *(self.system.base + self.system.take(size) for size in areas.values()), PAGES, self.links)
        return self.call("cache_open", ctypes.byref(self.driver.calls), ctypes.byref(self.memory), RING_LOG2,
                         self.driver.interrupt)

    def table_of(self, sequence: Sequence, memory: CacheMemory) -> list[int]:
        """Return the entries of a sequence's page table; the golden model's memory begins with the same areas."""
        at = self.memory.records.address - self.system.base + memory._tables + sequence.slot * memory._table_bytes
        return self.system.cache[at:at + 4 * sequence.pages].view("<u4").tolist()

    def _area(self, size: int) -> Area:
        at = self.system.take(size)
        return Area(self.driver.start + at, self.system.base + at)

    def open(self) -> Sequence:
        """Call `latte_sequence_open`."""
        sequence = Sequence()
        assert self.call("sequence_open", ctypes.byref(sequence)) == "ok"
        return sequence

    def free(self, sequence: Sequence) -> None:
        """Call `latte_sequence_free`."""
        assert self.call("sequence_free", ctypes.byref(sequence)) == "ok"

    def submit(self, sequence: Sequence, head: int, q: np.ndarray | None, k: np.ndarray, v: np.ndarray) -> Any:
        """Call `latte_cache_submit`; return what `result` needs."""
        answer, job = self.try_to_submit(sequence, head, q, k, v)
        assert answer == "ok", answer
        return job

    def try_to_submit(self, sequence: Sequence, head: int, q: np.ndarray | None, k: np.ndarray, v: np.ndarray
                      ) -> tuple[str, Any]:
        """Do so; return its answer as well."""
        queries = q if q is None or q.ndim == 3 else q[None]
        fields = {"head": head, "rows": len(k), "kv_stride": k.shape[1]}
        for name, rows in (("k", k), ("v", v), *([] if queries is None else [("q", queries)])):
            at = self.system.take(rows.size)
            self.system.cache[at:at + rows.size] = rows.view(np.uint8).reshape(-1)
            self.system.flush(at, rows.size)
            fields[f"{name}_address"] = self.system.base + at
        at, size = 0, 0
        if queries is not None:
            size = queries.size * output_element_bytes(self.build.core)
            at = self.system.take(size)
            fields |= {"queries": len(queries), "heads": queries.shape[1], "q_stride": queries[0].size,
                       "o_stride": size // len(queries), "o_address": self.system.base + at}
        number, job = ctypes.c_uint16(), Job(**fields)
        answer = self.call("cache_submit", ctypes.byref(sequence), ctypes.byref(job), ctypes.byref(number))
        return answer, (sequence, job, number.value, None if q is None else q.shape, at, size)

    def wait(self, job: Any) -> str:
        """Call `latte_cache_wait`."""
        sequence, fields, number, _, _, _ = job
        status = ctypes.c_uint32()
        answer = self.call("cache_wait", ctypes.byref(sequence), ctypes.byref(fields), ctypes.c_uint16(number),
                           ctypes.byref(status))
        self.last_status = cache_status_names(status.value)
        return answer

    def result(self, job: Any) -> np.ndarray | None:
        """Return a job's outputs."""
        answer = self.wait(job)
        assert answer == "ok", (answer, self.last_status)
        _, _, _, shape, at, size = job
        if shape is None:
            return None
        self.system.invalidate(at, size)
        codes = self.system.cache[at:at + size].view(f"<i{output_element_bytes(self.build.core)}")
        return codes.reshape(shape).astype(np.int32)


def run_c(system: Any, build: MemoryBuild, package: pathlib.Path, interrupt: bool) -> dict[str, Any]:
    """Run the C driver, and what goes wrong."""
    host = CHost(system, build, package / "liblatte.so", interrupt)
    twin = Twin(build, host)
    assert host.open_core(twin.memory) == "ok"
    for head in twin.entries:
        assert host.driver.write_entry(head, twin.words(head)) == "ok"
    second, third = twin.interleave()
    answers = {"slots": host.call("sequence_open", ctypes.byref(Sequence()))}

    def reserved(sequence: Sequence, keys: int) -> str:
        return host.call("sequence_reserve", ctypes.byref(sequence), ctypes.c_uint32(keys))

    def asked(name: str, sequence: Sequence, head: int, fault: Any = None, rows: int = 0) -> None:
        system.fault = fault
        answer, job = host.try_to_submit(sequence, head, twin.some(2), twin.some(rows), twin.some(rows))
        answers[name] = [host.wait(job), sorted(host.last_status)] if answer == "ok" else [answer]

    answers["pages"] = reserved(second, PAGES * build.page_rows)
    answers["long"] = reserved(second, build.core.max_seq_len + 1)
    asked("head", second, build.core.heads)
    stale = Sequence(third.slot, twin.freed.generation, third.length, third.pages, True, False)
    asked("stale", stale, 0)
    twin.finish(*twin.token(second, 2))
    length = third.length
    asked("memory", third, 0, fault=("m_axi_cache", True, None), rows=1)
    answers["length"] = third.length - length
    asked("lost", third, 0)
    twin.free(third)
    answers["freed"] = host.call("sequence_free", ctypes.byref(third))
    asked("gone", third, 0)
    # The entries are gone with a soft reset, sequences are not.
    answers["reset"] = host.call("cache_reset")
    asked("forgotten", second, 0)
    for head in twin.entries:
        assert host.driver.write_entry(head, twin.words(head)) == "ok"
    twin.finish(*twin.token(second, 2))
    # All pages twice, the second time in the order in which they came back.
    answers["all"] = []
    for sequence in (second, twin.open()):
        answers["all"] += [reserved(sequence, PAGES * build.page_rows), sorted(host.table_of(sequence, twin.memory))]
        if sequence is second:
            twin.free(second)
    return answers | {"rows": twin.rows, "wrong": twin.wrong, "close": host.call("close")}
