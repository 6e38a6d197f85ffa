"""Rows of bytes that are repacked to beats of another width, against the same bytes, under the stall matrix."""

import random

import pytest
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED

stalls = pytest.mark.parametrize("stall", STALLS)

SIZES = {"skips": (6, 16, 18, True), "bytes": (3, 8, 9, True), "narrows": (8, 4, 20, False), "whole": (8, 4, 16, False)}
"""Bytes that come and go in a beat, bytes of a row, and whether rows begin inside a beat."""


class GearboxBench(wiring.Component):
    """A gearbox whose strobe travels with its bytes, and the lanes in front of a row with each of its beats."""

    def __init__(self, gearbox: RowGearbox) -> None:
        self.gearbox = gearbox
        taken = data.StructLayout({"bytes": data.ArrayLayout(8, gearbox.in_bytes), "skip": 8})
        given = data.StructLayout({"bytes": data.ArrayLayout(8, gearbox.out_bytes), "strobe": gearbox.out_bytes})
        super().__init__({"i": In(stream.Signature(taken)), "o": Out(stream.Signature(given))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.gearbox = gearbox = self.gearbox
        m.d.comb += [
            gearbox.i.valid.eq(self.i.valid), self.i.ready.eq(gearbox.i.ready),
            gearbox.i.payload.eq(self.i.payload.bytes), self.o.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.o.ready), self.o.payload.bytes.eq(gearbox.o.payload),
            self.o.payload.strobe.eq(gearbox.strobe),
        ]
        if gearbox.skips:
            m.d.comb += gearbox.skip.eq(self.i.payload.skip)
        return m


def beats_of(row: list[int], size: int, skip: int = 0) -> list[list[int | None]]:
    """Return a row's bytes as beats, None where there is none of the row."""
    padded = [None] * skip + row
    padded += [None] * (-len(padded) % size)
    return [padded[at:at + size] for at in range(0, len(padded), size)]


@stalls
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_rows_are_repacked(sizes, stall, check):
    """Each byte where it belongs, with its strobe, and none else."""
    rng, (coming, going, size, skips) = random.Random(SEED), sizes
    gearbox = RowGearbox(coming, going, size, skips=skips)
    taken, given = [], []
    for _ in range(200):
        row, skip = list(rng.randbytes(size)), rng.randrange(going // gearbox.lane) if skips else 0
        for n, beat in enumerate(beats_of(row, coming)):
            taken.append({"bytes": [rng.getrandbits(8) if byte is None else byte for byte in beat],
                          "skip": skip if n == 0 else rng.randrange(going // gearbox.lane)})
        given += [{"bytes": beat, "strobe": sum(1 << at for at, byte in enumerate(beat) if byte is not None)}
                  for beat in beats_of(row, going, skip * gearbox.lane)]
    assert len(taken) == 200 * ceil_div(size, coming)
    check(GearboxBench(gearbox), f"gearbox-{coming}-{going}-{size}", {"i": Offer(taken)}, {"o": Expect(given)})
