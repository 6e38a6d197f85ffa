"""What drivers of a core with keys in memory are made to do, and the golden model beside them.

A `Twin` carries out each job on the golden model's memory as well and compares outputs in every bit.
"""

import contextlib
import ctypes
import pathlib
from typing import Any

import numpy as np

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.memory.spill_store import spill_bytes
from latte.sim.axi_cache_program import cache_status_names
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import group_of, random_entries
from tests.fpga.package.c_session import RING_LOG2, Driver
from tests.fpga.package.python_session import Interrupt, driver_of, error_of, pynq_allocate, u_dma_buf

PAGES = 5
"""As many as two sequences of `Twin.interleave` have: a third one must wait for what is freed."""


class Twin:
    """A driver and the golden model side by side.

    Parameters
    ----------
    build
    host
        Has ``open()``, which returns a sequence; ``free(sequence)``; ``submit(sequence, head, q, k, v)``, which returns
        a job; ``result(job)``, which returns its outputs.

    Attributes
    ----------
    rows, wrong : int
        Output rows that were compared, and those of them that differ.
    freed
        The sequence that `interleave` freed; another one has its slot.
    """

    def __init__(self, build: MemoryBuild, host: Any) -> None:
        self.build, self.host = build, host
        self.memory = CacheMemory(build, PAGES)
        self.rng = np.random.default_rng(SEED)
        self.entries = dict(enumerate(random_entries(self.rng, build, group_of(build, self.some(99)),
                                                     build.core.heads - 1)))
        self.handles: dict[int, Handle] = {}
        self.rows = self.wrong = 0

    def words(self, head: int) -> list[int]:
        """Return the words of an entry."""
        return [int(word["data"]) for word in pack_entry(head, self.entries[head], self.build.core)]

    def some(self, *shape: int) -> np.ndarray:
        """Return random rows."""
        rows = self.rng.normal(0, 50, (*shape, self.build.core.head_dim)).round()
        return np.clip(rows, -128, 127).astype(np.int8)

    def open(self) -> Any:
        """Begin a sequence."""
        sequence = self.host.open()
        self.handles[id(sequence)] = self.memory.open()
        return sequence

    def free(self, sequence: Any) -> None:
        """End a sequence."""
        self.host.free(sequence)
        self.memory.free(self.handles.pop(id(sequence)))

    def submit(self, sequence: Any, head: int, q: np.ndarray | None, k: np.ndarray, v: np.ndarray
               ) -> tuple[Any, np.ndarray | None]:
        """Hand a job over; return (job, what must come of it)."""
        job = self.host.submit(sequence, head, q, k, v)
        return job, self.expected(sequence, head, q, k, v)

    def expected(self, sequence: Any, head: int, q: np.ndarray | None, k: np.ndarray, v: np.ndarray
                 ) -> np.ndarray | None:
        """Carry a job out on the golden model; return outputs as the driver gives them."""
        handle = self.handles[id(sequence)]
        self.memory.reserve(handle, self.memory.state(handle).length + len(k))
        kind = JobKind.APPEND if q is None else JobKind.DECODE if q.ndim == 2 else JobKind.PREFILL
        queries = self.some(0, 0) if q is None else q if q.ndim == 3 else q[None]
        outcome = carry_out(CacheJob(kind, handle, head, queries.transpose(1, 0, 2), k, v), self.memory, self.entries)
        assert outcome.status is None, outcome.status
        if q is None:
            return None
        codes = outcome.outputs(queries.shape[1]).transpose(1, 0, 2)
        return codes[0] if q.ndim == 2 else codes

    def finish(self, job: Any, expected: np.ndarray | None) -> None:
        """Take a result and compare it."""
        self.compare(self.host.result(job), expected)

    def compare(self, codes: np.ndarray | None, expected: np.ndarray | None) -> None:
        """Count rows that differ."""
        if expected is None:
            self.wrong += codes is not None
        else:
            assert codes is not None and codes.shape == expected.shape
            self.rows += expected.size // expected.shape[-1]
            self.wrong += int((codes != expected).any(axis=-1).sum())

    def token(self, sequence: Any, heads: int, head: int = 0) -> tuple[Any, np.ndarray | None]:
        """Submit a token."""
        return self.submit(sequence, head, self.some(heads), self.some(1), self.some(1))

    def interleave(self) -> tuple[Any, Any]:
        """Run jobs of all kinds on two sequences in turn, free one, begin another on its pages; return both."""
        page, tile = self.build.page_rows, self.build.tile_rows
        first, second = self.open(), self.open()
        many = 3 * page - 8
        waiting = [self.submit(first, 0, self.some(3, 2), self.some(many), self.some(many)),
                   self.submit(second, 1, None, self.some(page - 2), self.some(page - 2))]
        for number in range(6):
            for sequence in (first, second):
                self.finish(*waiting.pop(0))
                waiting.append(self.token(sequence, 1 + (number + tile) % (tile + 2), head=number))
        for job in waiting:
            self.finish(*job)
        self.free(first)
        self.freed = first
        third = self.open()
        waiting = [self.submit(third, 2, self.some(page + 3, 1), self.some(page + 3), self.some(page + 3))]
        for sequence in (second, third, second):
            waiting.append(self.token(sequence, tile, head=3))
            self.finish(*waiting.pop(0))
        waiting.append(self.submit(second, 1, self.some(2, tile), self.some(3), self.some(3)))
        self.finish(*waiting.pop(0))
        # Queries of keys that are there.
        waiting.append(self.submit(third, 4, self.some(2), self.some(0), self.some(0)))
        for job in waiting:
            self.finish(*job)
        return second, third


class PythonHost:
    """The Python driver; operands are the host's arrays, slices of arrays of tokens by heads, or both, in turn."""

    def __init__(self, core: Any, build: MemoryBuild) -> None:
        self.core, self.build = core, build
        self.open, self.free = core.open, core.free
        self.jobs = dict.fromkeys((2, 3), 0)
        self.in_place = 0

    def submit(self, sequence: Any, head: int, q: np.ndarray | None, k: np.ndarray, v: np.ndarray) -> Any:
        """Submit a job."""
        if q is None:
            return self.core.submit(sequence, head, q, k, v), None
        number, self.jobs[q.ndim] = self.jobs[q.ndim], self.jobs[q.ndim] + 1
        if number % 3 == 0:
            return self.core.submit(sequence, head, q, k, v), None
        *positions, heads, d = q.shape
        tokens = self.core.allocate((*positions, heads + 3, d))[..., 1:1 + heads, :]
        rows = self.core.allocate((2, len(k), 2, d))
        tokens[...], rows[0, :, 1], rows[1, :, 0] = q, k, v
        outputs = self.core.allocate((*positions, heads + 2, d), f"<i{output_element_bytes(self.build.core)}")
        o, taken = outputs[..., 1:1 + heads, :], len(self.core._arrays)
        job = self.core.submit(sequence, head, tokens, rows[0, :, 1], rows[1, :, 0] if number % 3 == 1 else v, o)
        self.in_place += len(self.core._arrays) == taken
        return job, o

    def result(self, job: Any) -> np.ndarray | None:
        """Return a job's outputs."""
        number, o = job
        codes = self.core.result(number)
        assert o is None or codes is o
        return codes


def run_python(system: Any, build: MemoryBuild, package: pathlib.Path, interrupt: bool) -> dict[str, Any]:
    """Run the Python driver on memory as PYNQ gives it, and everything that goes wrong."""
    with driver_of(package, "latte_cache_driver") as driver:
        core = driver.LatteCache(system, pynq_allocate(system), pages=PAGES, timeout=None, ring_log2=RING_LOG2,
                                 interrupt=Interrupt(system) if interrupt else None)
        twin, second, third = _run_twin(core, build)
        return {**_refusals(driver, core, twin, second, third), **_failures(system, driver, core, twin, third),
                "rows": twin.rows, "wrong": twin.wrong, "in_place": twin.host.in_place, "close": core.close()}


def run_linux(system: Any, build: MemoryBuild, package: pathlib.Path, interrupt: bool) -> dict[str, Any]:
    """Run the Python driver on a u-dma-buf."""
    with driver_of(package, "latte_cache_driver") as driver:
        buffer = u_dma_buf(system, driver, package)
        core = driver.LatteCache(system, buffer.allocate, pages=PAGES, timeout=None, ring_log2=RING_LOG2)
        twin, _, _ = _run_twin(core, build)
        core.close()
        return {"rows": twin.rows, "wrong": twin.wrong, "free": len(buffer._free)}


def _run_twin(core: Any, build: MemoryBuild) -> tuple[Twin, Any, Any]:
    twin = Twin(build, PythonHost(core, build))
    for head in twin.entries:
        core.write_entry(head, twin.words(head))
    return twin, *twin.interleave()


def _refusals(driver: Any, core: Any, twin: Twin, second: Any, third: Any) -> dict[str, Any]:
    """Ask for what cannot be; return what the driver says. Both sequences go on as if nothing had been asked."""
    some, longest = twin.some, core.longest
    free, length = core.free_pages, second.length
    said = {"slots": error_of(driver, core.open), "pages": "", "head": [], "stale": []}
    try:
        more = core.page_rows * (1 + free)
        core.submit(second, 0, None, some(more), some(more))
    except driver.OutOfPages as error:
        said["pages"] = str(error)
    said["long"] = error_of(driver, core.reserve, second, longest + 1)
    for name, arguments in {
            "values": (second, 0, some(2), some(1), some(0)), "token": (second, 0, some(2), some(2), some(2)),
            "prompt": (second, 0, some(3, 2), some(2), some(2)), "form": (second, 0, some(2)[:, 1:]),
            "none": (second, 0, some(0), some(1), some(1)), "entry": (second, 1 << 16, some(1)),
            "outputs": (second, 0, some(2), None, None, np.zeros((2, 8), np.int16)),
            "appended": (second, 0, None, some(1), some(1), some(1))}.items():
        said[name] = error_of(driver, core.submit, *arguments)
    for name, refused in (("head", twin.build.core.heads), ("stale", 0)):
        sequence = second
        if name == "stale":  # the driver itself keeps such a job from the core
            sequence = driver.Sequence(second.slot, second.generation - 1)
            core._sequences[second.slot] = sequence
            sequence._pages = second._pages
        try:
            core.run(sequence, refused, some(2))
        except driver.JobFailed as failure:
            said[name] = [failure.causes, str(failure)]
        core._sequences[second.slot] = second
    jobs = [twin.token(sequence, 2) for sequence in (second, third)]
    said["full"] = error_of(driver, core.submit, second, 0, some(1))
    for job in jobs:
        twin.finish(*job)
    said["taken"] = error_of(driver, core.result, jobs[0][0][0])
    said["kept"] = [core.free_pages == free, second.length == length + 1]
    return said


def _failures(system: Any, driver: Any, core: Any, twin: Twin, third: Any) -> dict[str, Any]:
    """Let memory fail, time run out, and a soft reset come; return what the driver says."""
    some = twin.some
    found: dict[str, Any] = {"errors": core.clear("ERROR")}

    def failed(name: str, fault: Any, sequence: Any, *operands: Any, grown: bool = False) -> None:
        """Run a job whose next beat of a kind fails."""
        length, system.fault = sequence.length, fault
        with contextlib.suppress(driver.JobFailed):
            try:
                core.run(sequence, 0, *operands)
            except driver.JobFailed as failure:
                found[name] = [failure.causes, sequence.lost, sequence.length - length]
                raise
        assert system.fault is None, name
        if grown:
            twin.expected(sequence, 0, *operands)

    def place_of(rows: np.ndarray) -> tuple[str, bool, int]:
        memory, at = core._memory_of(rows)
        return "m_axi", False, memory.physical_address + at

    token = core.allocate((3, 1, twin.build.core.head_dim))
    token[:] = some(3, 1)
    operands = token[0], token[1], token[2]
    failed("read_q", place_of(token[0]), third, *operands, grown=True)
    failed("read_k", place_of(token[1]), third, *operands)
    failed("asked", ("m_axi_cache", False, None), third, token[0], None, None)
    failed("descriptor", ("m_axi", False, None), third, *operands)
    twin.finish(*twin.token(third, 2))
    failed("status", ("m_axi", True, _status_address(core)), third, token[0], None, None)
    failed("memory", ("m_axi_cache", True, None), third, *operands)
    found["lost"] = [error_of(driver, core.submit, third, 0, some(1)), error_of(driver, core.reserve, third, 1)]
    twin.free(third)
    found["freed"] = [error_of(driver, core.submit, third, 0, some(1)), error_of(driver, core.free, third)]
    found.update(_reset(driver, core, twin))
    return found


def _status_address(core: Any) -> int:
    """Return where the next job's status word lies."""
    return core._slot(core._submitted).physical_address + 8


def _reset(driver: Any, core: Any, twin: Twin) -> dict[str, Any]:
    """Reset the core while it appends to one sequence; the other one goes on."""
    some, (kept,) = twin.some, (sequence for sequence in core._sequences.values())
    torn = twin.open()
    rows = some(twin.build.page_rows), some(twin.build.page_rows)
    jobs = [core.submit(kept, 0, some(2)), core.submit(torn, 0, some(16, 2), *rows)]
    core._timeout = 0
    late = error_of(driver, core.result, jobs[1])
    core._timeout = None
    core.reset()
    said = []
    for number in jobs:
        try:
            core.result(number)
        except driver.JobFailed as failure:
            said.append(failure.causes)
    answers = {"late": late, "reset": said, "torn": [torn.lost, kept.lost], "gone": error_of(
        driver, core.submit, torn, 0, some(1))}
    twin.free(torn)
    again = twin.open()
    for job in [twin.submit(again, 0, None, *rows), twin.token(kept, 2)]:
        twin.finish(*job)
    twin.finish(*twin.token(again, 3))
    return answers


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
