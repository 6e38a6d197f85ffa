"""Drivers and monitors of streams and taps, stepped once per clock cycle by `latte.sim.testbench.Testbench`.

Each agent reads the observed vector as it was just before the clock edge and returns the bits that it drives from
then on. In the same cycle a handshake is therefore: what was driven before, and what is observed now.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from latte.sim.harness import PortBits
from latte.sim.stalls import Stall

__all__ = ["Agent", "TestbenchFailure", "Ports", "StreamDriver", "StreamMonitor", "Tap"]

Ports = tuple[dict[str, PortBits], dict[str, PortBits]]


class TestbenchFailure(AssertionError):
    """The hardware broke a rule that every stream obeys, or hangs."""


class Agent(Protocol):
    """What the clock loop asks of a driver or monitor.

    Parameters
    ----------
    count
        Transfers so far: the watchdog's evidence of life.
    """

    count: int

    def step(self, observed: int, cycle: int) -> int:
        """Act on one clock edge and return the bits driven until the next."""

    def describe(self) -> str:
        """Return where the agent stands, for the watchdog's message."""


class StreamDriver:
    """Source of one stream: offers payloads in order, never withdraws one.

    Parameters
    ----------
    ports
        (inputs, outputs) of the model.
    name
        The stream.
    payloads
        Taken lazily.
    stall
        Cycles without an offer.
    """

    def __init__(self, ports: Ports, name: str, payloads: Iterable[int], stall: Stall | None = None) -> None:
        inputs, outputs = ports
        self.name = name
        self.count = 0
        self._ready = 1 << outputs[f"{name}__ready"].offset
        self._valid = 1 << inputs[f"{name}__valid"].offset
        self._shift = inputs[f"{name}__payload"].offset
        self._payloads: Iterator[int] = iter(payloads)
        self._stall = stall
        self._driven = 0
        self.finished = False

    def step(self, observed: int, cycle: int) -> int:
        """Offer the next payload when the last one was taken."""
        if self._driven:
            if not observed & self._ready:
                return self._driven
            self.count += 1
            self._driven = 0
        elif self.finished:
            return 0
        if self._stall is not None and self._stall():
            return 0
        payload = next(self._payloads, None)
        if payload is None:
            self.finished = True
        else:
            self._driven = payload << self._shift | self._valid
        return self._driven

    def describe(self) -> str:
        """Return how many payloads were taken and whether one waits."""
        return f"{self.name}: {self.count} taken{', one waits for ready' if self._driven else ''}"


class StreamMonitor:
    """Sink of one stream: takes payloads and checks that an offer stands until it is taken.

    Parameters
    ----------
    ports
        (inputs, outputs) of the model.
    name
        The stream.
    receive
        Called with (payload, cycle) of each transfer.
    stall
        Cycles in which the sink is not ready.
    """

    def __init__(self, ports: Ports, name: str, receive: Callable[[int, int], None],
                 stall: Stall | None = None) -> None:
        inputs, outputs = ports
        self.name = name
        self.count = 0
        self._ready = 1 << inputs[f"{name}__ready"].offset
        self._valid = 1 << outputs[f"{name}__valid"].offset
        self._payload = outputs[f"{name}__payload"]
        self._mask = self._payload.mask
        self._receive = receive
        self._stall = stall
        self._driven = 0
        self._waiting: int | None = None

    def step(self, observed: int, cycle: int) -> int:
        """Take the payload on offer and decide whether to listen next."""
        if observed & self._valid:
            payload = observed >> self._payload.offset & self._mask
            if self._waiting is not None and payload != self._waiting:
                raise TestbenchFailure(f"{self.name}: the payload changed from {self._waiting:#x} to {payload:#x} "
                                       f"while it waited for ready (cycle {cycle})")
            if self._driven:
                self.count += 1
                self._waiting = None
                self._receive(payload, cycle)
            else:
                self._waiting = payload
        elif self._waiting is not None:
            raise TestbenchFailure(f"{self.name}: valid fell before the payload was taken (cycle {cycle})")
        self._driven = 0 if self._stall is not None and self._stall() else self._ready
        return self._driven

    def describe(self) -> str:
        """Return how many payloads were received and whether one is on offer."""
        return f"{self.name}: {self.count} received{', one is on offer' if self._waiting is not None else ''}"


class Tap:
    """Passive watcher of a value that is there whenever its valid bit is set.

    Parameters
    ----------
    name
        For messages.
    value
        Bits of the value in the observed vector.
    valid
        Offset of the valid bit in the observed vector.
    receive
        Called with (value, cycle).
    """

    def __init__(self, name: str, value: PortBits, valid: int, receive: Callable[[int, int], None]) -> None:
        self.name = name
        self.count = 0
        self._shift = value.offset
        self._mask = value.mask
        self._valid = 1 << valid
        self._receive = receive

    def step(self, observed: int, cycle: int) -> int:
        """Pass the value on if it is valid."""
        if observed & self._valid:
            self.count += 1
            self._receive(observed >> self._shift & self._mask, cycle)
        return 0

    def describe(self) -> str:
        """Return how many values were seen."""
        return f"{self.name}: {self.count} seen"
