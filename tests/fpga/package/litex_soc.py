"""An SoC of LiteX around the core, without a processor: its bus comes out at pins, where a testbench is the host.

``python litex_soc.py PACKAGE OUTPUT.v STANDARD BITS``: the SoC's bus; the host's is Wishbone of 32 bits.
"""

import pathlib
import sys

package, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sys.path[:0] = [str(package / "litex"), str(package / "driver")]

from latte_litex import add_latte  # noqa: E402
from litex.build.generic_platform import Pins, Subsignal  # noqa: E402
from litex.build.sim import SimPlatform  # noqa: E402
from litex.soc.integration.soc_core import SoCMini  # noqa: E402
from litex.soc.interconnect import wishbone  # noqa: E402
from migen import ClockDomain  # noqa: E402

SRAM_BYTES = 1 << 16
REGISTERS = 0x9000_0000


def main() -> None:
    """Write the SoC's Verilog."""
    host = wishbone.Interface(data_width=32, address_width=32, addressing="word")
    pins = [Subsignal(name, Pins(width)) for name, width, _ in host.layout]
    platform = SimPlatform("SIM", [("clk", 0, Pins(1)), ("rst", 0, Pins(1)), ("irq", 0, Pins(1)), ("host", 0, *pins)],
                           name="soc")
    soc = SoCMini(platform, clk_freq=int(100e6), integrated_sram_size=SRAM_BYTES, bus_standard=sys.argv[3],
                  bus_data_width=int(sys.argv[4]))
    soc.cd_sys = ClockDomain("sys")
    soc.clock_domains += soc.cd_sys
    soc.comb += [soc.cd_sys.clk.eq(platform.request("clk")), soc.cd_sys.rst.eq(platform.request("rst"))]
    core = add_latte(soc, REGISTERS)
    soc.comb += platform.request("irq").eq(core.ev.core.trigger)
    soc.bus.add_master("host", host)
    soc.comb += host.connect_to_pads(platform.request("host"), mode="slave")
    soc.finalize()
    verilog = platform.get_verilog(soc, name="soc")
    verilog.write(str(output))
    print(f"sram at {soc.bus.regions['sram'].origin:#x}")


main()
