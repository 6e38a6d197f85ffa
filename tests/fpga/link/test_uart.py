"""UART against a line made bit by bit."""

import random

import pytest
from amaranth import Module
from amaranth.sim import Simulator

from latte.fpga.boards.board import BOARDS
from latte.fpga.link.uart import UartReceiver, UartTransmitter, clocks_per_bit
from latte.golden.errors import LatteError

DATA = bytes([0x00, 0xFF, 0x55, 0xAA, 0x7E, 0x01, 0x80]) + random.Random(1).randbytes(10)


def line_of(data, clocks, stop=1, gap=0):
    """Return one line level per clock cycle."""
    bits = []
    for byte in data:
        bits += [0, *(byte >> i & 1 for i in range(8)), stop, *[1] * gap]
    total = int(len(bits) * clocks) + int(3 * clocks)
    return [bits[int(t / clocks)] if t / clocks < len(bits) else 1 for t in range(total)]


def receive(levels, clocks):
    """Return the bytes that a receiver of `clocks` hears."""
    dut, heard = UartReceiver(clocks), []

    async def bench(ctx):
        for level in [1] * 5 + levels:
            ctx.set(dut.rx, level)
            await ctx.tick()
            if ctx.get(dut.valid):
                heard.append(ctx.get(dut.data))

    simulate(dut, bench)
    return bytes(heard)


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("clocks", [4, 5, 12, 25])
@pytest.mark.parametrize("gap", [0, 3])
def test_receives(clocks, gap):
    assert receive(line_of(DATA, clocks, gap=gap), clocks) == DATA


@pytest.mark.parametrize("drift", [-0.03, 0.03])
def test_tolerates_drift(drift):
    assert receive(line_of(DATA, 25 * (1 + drift)), 25) == DATA


def test_drops_byte_without_stop_bit():
    assert receive(line_of(b"\x55", 8, stop=0, gap=2) + line_of(b"A", 8), 8) == b"A"


def test_ignores_glitch():
    assert receive([0, 0] + [1] * 20 + line_of(b"A", 16), 16) == b"A"


@pytest.mark.parametrize("clocks", [4, 7])
def test_transmitter_to_receiver(clocks):
    sender, receiver, heard = UartTransmitter(clocks), UartReceiver(clocks), []
    m = Module()
    m.submodules += [sender, receiver]
    m.d.comb += receiver.rx.eq(sender.tx)

    async def source(ctx):
        for byte in DATA:
            ctx.set(sender.i.payload, byte)
            ctx.set(sender.i.valid, 1)
            await ctx.tick().until(sender.i.ready)
        ctx.set(sender.i.valid, 0)
        await ctx.tick().repeat(12 * clocks)

    async def sink(ctx):
        async for _, _, valid, byte in ctx.tick().sample(receiver.valid, receiver.data):
            if valid:
                heard.append(byte)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(sink, background=True)
    simulator.run()
    assert bytes(heard) == DATA


@pytest.mark.parametrize("drift", [-0.01, 0.01])
@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_every_board_hears_its_bridge(board, drift):
    """At the bridge's own rate, which the clock need not divide into, and with crystals that differ."""
    line = line_of(DATA, board.clock_hz / board.baud * (1 + drift))
    assert receive(line, clocks_per_bit(board.clock_hz, board.baud)) == DATA


def test_rates():
    assert clocks_per_bit(25e6, 1_000_000) == 25
    assert clocks_per_bit(12e6, 115_200) == 104
    for clock, baud in ((12e6, 7_000_000), (25e6, 3_000_000)):
        with pytest.raises(LatteError, match="cannot be made"):
            clocks_per_bit(clock, baud)
