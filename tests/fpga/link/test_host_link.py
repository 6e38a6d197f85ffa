"""Host link gateware without a core: what reaches the streams, and what does not."""

import pytest
from amaranth.sim import Simulator

from latte.fpga.link.host_link import HostLink
from latte.fpga.link.protocol import (
    CONTINUED,
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
        self.frames = []

    async def send(self, raw):
        """Send bytes."""
        for byte in raw:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                self.ctx.set(self.dut.rx, bit)
                await self.ctx.tick().repeat(CLOCKS)

    async def listen(self, ctx):
        """Collect what the link sends, for ever: it answers while requests arrive."""
        raw = bytearray()
        while True:
            if ctx.get(self.dut.tx):
                await ctx.tick()
                continue
            await ctx.tick().repeat(CLOCKS + CLOCKS // 2)
            byte = 0
            for i in range(8):
                byte |= ctx.get(self.dut.tx) << i
                await ctx.tick().repeat(CLOCKS)
            raw.append(byte)
            if byte == END and len(raw) > 1:
                self.frames.append(parse_frame(bytes(raw[1:-1])))
                raw.clear()

    async def receive(self, cycles=1500):
        """Return the next frame, None if the line is silent for some cycles."""
        left = cycles
        while left > 0 and not self.frames:
            left = left - 1 if self.ctx.get(self.dut.tx) else cycles
            await self.ctx.tick()
        return self.frames.pop(0) if self.frames else None

    async def ask(self, request, sequence, payload=b""):
        """Send a request and return the answer."""
        await self.send(encode_frame(Frame(request, sequence, payload)))
        return await self.receive()


def simulate(scenario, ready=lambda cycle: True, patience=64):
    """Run ``scenario(line)``; return the beats that the K stream took."""
    dut, taken = HostLink(CONFIG, CLOCKS * 1e6, 1_000_000, payload_bytes=64, patience=patience), []

    lines = []

    async def bench(ctx):
        line = Line(dut, ctx)
        lines.append(line)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(20)
        await scenario(line)

    async def listener(ctx):
        await ctx.tick()
        await lines[0].listen(ctx)

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
    simulator.add_testbench(listener, background=True)
    simulator.run()
    return b"".join(taken)


def test_says_who_it_is():
    async def scenario(line):
        answer = await line.ask(Request.HELLO, 9)
        expected = identity_layout().const(identity(CONFIG, 64, 2)).as_bits()
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


def write(sequence, payload, request=Request.WRITE_K):
    """Return a write of keys, to be sent."""
    return encode_frame(Frame(request, sequence, payload))


def accepted(sequence, count, request=Request.WRITE_K):
    """Return the answer to such a write."""
    return Frame(request | RESPONSE, sequence, count.to_bytes(2, "little"))


def test_second_request_comes_before_the_first_answer():
    async def scenario(line):
        await line.ask(Request.HELLO, 254)
        # The numbers wrap; the second is long enough to arrive while the first answer leaves.
        await line.send(write(255, b"ab") + write(0, bytes(range(60))))
        assert [await line.receive(), await line.receive()] == [accepted(255, 1), accepted(0, 30)]

    assert simulate(scenario) == b"ab" + bytes(range(60))


def test_what_follows_a_lost_request_waits_for_it():
    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        await line.send(write(2, b"cd"))
        assert await line.receive() is None
        await line.send(write(1, b"ab") + write(2, b"cd"))
        assert [await line.receive(), await line.receive()] == [accepted(1, 1), accepted(2, 1)]

    assert simulate(scenario) == b"abcd"


def test_both_answers_are_kept():
    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        await line.send(write(1, b"abcd") + write(2, b"ef"))
        both = [await line.receive(), await line.receive()]
        assert both == [accepted(1, 2), accepted(2, 1)]
        await line.send(write(1, b"abcd") + write(2, b"ef"))
        assert [await line.receive(), await line.receive()] == both
        # An older one is kept no longer, nor carried out again.
        await line.ask(Request.REPORT, 3)
        await line.send(write(1, b"abcd"))
        assert await line.receive() is None

    assert simulate(scenario) == b"abcdef"


@pytest.mark.parametrize("before", range(4))
def test_more_than_the_window_is_ignored_until_there_is_room(before):
    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        # Wherever the queue's counts are, which wrap.
        for n in range(before):
            await line.ask(Request.REPORT, 1 + n)
        # The first waits for the stream while two more come: one has room.
        first, second, third = range(before + 1, before + 4)
        await line.send(b"".join(write(n, bytes([n] * 4)) for n in (first, second, third)))
        assert [await line.receive(3000) for _ in range(3)] == [accepted(first, 1), accepted(second, 0), None]
        await line.send(write(third, bytes([third] * 4)))
        assert await line.receive(3000) == accepted(third, 0)

    assert simulate(scenario, ready=lambda cycle: False, patience=2048) == b""


def test_continuation_of_a_write_that_was_cut_short_accepts_nothing():
    go_on = Request.WRITE_K | CONTINUED

    async def scenario(line):
        await line.ask(Request.HELLO, 0)
        await line.send(write(1, b"ab") + write(2, b"cdef", go_on))
        assert [await line.receive(), await line.receive()] == [accepted(1, 1), accepted(2, 2, go_on)]
        # The consumer stalls: one item is on offer, the next is not taken in time.
        line.stalled = True
        await line.send(write(3, b"ghijkl", go_on) + write(4, b"xy", go_on))
        assert [await line.receive(), await line.receive()] == [accepted(3, 1, go_on), accepted(4, 0, go_on)]
        line.stalled = False
        assert await line.ask(go_on, 5, b"xy") == accepted(5, 0, go_on)
        assert await line.ask(Request.WRITE_K, 6, b"ijkl") == accepted(6, 2)
        assert await line.ask(go_on, 7, b"mn") == accepted(7, 1, go_on)

    lines = []

    async def remember(line):
        line.stalled = False
        lines.append(line)
        await scenario(line)

    assert simulate(remember, ready=lambda cycle: not (lines and lines[0].stalled)) == b"abcdefghijklmn"


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
