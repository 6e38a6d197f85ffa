"""The core with its host link: a clock, two wires and a few lamps."""

from amaranth import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.fpga.link.host_link import HostLink, connect_core
from latte.golden.config import AttentionConfig
from latte.rtl.engines import create_core

__all__ = ["HostedCore"]

_BLINK_BITS = 24


class HostedCore(wiring.Component):
    """A LATTE core that a host commands over a UART.

    Data flow::

        rx -> HostLink <-> core
        tx <-

    Parameters
    ----------
    config
    clock_hz, baud
        The line's speed.
    **link
        Further parameters of `HostLink`.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    leds : Out(4)
        From the low bit: the clock runs (blinks), a session is open, a request is in work, an error status bit is set.
    """

    def __init__(self, config: AttentionConfig, clock_hz: float, baud: int, **link):
        self.core = create_core(config)
        self.link = HostLink(config, clock_hz, baud, **link)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(4)})

    def elaborate(self, platform):
        """Return the circuit."""
        m = Module()
        m.submodules.host_link = link = self.link
        # The core's reset is a register of its own: it goes to all corners of the device.
        m.domains.core = domain = ClockDomain(local=True)
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(link.reset | ResetSignal())
        m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(reset)]
        m.submodules.attention_core = DomainRenamer("core")(self.core)
        connect_core(m, link, self.core)
        blink = Signal(_BLINK_BITS)
        status = self.core.status
        m.d.sync += blink.eq(blink + 1)
        m.d.comb += [
            link.rx.eq(self.rx), self.tx.eq(link.tx),
            self.leds.eq(Cat(blink[-1], link.session, link.busy, status.as_value().any())),
        ]
        return m
