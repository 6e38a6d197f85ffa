"""Rows repacked, and fetched by two readers of one engine: what comes out is what lies in memory, whatever stalls."""

import random

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import MasterParameters, Response
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.row_fetcher import RowFetcher, fetch_layout
from latte.rtl.axi.row_gearbox import RowGearbox
from tests.rtl.axi.agents import ReadSlave, Sink, Source, simulate

PARAMETERS = {"64": MasterParameters(), "128": MasterParameters(data_bits=128, burst_beats=8, reads_in_flight=3)}
masters = pytest.mark.parametrize("master", PARAMETERS.values(), ids=PARAMETERS)
idles = pytest.mark.parametrize("idle", [0.0, 0.5])


def word(address: int, size: int) -> int:
    """Return the bytes of a word of memory: each tells its address."""
    return int.from_bytes(bytes((address + n) * 167 + (address + n >> 8) * 31 & 0xFF for n in range(size)), "little")


def random_rows(rng: random.Random, master: MasterParameters, row_bytes: int) -> dict[str, int]:
    """Return rows of any stride, near and far from a multiple of 4 KB."""
    beat = master.data_bytes
    padded = -(-row_bytes // beat) * beat
    return {"address": rng.choice([0, 1 << 40, 3 << 30]) + 4096 * 5 - beat * rng.randrange(40),
            "stride": rng.choice([padded, padded, padded + beat, 7 * padded, 4096, 0]), "rows": rng.randrange(9)}


def addresses_of(rows: dict[str, int], row_bytes: int, beat: int) -> list[int]:
    """Return the addresses of the beats of rows, in order."""
    return [rows["address"] + n * rows["stride"] + beat * k for n in range(rows["rows"])
            for k in range(-(-row_bytes // beat))]


@idles
@pytest.mark.parametrize(("coming", "going", "row"), [
    (8, 8, 64), (8, 2, 16), (16, 8, 64), (8, 16, 64), (8, 64, 64), (8, 1, 20), (8, 5, 20), (16, 10, 20), (4, 8, 128),
    (4, 16, 20), (6, 8, 36), (2, 8, 10), (2, 16, 200), (32, 8, 128)])
def test_gearbox(coming, going, row, idle):
    rng = random.Random(row)
    dut = RowGearbox(coming, going, row)
    rows = [rng.randbytes(row) for _ in range(30)]
    padding = -row % coming
    beats = [int.from_bytes(padded[at:at + coming], "little")
             for padded in (data + rng.randbytes(padding) for data in rows) for at in range(0, row + padding, coming)]
    source = Source(dut.i, beats, rng, idle)
    sink = Sink(dut.o, rng, idle, lambda ctx, stream: (ctx.get(stream.payload), ctx.get(dut.strobe)))
    wanted = len(rows) * -(-row // going)
    cycles = simulate(dut, [source, sink], lambda: len(sink.received) == wanted, then=20)
    assert len(sink.received) == wanted
    found = b""
    for beat, strobe in sink.received:
        count = strobe.bit_count()
        assert strobe == (1 << count) - 1
        found += beat.to_bytes(going, "little")[:count]
    assert found == b"".join(rows)
    if not idle and row % coming == row % going == 0 and max(coming, going) % min(coming, going) == 0:
        assert cycles < len(rows) * (row // min(coming, going)) + 30, "gaps"


class Fetchers(wiring.Component):
    """Two readers of rows behind one engine."""

    def __init__(self, row_bytes: tuple[int, int], out_bytes: tuple[int, int], master: MasterParameters) -> None:
        self.engine = ReadEngine(master, 2)
        self.fetchers = [RowFetcher(*sizes, master) for sizes in zip(row_bytes, out_bytes, strict=True)]
        super().__init__({
            **{f"command_{n}": In(stream.Signature(fetch_layout())) for n in range(2)},
            **{f"o_{n}": Out(stream.Signature(8 * size)) for n, size in enumerate(out_bytes)}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self.engine
        for n, fetcher in enumerate(self.fetchers):
            m.submodules[f"fetcher_{n}"] = fetcher
            wiring.connect(m, wiring.flipped(getattr(self, f"command_{n}")), fetcher.command)
            wiring.connect(m, fetcher.o, wiring.flipped(getattr(self, f"o_{n}")))
            wiring.connect(m, fetcher.request, getattr(engine, f"request_{n}"))
            m.d.comb += [fetcher.taken.eq(getattr(engine, f"taken_{n}")), fetcher.data.eq(engine.data),
                         fetcher.fault.eq(engine.fault)]
        return m


class Finished:
    """Watches how the commands of a fetcher end."""

    def __init__(self, fetcher: RowFetcher) -> None:
        self.fetcher = fetcher
        self.faults = []

    def drive(self, ctx) -> None:
        pass

    def observe(self, ctx) -> None:
        if ctx.get(self.fetcher.finished):
            self.faults.append((ctx.get(self.fetcher.faults.slverr), ctx.get(self.fetcher.faults.decerr)))


@masters
@idles
@pytest.mark.parametrize("sizes", [((64, 16), (8, 16)), ((20, 64), (2, 4))])
def test_fetched_rows_are_those_of_memory(master, idle, sizes):
    rng = random.Random(5)
    row_bytes, out_bytes = sizes
    dut = Fetchers(row_bytes, out_bytes, master)
    size = master.data_bytes
    commands = [[random_rows(rng, master, row) | {"zeros": rng.random() < 0.2} for _ in range(12)] for row in row_bytes]
    bad = {rng.choice(addresses_of(rows, row, size)): rng.choice([Response.SLVERR, Response.DECERR])
           for rows_of, row in zip(commands, row_bytes, strict=True) for rows in rows_of[::3] if rows["rows"]}
    slave = ReadSlave(dut.engine, master, lambda at: bad.get(at, word(at, size)), rng, idle, latency=30)
    sources = [Source(getattr(dut, f"command_{n}"), commands[n], rng, idle) for n in range(2)]
    sinks = [Sink(getattr(dut, f"o_{n}"), rng, idle) for n in range(2)]
    ends = [Finished(fetcher) for fetcher in dut.fetchers]
    ready = []

    def each(ctx, cycle):
        ready.append(ctx.get(dut.engine.rready))

    simulate(dut, [slave, *sources, *sinks, *ends], lambda: all(len(end.faults) == 12 for end in ends), then=400,
             each=each)
    assert slave.most <= master.reads_in_flight and (idle or slave.most == master.reads_in_flight)
    assert all(ready), "data would wait on the bus"
    for n, row in enumerate(row_bytes):
        expected = b""
        for rows, faults in zip(commands[n], ends[n].faults, strict=True):
            places = [] if rows["zeros"] else addresses_of(rows, row, size)
            seen = {bad[at] for at in places if at in bad}
            assert faults == (Response.SLVERR in seen, Response.DECERR in seen)
            beats = [bytes(size) if at in bad else word(at, size).to_bytes(size, "little") for at in places]
            each_row = -(-row // size)
            expected += bytes(row * rows["rows"]) if rows["zeros"] else b"".join(
                b"".join(beats[at:at + each_row])[:row] for at in range(0, len(beats), each_row))
        assert b"".join(beat.to_bytes(out_bytes[n], "little") for beat in sinks[n].received) == expected


def test_nothing_is_granted_after_stop_and_all_that_was_comes():
    master = MasterParameters()
    rng = random.Random(9)
    dut = Fetchers((64, 64), (8, 8), master)
    slave = ReadSlave(dut.engine, master, lambda at: word(at, 8), rng, 0.3, latency=20)
    command = {"address": 0, "stride": 128, "rows": 60, "zeros": 0}
    agents = [slave, *(Source(getattr(dut, f"command_{n}"), [command], rng) for n in range(2)),
              *(Sink(getattr(dut, f"o_{n}"), rng) for n in range(2))]
    idle_at, asked = [], []

    def each(ctx, cycle):
        ctx.set(dut.engine.stop, cycle >= 60)
        if cycle >= 60 and ctx.get(dut.engine.idle):
            idle_at.append(cycle)
            assert not ctx.get(dut.engine.arvalid) and not slave.waiting
        asked.append(len(slave.bursts))

    simulate(dut, agents, lambda: len(asked) > 400, each=each)
    assert idle_at and asked[60] > 0 and asked[-1] <= asked[60] + 1
