"""Memories that a core may stand before, as data: what their makers and board files say of them."""

import dataclasses

from latte.golden.errors import LatteError

__all__ = ["PARTS", "Part", "find_part", "ideal_part"]


@dataclasses.dataclass(frozen=True)
class Part:
    """One memory as it is clocked on a board. Times in ns.

    Parameters
    ----------
    name, title
    source
        Where the figures come from.
    megatransfers
        Per second and pin.
    data_bits
    burst
        Transfers of the shortest access.
    row_bytes
        Bytes of an open row, of all its chips together.
    banks
    activate, precharge, active
        tRCD, tRP, tRAS.
    four_activates
        tFAW; 0 without such a limit.
    refresh, refresh_interval
        tRFC, tREFI.
    core_mhz
        Clock of the core beside it.
    bus_bytes
        Of the core's bus there, 8 or 16.
    """

    name: str
    title: str
    source: str
    megatransfers: float
    data_bits: int
    burst: int
    row_bytes: int
    banks: int
    activate: float
    precharge: float
    active: float
    four_activates: float
    refresh: float
    refresh_interval: float
    core_mhz: float
    bus_bytes: int

    @property
    def bytes_per_second(self) -> float:
        """Of the pins."""
        return 1e6 * self.megatransfers * self.data_bits / 8

    @property
    def burst_bytes(self) -> int:
        """What the shortest access moves."""
        return self.burst * self.data_bits // 8

    @property
    def stream_efficiency(self) -> float:
        """Share of the pins' bytes in a long stream: refresh, and one row opened after the other with nothing hidden.

        Controllers that open the next bank's row ahead do better.
        """
        row = 1e9 * self.row_bytes / self.bytes_per_second
        return (1 - self.refresh / self.refresh_interval) * row / (row + self.activate + self.precharge)

    @property
    def random_interval(self) -> float:
        """Nanoseconds from one opened row to the next, of accesses at random: half of the banks are found closed."""
        return max((self.active + self.precharge) / (self.banks / 2), self.four_activates / 4)


PARTS = {part.name: part for part in (
    Part("ulx3s_sdram", "SDR SDRAM of a ULX3S, 16 bits at 100 MHz",
         "MT48LC16M16 in LiteDRAM's modules.py; 100 MHz: litex-boards, radiona_ulx3s, half rate at 50 MHz",
         100, 16, 8, 1024, 4, 20, 20, 44, 0, 66, 7812.5, 50, 8),
    Part("orangecrab_ddr3", "DDR3 of an OrangeCrab, 16 bits at 192 MT/s",
         "MT41K64M16 in LiteDRAM's modules.py; 48 MHz: litex-boards, gsd_orangecrab, 1:2",
         192, 16, 8, 2048, 8, 13.75, 13.75, 35, 40, 160, 7812.5, 48, 8),
    Part("arty_ddr3", "DDR3 of an Arty A7, 16 bits at 800 MT/s",
         "MT41K128M16 in LiteDRAM's modules.py; 100 MHz: litex-boards, digilent_arty, 1:4",
         800, 16, 8, 2048, 8, 13.75, 13.75, 35, 40, 160, 7812.5, 100, 16),
    Part("zynq_lpddr4", "LPDDR4 of a Zynq UltraScale+, 32 bits at 2400 MT/s, one 128-bit port",
         "JESD209-4 for 8 Gb chips; 2400 MT/s is the most of the processing system in AMD's DS925",
         2400, 32, 16, 4096, 8, 18, 18, 42, 40, 280, 3904, 100, 16),
)}
"""By name."""


def ideal_part(bus_bytes: int) -> Part:
    """Return a memory that gives a beat of the bus in each cycle at 100 MHz, wherever it lies."""
    return Part("ideal", f"a beat of {bus_bytes} bytes in each cycle", "", 100, 8 * bus_bytes, 1, bus_bytes, 1,
                0, 0, 0, 0, 0, 1, 100, bus_bytes)


def find_part(name: str) -> Part:
    """Return the part of that name, or raise `LatteError`."""
    if name not in PARTS:
        raise LatteError(f"unknown memory part {name!r}; the parts are {', '.join(PARTS)}")
    return PARTS[name]
