"""What the benches of blocks that fetch or write rows share: rows at random places, and the bursts that cover them."""

import random

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring

from latte.golden.config import ceil_div
from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters

FAULTS = ({"slverr": 1, "decerr": 0}, {"slverr": 0, "decerr": 1})
"""Either error response."""
FINE = {"slverr": 0, "decerr": 0}
"""No error response."""


def random_address(rng: random.Random, size: int) -> int:
    """Return a multiple of `size`, of all bits, often below a multiple of 4 KB."""
    page = rng.getrandbits(ADDRESS_BITS) // BOUNDARY * BOUNDARY
    return page + rng.choice([0, BOUNDARY - size * rng.randint(1, 12), rng.randrange(0, BOUNDARY, size)])


def random_rows(rng: random.Random, row_bytes: int, master: MasterParameters, most: int) -> dict[str, int]:
    """Return rows that lie anywhere: behind each other, with gaps, over each other; of 64 bits of address.

    Strides are often such that one bit tells rows with gaps from those without.
    """
    size = master.data_bytes
    padded = ceil_div(row_bytes, size) * size
    near = padded ^ 1 << rng.randrange(size.bit_length() - 1, 32)
    stride = rng.choice([padded, padded, near, near, padded + size, BOUNDARY, 0, rng.getrandbits(32) // size * size])
    return {"address": random_address(rng, size), "stride": stride, "rows": rng.choice([0, 1, most, *[rng.randint(
        1, most)] * 3])}


def cut_rows(rows: dict[str, int], row_bytes: int, master: MasterParameters) -> list[dict[str, int]]:
    """Return the bursts that cover rows in order, each as long as the master, a row's end and 4 KB allow."""
    size = master.data_bytes
    runs = [(rows["address"] + n * rows["stride"], ceil_div(row_bytes, size)) for n in range(rows["rows"])]
    if rows["stride"] == row_bytes and runs:
        runs = [(rows["address"], sum(beats for _, beats in runs))]
    bursts = []
    for address, left in runs:
        while left:
            address %= 1 << ADDRESS_BITS
            beats = min(left, master.burst_beats, (BOUNDARY - address % BOUNDARY) // size)
            bursts.append({"address": address, "beats": beats})
            address, left = address + beats * size, left - beats
    return bursts


def random_fault(rng: random.Random, share: float) -> dict[str, int]:
    """Return a fault for a share of all beats."""
    return rng.choice(FAULTS) if rng.random() < share else FINE


def answer_requests(m: Module, bench: wiring.Component, reader: wiring.Component) -> None:
    """Hand a bench's beats to a reader, once it has asked for them.

    Both have `request`; the bench has `beat`, a stream of {data, fault}, the reader `taken`, `data` and `fault`.
    """
    coming, request, beat = Signal(32), bench.request, bench.beat
    asked = request.valid & request.ready
    m.d.sync += coming.eq(coming + Mux(asked, request.payload.beats, 0) - reader.taken)
    wiring.connect(m, reader.request, wiring.flipped(request))
    m.d.comb += [beat.ready.eq(coming != 0), reader.taken.eq(beat.valid & beat.ready),
                 reader.data.eq(beat.payload.data), reader.fault.eq(beat.payload.fault)]
