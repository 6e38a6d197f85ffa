"""Carry out jobs on the simulated core with keys in memory behind AXI, and compare all that comes of them."""

import dataclasses
import importlib.util
import json
import pathlib
import shutil
from importlib import metadata
from typing import Any

import numpy as np

from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.golden.results import write_text
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.memory.axi_cache_core import AxiCacheCore, rows_master_of
from latte.rtl.memory.cache_core import master_of
from latte.sim.axi_cache_program import AxiCacheProgram, cache_status_names
from latte.sim.core_run import digest_of_sources
from latte.sim.runner import BUILD_FOLDER, Instrument, Model, build_model

__all__ = ["AxiCacheReport", "build_axi_cache_core", "run_axi_cache"]


@dataclasses.dataclass(frozen=True)
class AxiCacheReport:
    """What became of a program.

    Parameters
    ----------
    problems
        One line for each thing that is wrong.
    cycles : list of int
        Of each job, from its doorbell, or the end of the job before, to its status word.
    registers
        Counters, ``COUNTER_CYCLES`` and others, at the end.
    """

    problems: list[str]
    cycles: list[int]
    registers: dict[str, Any]


def build_axi_cache_core(build: MemoryBuild, *, parameters: MasterParameters | None = None,
                         cache_parameters: MasterParameters | None = None, register_port: str = "axi-lite",
                         build_folder: pathlib.Path = BUILD_FOLDER, instrument: Instrument | None = None) -> Model:
    """Compile `AxiCacheCore` for Verilator, or return the model that was compiled of the same sources.

    Parameters
    ----------
    build, parameters, cache_parameters, register_port
        As of `AxiCacheCore`.
    build_folder
    instrument
        Counts what is reached.

    Raises
    ------
    LatteError
        cocotbext-axi is not installed, or the model cannot be compiled.
    """
    if importlib.util.find_spec("cocotbext") is None or importlib.util.find_spec("cocotbext.axi") is None:
        raise LatteError("the AXI interface is simulated with cocotbext-axi, which is not installed; "
                         "pip install 'latte-attention[dev]'")
    parameters, cache_parameters = parameters or rows_master_of(build), cache_parameters or master_of(build)
    source = repr((build, parameters, cache_parameters, register_port, digest_of_sources(),
                   metadata.version("amaranth")))
    return build_model(lambda: AxiCacheCore(build, parameters, cache_parameters, register_port=register_port),
                       f"axi-cache-{build.core.name}", build_folder=build_folder, harnessed=False, source=source,
                       instrument=instrument)


def run_axi_cache(model: Model, program: AxiCacheProgram, folder: pathlib.Path, *, stall: str = "none", seed: int = 1,
                  latency: int = 60, reset_at: int | None = None, patience: int = 20_000) -> AxiCacheReport:
    """Carry a program out, and compare status words, outputs, the memory, and what registers say.

    Parameters
    ----------
    model
        From `build_axi_cache_core`, of the build of the program's memory.
    program
    folder
        Emptied first.
    stall, seed
        Entry of the stall matrix, for both masters.
    latency
        Cycles from a read's address to its first beat.
    reset_at
        Cycles after which a soft reset lets the program begin again; None: there is none.
    patience
        Cycles without a beat that count as a hang.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program.save(folder)
    write_text(folder / "settings.json", json.dumps({"stall": stall, "seed": seed, "latency": latency,
                                                     "reset_at": reset_at, "patience": patience}))
    model.run("latte.sim.axi_cache_testbench", folder, seed=seed)
    path = folder / "report.json"
    if not path.exists():
        return AxiCacheReport([f"the simulator ended without a report; see {folder / 'sim.log'}"], [], {})
    report = json.loads(path.read_text())
    problems = [report["failure"]] if report["failure"] else []
    problems += _compare_jobs(program, report["words"], (folder / "rows.bin").read_bytes())
    image = np.frombuffer((folder / "image.bin").read_bytes(), np.uint8)
    differs = np.flatnonzero(image != program.memory.image.data)
    if len(differs):
        problems.append(f"{len(differs)} bytes of the memory differ, first at {int(differs[0]):#x}")
    registers = report.get("registers", {})
    if registers:
        problems += _compare_registers(program, registers)
    begins = [max(pair) for pair in zip(report["rung"], [0, *report["ended"]], strict=False)]
    cycles = [end - begin for begin, end in zip(begins, report["ended"], strict=False)]
    return AxiCacheReport(problems, cycles, registers)


def _compare_jobs(program: AxiCacheProgram, words: list[int | None], rows: bytes) -> list[str]:
    """Return what is wrong with status words, and with the outputs of jobs that met no error."""
    core = program.memory.build.core
    codes = np.frombuffer(rows, f"<i{output_element_bytes(core)}").reshape(-1, core.head_dim)
    problems, row = [], 0
    if len(words) != len(program.jobs):
        problems.append(f"{len(words)} of {len(program.jobs)} descriptors ended")
    for number, job in enumerate(program.jobs):
        word = words[number] if number < len(words) else None
        if word is not None and (cache_status_names(word) != job.status or word >> 16 != number % (1 << 16)):
            problems.append(f"job {number}: status word {word:#010x} says {sorted(cache_status_names(word))}, expected "
                            f"{sorted(job.status)}")
        if word is not None and job.outcome is not None and not job.causes and job.rows:
            expected = np.array([of.output for of in job.outcome.rows])
            differs = np.flatnonzero((codes[row:row + len(job.rows)] != expected).any(axis=1))
            if len(differs):
                problems.append(f"job {number}: {len(differs)} of {len(job.rows)} output rows differ, the first is "
                                f"{int(differs[0])}")
        row += len(job.rows)
    return problems


def _compare_registers(program: AxiCacheProgram, registers: dict[str, Any]) -> list[str]:
    """Return what is wrong with registers at the end."""
    def bits(name: str) -> set[str]:
        return {field for field, value in registers[name].items() if value}

    of_jobs = bits("CORE_STATUS") & {*REFUSALS, *FAILURES, "overflow", "entry_invalid"}
    interrupts = {"descriptor_done", "ring_empty", *(["error"] if program.expected_errors() else [])}
    # A descriptor that could not be read asks for no interrupt.
    wanted = [("ERROR", bits("ERROR"), program.expected_errors()),
              ("CORE_STATUS", of_jobs, program.expected_status()),
              ("STATUS", bits("STATUS"), {"ring_empty"}), ("INTERRUPT_STATUS", bits("INTERRUPT_STATUS"), interrupts),
              ("RING_TAIL", registers["RING_TAIL"], len(program.jobs) % (1 << 16)),
              ("COUNTER_DESCRIPTORS", registers["COUNTER_DESCRIPTORS"], len(program.jobs)),
              ("irq", registers["irq"], 1)]
    return [f"{name} is {found}, expected {want}" for name, found, want in wanted if found != want]
