"""The master's write side: what is written lies in memory, a beat per cycle."""

import random

import pytest

from latte.rtl.axi.bus import MasterParameters, Response
from latte.rtl.axi.write_engine import WriteEngine
from tests.rtl.axi.agents import Source, WriteSlave, simulate

MASTER = MasterParameters(writes_in_flight=3)


class Answers:
    """Watches what is answered."""

    def __init__(self, dut: WriteEngine) -> None:
        self.dut = dut
        self.seen = []

    def drive(self, ctx) -> None:
        pass

    def observe(self, ctx) -> None:
        if ctx.get(self.dut.answered):
            self.seen.append((ctx.get(self.dut.fault.slverr), ctx.get(self.dut.fault.decerr)))


def bursts_and_beats(rng: random.Random, count: int) -> tuple[list[dict], list[dict]]:
    """Return random bursts, one behind the other in memory, and their beats."""
    bursts, beats, at = [], [], 4096
    for _ in range(count):
        length = min(rng.randint(1, 16), (4096 - at % 4096) // 8)
        bursts.append({"address": at, "beats": length})
        beats += [{"data": rng.getrandbits(64), "strobe": rng.choice([0xFF, 0xFF, rng.getrandbits(8)])}
                  for _ in range(length)]
        at += 8 * length
    return bursts, beats


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_memory_holds_what_was_written(idle):
    rng = random.Random(3)
    dut = WriteEngine(MASTER)
    bursts, beats = bursts_and_beats(rng, 40)
    answers = [rng.choice([Response.OKAY] * 3 + [Response.SLVERR, Response.DECERR]) for _ in bursts]
    slave = WriteSlave(dut, MASTER, rng, idle, 12,
                       lambda address: answers[[burst["address"] for burst in bursts].index(address)])
    seen = Answers(dut)
    cycles = simulate(dut, [Source(dut.burst, bursts, rng), Source(dut.beat, beats, rng), slave, seen],
                      lambda: len(seen.seen) == len(bursts), then=20)
    expected = {4096 + 8 * n + byte: beat["data"] >> 8 * byte & 0xFF for n, beat in enumerate(beats)
                for byte in range(8) if beat["strobe"] >> byte & 1}
    assert slave.written == expected
    assert slave.most <= MASTER.writes_in_flight
    assert seen.seen == [(answer is Response.SLVERR, answer is Response.DECERR) for answer in answers]
    if not idle:
        assert cycles < 2 * len(beats) + 100
