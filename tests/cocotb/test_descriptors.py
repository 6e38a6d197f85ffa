"""Descriptors as they are read and checked, and the ring that counts them, under the stall matrix."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, burst_layout, fault_layout
from latte.rtl.axi.descriptor_fetcher import DescriptorFetcher
from latte.rtl.axi.descriptor_ring import DescriptorRing
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, descriptor_layout
from latte.rtl.axi.payloads import descriptor_causes_layout
from latte.rtl.common.payloads import COUNT_BITS
from latte.sim.block_testbench import Expect, Offer
from latte.sim.packing import pack_struct
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.rows import answer_requests, random_fault

stalls = pytest.mark.parametrize("stall", STALLS)
ADDRESSES = [f"{name}_{what}" for name in "qkvo" for what in ("address", "stride")]


class FetcherBench(wiring.Component):
    """A fetcher of descriptors whose requests the bench answers.

    Parameters
    ----------
    parameters

    Members
    -------
    enable : In(stream)
        An item for each descriptor that may be taken.
    waiting : In(stream)
        Addresses of descriptors that wait.
    request, checked
        As of `DescriptorFetcher`.
    beat : In(stream)
        What is read, in order.
    fault_valid, fault : Out
        Faults of beats.
    early : Out(1)
        A descriptor is taken that does not wait, or may not be taken.
    """

    def __init__(self, parameters: MasterParameters) -> None:
        self.fetcher = DescriptorFetcher(parameters)
        beat = data.StructLayout({"data": parameters.data_bits, "fault": fault_layout()})
        super().__init__({
            "enable": In(stream.Signature(1)), "waiting": In(stream.Signature(ADDRESS_BITS)),
            "request": Out(stream.Signature(burst_layout(parameters))), "beat": In(stream.Signature(beat)),
            "checked": self.fetcher.signature.members["checked"], "fault_valid": Out(1), "fault": Out(fault_layout()),
            "early": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.fetcher = fetcher = self.fetcher
        wiring.connect(m, fetcher.checked, wiring.flipped(self.checked))
        answer_requests(m, self, fetcher)
        m.d.comb += [
            fetcher.enable.eq(self.enable.valid), fetcher.waiting.eq(self.waiting.valid),
            fetcher.address.eq(self.waiting.payload), self.enable.ready.eq(fetcher.take),
            self.waiting.ready.eq(fetcher.take), self.early.eq(fetcher.take & ~(fetcher.enable & fetcher.waiting)),
            self.fault.eq(fetcher.faults), self.fault_valid.eq(fetcher.faults.as_value().any()),
        ]
        return m


def causes_of(fields: dict[str, int], size: int, fails: bool) -> set[str]:
    """Return what is wrong with a descriptor; of one that was not read, or is of another type, nothing else is."""
    if fails:
        return {"fetch_failed"}
    if fields["type"] != 1:
        return {"unknown_type"}
    wrong = {"reserved_set": fields["reserved_flags"] | fields["reserved_word"],
             "unaligned": any(fields[name] % size for name in ADDRESSES),
             "no_rows": fields["query_rows"] == fields["load_rows"] == 0}
    return {cause for cause, holds in wrong.items() if holds}


def random_descriptors(rng: random.Random, size: int) -> list[tuple[dict[str, int], float]]:
    """Return descriptors without a fault, with each one alone, with many, and with what share of beats has errors."""
    layout = descriptor_layout()

    def right() -> dict[str, int]:
        fields = {name: rng.getrandbits(layout[name].width) for name in layout.members}
        fields |= {name: fields[name] // size * size for name in ADDRESSES}
        return fields | {"type": 1, "reserved_flags": 0, "reserved_word": 0}

    def flip(fields: dict[str, int], name: str, bit: int) -> dict[str, int]:
        return fields | {name: fields[name] ^ 1 << bit}

    few = [right() | {a: 0, b: rows} for a, b in (("query_rows", "load_rows"), ("load_rows", "query_rows"))
           for rows in (0, *(1 << n for n in range(COUNT_BITS)))]
    found = [*(right() for _ in range(20)), *few]
    for name, width in (("type", 8), ("reserved_flags", 5), ("reserved_word", 32)):
        found += [flip(right(), name, bit) for bit in range(width)]
    found += [flip(right(), name, bit) for name in ADDRESSES for bit in range(size.bit_length() - 1)]
    found += [{name: rng.getrandbits(layout[name].width) for name in layout.members} | {"type": rng.choice([0, 1, 1])}
              for _ in range(30)]
    found += [right() | {"reserved_word": 1 << 31, "query_rows": 0, "load_rows": 0, "v_stride": 2} for _ in range(3)]
    pairs = [*((fields, 0.0) for fields in found), *((right(), 0.3) for _ in range(40)),
             *((fields, 0.3) for fields in rng.sample(found, 20))]
    rng.shuffle(pairs)
    return pairs


@stalls
@pytest.mark.parametrize("bits", [64, 128])
def test_descriptors_are_read_and_checked(check, stall, bits):
    rng, master = random.Random(SEED), MasterParameters(data_bits=bits)
    size = master.data_bytes
    waiting, beats, requests, checked, faults = [], [], [], [], []
    for fields, share in random_descriptors(rng, size):
        word = pack_struct(descriptor_layout(), **fields)
        read = [{"data": word >> 8 * at & ((1 << bits) - 1), "fault": random_fault(rng, share)}
                for at in range(0, DESCRIPTOR_BYTES, size)]
        failing = [beat["fault"] for beat in read if any(beat["fault"].values())]
        causes = causes_of(fields, size, bool(failing))
        waiting.append(rng.getrandbits(ADDRESS_BITS) // DESCRIPTOR_BYTES * DESCRIPTOR_BYTES)
        requests.append({"address": waiting[-1], "beats": DESCRIPTOR_BYTES // size})
        beats += read
        faults += failing
        checked.append({"invalid": bool(causes), "fields": fields,
                        "causes": {name: name in causes for name in descriptor_causes_layout().members}})
    check(FetcherBench(master), f"descriptor-fetcher-{bits}",
          {"enable": Offer([1] * len(waiting)), "waiting": Offer(waiting), "beat": Offer(beats)},
          {"request": Expect(requests), "checked": Expect(checked), "fault": Expect(faults)}, quiet=["early"])


WATCHED = 3
"""Cycles behind an event in which all that the ring says of it is right."""
EVENTS = ("ring", "take", "release", "done")


class RingBench(wiring.Component):
    """A ring with what happens to it, and what it says of that.

    Members
    -------
    steps : In(stream)
        Events in one cycle, or in each of `times` cycles, with the number of a doorbell; with `moves`, base and size
        of the ring.
    seen_valid, seen : Out
        What the ring says: in the last cycle of the events, in the next one, and some cycles later.
    """

    def __init__(self) -> None:
        self.place = data.StructLayout({"base": ADDRESS_BITS, "size_log2": 4})
        self.said = data.StructLayout({
            "head": COUNT_BITS, "tail": COUNT_BITS, "waiting": 1, "under_way": 1, "empty": 1, "last": 1,
            "take_address": ADDRESS_BITS, "done_address": ADDRESS_BITS})
        step = data.StructLayout({**dict.fromkeys(EVENTS, 1), "number": COUNT_BITS, "times": COUNT_BITS, "moves": 1,
                                  "place": self.place})
        seen = data.StructLayout({"overflow": 1, "soon": self.said, "later": self.said})
        super().__init__({"steps": In(stream.Signature(step)), "seen_valid": Out(1), "seen": Out(seen)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.ring = ring = DescriptorRing()
        step, left, waited = self.steps.payload, Signal(COUNT_BITS), Signal(range(WATCHED + 1))
        place, said, happens = Signal(self.place), Signal(self.said), Signal()
        m.d.comb += [ring.base.eq(place.base), ring.size_log2.eq(place.size_log2), ring.number.eq(step.number),
                     *(getattr(ring, event).eq(happens & step[event]) for event in EVENTS),
                     *(said[name].eq(getattr(ring, name)) for name in self.said.members), self.seen.later.eq(said)]
        with m.FSM():
            with m.State("STEP"), m.If(self.steps.valid):
                m.d.sync += left.eq(step.times)
                m.next = "HAPPENS"
            with m.State("HAPPENS"):
                m.d.comb += [happens.eq(1), self.steps.ready.eq(left == 1)]
                m.d.sync += [left.eq(left - 1), self.seen.overflow.eq(ring.overflow), waited.eq(0)]
                with m.If(left == 1):
                    with m.If(step.moves):
                        m.d.sync += place.eq(step.place)
                    m.next = "WATCH"
            with m.State("WATCH"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == 0):
                    m.d.sync += self.seen.soon.eq(said)
                with m.If(waited == WATCHED):
                    m.d.comb += self.seen_valid.eq(1)
                    m.next = "STEP"
        return m


class Ring:
    """Steps of a ring, and what it is to say of each.

    Attributes
    ----------
    steps, seen
        So far.
    """

    def __init__(self) -> None:
        self.steps, self.seen = [], []
        self.head = self.taken = self.released = self.tail = self.base = self.size_log2 = 0

    def step(self, *events: str, more: int = 0, times: int = 1, moves: tuple[int, int] | None = None) -> None:
        """Let something happen; a doorbell rings for `more` descriptors than were written."""
        rings, takes = "ring" in events, "take" in events
        fits = 0 <= more <= (1 << self.size_log2) - (self.head - self.released)
        base, size_log2 = moves or (0, 0)
        self.steps.append({**{event: event in events for event in EVENTS}, "number": (self.head + more) & 0xffff,
                           "times": times, "moves": bool(moves), "place": {"base": base, "size_log2": size_log2}})
        self.head += more * (rings and fits)
        self.taken += takes * times
        self.released += ("release" in events) * times
        self.tail += ("done" in events) * times
        self.base, self.size_log2 = moves or (self.base, self.size_log2)
        size, pending = 1 << self.size_log2, self.head - self.tail
        counts = {"head": self.head & 0xffff, "tail": self.tail & 0xffff, "under_way": self.taken != self.tail,
                  "last": pending == 1}
        soon = {"waiting": 0} if takes else {}
        soon |= {"empty": 0} if rings and fits and pending else {}
        self.seen.append({"overflow": rings and not fits, "soon": counts | soon, "later": counts | {
            "waiting": self.taken != self.head, "empty": pending == 0,
            "take_address": (self.base + DESCRIPTOR_BYTES * (self.taken % size)) % (1 << ADDRESS_BITS),
            "done_address": (self.base + DESCRIPTOR_BYTES * (self.tail % size)) % (1 << ADDRESS_BITS)}})

    def possible(self) -> list[str]:
        """Return what can happen, but for a doorbell."""
        return [event for event, can in (("take", self.taken != self.head), ("release", self.released != self.taken),
                                         ("done", self.tail != self.released)) if can]

    def carry_out(self) -> None:
        """Take all descriptors, and bring them to their end."""
        while self.tail != self.head:
            # Two are under way in front of the others, which follow them at full speed.
            together = self.head - self.taken if self.taken == self.released + 1 == self.tail + 2 else 0
            self.step(*self.possible(), times=max(together, 1))

    def wander(self, rng: random.Random, steps: int) -> None:
        """Let anything happen that can, alone and at once; doorbells are often wrong."""
        for _ in range(steps):
            size = 1 << self.size_log2
            free = size - (self.head - self.released)
            events = [event for event in ("ring", *self.possible()) if rng.random() < 0.4]
            few = min(4, size)
            self.step(*events, more=rng.choice([0, 1, 1, free, free + 1, -1, size, size + 1, 0x8000,
                                                *[rng.randrange(few + 1)] * 5]))


def random_place(rng: random.Random, size_log2: int) -> tuple[int, int]:
    """Return a base of all bits, and a size."""
    return rng.getrandbits(ADDRESS_BITS) // DESCRIPTOR_BYTES * DESCRIPTOR_BYTES, size_log2


def check_ring(check, ring: Ring) -> None:
    check(RingBench(), "descriptor-ring", {"steps": Offer(ring.steps)}, {"seen": Expect(ring.seen)}, patience=70_000)


@stalls
def test_ring(check, stall):
    """Doorbells of every size, also wrong ones; rings that are full, and that go round."""
    rng, ring = random.Random(SEED), Ring()
    for size_log2 in (3, 0, 1, 2, 4, 5):
        ring.step(moves=random_place(rng, size_log2))
        ring.wander(rng, 150)
        ring.carry_out()
    check_ring(check, ring)


@pytest.mark.parametrize("stall", ["none"])
def test_large_rings(check, stall):
    """Of every size, filled to the last slot, again as soon as one is free, and carried out: numbers go round."""
    rng, ring = random.Random(SEED), Ring()
    for size_log2 in range(16):
        size = 1 << size_log2
        ring.step(moves=random_place(rng, size_log2))
        for more in (size + 1, size, 1):
            ring.step("ring", more=more)
        ring.step("take")
        ring.step("release")
        ring.step("ring", more=2)
        ring.step("ring", more=1)
        ring.carry_out()
    assert ring.tail > 0xffff
    check_ring(check, ring)
