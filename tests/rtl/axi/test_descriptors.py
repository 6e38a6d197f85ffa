"""Descriptors: the ring's counters, what is checked, and the table."""

import random

import pytest
from amaranth.sim import Simulator

from latte.rtl.axi.bus import MasterParameters, Response
from latte.rtl.axi.descriptor_fetcher import DescriptorFetcher
from latte.rtl.axi.descriptor_ring import DescriptorRing
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DESCRIPTOR_FIELDS, STATUS_OFFSET, descriptor_layout
from latte.rtl.axi.payloads import descriptor_causes_layout
from latte.rtl.axi.read_engine import ReadEngine
from latte.sim.packing import pack_struct
from tests.rtl.axi.agents import ReadSlave, Sink, simulate
from tests.rtl.axi.wrapped import Wrapped

GOOD = {"type": 1, "fresh": 1, "head": 3, "query_rows": 5, "load_rows": 7, "status": 0xFFFFFFFF, "q_address": 1 << 40,
        "k_address": 128, "v_address": 256, "o_address": 384, "q_stride": 64, "k_stride": 64, "v_stride": 64,
        "o_stride": 128}
WRONG = {
    "good": ({}, set()), "only keys": ({"query_rows": 0}, set()), "type 0": ({"type": 0, "reserved_word": 1},
                                                                              {"unknown_type"}),
    "type 2": ({"type": 2}, {"unknown_type"}), "reserved flag": ({"reserved_flags": 16}, {"reserved_set"}),
    "reserved word": ({"reserved_word": 1 << 31}, {"reserved_set"}), "q": ({"q_address": 12}, {"unaligned"}),
    "o stride": ({"o_stride": 1}, {"unaligned"}), "no rows": ({"query_rows": 0, "load_rows": 0}, {"no_rows"}),
    "many": ({"query_rows": 0, "load_rows": 0, "v_stride": 2, "reserved_word": 2},
             {"no_rows", "unaligned", "reserved_set"}),
    "unreadable": ({}, {"fetch_failed"}),
}


def test_fields_fill_the_descriptor():
    assert sum(field.width for field in DESCRIPTOR_FIELDS) == 8 * DESCRIPTOR_BYTES
    assert descriptor_layout()["status"].offset == 8 * STATUS_OFFSET


@pytest.mark.parametrize("bits", [64, 128])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_what_is_wrong_is_said(bits, idle):
    master = MasterParameters(data_bits=bits)
    rng = random.Random(bits)
    engine, fetcher = ReadEngine(master, 1), DescriptorFetcher(master)
    dut = Wrapped(engine, fetcher)
    descriptors = [pack_struct(descriptor_layout(), **GOOD | changes) for changes, _ in WRONG.values()]
    failing = list(WRONG).index("unreadable")

    def memory(address):
        number, at = divmod(address - 4096, DESCRIPTOR_BYTES)
        if number == failing and at == 16:
            return Response.DECERR
        return descriptors[number] >> 8 * at & ((1 << bits) - 1)

    def decode(ctx, stream):
        fields = {name: ctx.get(stream.payload.fields[name]) for name in descriptor_layout().members}
        causes = {name for name in descriptor_causes_layout().members if ctx.get(stream.payload.causes[name])}
        return fields, causes, ctx.get(stream.payload.invalid)

    sink = Sink(fetcher.checked, rng, idle, decode)
    taken = 0

    def each(ctx, cycle):
        nonlocal taken
        ctx.set(fetcher.enable, 1)
        ctx.set(fetcher.waiting, taken < len(descriptors))
        ctx.set(fetcher.address, 4096 + DESCRIPTOR_BYTES * taken)
        taken += ctx.get(fetcher.take)

    simulate(dut, [ReadSlave(engine, master, memory, rng, idle), sink], lambda: len(sink.received) == len(WRONG),
             each=each)
    for (name, (changes, causes)), (fields, found, invalid) in zip(WRONG.items(), sink.received, strict=True):
        assert (found, invalid) == (causes, bool(causes)), name
        if name != "unreadable":
            assert fields == {field.name: 0 for field in DESCRIPTOR_FIELDS} | GOOD | changes, name


def test_ring_against_counters():
    """Doorbells of every size, also wrong ones; slots go round, numbers too."""
    rng = random.Random(2)
    for log2 in (0, 1, 3, 15):
        dut = DescriptorRing()
        size = 1 << log2

        async def bench(ctx, dut=dut, size=size, log2=log2):
            head = taken = released = tail = 0
            ctx.set(dut.base, 1 << 33)
            ctx.set(dut.size_log2, log2)
            for _ in range(400):
                await ctx.tick().repeat(3)
                assert (ctx.get(dut.head), ctx.get(dut.tail)) == (head % 65536, tail % 65536)
                assert ctx.get(dut.waiting) == (taken != head) and ctx.get(dut.empty) == (tail == head)
                assert ctx.get(dut.take_address) == (1 << 33) + 64 * (taken % size)
                assert ctx.get(dut.done_address) == (1 << 33) + 64 * (tail % size)
                event = rng.choice(["ring", "ring", "take", "release", "done"])
                if event == "ring":
                    more = rng.choice([0, 1, size, size + 1, rng.randrange(size + 1), -1])
                    fits = 0 <= more <= size - (head - released)
                    ctx.set(dut.number, (head + more) % 65536)
                    ctx.set(dut.ring, 1)
                    assert ctx.get(dut.overflow) == (not fits)
                    head += more if fits else 0
                elif event == "take" and taken < head:
                    ctx.set(dut.take, 1)
                    taken += 1
                elif event == "release" and released < taken:
                    ctx.set(dut.release, 1)
                    released += 1
                elif event == "done" and tail < released:
                    ctx.set(dut.done, 1)
                    tail += 1
                await ctx.tick()
                for pulse in (dut.ring, dut.take, dut.release, dut.done):
                    ctx.set(pulse, 0)
            assert log2 > 3 or head > 2 * size

        simulator = Simulator(dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bench)
        simulator.run()
