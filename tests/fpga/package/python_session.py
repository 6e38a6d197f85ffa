"""The Python driver in the driver testbench, on what PYNQ gives and on what Linux gives."""

import contextlib
import importlib
import mmap
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from latte.rtl.common.entry_words import pack_entry
from latte.sim.program import Program

RING_LOG2 = 1
U_DMA_BUF_BYTES = 1 << 18
MODULES = ("latte_driver", "latte_cache_driver", "latte_device", "latte_registers")


@contextlib.contextmanager
def driver_of(package: pathlib.Path, module: str = "latte_driver") -> Iterator[Any]:
    """Import a driver out of a package's folder, and forget it afterwards: another has other tables."""
    sys.path.insert(0, str(package))
    try:
        yield importlib.import_module(module)
    finally:
        sys.path.remove(str(package))
        for name in MODULES:
            sys.modules.pop(name, None)


class Buffer(np.ndarray):
    """Memory as PYNQ gives it: in the processor's cache; a part of it is one, too."""

    system: Any = None

    def __array_finalize__(self, whole: Any) -> None:
        """Belong to the same system."""
        self.system = getattr(whole, "system", None)

    @property
    def place(self) -> int:
        """Bytes from the first of the system's memory."""
        return self.ctypes.data - self.system.cache.ctypes.data

    @property
    def physical_address(self) -> int:
        """As the core sees it."""
        return self.system.base + self.place

    def flush(self) -> None:
        """Write it to memory."""
        self.system.flush(self.place, self.nbytes)

    def invalidate(self) -> None:
        """Read it from memory."""
        self.system.invalidate(self.place, self.nbytes)

    def freebuffer(self) -> None:
        """Leave it as it is."""


class Interrupt:
    """The interrupt line."""

    def __init__(self, system: Any) -> None:
        self.system = system

    def wait(self, seconds: float | None) -> None:
        """Sleep in simulated time."""
        self.system.sleep()


def pynq_allocate(system: Any) -> Callable[..., Any]:
    """Return what gives memory as PYNQ does."""
    def allocate(shape: tuple[int, ...], dtype: Any) -> Buffer:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        at = system.take(size)
        buffer = system.cache[at:at + size].view(dtype).reshape(shape).view(Buffer)
        buffer.system = system
        return buffer

    return allocate


def u_dma_buf(system: Any, driver: Any, package: pathlib.Path) -> Any:
    """Return a u-dma-buf of `U_DMA_BUF_BYTES`: a file that driver and core have mapped."""
    name, size = "udmabuf0", U_DMA_BUF_BYTES
    folder = package / "u-dma-buf"
    (folder / name).mkdir(parents=True)
    (folder / name / "phys_addr").write_text(f"{system.base:#x}\n")
    (folder / name / "size").write_text(f"{size}\n")
    device = folder / "dev" / name
    device.parent.mkdir()
    device.write_bytes(bytes(size))
    with device.open("r+b") as file:
        system.show(mmap.mmap(file.fileno(), size))
    return driver.UDmaBuffer(name, devices=folder / "dev", properties=folder)


def run_python(system: Any, program: Program, package: pathlib.Path, interrupt: bool
               ) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Run the program on memory as PYNQ gives it."""
    with driver_of(package) as driver:
        return _run(system, program, driver, pynq_allocate(system), interrupt)


def run_linux(system: Any, program: Program, package: pathlib.Path, interrupt: bool
              ) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Run the program on a u-dma-buf."""
    with driver_of(package) as driver:
        buffer = u_dma_buf(system, driver, package)
        answers, outputs = _run(system, program, driver, buffer.allocate, interrupt)
        answers["free"] = buffer.allocate((U_DMA_BUF_BYTES,), np.uint8).nbytes == U_DMA_BUF_BYTES
        return answers, outputs


def _run(system: Any, program: Program, driver: Any, allocate: Callable[..., Any], interrupt: bool
         ) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return (answers of the driver, output rows of each job)."""
    answers: dict[str, Any] = {"jobs": [], "refused": []}
    try:
        core = driver.Latte(system, allocate, interrupt=Interrupt(system) if interrupt else None,
                            ring_log2=RING_LOG2, timeout=None)
    except driver.LatteError as error:
        return answers | {"open": str(error)}, []
    answers["open"] = "ok"
    for head, entry in program.parameters.items():
        core.write_entry(head, [word["data"] for word in pack_entry(head, entry, program.config)])
    outputs, waiting = [], []

    def finish() -> None:
        try:
            outputs.append(core.result(waiting.pop(0)))
            answers["jobs"].append("ok")
        except driver.JobFailed as failure:
            outputs.append(np.zeros((0, program.config.head_dim), np.int32))
            answers["jobs"].append(failure.causes)

    for job in program.jobs:
        if len(waiting) == 1 << RING_LOG2:
            answers["refused"].append(error_of(driver, core.submit, job.head, job.q, job.k, job.v))
            finish()
        waiting.append(core.submit(job.head, job.q, job.k, job.v, fresh=job.fresh, causal=job.causal))
    while waiting:
        finish()
    job = program.jobs[0]  # of several rows
    answers["refused"] += [error_of(driver, core.result, 0),
                           error_of(driver, core.submit, 0, job.q[:, 1:], job.k, job.v),
                           error_of(driver, core.submit, 0, job.q, job.k[1:], job.v),
                           error_of(driver, core.write_entry, program.config.heads, []),
                           error_of(driver, core.write_entry, 0, [0])]
    answers["counters"] = core.counters()
    answers["errors"] = core.clear("ERROR")
    core.close()
    return answers, outputs


def error_of(driver: Any, function: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """Return the sentence with which a call is refused."""
    try:
        function(*arguments, **named)
    except driver.LatteError as error:
        return str(error)
    return ""
