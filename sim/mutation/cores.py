"""Whole cores that judge the blocks which no test runs alone: small builds, and the programs that tests run on them."""

import base64
import dataclasses
import io
from typing import Any

import numpy as np

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig, preset
from latte.rtl.engines import create_core
from latte.sim import core_programs as programs
from latte.sim.mutation.cases import Case, Netlist, harness_netlist
from latte.sim.program import Program

__all__ = ["CORES", "core_netlist"]

_PATIENCE = 1500
_SMALL = {"head_dim": 16, "max_seq_len": 32, "heads": 8, "bus_bytes": 2, "threshold_kinds": THRESHOLD_KINDS,
          "key_groups": 4}
_WIDE = preset("small", dim_lanes=16, query_lanes=2, key_lanes=1, cross_lanes=6, value_lanes=6, normalizer_lanes=2,
               query_rows=16, survivor_fifo_depth=32, **_SMALL).replace(name="wide")
CORES: dict[str, AttentionConfig] = {
    "wide": _WIDE,
    "serial": preset("tiny", dim_lanes=4, cross_lanes=2, value_lanes=2, query_rows=4, **_SMALL).replace(name="serial"),
}
"""By name; as small as all of their blocks are in."""


def _programs(config: AttentionConfig) -> dict[str, tuple[Program, str]]:
    """Return programs and entries of the stall matrix by name."""
    return {
        "corners": (programs.corners(config), "none"), "appending": (programs.appending(config), "both"),
        "refused": (programs.refused(config), "both"),
        "heads": (programs.random_heads(config, 1, [3, 16, 31, 7, 32]), "both"),
        "pruned": (programs.pruned_heads(config, 3, [3, 16, 31, 7, 1, 2, 23, 32]), "none"),
        "stalled": (programs.pruned_heads(config, 4, [31, 2, 16, 5]), "both"),
        "groups": (programs.appending_groups(config, 1), "none")}


def core_netlist(name: str) -> Netlist:
    """Return the netlist of one of `CORES`, with its cases."""
    config = CORES[name]
    cases = [_case(f"{name} {title}", program, stall) for title, (program, stall) in _programs(config).items()]
    return dataclasses.replace(harness_netlist(create_core(config), f"core-{name}"), cases=tuple(cases))


def _case(title: str, program: Program, stall: str) -> Case:
    file = io.BytesIO()
    arrays: dict[str, Any] = program.to_arrays()
    np.savez_compressed(file, **arrays)
    return Case(title, "core", {"config": program.config.to_dict(), "stall": stall, "seed": 1, "patience": _PATIENCE,
                                "program": base64.b64encode(file.getvalue()).decode()})
