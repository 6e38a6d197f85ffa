"""Packets of rows that come in and go out, right and wrong ones: rows, faults and ends are what they should be."""

import random

import pytest

from latte.golden.errors import LatteError
from latte.rtl.axi.bus import StreamParameters
from latte.rtl.axi.job_registers import PACKET_FAULTS
from latte.rtl.axi.packet_receiver import PacketReceiver
from latte.rtl.axi.packet_transmitter import PacketTransmitter
from tests.rtl.axi.agents import Sink, Source, Steady, simulate

idles = pytest.mark.parametrize("idle", [0.0, 0.5])


class PacketSource:
    """Offers packets, lists of (data, keep) beats, with TLAST at the end of each."""

    def __init__(self, dut, packets: list, rng: random.Random, idle: float) -> None:
        self.dut, self.rng, self.idle = dut, rng, idle
        self.beats = [(data, keep, n == len(packet) - 1) for packet in packets
                      for n, (data, keep) in enumerate(packet)]
        self.offering = False

    def drive(self, ctx) -> None:
        self.offering = self.offering or (bool(self.beats) and self.rng.random() >= self.idle)
        ctx.set(self.dut.tvalid, self.offering)
        if self.offering:
            for signal, value in zip((self.dut.tdata, self.dut.tkeep, self.dut.tlast), self.beats[0], strict=True):
                ctx.set(signal, value)

    def observe(self, ctx) -> None:
        if self.offering and ctx.get(self.dut.tready):
            self.beats.pop(0)
            self.offering = False


class Faults:
    """Takes the faults of each packet that is finished."""

    def __init__(self, dut) -> None:
        self.dut, self.seen = dut, []

    def drive(self, ctx) -> None:
        pass

    def observe(self, ctx) -> None:
        if ctx.get(self.dut.finished):
            self.seen.append({name for name in PACKET_FAULTS if ctx.get(self.dut.faults[name])})


@idles
@pytest.mark.parametrize(("row", "size", "going"), [(16, 8, 4), (20, 8, 2), (12, 16, 3), (8, 4, 8)])
def test_packets_of_any_kind(row, size, going, idle):
    """Every job gets as many rows as it asked for, and is told what was wrong."""
    rng = random.Random(row + size)
    dut = PacketReceiver(row, going, StreamParameters(data_bits=8 * size))
    beats, full = -(-row // size), (1 << size) - 1
    counts, packets, rows, faults = [], [], [], []
    for _ in range(40):
        count = rng.randrange(5)
        good = [rng.randbytes(row) for _ in range(count)]
        packet = [(int.from_bytes((data + rng.randbytes(beats * size - row))[at:at + size], "little"), full)
                  for data in good for at in range(0, beats * size, size)]
        kind = rng.choice(["none", "none", "short", "long", "hole", "behind"]) if count else "none"
        said = set()
        if kind == "short" and len(packet) > 1:
            given = rng.randrange(1, len(packet))
            packet, said = packet[:given], {"packet_short"}
            whole = b"".join(good)
            kept = given // beats * row + given % beats * size
            whole = whole[:kept] + bytes(len(whole) - kept)
            good = [whole[at:at + row] for at in range(0, len(whole), row)]
        elif kind == "long":
            packet, said = packet + [(rng.getrandbits(8 * size), full)] * rng.randrange(1, 4), {"packet_long"}
        elif kind == "hole":
            place = rng.randrange(len(packet))
            packet[place], said = (packet[place][0], full & ~1), {"bytes_missing"}
        elif kind == "behind":
            packet[beats - 1] = packet[beats - 1][0], (1 << (row - (beats - 1) * size)) - 1
        counts.append(count)
        packets += [packet] if count else []
        rows += good
        faults.append(said)
    told, sink = Faults(dut), Sink(dut.o, rng, idle)
    source = PacketSource(dut, packets, rng, idle)
    simulate(dut, [Source(dut.rows, counts, rng, idle), source, sink, told], lambda: len(told.seen) == 40, then=40)
    assert told.seen == faults
    assert b"".join(beat.to_bytes(going, "little") for beat in sink.received) == b"".join(rows)


class PacketSink:
    """Takes packets: lists of data, with TUSER at the end of each."""

    def __init__(self, dut, rng: random.Random, idle: float) -> None:
        self.dut, self.rng, self.idle = dut, rng, idle
        self.packets, self.open = [], []
        self.steady = Steady("O")

    def drive(self, ctx) -> None:
        self.ready = self.rng.random() >= self.idle
        ctx.set(self.dut.tready, self.ready)

    def observe(self, ctx) -> None:
        dut = self.dut
        beat = ctx.get(dut.tdata), ctx.get(dut.tlast), ctx.get(dut.tuser)
        if self.steady.see(ctx.get(dut.tvalid), self.ready, beat):
            self.open.append(beat[0])
            if beat[1]:
                self.packets.append((self.open, beat[2]))
                self.open = []


@idles
@pytest.mark.parametrize("stop_at", [None, 0, 7, 20, 33])
def test_what_is_stopped_ends(stop_at, idle):
    """Packets go out as they came; one that is stopped ends with one more beat, which is marked."""
    rng = random.Random(3)
    dut = PacketTransmitter(StreamParameters(data_bits=32))
    packets = [[rng.getrandbits(32) for _ in range(rng.randrange(1, 9))] for _ in range(12)]
    errors = [rng.getrandbits(1) for _ in packets]
    source = Source(dut.i, [{"data": data, "last": n == len(packet) - 1, "error": error and n == len(packet) - 1}
                            for packet, error in zip(packets, errors, strict=True) for n, data in enumerate(packet)],
                    rng, idle)
    sink = PacketSink(dut, rng, idle)
    total, stopped = sum(map(len, packets)), []

    def each(ctx, cycle):
        if stop_at is not None and source.taken >= stop_at:
            ctx.set(dut.stop, 1)
            stopped.append(ctx.get(dut.idle))

    simulate(dut, [source, sink], lambda: source.taken == total or len(stopped) > 40, then=20, each=each)
    want = [(packet, error) for packet, error in zip(packets, errors, strict=True)]
    assert not sink.open
    if stop_at is None:
        assert sink.packets == want
        return
    assert stopped[-1] and source.taken < total
    left = source.taken
    for (packet, error), (data, user) in zip(want, sink.packets, strict=False):
        if left < len(packet):
            assert (data, user) == ([*packet[:left], 0], 1)
            left = 0
            break
        assert (data, user) == (packet, error)
        left -= len(packet)
    assert left == 0


@pytest.mark.parametrize("bits", [8, 48, 256])
def test_bad_width(bits):
    with pytest.raises(LatteError, match=rf"32, 64, 128 bits, not {bits}"):
        StreamParameters(data_bits=bits)
