"""What the Python driver of a core with keys in memory is made to do."""

import contextlib
import pathlib
from typing import Any

import numpy as np

from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.registers import output_element_bytes
from tests.fpga.package.c_session import RING_LOG2
from tests.fpga.package.cache_twin import PAGES, Twin
from tests.fpga.package.python_session import Interrupt, driver_of, error_of, pynq_allocate, u_dma_buf


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
