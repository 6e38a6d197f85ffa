"""Run a program on the simulated core behind AXI, from memory or by streams."""

import dataclasses
import importlib.util
import pathlib
from importlib import metadata
from typing import Any

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.rtl.axi.bus import DataParameters, MasterParameters, StreamParameters
from latte.sim.core_run import CoreReport, digest_of_sources, run_core
from latte.sim.program import Program
from latte.sim.runner import BUILD_FOLDER, Instrument, Model, build_model

__all__ = ["READ_LATENCY", "build_axi_core", "run_axi_core", "run_axi_stream_core"]

READ_LATENCY = 30
"""Cycles from a read's address to its first data, as a memory controller has them."""
_RING_LOG2 = 10


def build_axi_core(config: AttentionConfig, parameters: DataParameters, *, register_port: str = "axi-lite",
                   waves: bool = False, build_folder: pathlib.Path = BUILD_FOLDER,
                   instrument: Instrument | None = None) -> Model:
    """Compile `AxiCore` or `AxiStreamCore` for Verilator, or return the model that was compiled of the same sources.

    Raises
    ------
    LatteError
        cocotbext-axi is not installed, or the model cannot be compiled.
    """
    from latte.rtl.axi.bus_cores import create_bus_core

    if importlib.util.find_spec("cocotbext") is None or importlib.util.find_spec("cocotbext.axi") is None:
        raise LatteError("the AXI interface is simulated with cocotbext-axi, which is not installed; "
                         "pip install 'latte-attention[dev]'")
    core = create_bus_core(config, parameters, register_port=register_port, probe=True)
    source = repr((config, parameters, register_port, digest_of_sources(), metadata.version("amaranth")))
    return build_model(core, f"{parameters.interface}-{config.name}-{parameters.data_bits}", waves=waves,
                       build_folder=build_folder, harnessed=False, source=source, instrument=instrument)


def run_axi_core(model: Model, program: Program, folder: pathlib.Path, *, master: MasterParameters,
                 latency: int = READ_LATENCY, ring_log2: int = _RING_LOG2, scattered: bool = False,
                 testbench: str = "latte.sim.axi_testbench", **settings: Any) -> CoreReport:
    """Run `program` from memory on a compiled core.

    Parameters
    ----------
    model
        From `build_axi_core`, of the program's configuration and of `master`.
    program, folder
        As of `latte.sim.core_run.run_core`.
    master
    latency
        Cycles that a read takes.
    ring_log2
        Base-2 logarithm of the ring's descriptors; with more jobs, the ring goes round.
    scattered
        Rows with random strides and gaps, across 4 KB boundaries.
    testbench
        Module of the cocotb test.
    **settings
        Those of `run_core`; `reset_at` is a soft reset.
    """
    return run_core(model, program, folder, testbench=testbench, master=dataclasses.asdict(master),
                    latency=latency, ring_log2=ring_log2, scattered=scattered, **settings)


def run_axi_stream_core(model: Model, program: Program, folder: pathlib.Path, *, stream: StreamParameters,
                        testbench: str = "latte.sim.axi_stream_testbench", **settings: Any) -> CoreReport:
    """Run `program` by packets on a compiled core.

    Parameters
    ----------
    model
        From `build_axi_core`, of the program's configuration and of `stream`.
    program, folder
        As of `latte.sim.core_run.run_core`.
    stream
    testbench
        Module of the cocotb test.
    **settings
        Those of `run_core`; `reset_at` is a soft reset.
    """
    return run_core(model, program, folder, testbench=testbench, stream=dataclasses.asdict(stream), **settings)
