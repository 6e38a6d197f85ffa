"""Host link gateware without a core: what reaches the streams, and what does not."""

import pytest
from amaranth.sim import Simulator

from latte.fpga.link.host_link import HostLink
from latte.fpga.link.protocol import (
    END,
    ERROR,
    RESPONSE,
    Failure,
    Frame,
    Request,
    encode_frame,
    identity,
    identity_layout,
    parse_frame,
)
from latte.golden.config import preset

CONFIG = preset("tiny", head_dim=16, max_seq_len=32, heads=4)
CLOCKS = 4


class Line:
    """Talks to a link in a testbench.

    Parameters
    ----------
    dut
    ctx
    """

    def __init__(self, dut, ctx):
        self.dut = dut
        self.ctx = ctx

    async def send(self, raw):
        """Send bytes."""
        for byte in raw:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                self.ctx.set(self.dut.rx, bit)
                await self.ctx.tick().repeat(CLOCKS)

    async def receive(self, cycles=6000):
        """Return the next frame, None if there is none in time."""
        raw = bytearray()
        while cycles > 0:
            if self.ctx.get(self.dut.tx):
                cycles -= 1
                await self.ctx.tick()
                continue
            await self.ctx.tick().repeat(CLOCKS + CLOCKS // 2)
            byte = 0
            for i in range(8):
                byte |= self.ctx.get(self.dut.tx) << i
                await self.ctx.tick().repeat(CLOCKS)
            raw.append(byte)
            if byte == END and len(raw) > 1:
                return parse_frame(bytes(raw[1:-1]))
        return None

    async def ask(self, request, sequence, payload=b""):
        """Send a request and return the answer."""
        await self.send(encode_frame(Frame(request, sequence, payload)))
        return await self.receive()


def simulate(scenario, ready=lambda cycle: True):
    """Run ``scenario(line)``; return the beats that the K stream took."""
    dut, taken = HostLink(CONFIG, CLOCKS * 1e6, 1_000_000, payload_bytes=64, patience=64), []

    async def bench(ctx):
        line = Line(dut, ctx)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(20)
        await scenario(line)

    async def consumer(ctx):
        offered, cycle = None, 0
        while True:
            payload = ctx.get(dut.k.payload.as_value()).to_bytes(2, "little")
            valid = ctx.get(dut.k.valid)
            assert offered is None or (valid and payload == offered), "an offer was withdrawn"
            ctx.set(dut.k.ready, ready(cycle))
            if valid and ready(cycle):
                taken.append(payload)
            offered = payload if valid and not ready(cycle) else None
            cycle += 1
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(consumer, background=True)
    simulator.run()
    return b"".join(taken)


def test_says_who_it_is():
    async def scenario(line):
        answer = await line.ask(Request.HELLO, 9)
        expected = identity_layout().const(identity(CONFIG, 64)).as_bits()
        assert answer == Frame(Request.HELLO | RESPONSE, 9, expected.to_bytes(len(answer.payload), "little"))
        assert line.ctx.get(line.dut.session)

    simulate(scenario)


def test_repeated_request_is_carried_out_once():
    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        first = await line.ask(Request.WRITE_K, 1, b"abcdef")
        assert first == Frame(Request.WRITE_K | RESPONSE, 1, b"\3\0")
        for _ in range(2):
            assert await line.ask(Request.WRITE_K, 1, b"abcdef") == first
        assert (await line.ask(Request.WRITE_K, 2, b"gh")).payload == b"\1\0"

    assert simulate(scenario) == b"abcdefgh"


def test_damaged_request_leaves_no_trace():
    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        raw = bytearray(encode_frame(Frame(Request.WRITE_K, 1, b"abcd")))
        raw[7] ^= 1
        await line.send(raw)
        assert await line.receive() is None
        assert (await line.ask(Request.WRITE_K, 1, b"abcd")).payload == b"\2\0"
        report = await line.ask(Request.REPORT, 2)
        assert int.from_bytes(report.payload[2:4], "little") == 1

    assert simulate(scenario) == b"abcd"


def test_damaged_repetition_keeps_the_answer():
    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        first = await line.ask(Request.WRITE_K, 1, b"abcd")
        raw = bytearray(encode_frame(Frame(Request.WRITE_K, 1, b"abcd")))
        raw[6] ^= 4
        await line.send(raw)
        assert await line.ask(Request.WRITE_K, 1, b"abcd") == first

    assert simulate(scenario) == b"abcd"


def test_stalled_stream_gives_a_partial_answer_and_loses_nothing():
    data, at, answers = bytes(range(24)), 0, []

    async def scenario(line):
        nonlocal at
        await line.ask(Request.HELLO, 0)
        sequence = 0
        while at < len(data):
            sequence += 1
            answer = await line.ask(Request.WRITE_K, sequence, data[at:])
            answers.append(int.from_bytes(answer.payload, "little"))
            at += 2 * answers[-1]

    assert simulate(scenario, ready=lambda cycle: cycle % 400 > 395) == data
    assert len(answers) > 2


def test_dropped_data_do_not_reach_a_reset_core():
    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        await line.ask(Request.WRITE_Q, 1, b"ab")
        assert line.ctx.get(line.dut.q.valid)
        await line.ask(Request.RESET, 2)
        assert not line.ctx.get(line.dut.q.valid)

    simulate(scenario)


@pytest.mark.parametrize(("hello", "request_type", "payload", "failure"), [
    (False, Request.REPORT, b"", Failure.NO_SESSION),
    (True, 0x42, b"", Failure.UNKNOWN_TYPE),
    (True, Request.WRITE_K, b"abc", Failure.BAD_LENGTH),
])
def test_refuses(hello, request_type, payload, failure):
    async def scenario(line):
        if hello:
            await line.ask(Request.HELLO, 0)
        answer = await line.ask(request_type, 1, payload)
        assert answer == Frame(ERROR, 1, bytes([failure]))

    simulate(scenario)
