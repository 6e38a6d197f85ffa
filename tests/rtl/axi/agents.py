"""Bus models for Amaranth's simulator: each is stepped once per cycle, drives its inputs and looks at what is there.

They hold their side of AXI to its rules: VALID stays and payload stands until READY, bursts end at 4 KB, WLAST.
"""

import collections
import random
from collections.abc import Callable, Iterable, Sequence

from amaranth.lib import wiring
from amaranth.sim import Simulator

from latte.rtl.axi.bus import BOUNDARY, MasterParameters, Response

LIMIT = 20_000
"""Cycles after which a test hangs."""


def simulate(dut: wiring.Component, agents: Sequence, done: Callable[[], bool], *, then: int = 0,
             each: Callable[[object, int], None] = lambda ctx, cycle: None) -> int:
    """Step the agents until `done`, and for some cycles more; return the cycles. `each` is called in every cycle."""
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        left = then
        while left or not done():
            left -= done()
            for agent in agents:
                agent.drive(ctx)
            each(ctx, cycles)
            for agent in agents:
                agent.observe(ctx)
            await ctx.tick()
            cycles += 1
            assert cycles < LIMIT, f"hangs: {[vars(agent) for agent in agents]}"

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


class Steady:
    """Checks that what is offered stands until it is taken."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.offered = None

    def see(self, valid: int, ready: int, payload: object) -> bool:
        """Take one cycle of a channel; return whether something was transferred."""
        if self.offered is not None:
            assert valid, f"{self.name}: VALID fell before READY"
            assert payload == self.offered, f"{self.name}: the payload changed while it waited"
        self.offered = payload if valid and not ready else None
        return bool(valid and ready)


class Source:
    """Offers payloads to a stream."""

    def __init__(self, stream, payloads: Iterable, rng: random.Random, idle: float = 0.0) -> None:
        self.stream = stream
        self.payloads = collections.deque(payloads)
        self.rng = rng
        self.idle = idle
        self.taken = 0
        self.offering = False

    def drive(self, ctx) -> None:
        if not self.offering and self.payloads and self.rng.random() >= self.idle:
            self.offering = True
            ctx.set(self.stream.payload, self.payloads[0])
        ctx.set(self.stream.valid, self.offering)

    def observe(self, ctx) -> None:
        if self.offering and ctx.get(self.stream.ready):
            self.payloads.popleft()
            self.taken += 1
            self.offering = False


class Sink:
    """Takes payloads from a stream, after `decode`."""

    def __init__(self, stream, rng: random.Random, idle: float = 0.0, decode: Callable = lambda ctx, stream:
                 ctx.get(stream.payload)) -> None:
        self.stream = stream
        self.rng = rng
        self.idle = idle
        self.decode = decode
        self.received = []
        self.steady = Steady("stream")

    def drive(self, ctx) -> None:
        self.ready = self.rng.random() >= self.idle
        ctx.set(self.stream.ready, self.ready)

    def observe(self, ctx) -> None:
        valid = ctx.get(self.stream.valid)
        payload = self.decode(ctx, self.stream) if valid else None
        if self.steady.see(valid, self.ready, payload):
            self.received.append(payload)


class ReadSlave:
    """Memory behind a master's read channels.

    Parameters
    ----------
    dut
        Has `araddr` and so on.
    parameters
    memory : callable
        Data of a word's address, or a `Response` that is an error.
    latency
        Cycles from address to data.
    """

    def __init__(self, dut, parameters: MasterParameters, memory: Callable[[int], int | Response], rng: random.Random,
                 idle: float = 0.0, latency: int = 3) -> None:
        self.dut, self.parameters, self.memory, self.rng, self.idle = dut, parameters, memory, rng, idle
        self.latency = latency
        self.cycle = 0
        self.bursts = []
        self.waiting = collections.deque()
        self.offering = False
        self.in_flight = self.most = 0
        self.steady = Steady("AR")

    def drive(self, ctx) -> None:
        dut = self.dut
        self.ready = self.rng.random() >= self.idle
        ctx.set(dut.arready, self.ready)
        if not self.offering and self.waiting and self.waiting[0][0] <= self.cycle and self.rng.random() >= self.idle:
            self.offering = True
            _, address, last = self.waiting[0]
            word = self.memory(address)
            error = isinstance(word, Response)
            # What comes with an error is rubbish.
            ctx.set(dut.rdata, self.rng.getrandbits(self.parameters.data_bits) if error else word)
            ctx.set(dut.rresp, word if error else Response.OKAY)
            ctx.set(dut.rlast, last)
        ctx.set(dut.rvalid, self.offering)

    def observe(self, ctx) -> None:
        dut = self.dut
        self.cycle += 1
        valid = ctx.get(dut.arvalid)
        address, beats = ctx.get(dut.araddr), ctx.get(dut.arlen) + 1
        if self.steady.see(valid, self.ready, (address, beats)):
            check_burst(address, beats, self.parameters)
            assert ctx.get(dut.arsize) == (self.parameters.data_bytes - 1).bit_length() and ctx.get(dut.arburst) == 1
            self.bursts.append((address, beats))
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            self.waiting += [(self.cycle + self.latency, address + n * self.parameters.data_bytes, n == beats - 1)
                             for n in range(beats)]
        if self.offering and ctx.get(dut.rready):
            self.offering = False
            self.in_flight -= self.waiting.popleft()[2]


class WriteSlave:
    """Memory behind a master's write channels: `written` has every byte with a strobe."""

    def __init__(self, dut, parameters: MasterParameters, rng: random.Random, idle: float = 0.0, latency: int = 3,
                 answer: Callable[[int], Response] = lambda address: Response.OKAY) -> None:
        self.dut, self.parameters, self.rng, self.idle = dut, parameters, rng, idle
        self.latency, self.answer = latency, answer
        self.cycle = 0
        self.bursts, self.beats = [], []
        self.written: dict[int, int] = {}
        self.addresses, self.data = collections.deque(), collections.deque()
        self.answers = collections.deque()
        self.offering = False
        self.unanswered = self.most = 0
        self.aw, self.w = Steady("AW"), Steady("W")

    def drive(self, ctx) -> None:
        dut = self.dut
        self.ready = {name: self.rng.random() >= self.idle for name in ("aw", "w")}
        ctx.set(dut.awready, self.ready["aw"])
        ctx.set(dut.wready, self.ready["w"])
        if not self.offering and self.answers and self.answers[0][0] <= self.cycle and self.rng.random() >= self.idle:
            self.offering = True
            ctx.set(dut.bresp, self.answers[0][1])
        ctx.set(dut.bvalid, self.offering)

    def observe(self, ctx) -> None:
        dut = self.dut
        self.cycle += 1
        address, beats = ctx.get(dut.awaddr), ctx.get(dut.awlen) + 1
        if self.aw.see(ctx.get(dut.awvalid), self.ready["aw"], (address, beats)):
            check_burst(address, beats, self.parameters)
            self.bursts.append((address, beats))
            self.addresses.append((address, beats))
            self.unanswered += 1
            self.most = max(self.most, self.unanswered)
        beat = ctx.get(dut.wdata), ctx.get(dut.wstrb), ctx.get(dut.wlast)
        if self.w.see(ctx.get(dut.wvalid), self.ready["w"], beat):
            self.data.append(beat)
        while self.addresses and len(self.data) >= self.addresses[0][1]:
            address, beats = self.addresses.popleft()
            for n in range(beats):
                data, strobe, last = self.data.popleft()
                assert last == (n == beats - 1), "WLAST"
                for byte in range(self.parameters.data_bytes):
                    if strobe >> byte & 1:
                        self.written[address + n * self.parameters.data_bytes + byte] = data >> 8 * byte & 0xFF
            self.answers.append((self.cycle + self.latency, self.answer(address)))
        if self.offering and ctx.get(dut.bready):
            self.offering = False
            self.answers.popleft()
            self.unanswered -= 1


def check_burst(address: int, beats: int, parameters: MasterParameters) -> None:
    """Fail if a burst breaks a rule."""
    size = parameters.data_bytes
    assert address % size == 0 and 1 <= beats <= parameters.burst_beats
    assert address // BOUNDARY == (address + beats * size - 1) // BOUNDARY, f"{address:#x}, {beats} beats: over 4 KB"
