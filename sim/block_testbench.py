"""cocotb testbench of one block: offers items at its inputs, compares what comes out, under the stall matrix.

The same module serves both sides: `run_block` in the test's process, and `offer_and_collect` in the simulator's.

A port ``name`` is a stream, or a push: a value ``name`` beside a bit ``name_valid`` that is never refused. An item is
an integer, a list, or a dict of fields, as the port's layout has it. Fields that an expected item leaves out, and list
elements that are None, are not compared.
"""

import collections
import dataclasses
import json
import pathlib
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cocotb
from amaranth.hdl import Const, Shape, ShapeLike
from amaranth.lib import data, wiring

from latte.golden.results import write_text
from latte.sim.agents import Agent, Ports, StreamDriver, StreamMonitor, TestbenchFailure
from latte.sim.harness import PortBits
from latte.sim.packing import locate
from latte.sim.runner import BUILD_FOLDER, Instrument, build_model
from latte.sim.stalls import Stall, stall_pair
from latte.sim.testbench import Testbench

__all__ = ["QUIET_CYCLES", "Expect", "Item", "Offer", "Recorder", "break_off", "check_items", "compared_bits",
           "create_agents", "decode", "encode", "run_block"]

Item = int | Sequence[Any] | Mapping[str, Any]

QUIET_CYCLES = 100
"""After the last expected item, in which nothing more may come."""
_BEGUN = 9
"""Items of an output behind which a run is broken off, in the midst of work, before the one that is judged."""
_SHOWN = 5
"""Mismatches listed per port."""

Recorder = Callable[[wiring.Component, str, dict[str, Any], dict[str, list[tuple[int, int]]]], None]
"""Takes the component, its name, the plan, and of each output the (bits, bits that are compared) of its items."""
recorder: Recorder | None = None
"""If set, `run_block` hands what it is asked for to it, simulates nothing, and finds nothing wrong."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """Items for an input.

    Parameters
    ----------
    items
    room
        Output that a push heeds; None: pushed whenever the source does not stall.
    lag
        Cycles from the room that the producer looked at to the push: the pipeline that cannot be stopped.
    """

    items: Sequence[Item]
    room: str | None = None
    lag: int = 1


@dataclasses.dataclass(frozen=True)
class Expect:
    """Items wanted from an output.

    Parameters
    ----------
    items
    room
        Input by which the consumer of a push says that it has room.
    margin
        Items that may still come after room was withdrawn.
    """

    items: Sequence[Item]
    room: str | None = None
    margin: int = 0


def run_block(component: wiring.Component, name: str, folder: pathlib.Path, inputs: Mapping[str, Offer],
              outputs: Mapping[str, Expect], *, quiet: Sequence[str] = (), stall: str = "none", seed: int = 1,
              patience: int = 2000, simulator: str = "verilator", build_folder: pathlib.Path = BUILD_FOLDER,
              instrument: Instrument | None = None) -> list[str]:
    """Run a block once and return one line per thing that is wrong, each with the seed.

    A reset breaks off a first attempt: what the block was in the midst of must be gone.

    Parameters
    ----------
    component
        Not elaborated yet.
    name
        Of the compiled model.
    folder
        Emptied first; holds log and report.
    inputs, outputs
        By port. All of the inputs' items must be taken, and exactly the outputs' items must come.
    quiet
        Outputs that must never be set.
    stall, seed
        Entry of the stall matrix.
    patience
        Cycles without any transfer that count as a hang.
    instrument
        Count what is reached.
    """
    layouts = {port: _layout(component, port) for port in (*inputs, *outputs)}
    plan = {
        "inputs": {port: {"payloads": [f"{encode(layouts[port], item):x}" for item in offer.items],
                          "room": offer.room, "lag": offer.lag} for port, offer in inputs.items()},
        "outputs": {port: {"count": len(expect.items), "room": expect.room, "margin": expect.margin}
                    for port, expect in outputs.items()},
        "quiet": list(quiet), "stall": stall, "seed": seed, "patience": patience}
    if recorder is not None:
        recorder(component, name, plan, {port: [compared_bits(layouts[port], item) for item in expect.items]
                                         for port, expect in outputs.items()})
        return []
    model = build_model(component, name, simulator=simulator, build_folder=build_folder, instrument=instrument)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    model.run("latte.sim.block_testbench", folder, seed=seed)
    path = folder / "report.json"
    where = f"{name}, stall {stall}, seed {seed}"
    if not path.exists():
        return [f"{where}: the simulator ended without a report; see {folder / 'sim.log'}"]
    report = json.loads(path.read_text())
    problems = [report["failure"]] if report["failure"] else []
    for port, expect in outputs.items():
        actual = [decode(layouts[port], int(payload, 16)) for payload in report["received"][port]]
        problems += [f"{port}: {text}" for text in check_items(expect.items, actual)]
    return [f"{where}: {text}" for text in problems]


def encode(shape: ShapeLike, item: Item) -> int:
    """Return the bits of an item."""
    if isinstance(shape, data.Layout):
        return shape.const(item).as_bits()
    assert not isinstance(item, Sequence | Mapping), f"{item} for a port of plain bits"
    return int(item) & ((1 << Shape.cast(shape).width) - 1)


def compared_bits(shape: ShapeLike, item: Item | None) -> tuple[int, int]:
    """Return (bits of an expected item, ones in place of those that are compared)."""
    width = Shape.cast(shape).width
    if item is None:
        return 0, 0
    if not isinstance(item, Sequence | Mapping):
        return encode(shape, item), (1 << width) - 1
    bits = mask = 0
    for key, value in item.items() if isinstance(item, Mapping) else enumerate(item):
        offset, inner = locate(shape, key)
        field_bits, field_mask = compared_bits(inner, value)
        bits, mask = bits | field_bits << offset, mask | field_mask << offset
    return bits, mask


def decode(shape: ShapeLike, payload: int) -> Item:
    """Return the item that some bits are: the inverse of `encode`."""
    if isinstance(shape, data.Layout):
        fields = {}
        for key, _ in shape:
            offset, inner = locate(shape, key)
            fields[key] = decode(inner, payload >> offset & ((1 << Shape.cast(inner).width) - 1))
        return list(fields.values()) if isinstance(shape, data.ArrayLayout) else fields
    return Const(payload, Shape.cast(shape)).value


def check_items(expected: Sequence[Item], actual: Sequence[Item]) -> list[str]:
    """Return what differs: the first mismatches, and the counts."""
    lines = [f"item {index}: expected {want}, got {got}"
             for index, (want, got) in enumerate(zip(expected, actual, strict=False)) if not _matches(want, got)]
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"{len(lines) - _SHOWN} more items differ"]
    if len(expected) != len(actual):
        lines.append(f"{len(expected)} items expected, {len(actual)} received")
    return lines


def _matches(want: Item | None, got: Item) -> bool:
    if want is None:
        return True
    if isinstance(want, Mapping):
        return isinstance(got, Mapping) and all(_matches(value, got[field]) for field, value in want.items())
    if isinstance(want, Sequence):
        return isinstance(got, Sequence) and len(want) == len(got) and all(map(_matches, want, got))
    return int(want) == got


def _layout(component: wiring.Component, port: str) -> ShapeLike:
    member = component.signature.members[port]
    return member.signature.members["payload"].shape if member.is_signature else member.shape


class PushDriver:
    """Source of valid-only values that heeds the consumer's room, a fixed number of cycles late.

    Parameters
    ----------
    ports
        (inputs, outputs) of the model.
    name
        The push.
    payloads
    room, lag
        As in `Offer`.
    stall
        Cycles without a push.
    """

    def __init__(self, ports: Ports, name: str, payloads: Iterable[int], room: str | None, lag: int,
                 stall: Stall | None) -> None:
        inputs, outputs = ports
        self.name = name
        self.count = 0
        self.finished = False
        self._shift = inputs[name].offset
        self._valid = 1 << inputs[f"{name}_valid"].offset
        self._room = 1 << outputs[room].offset if room else None
        self._payloads = iter(payloads)
        self._pipeline: collections.deque[int | None] = collections.deque([None] * (lag - 1))
        self._stall = stall

    def step(self, observed: int, cycle: int) -> int:
        """Begin an item if there is room, and push the one that was begun `lag` cycles before."""
        item = None
        if (self._room is None or observed & self._room) and not (self._stall is not None and self._stall()):
            item = next(self._payloads, None)
            self.finished = item is None and all(waiting is None for waiting in self._pipeline)
        self._pipeline.append(item)
        now = self._pipeline.popleft()
        if now is None:
            return 0
        self.count += 1
        return now << self._shift | self._valid

    def describe(self) -> str:
        """Return how many values were pushed."""
        return f"{self.name}: {self.count} pushed"


class NoisyDriver:
    """A source that drives random bits in place of the item while it offers none: nothing may look at them.

    Parameters
    ----------
    driver
        What decides when items are offered.
    item
        Bits of the item in the driven vector.
    valid
        Offset of its valid bit there.
    seed
        The same seed gives the same noise.
    """

    def __init__(self, driver: StreamDriver | PushDriver, item: PortBits, valid: int, seed: str) -> None:
        self.driver = driver
        self.count = 0
        self._item = item
        self._valid = 1 << valid
        self._random = random.Random(seed)

    @property
    def finished(self) -> bool:
        """No item is left, and the last one was taken."""
        return self.driver.finished

    def step(self, observed: int, cycle: int) -> int:
        """Drive what the driver does, or noise."""
        driven = self.driver.step(observed, cycle)
        self.count = self.driver.count
        return driven if driven & self._valid else self._random.getrandbits(self._item.width) << self._item.offset

    def describe(self) -> str:
        """Return what the driver says of itself."""
        return self.driver.describe()


class PushMonitor:
    """Watcher of valid-only values, which may say that it has no room for more.

    Parameters
    ----------
    ports
        (inputs, outputs) of the model.
    name
        The push.
    receive
        Called with (payload, cycle) of each.
    room, margin
        As in `Expect`.
    stall
        Cycles without room.
    """

    def __init__(self, ports: Ports, name: str, receive: Callable[[int, int], None], room: str | None, margin: int,
                 stall: Stall | None) -> None:
        inputs, outputs = ports
        self.name = name
        self.count = 0
        self._value: PortBits = outputs[name]
        self._valid = 1 << outputs[f"{name}_valid"].offset
        self._receive = receive
        self._room = 1 << inputs[room].offset if room else 0
        self._margin = margin
        self._stall = stall
        self._late = 0
        self._driven = 0

    def step(self, observed: int, cycle: int) -> int:
        """Take a value that is there, and count those that came since room was withdrawn."""
        if self._driven:
            self._late = 0
        if observed & self._valid:
            self.count += 1
            self._receive(observed >> self._value.offset & self._value.mask, cycle)
            self._late += not self._driven
            if self._room and self._late > self._margin:
                raise TestbenchFailure(f"{self.name}: {self._late} items without room, {self._margin} allowed "
                                   f"(cycle {cycle})")
        self._driven = 0 if self._stall is not None and self._stall() else self._room
        return self._driven

    def describe(self) -> str:
        """Return how many values were seen."""
        return f"{self.name}: {self.count} seen"


class Never:
    """Watcher of a bit that must not be set.

    Parameters
    ----------
    ports
        (inputs, outputs) of the model.
    name
        The bit.
    """

    count = 0

    def __init__(self, ports: Ports, name: str) -> None:
        self.name = name
        self._bits = ports[1][name].mask << ports[1][name].offset

    def step(self, observed: int, cycle: int) -> int:
        """Look at the bit."""
        if observed & self._bits:
            raise TestbenchFailure(f"{self.name} was set (cycle {cycle})")
        return 0

    def describe(self) -> str:
        """Return that all is well so far."""
        return f"{self.name}: never set"


@cocotb.test()
async def offer_and_collect(dut: Any) -> None:
    """Carry out the plan in its folder and write what came out beside it."""
    folder = pathlib.Path()
    plan = json.loads((folder / "plan.json").read_text())
    testbench = Testbench(dut, plan["patience"])
    received: dict[str, list[int]] = {port: [] for port in plan["outputs"]}
    failure = None
    try:
        await testbench.reset()
        await break_off(testbench, plan)
        await _run(testbench, plan, received)
    except TestbenchFailure as error:
        failure = str(error)
    report = {"failure": failure, "cycles": testbench.cycle,
              "received": {port: [f"{payload:x}" for payload in payloads] for port, payloads in received.items()}}
    write_text(folder / "report.json", json.dumps(report))


def _collector(payloads: list[int]) -> Callable[[int, int], None]:
    return lambda payload, cycle: payloads.append(payload)


def create_agents(ports: Ports, plan: dict[str, Any], receive: Mapping[str, Callable[[int, int], None]]
                  ) -> tuple[list[Agent], list[NoisyDriver]]:
    """Return (all agents of a plan, those of them that are sources); `receive`, by output, gets (payload, cycle)."""
    source, sink = stall_pair(plan["stall"], plan["seed"])
    drivers = [_driver(ports, port, offer, source.fork(port) if source else None, f"{plan['seed']} noise {port}")
               for port, offer in plan["inputs"].items()]
    agents: list[Agent] = [*drivers, *(Never(ports, port) for port in plan["quiet"])]
    for port, expect in plan["outputs"].items():
        stall = sink.fork(port) if sink else None
        if f"{port}__valid" in ports[1]:
            agents.append(StreamMonitor(ports, port, receive[port], stall))
        else:
            agents.append(PushMonitor(ports, port, receive[port], expect["room"], expect["margin"], stall))
    return agents, drivers


async def break_off(testbench: Testbench, plan: dict[str, Any]) -> None:
    """Carry out the first part of a plan, whatever comes out, and reset."""
    received: dict[str, list[int]] = {port: [] for port in plan["outputs"]}
    agents, drivers = create_agents(testbench.ports, plan,
                                    {port: _collector(payloads) for port, payloads in received.items()})
    await testbench.run(agents, lambda: any(len(payloads) >= _BEGUN for payloads in received.values())
                        or all(driver.finished for driver in drivers))
    await testbench.reset()


async def _run(testbench: Testbench, plan: dict[str, Any], received: dict[str, list[int]]) -> None:
    agents, drivers = create_agents(testbench.ports, plan,
                                    {port: _collector(payloads) for port, payloads in received.items()})
    counts = {port: expect["count"] for port, expect in plan["outputs"].items()}
    await testbench.run(agents, lambda: all(driver.finished for driver in drivers)
                    and all(len(received[port]) >= count for port, count in counts.items()))
    await testbench.run(agents, lambda: False, testbench.cycle + QUIET_CYCLES)


def _driver(ports: Ports, port: str, offer: dict[str, Any], stall: Stall | None, noise: str) -> NoisyDriver:
    payloads = (int(payload, 16) for payload in offer["payloads"])
    if f"{port}__valid" in ports[0]:
        stream = StreamDriver(ports, port, payloads, stall)
        return NoisyDriver(stream, stream.payload, stream.valid, noise)
    push = PushDriver(ports, port, payloads, offer["room"], offer["lag"], stall)
    return NoisyDriver(push, ports[0][port], ports[0][f"{port}_valid"].offset, noise)
