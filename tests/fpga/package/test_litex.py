"""The package in an SoC of LiteX, without a processor: linted, and a head on its bus."""

import sys
from pathlib import Path

import pytest

from tests.fpga.package.test_package import tool

pytest.importorskip("systemrdl", reason="the extra package is not installed")
pytest.importorskip("litex", reason="the extra package is not installed")

HERE = Path(__file__).parent
LITEX_STYLE = ("-Wno-BLKANDNBLK", "-Wno-WIDTH", "-Wno-COMBDLY", "-Wno-CASEINCOMPLETE", "-Wno-UNOPTFLAT")
"""What LiteX calls Verilator with for its own Verilog (litex/build/sim/core/Makefile); and its AXI interconnect chooses
READY and VALID in one process each, which Verilator takes for a loop."""


buses = pytest.mark.parametrize(("standard", "bits"), [("wishbone", 32), ("axi", 64)])
packages = pytest.mark.parametrize(("fixture", "module", "run"), [("package", "latte_axi", "run_head"),
                                                                  ("cache_package", "latte_axi_cache", "run_cache")])


def build_soc(package, folder, standard, bits):
    """Write ``soc.v`` into a folder."""
    tool(sys.executable, HERE / "litex_soc.py", package, folder / "soc.v", standard, bits, folder=folder,
         says="sram at 0x1000000")


@pytest.mark.slow
@buses
@packages
def test_the_soc_passes_lint(fixture, module, run, standard, bits, tmp_path, request):
    """LiteX turns the same warnings off; any other ends in an error."""
    package = request.getfixturevalue(fixture)
    build_soc(package, tmp_path, standard, bits)
    tool("verilator", "--lint-only", *LITEX_STYLE, "--top-module", "soc", "soc.v", package / "rtl" / f"{module}.sv",
         folder=tmp_path)


@pytest.mark.slow
@buses
@packages
def test_a_head_on_the_bus_of_the_soc(fixture, module, run, standard, bits, tmp_path, request):
    """Registers, memory and the core's masters on one bus, narrower than these and not narrower than registers."""
    package = request.getfixturevalue(fixture)
    build_soc(package, tmp_path, standard, bits)
    tool("verilator", "--cc", "--exe", "--build", "-O3", *LITEX_STYLE, "--output-split", "20000", "--top-module", "soc",
         "--Mdir", "build", "-CFLAGS", f"-I{package / 'driver'} -I{package / 'bench'} "
         f"-DRUN_HEADER='\"{run}.h\"' -DRUN={run}", "soc.v", package / "rtl" / f"{module}.sv", HERE / "litex_bench.cpp",
         *sorted((package / "driver").glob("*.c")), folder=tmp_path)
    tool(tmp_path / "build" / "Vsoc", folder=tmp_path, says="PASS")
