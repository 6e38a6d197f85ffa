"""Frame gateware against the software's frames."""

import random

import pytest
from amaranth.sim import Simulator

from latte.fpga.link.frame import FrameReceiver, FrameSender
from latte.fpga.link.protocol import END, ESCAPE, Frame, encode_frame, parse_frame
from latte.rtl.common.ram import RAM_LATENCY

PAYLOAD_BYTES = 16
FRAMES = [Frame(0x01, 0), Frame(0x12, END, bytes([END, ESCAPE] * 8)), Frame(0x14, 255, bytes(range(16))),
          Frame(0x85, ESCAPE, b"\x5e")]


def simulate(dut, *benches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


def receive(raw, deaf=()):
    """Return (good frames, number of discarded ones); `deaf` are the places at which the receiver is disabled."""
    dut = FrameReceiver(PAYLOAD_BYTES)
    frames, discarded, memory = [], 0, bytearray(PAYLOAD_BYTES)

    async def bench(ctx):
        nonlocal discarded
        for at, byte in enumerate(raw):
            ctx.set(dut.enable, at not in deaf)
            ctx.set(dut.data, byte)
            ctx.set(dut.valid, 1)
            if ctx.get(dut.write_en):
                memory[ctx.get(dut.write_index)] = ctx.get(dut.write_data)
            discarded += ctx.get(dut.discarded)
            if ctx.get(dut.frame):
                frames.append(Frame(ctx.get(dut.type), ctx.get(dut.sequence), bytes(memory[:ctx.get(dut.length)])))
            await ctx.tick()
            ctx.set(dut.valid, 0)
            await ctx.tick()

    simulate(dut, bench)
    return frames, discarded


def test_receives_frames():
    assert receive(b"".join(map(encode_frame, FRAMES))) == (FRAMES, 0)


def test_ignores_bytes_before_the_first_end():
    assert receive(b"\x01\x02" + encode_frame(FRAMES[2])) == ([FRAMES[2]], 0)


def test_disabled_receiver_waits_for_end():
    raw = encode_frame(FRAMES[2])
    assert receive(raw + raw, deaf=range(5)) == ([FRAMES[2]], 0)


def test_discards_too_long_frame():
    for size in (17, 18, 30, 200):
        long = encode_frame(Frame(0x12, 1, bytes(size)))
        assert receive(long + encode_frame(FRAMES[0])) == ([FRAMES[0]], 1)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_software_on_damaged_frames(seed):
    rng = random.Random(seed)
    raw = bytearray()
    for _ in range(60):
        frame = bytearray(encode_frame(Frame(rng.randrange(256), rng.randrange(256), rng.randbytes(rng.randrange(17)))))
        at = rng.randrange(len(frame))
        match rng.randrange(5):
            case 0:
                frame[at] ^= 1 << rng.randrange(8)
            case 1:
                del frame[at]
            case 2:
                frame.insert(at, rng.choice((END, ESCAPE, rng.randrange(256))))
        raw += frame
    parts = bytes(raw).split(bytes([END]))[1:-1]
    expected = [frame for frame in map(parse_frame, parts) if frame is not None and len(frame.payload) <= PAYLOAD_BYTES]
    got, discarded = receive(raw)
    assert got == expected
    assert discarded > 0


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("slow", [False, True])
def test_sends_frame(frame, slow):
    dut = FrameSender(PAYLOAD_BYTES)
    sent = bytearray()

    async def bench(ctx):
        ctx.set(dut.type, frame.type)
        ctx.set(dut.sequence, frame.sequence)
        ctx.set(dut.length, len(frame.payload))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        indices = [0] * (RAM_LATENCY + 1)
        for cycle in range(2000):
            indices = [ctx.get(dut.read_index), *indices[:RAM_LATENCY]]
            memory = frame.payload.ljust(PAYLOAD_BYTES, b"\xee")
            ctx.set(dut.read_data, memory[indices[RAM_LATENCY]])
            ctx.set(dut.o.ready, not slow or cycle % 7 == 0)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                sent.append(ctx.get(dut.o.payload))
            if ctx.get(dut.done):
                return
            await ctx.tick()
        raise AssertionError("never done")

    simulate(dut, bench)
    assert bytes(sent) == encode_frame(frame)
