"""The C driver, compiled to a shared library, in the driver testbench."""

import ctypes
import pathlib
import subprocess
from typing import Any

import numpy as np

from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.common.entry_words import pack_entry
from latte.sim.axi_program import status_names
from latte.sim.program import Program

RESULTS = ("ok", "no_core", "other_version", "other_build", "bad_ring", "ring_full", "word_lost", "no_entry",
           "unknown_job", "job_failed", "gave_up", "no_slot", "no_pages", "too_long", "freed", "lost")
"""`latte_result` in order."""
FLAGS = ("-Wall", "-Wextra", "-Werror", "-std=c11", "-ffreestanding", "-fPIC", "-O1")
RING_LOG2 = 1
_DEVICE_BYTES = 256
"""At least a `latte_device` or a `latte_cache`, of which only the driver knows the fields."""


def compile_driver(folder: pathlib.Path) -> pathlib.Path:
    """Compile the driver of a package's folder without a warning; return the library."""
    library = folder / "liblatte.so"
    subprocess.run(["cc", *FLAGS, "-shared", "-o", library, *sorted(folder.glob("*.c"))], check=True)
    return library


class Calls(ctypes.Structure):
    """`latte_system`."""

    _fields_ = [
        ("context", ctypes.c_void_p),
        ("read", ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)),
        ("write", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)),
        ("flush", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("invalidate", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("pause", ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p))]


class Job(ctypes.Structure):
    """`latte_job`."""

    _fields_ = [*((f"{name}_address", ctypes.c_uint64) for name in "qkvo"),
                *((f"{name}_stride", ctypes.c_uint32) for name in "qkvo"),
                ("head", ctypes.c_uint16), ("query_rows", ctypes.c_uint16), ("load_rows", ctypes.c_uint16),
                ("fresh", ctypes.c_bool), ("causal", ctypes.c_bool)]


class Driver:
    """The library's functions on one device."""

    def __init__(self, system: Any, library: pathlib.Path, interrupt: bool) -> None:
        self.system, self.interrupt = system, interrupt
        self.library = ctypes.CDLL(str(library))
        self.library.latte_is_done.restype = ctypes.c_bool
        self.device = ctypes.create_string_buffer(_DEVICE_BYTES)
        self.start = system.cache.ctypes.data
        kinds = dict(Calls._fields_)
        functions = {"read": lambda _, offset: system.read(offset),
                     "write": lambda _, offset, value: system.write(offset, value),
                     "flush": lambda _, at, size: system.flush(at - self.start, size),
                     "invalidate": lambda _, at, size: system.invalidate(at - self.start, size),
                     "pause": lambda _: self.pause()}
        self.calls = Calls(None, *(kinds[name](function) for name, function in functions.items()))

    def pause(self) -> bool:
        """Let time go by; with interrupts, until the line rises, and then handle it."""
        if not self.interrupt:
            return self.system.failure is None
        risen = self.system.sleep()
        self.library.latte_interrupt(self.device)
        return risen

    def call(self, name: str, *arguments: Any) -> str:
        """Call a function with the device as the first argument; return the name of its result."""
        return RESULTS[getattr(self.library, f"latte_{name}")(self.device, *arguments)]

    def write_entry(self, head: int, words: list[int]) -> str:
        """Call `latte_write_entry`."""
        return self.call("write_entry", head, (ctypes.c_uint16 * len(words))(*words), ctypes.c_size_t(len(words)))

    def open(self, ring: int) -> str:
        """Call `latte_open`."""
        return self.call("open", ctypes.byref(self.calls), ctypes.c_void_p(self.start + ring),
                         ctypes.c_uint64(self.system.base + ring), RING_LOG2, self.interrupt)


def run_c(system: Any, program: Program, package: pathlib.Path, interrupt: bool
          ) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return (answers of the driver, output rows of each job)."""
    driver = Driver(system, package / "liblatte.so", interrupt)
    ring = system.take(DESCRIPTOR_BYTES << RING_LOG2)
    answers: dict[str, Any] = {"unaligned": driver.open(ring + 4), "open": driver.open(ring), "jobs": []}
    if answers["open"] != "ok":
        return answers, []
    for head, entry in program.parameters.items():
        words = [word["data"] for word in pack_entry(head, entry, program.config)]
        assert driver.write_entry(head, words) == "ok"
    answers["entry"] = driver.write_entry(program.config.heads, words)
    waiting: list[tuple[int, int, int]] = []
    outputs: list[np.ndarray] = []

    def finish() -> None:
        number, at, rows = waiting.pop(0)
        status = ctypes.c_uint32()
        answer = driver.call("wait", ctypes.c_uint16(number), ctypes.byref(status))
        answers["jobs"].append([answer, sorted(status_names(status.value))])
        system.invalidate(at, rows * row_bytes)
        codes = system.cache[at:at + rows * row_bytes].view(f"<i{output_element_bytes(program.config)}")
        outputs.append(codes.reshape(rows, program.config.head_dim).astype(np.int32))

    d = program.config.head_dim
    row_bytes = d * output_element_bytes(program.config)
    for job in program.jobs:
        fields = {"head": job.head, "query_rows": len(job.q), "load_rows": len(job.k), "fresh": job.fresh,
                  "causal": job.causal}
        for name, rows, size in (("q", job.q, d), ("k", job.k, d), ("v", job.v, d), ("o", job.q, row_bytes)):
            at = system.take(len(rows) * size)
            if name != "o":
                system.cache[at:at + rows.size] = rows.view(np.uint8).reshape(-1)
                system.flush(at, rows.size)
            fields |= {f"{name}_address": system.base + at, f"{name}_stride": size}
        number, arguments = ctypes.c_uint16(), Job(**fields)
        if len(waiting) == 1 << RING_LOG2:
            if not outputs:  # the first job is still at work
                answers["full"] = driver.call("submit", ctypes.byref(arguments), ctypes.byref(number))
            finish()
        assert driver.call("submit", ctypes.byref(arguments), ctypes.byref(number)) == "ok"
        waiting.append((number.value, at, len(job.q)))
    while waiting:
        finish()
    answers["gone"] = driver.call("wait", ctypes.c_uint16(number.value - (1 << RING_LOG2)), None)
    answers["future"] = driver.call("wait", ctypes.c_uint16(number.value + 1), None)
    answers["errors"] = driver.library.latte_errors(driver.device)
    answers["close"] = driver.call("close")
    return answers, outputs
