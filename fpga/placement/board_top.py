"""The whole of a board's design: clock, reset, hosted core, lamps."""

from amaranth import ClockDomain, ClockSignal, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from latte.fpga.boards.board import BoardSpec
from latte.fpga.link.hosted_core import HostedCore
from latte.golden.errors import LatteError

__all__ = ["BoardTop", "pll_dividers"]

_VCO_HZ = (400e6, 800e6)
_LEAST_PHASE_DETECTOR_HZ = 3.125e6
_MAX_DIVIDER = 128


def pll_dividers(input_hz: float, output_hz: float) -> tuple[int, int, int]:
    """Return input, feedback and output divider of an ECP5 PLL: ``output = input / i * f``, VCO ``output * o``.

    Raises
    ------
    LatteError
        No dividers make this clock.
    """
    for divide in range(1, int(input_hz / _LEAST_PHASE_DETECTOR_HZ) + 1):
        multiply = round(output_hz / input_hz * divide)
        if 1 <= multiply <= _MAX_DIVIDER and abs(input_hz / divide * multiply - output_hz) < 1:
            for out in range(1, _MAX_DIVIDER + 1):
                if _VCO_HZ[0] <= output_hz * out <= _VCO_HZ[1]:
                    return divide, multiply, out
    raise LatteError(f"a PLL cannot make {output_hz / 1e6:g} MHz of {input_hz / 1e6:g} MHz; choose a small ratio")


class BoardTop(Elaboratable):
    """A board with the core on it.

    Reset is held until the clock is steady. Lamps as in `HostedCore`, as many as the board has.

    Parameters
    ----------
    board
    """

    def __init__(self, board: BoardSpec):
        self.board = board

    def elaborate(self, platform):
        """Connect the board's pins."""
        m = Module()
        board = self.board
        self._make_clock(m, platform)
        m.submodules.hosted = hosted = HostedCore(board.config, board.clock_hz, board.baud)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [hosted.rx.eq(rx.i), tx.o.eq(hosted.tx)]
        for n, (lamp, on) in enumerate(zip(self._lamps(platform), hosted.leds, strict=False)):
            m.submodules[f"lamp_{n}"] = buffer = io.Buffer("o", lamp)
            m.d.comb += buffer.o.eq(on)
        return m

    def _make_clock(self, m, platform):
        if platform.default_clk_frequency == self.board.clock_hz:
            # The platform makes the domain, with its power-on reset.
            return
        if self.board.part.target != "ecp5":
            raise LatteError(f"board {self.board.name}: the clock of {platform.default_clk_frequency / 1e6:g} MHz must "
                             "be used as it is")
        divide, multiply, out = pll_dividers(platform.default_clk_frequency, self.board.clock_hz)
        m.domains.sync = ClockDomain()
        m.submodules.clock = clock = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        steady = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL", p_CLKI_DIV=divide, p_CLKFB_DIV=multiply, p_CLKOP_DIV=out, p_CLKOP_CPHASE=out - 1,
            p_CLKOP_ENABLE="ENABLED", p_FEEDBK_PATH="CLKOP", p_CLKOP_FPHASE=0,
            i_CLKI=clock.i, i_CLKFB=ClockSignal(), i_RST=0, i_STDBY=0,
            i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0, i_ENCLKOP=0,
            o_CLKOP=ClockSignal(), o_LOCK=steady)
        m.submodules.reset = ResetSynchronizer(~steady, domain="sync")

    @staticmethod
    def _lamps(platform):
        """Return the lamps' pins: single ones, else the colours of one."""
        numbers = sorted(n for name, n in platform.resources if name == "led")
        if numbers:
            return [platform.request("led", n, dir="-") for n in numbers]
        colours = platform.request("rgb_led", 0, dir="-")
        return [colours.r, colours.g, colours.b]
