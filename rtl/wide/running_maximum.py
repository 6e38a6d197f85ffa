"""Largest of the values that have come so far."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RunningMaximum"]


class RunningMaximum(wiring.Component):
    """``max(value)`` since the last `first`.

    A value is compared with the maximum and, in case that is being replaced, with its predecessor; a register lies
    between what the comparison says and the maximum, whose every bit hangs on it::

        value -+--------> latest ------------------+-> maximum
               +-> [> latest] [> maximum] -> take -^

    Latency: `latency` cycles from a value to the maximum that knows it. Throughput: one value per cycle. Exact.

    Parameters
    ----------
    width
        Of a signed value.

    Members
    -------
    valid, first, value : In
        `first` forgets the values before this one.
    maximum : Out(signed(width))
    """

    latency = 2
    """The comparison, and the maximum."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"valid": In(1), "first": In(1), "value": In(signed(width)), "maximum": Out(signed(width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        maximum = Signal(signed(self.width), reset_less=True)
        latest, take = Signal(signed(self.width), reset_less=True), Signal()
        # The sign of a difference ends the carry chain; Yosys has logic for the signs of operands behind it.
        above_latest, above_maximum = (latest - self.value)[-1], (maximum - self.value)[-1]
        m.d.comb += self.maximum.eq(maximum)
        m.d.sync += [
            latest.eq(self.value),
            take.eq(self.valid & (self.first | Mux(take, above_latest, above_maximum))),
        ]
        with m.If(take):
            m.d.sync += maximum.eq(latest)
        return m
