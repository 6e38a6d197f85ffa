"""Run a program on the simulated core and read what it produced."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

import latte.golden
import latte.rtl
import latte.sim
from latte.golden.config import AttentionConfig
from latte.sim.program import Program
from latte.sim.runner import BUILD_FOLDER, Instrument, Model, build_model

__all__ = ["CoreReport", "Run", "build_core", "digest_of_sources", "run_core", "run_cores"]


@dataclasses.dataclass(frozen=True)
class Run:
    """A program and what happens to the core meanwhile, as `run_core` takes it.

    Parameters
    ----------
    program
    stall, seed
        Entry of the stall matrix, and its seed.
    reset_at
        Cycles after which a reset lets the program begin again; None: there is none.
    """

    program: Program
    stall: str = "none"
    seed: int = 1
    reset_at: int | None = None


@dataclasses.dataclass(frozen=True)
class CoreReport:
    """Outcome of one program.

    Parameters
    ----------
    jobs : dict of int to dict
        By job index: ``mismatches``, ``cycles``, ``kept``, ``visible``. Jobs without output are absent.
    failure : str or None
        What stopped the testbench, or was wrong with the program as a whole.
    counters : dict of str to int
        At the end of the program.
    status : list of str
        Sticky bits that are set at the end.
    cycles : int
        Clock cycles simulated.
    elapsed : int
        Clock cycles from the first job's offer to the last output, loading included.
    seconds : float
        Time they took.
    folder
        Of logs, waves and results.
    """

    jobs: dict[int, dict[str, Any]]
    failure: str | None
    counters: dict[str, int]
    status: list[str]
    cycles: int
    elapsed: int
    seconds: float
    folder: pathlib.Path

    @property
    def problems(self) -> list[str]:
        """One line per thing that is wrong; empty if every bit agrees."""
        lines = [f"job {index}: {text}" for index, job in self.jobs.items() for text in job["mismatches"]]
        return lines + ([self.failure] if self.failure else [])

    def result(self, index: int) -> dict[str, np.ndarray]:
        """Return ``keep``, ``score`` and ``output`` codes that the hardware produced for a job."""
        with np.load(self.folder / f"job{index}.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def build_core(config: AttentionConfig, simulator: str = "verilator", *, waves: bool = False,
               build_folder: pathlib.Path = BUILD_FOLDER, instrument: Instrument | None = None) -> Model:
    """Compile the core of `config`, or return the model that was compiled of the same sources before.

    Verilator's has its clock loop, unless it records `waves` or an `instrument` counts.
    """
    from latte.rtl.engines import create_core

    source = repr((config, digest_of_sources(), metadata.version("amaranth")))
    return build_model(functools.partial(create_core, config), f"core-{config.name}", simulator=simulator, waves=waves,
                       build_folder=build_folder, source=source, instrument=instrument,
                       clock_loop=simulator == "verilator" and not waves and instrument is None)


@functools.cache
def digest_of_sources(left_out: frozenset[pathlib.Path] = frozenset()) -> str:
    """Return a digest of the modules that a core is made and run by, but for some."""
    modules = {path for package in (latte.golden, latte.rtl, latte.sim) for folder in package.__path__
               for path in pathlib.Path(folder).rglob("*.py")} - left_out
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in modules)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def run_core(model: Model, program: Program, folder: pathlib.Path, *, stall: str = "none", seed: int = 1,
             reset_at: int | None = None, patience: int = 20_000, testbench: str = "latte.sim.core_testbench",
             **settings: Any) -> CoreReport:
    """Run `program` on a compiled core.

    Parameters
    ----------
    model
        From `build_core`, of the program's configuration.
    program
    folder
        Emptied first; holds log, waves, report and results.
    stall
        Entry of the stall matrix.
    seed
        Of the stalls.
    reset_at
        First run this many cycles, then reset, then run from the beginning.
    patience
        Cycles without any transfer that count as a hang.
    testbench
        Module of the cocotb test that runs the program.
    **settings
        Further settings of that testbench.
    """
    settings |= {"stall": stall, "seed": seed, "reset_at": reset_at, "patience": patience}
    _prepare(folder, program, settings)
    model.run(testbench, folder, seed=seed)
    return _read_report(folder, folder / "sim.log")


def run_cores(model: Model, runs: Sequence[Run], folder: pathlib.Path, *, patience: int = 20_000) -> list[CoreReport]:
    """Run programs one after the other in one simulator, each behind a reset: starting it takes seconds.

    Parameters
    ----------
    model
        From `build_core`, of the programs' configuration.
    runs
    folder
        Emptied first; holds the log and the folder of each run.
    patience
        Cycles without any transfer that count as a hang, which ends a run but not those behind it.
    """
    folders = [folder / f"run{index}" for index in range(len(runs))]
    if folder.exists():
        shutil.rmtree(folder)
    for path, run in zip(folders, runs, strict=True):
        _prepare(path, run.program, {"stall": run.stall, "seed": run.seed, "reset_at": run.reset_at,
                                     "patience": patience})
    model.run("latte.sim.core_series_testbench", folder)
    return [_read_report(path, folder / "sim.log") for path in folders]


def _prepare(folder: pathlib.Path, program: Program, settings: dict[str, Any]) -> None:
    """Empty a run's folder and write what its testbench reads."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    program.save(folder)
    (folder / "settings.json").write_text(json.dumps(settings))


def _read_report(folder: pathlib.Path, log_file: pathlib.Path) -> CoreReport:
    path = folder / "report.json"
    if not path.exists():
        log = log_file.read_text(errors="replace").strip() if log_file.exists() else ""
        failure = f"the simulator ended without a report: {log.splitlines()[-1] if log else 'no output'}"
        return CoreReport({}, failure, {}, [], 0, 0, 0.0, folder)
    report = json.loads(path.read_text())
    return CoreReport({job["index"]: job for job in report["jobs"]}, report["failure"], report.get("counters", {}),
                      report.get("status", []), report["cycles"], report.get("elapsed", 0), report["seconds"], folder)
