"""The boards: a line of facts each. To add one, add a `BoardSpec` here and its build in `latte.golden.builds`."""

import dataclasses
import importlib

from amaranth.build import Attrs, Pins, Platform, Resource, Subsignal

from latte.fpga.boards.devices import DEVICES, Device
from latte.golden.builds import find_build
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError

__all__ = ["BOARDS", "DEFAULT_BAUD", "BoardSpec", "find_board"]

DEFAULT_BAUD = 1_000_000
"""Of a port whose board is not named, and of a board whose bridge is not known."""


@dataclasses.dataclass(frozen=True)
class BoardSpec:
    """What a board needs besides its build, which `latte.golden.builds` has by the same name.

    Parameters
    ----------
    name, title
    platform
        Module and class in amaranth-boards.
    device
        Of `latte.fpga.boards.devices`.
    clock_hz
        Of the core; made by a PLL if the board's own clock differs (ECP5), else equal to it.
    baud
        The most that its bridge takes and its clock makes.
    resources
        Resources that amaranth-boards does not have: a UART on free pins.
    """

    name: str
    title: str
    platform: str
    device: str
    clock_hz: float
    baud: int = DEFAULT_BAUD
    resources: tuple[Resource, ...] = ()

    @property
    def config(self) -> AttentionConfig:
        """What it is built with."""
        return find_build(self.name)

    @property
    def part(self) -> Device:
        """The FPGA."""
        return DEVICES[self.device]

    def make_platform(self) -> Platform:
        """Return a new platform with all resources."""
        module, name = self.platform.split(":")
        platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), name)()
        platform.add_resources(list(self.resources))
        return platform


def _uart(rx: str, tx: str, conn: tuple[str, int], **attrs: str) -> Resource:
    return Resource("uart", 0, Subsignal("rx", Pins(rx, dir="i", conn=conn)),
                    Subsignal("tx", Pins(tx, dir="o", conn=conn)), Attrs(**attrs))


BOARDS = {board.name: board for board in (
    # FT231X: 300 baud to 3 Mbaud (FTDI DS_FT231X). 35 cycles a bit are exact, 27 are 1 % too many, which it takes.
    BoardSpec("ulx3s_25f", "ULX3S 25F", "ulx3s:ULX3S_25F_Platform", "25k", 105e6, 3_000_000),
    BoardSpec("ulx3s_85f", "ULX3S 85F", "ulx3s:ULX3S_85F_Platform", "85k", 80e6, 3_000_000),
    # Free pins: what the common adapters take (FT232R and FT231X: 3 Mbaud).
    BoardSpec("orangecrab_25f", "OrangeCrab r0.2 25F", "orangecrab_r0_2:OrangeCrabR0_2_25FPlatform", "25k", 120e6,
              3_000_000, resources=(_uart("0", "1", ("io", 0), IO_TYPE="LVCMOS33"),)),
    # FT2232H: 12 Mbaud (FTDI AN_120); our receiver needs four cycles a bit of 12 MHz.
    BoardSpec("icebreaker", "iCEBreaker", "icebreaker:ICEBreakerPlatform", "up5k", 12e6, 3_000_000),
    # BL702 as an FTDI bridge: seen clean up to 3 Mbaud (sipeed/TangNano-9K-example, issue 7). Nine cycles a bit.
    BoardSpec("tang_nano_9k", "Tang Nano 9K", "tang_nano_9k:TangNano9kPlatform", "gw1nr-9c", 27e6, 3_000_000),
)}


def find_board(name: str) -> BoardSpec:
    """Return the board of that name, or raise `LatteError`."""
    if name not in BOARDS:
        raise LatteError(f"unknown board {name!r}; the boards are {', '.join(BOARDS)}")
    return BOARDS[name]
