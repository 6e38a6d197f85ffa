"""The clock loop compiled with the model: much faster than one that crosses into Python each cycle.

``python -m latte.sim.compiled_testbench MODULE`` runs ``MODULE.main(testbench)`` on the model of ``$LATTE_MODEL``, as
the cocotb test of that module does in the simulator's process. Cycles and transfers are the same in both; Python gets
what was seen some hundred cycles later, all at once.
"""

import ctypes
import importlib
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from latte.sim.agents import Agent, StreamDriver, StreamMonitor, Tap, TestbenchFailure
from latte.sim.compilation import COVERAGE_FILE, PRODUCTS
from latte.sim.harness import PortBits
from latte.sim.runner import load_ports
from latte.sim.stalls import Stall
from latte.sim.testbench import WATCH_PERIOD, Watchdog

__all__ = ["CompiledTestbench", "run_to_end"]

_WORD_BYTES = 4
_SUPPLY = 1024
"""Payloads and cycles of a stall pattern that are handed over at a time."""
_LIMIT, _SUPPLIES, _SOURCES_FINISHED, _PAYLOAD_CHANGED, _VALID_FELL = range(5)
"""Why ``run`` of clock_loop.cpp ended."""

_Word, _Count, _Flag = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint8


class _Place(ctypes.Structure):
    _fields_ = [("offset", _Word), ("width", _Word)]


class _Stalls(ctypes.Structure):
    _fields_ = [("pattern", ctypes.c_char_p), ("held", _Count), ("used", _Count)]


class _Record(ctypes.Structure):
    _fields_ = [("items", ctypes.c_void_p), ("cycles", ctypes.c_void_p), ("room", _Count), ("count", _Count)]


class _Source(ctypes.Structure):
    _fields_ = [("valid", _Word), ("ready", _Word), ("payload", _Place), ("items", ctypes.c_char_p), ("held", _Count),
                ("next", _Count), ("taken", _Count), ("stalls", _Stalls), ("ended", _Flag), ("finished", _Flag),
                ("offers", _Flag)]


class _Sink(ctypes.Structure):
    _fields_ = [("valid", _Word), ("ready", _Word), ("payload", _Place), ("waiting", ctypes.c_void_p),
                ("stalls", _Stalls), ("record", _Record), ("listens", _Flag), ("waits", _Flag)]


class _Tap(ctypes.Structure):
    _fields_ = [("valid", _Word), ("value", _Place), ("record", _Record)]


def _place(bits: PortBits) -> _Place:
    return _Place(bits.offset, bits.width)


def _bytes_of(bits: PortBits) -> int:
    """Return the bytes that a value takes in whole words."""
    return -(-bits.width // (8 * _WORD_BYTES)) * _WORD_BYTES


class _Part(Protocol):
    """An agent and its compiled counterpart."""

    def top_up(self) -> None:
        """Hand over what the compiled side needs next."""

    def hand_on(self) -> None:
        """Tell the agent what has happened."""


class _StallSupply:
    """Keeps the compiled side in cycles of a pattern."""

    def __init__(self, stall: Stall | None, there: _Stalls) -> None:
        self._stall = stall
        self._there = there

    def top_up(self) -> None:
        if self._stall is not None and self._there.used == self._there.held:
            self._there.pattern = bytes(self._stall() for _ in range(_SUPPLY))
            self._there.held, self._there.used = _SUPPLY, 0


class _Recorder:
    """Takes what the compiled side saw."""

    def __init__(self, bits: PortBits, there: _Record) -> None:
        self._size = _bytes_of(bits)
        self.items, self._cycles = ctypes.create_string_buffer(WATCH_PERIOD * self._size), (_Count * WATCH_PERIOD)()
        self._behind = 0
        self._there = there
        there.items, there.cycles = ctypes.addressof(self.items), ctypes.addressof(self._cycles)
        there.room = WATCH_PERIOD

    def last_seen(self) -> int:
        """Return what stands behind what was handed on: seen, but not taken."""
        return int.from_bytes(self.items.raw[self._behind:self._behind + self._size], "little")

    def deliver(self, receive: Callable[[int, int], None]) -> int:
        """Hand on what was seen, and return how much it was."""
        count, size, raw = self._there.count, self._size, self.items.raw
        for index in range(count):
            receive(int.from_bytes(raw[index * size:(index + 1) * size], "little"), self._cycles[index])
        self._there.count, self._behind = 0, count * size
        return count


class _DriverPart:
    """A `StreamDriver` and its compiled counterpart."""

    def __init__(self, agent: StreamDriver, there: _Source) -> None:
        self._agent = agent
        self._there = there
        self._size = _bytes_of(agent.payload)
        there.valid, there.ready, there.payload = agent.valid, agent.ready, _place(agent.payload)
        self._stalls = _StallSupply(agent.stall, there.stalls)
        self._last = b""

    def top_up(self) -> None:
        there = self._there
        self._stalls.top_up()
        if there.next == there.held and not there.ended:
            held = self._last if there.offers else b""
            more = [item.to_bytes(self._size, "little") for item in itertools.islice(self._agent.payloads, _SUPPLY)]
            self._last = more[-1] if more else self._last
            there.items = held + b"".join(more)
            there.next = len(held) // self._size
            there.held = there.next + len(more)
            there.ended = len(more) < _SUPPLY

    def hand_on(self) -> None:
        self._agent.follow(self._there.taken, bool(self._there.finished), self._there.offers)


class _MonitorPart:
    """A `StreamMonitor` and its compiled counterpart."""

    def __init__(self, agent: StreamMonitor, there: _Sink) -> None:
        self._agent = agent
        self._there = there
        there.valid, there.ready, there.payload = agent.valid, agent.ready, _place(agent.payload)
        self._stalls = _StallSupply(agent.stall, there.stalls)
        self._recorder = _Recorder(agent.payload, there.record)
        self._waiting = ctypes.create_string_buffer(_bytes_of(agent.payload))
        there.waiting = ctypes.addressof(self._waiting)

    def top_up(self) -> None:
        self._stalls.top_up()

    def hand_on(self) -> None:
        count = self._agent.count + self._recorder.deliver(self._agent.receive)
        waiting = int.from_bytes(self._waiting.raw, "little") if self._there.waits else None
        self._agent.follow(count, waiting)

    def failure(self, reason: int, cycle: int) -> TestbenchFailure:
        """Return what the monitor says of a broken rule, once all was handed on."""
        return (self._agent.payload_changed(self._recorder.last_seen(), cycle) if reason == _PAYLOAD_CHANGED
                else self._agent.valid_fell(cycle))


class _TapPart:
    """A `Tap` and its compiled counterpart."""

    def __init__(self, agent: Tap, there: _Tap) -> None:
        self._agent = agent
        there.valid, there.value = agent.valid, _place(agent.value)
        self._recorder = _Recorder(agent.value, there.record)

    def top_up(self) -> None:
        """Need nothing."""

    def hand_on(self) -> None:
        self._agent.count += self._recorder.deliver(self._agent.receive)


class _Group:
    """Agents that run together, on both sides."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.agents = tuple(agents)
        drivers = [agent for agent in agents if isinstance(agent, StreamDriver)]
        monitors = [agent for agent in agents if isinstance(agent, StreamMonitor)]
        taps = [agent for agent in agents if isinstance(agent, Tap)]
        self.sources, self.sinks = (_Source * len(drivers))(), (_Sink * len(monitors))()
        self.taps = (_Tap * len(taps))()
        self.monitors = [_MonitorPart(agent, there) for agent, there in zip(monitors, self.sinks, strict=True)]
        self.parts: list[_Part] = [
            *(_DriverPart(agent, there) for agent, there in zip(drivers, self.sources, strict=True)),
            *self.monitors, *(_TapPart(agent, there) for agent, there in zip(taps, self.taps, strict=True))]


class CompiledTestbench:
    """Clock, reset and agents of one compiled `latte.sim.harness.Harness`; a `latte.sim.testbench.ClockLoop`.

    Parameters
    ----------
    folder
        Of a model that was built with its clock loop.
    patience
        Cycles without any transfer after which the design counts as hung.
    """

    def __init__(self, folder: pathlib.Path, patience: int = 20_000) -> None:
        self.ports = load_ports(folder)
        self.patience = patience
        self.cycle = 0
        self._library = ctypes.CDLL(str(folder / PRODUCTS["verilator"]))
        self._library.open_model.restype = ctypes.c_void_p
        self._model = ctypes.c_void_p(self._library.open_model())
        self._observed = (_Word * self._library.observed_words())()
        self._group = _Group([])

    def leave_counts(self, path: pathlib.Path) -> None:
        """Write what an instrumented model has counted; nothing of any other."""
        self._library.leave_counts(self._model, str(path).encode())

    async def reset(self, cycles: int = 2) -> None:
        """Hold reset for some cycles, with all inputs low."""
        self._library.reset(self._model, _Count(cycles))
        self.cycle += cycles

    def output(self, name: str) -> int:
        """Return the value of output port `name` before the last edge."""
        self._library.observe(self._model, self._observed)
        bits = self.ports[1][name]
        return int.from_bytes(bytes(self._observed), "little") >> bits.offset & bits.mask

    async def pulse(self, name: str) -> None:
        """Set the input `name` to all ones for one cycle, while no agent runs."""
        bits = self.ports[0][name]
        size = self._library.driven_words() * _WORD_BYTES
        self._library.pulse(self._model, (bits.mask << bits.offset).to_bytes(size, "little"))
        self.cycle += 2

    async def run(self, agents: Sequence[Agent], done: Callable[[], bool], until: int | None = None) -> None:
        """Step the agents until `done`, which is asked every few hundred cycles, or up to cycle `until`.

        Raises
        ------
        TestbenchFailure
            An agent found a broken rule, or nothing moved for `patience` cycles.
        """
        if self._group.agents != tuple(agents):
            self._group = _Group(agents)
        group, watchdog = self._group, Watchdog(agents, self.patience, self.cycle)
        cycle, culprit = _Count(self.cycle), _Word()
        while self.cycle != until and not done():
            for part in group.parts:
                part.top_up()
            stop = self.cycle + WATCH_PERIOD
            reason = self._library.run(
                self._model, group.sources, len(group.sources), group.sinks, len(group.sinks), group.taps,
                len(group.taps), ctypes.byref(cycle), _Count(stop if until is None else min(stop, until)),
                ctypes.byref(culprit))
            self.cycle = cycle.value
            for part in group.parts:
                part.hand_on()
            if reason in (_PAYLOAD_CHANGED, _VALID_FELL):
                raise group.monitors[culprit.value].failure(reason, self.cycle)
            watchdog.look(self.cycle)


def run_to_end(testbench: Coroutine[Any, Any, None]) -> None:
    """Run a testbench's coroutine, which waits for nothing here."""
    try:
        testbench.send(None)
    except StopIteration:
        return
    raise RuntimeError("the testbench waits for something else than its clock loop")


if __name__ == "__main__":
    module = importlib.import_module(sys.argv[1])
    clock_loop = CompiledTestbench(pathlib.Path(os.environ["LATTE_MODEL"]))
    run_to_end(module.main(clock_loop))
    clock_loop.leave_counts(pathlib.Path(COVERAGE_FILE))
