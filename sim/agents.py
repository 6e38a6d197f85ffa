"""Drivers and monitors of streams and taps, stepped once per clock cycle by `latte.sim.testbench.Testbench`.

Each agent reads the observed vector as it was just before the clock edge and returns the bits that it drives from
then on. In the same cycle a handshake is therefore: what was driven before, and what is observed now.

A compiled clock loop (`latte.sim.compiled_testbench`) steps its own agents by what these say of themselves, and has
these `follow` them.
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

    Attributes
    ----------
    valid, ready : int
        Bits of the driven and of the observed vector.
    payload
        Bits of the driven vector.
    finished
        No payload is left, and the last one was taken.
    """

    def __init__(self, ports: Ports, name: str, payloads: Iterable[int], stall: Stall | None = None) -> None:
        inputs, outputs = ports
        self.name = name
        self.count = 0
        self.valid, self.ready = inputs[f"{name}__valid"].offset, outputs[f"{name}__ready"].offset
        self.payload = inputs[f"{name}__payload"]
        self.payloads: Iterator[int] = iter(payloads)
        self.stall = stall
        self.finished = False
        self._ready, self._valid = 1 << self.ready, 1 << self.valid
        self._driven = 0

    def step(self, observed: int, cycle: int) -> int:
        """Offer the next payload when the last one was taken."""
        if self._driven:
            if not observed & self._ready:
                return self._driven
            self.count += 1
            self._driven = 0
        elif self.finished:
            return 0
        if self.stall is not None and self.stall():
            return 0
        payload = next(self.payloads, None)
        if payload is None:
            self.finished = True
        else:
            self._driven = payload << self.payload.offset | self._valid
        return self._driven

    def follow(self, count: int, finished: bool, driven: int) -> None:
        """Be where another clock loop's driver is."""
        self.count, self.finished, self._driven = count, finished, driven

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

    Attributes
    ----------
    valid, ready : int
        Bits of the observed and of the driven vector.
    payload
        Bits of the observed vector.
    """

    def __init__(self, ports: Ports, name: str, receive: Callable[[int, int], None],
                 stall: Stall | None = None) -> None:
        inputs, outputs = ports
        self.name = name
        self.count = 0
        self.valid, self.ready = outputs[f"{name}__valid"].offset, inputs[f"{name}__ready"].offset
        self.payload = outputs[f"{name}__payload"]
        self.receive = receive
        self.stall = stall
        self._ready, self._valid, self._mask = 1 << self.ready, 1 << self.valid, self.payload.mask
        self._driven = 0
        self._waiting: int | None = None

    def step(self, observed: int, cycle: int) -> int:
        """Take the payload on offer and decide whether to listen next."""
        if observed & self._valid:
            payload = observed >> self.payload.offset & self._mask
            if self._waiting is not None and payload != self._waiting:
                raise self.payload_changed(payload, cycle)
            if self._driven:
                self.count += 1
                self._waiting = None
                self.receive(payload, cycle)
            else:
                self._waiting = payload
        elif self._waiting is not None:
            raise self.valid_fell(cycle)
        self._driven = 0 if self.stall is not None and self.stall() else self._ready
        return self._driven

    def payload_changed(self, payload: int, cycle: int) -> TestbenchFailure:
        """Return the failure of an offer that another one took the place of."""
        return TestbenchFailure(f"{self.name}: the payload changed from {self._waiting:#x} to {payload:#x} while it "
                                f"waited for ready (cycle {cycle})")

    def valid_fell(self, cycle: int) -> TestbenchFailure:
        """Return the failure of an offer that was withdrawn."""
        return TestbenchFailure(f"{self.name}: valid fell before the payload was taken (cycle {cycle})")

    def follow(self, count: int, waiting: int | None) -> None:
        """Be where another clock loop's monitor is."""
        self.count, self._waiting = count, waiting

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
        self.value = value
        self.valid = valid
        self.receive = receive
        self._shift, self._mask, self._valid = value.offset, value.mask, 1 << valid

    def step(self, observed: int, cycle: int) -> int:
        """Pass the value on if it is valid."""
        if observed & self._valid:
            self.count += 1
            self.receive(observed >> self._shift & self._mask, cycle)
        return 0

    def describe(self) -> str:
        """Return how many values were seen."""
        return f"{self.name}: {self.count} seen"
