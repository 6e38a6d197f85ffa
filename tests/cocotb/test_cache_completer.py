"""Output rows and status words of a core with keys in memory on their way to it, under the stall matrix.

Expected is what the document of `CacheCompleter` says of each descriptor's fields, its rows cut by plain arithmetic.
"""

import random

import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters, fault_layout
from latte.rtl.axi.descriptors import STATUS_BYTES, STATUS_OFFSET
from latte.rtl.axi.write_engine import beat_layout
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.cache_completer import CacheCompleter
from latte.rtl.memory.cache_descriptors import CACHE_STATUS_BITS, cache_causes_layout
from latte.rtl.memory.cache_dispatcher import cache_begun_layout
from latte.sim.block_testbench import Expect, Offer, decode
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED

WAIT_BITS = 5
SIZES = {"narrow": (MasterParameters(data_bits=64, burst_beats=8, writes_in_flight=2), 80),
         "wide": (MasterParameters(data_bits=128, burst_beats=16), 32)}
"""A master and the bytes of a row: one of more beats than a burst, and short ones."""
EVENTS = ("begun", "ended", "release", "done")
TOLD = ("refused", "failed", "invalid", "interrupt")


class CompleterBench(wiring.Component):
    """The completer, the rows of a core, and a write engine that is told how bursts are answered.

    Members
    -------
    begun : In(stream)
        With the address and the number that the ring says until it is done.
    ended : In(stream)
        When so many rows were given, of all descriptors.
    row : In(stream)
        Beats of rows, of a job when so many others have ended.
    answer : In(stream)
        Of each burst, some cycles behind its data.
    burst, write : Out(stream)
    event, told : Out
        Pushes: which of `EVENTS` happened in a cycle; with the last of them what is said of a descriptor.
    wrong : Out(1)
        A burst of a row is offered before its data, or the status word's before all rows are answered, or `release` is
        not in the cycle in which that leaves.
    """

    def __init__(self, parameters: MasterParameters, row_bytes: int) -> None:
        self.parameters = parameters
        self.completer = completer = CacheCompleter(row_bytes, parameters, 2 * parameters.burst_beats)
        members, beat = completer.signature.members, beat_layout(parameters)
        begun = {"begun": cache_begun_layout(), "address": ADDRESS_BITS, "number": COUNT_BITS}
        super().__init__({
            "begun": In(stream.Signature(data.StructLayout(begun))),
            "ended": In(stream.Signature(data.StructLayout({"causes": cache_causes_layout(), "rows": COUNT_BITS}))),
            "row": In(stream.Signature(data.StructLayout({"beat": beat, "first": 1, "jobs": COUNT_BITS}))),
            "answer": In(stream.Signature(data.StructLayout({"fault": fault_layout(), "wait": WAIT_BITS}))),
            "burst": members["burst"], "write": members["write"], "event": Out(len(EVENTS)), "event_valid": Out(1),
            "told": Out(data.StructLayout(dict.fromkeys(TOLD, 1))), "told_valid": Out(1), "wrong": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.completer = dut = self.completer
        begins, ends = dut.begun.valid & dut.begun.ready, dut.ended.valid & dut.ended.ready
        address, number, rowing = Signal(ADDRESS_BITS), Signal(COUNT_BITS), Signal()
        m.d.comb += [
            dut.begun.valid.eq(self.begun.valid), dut.begun.payload.eq(self.begun.payload.begun),
            self.begun.ready.eq(dut.begun.ready), dut.address.eq(address), dut.number.eq(number),
            self.event.eq(Cat(begins, ends, dut.release, dut.done)), self.event_valid.eq(self.event.any()),
            self.told_valid.eq(dut.done), *(self.told[name].eq(getattr(dut, name)) for name in TOLD)]
        with m.If(begins):
            m.d.sync += [address.eq(self.begun.payload.address), number.eq(self.begun.payload.number),
                         rowing.eq(dut.begun.payload.in_core)]
        with m.If(ends):
            m.d.sync += rowing.eq(0)
        with m.If(dut.done):
            m.d.sync += [address.eq(~address), number.eq(~number)]
        level = self._give_rows(m, ends)
        self._write(m, level, rowing)
        return m

    def _give_rows(self, m: Module, ends: Signal) -> Signal:
        """Let rows in, and the end of a job behind its last one; return how many beats wait."""
        dut, row = self.completer, self.row.payload
        m.submodules.queue = queue = StreamQueue(beat_layout(self.parameters), dut.depth)
        wiring.connect(m, queue.o, dut.beat)
        level, given, jobs, room = Signal(range(dut.depth + 1)), Signal(COUNT_BITS), Signal(COUNT_BITS), Signal()
        comes = self.row.valid & self.row.ready
        m.d.comb += [
            room.eq((jobs >= row.jobs) & (level != dut.depth)), queue.i.payload.eq(row.beat),
            queue.i.valid.eq(self.row.valid & room), self.row.ready.eq(queue.i.ready & room),
            dut.given.eq(comes & row.first), dut.level.eq(level), dut.ended.payload.eq(self.ended.payload.causes),
            dut.ended.valid.eq(self.ended.valid & (given == self.ended.payload.rows)),
            self.ended.ready.eq(dut.ended.ready & (given == self.ended.payload.rows)),
        ]
        m.d.sync += [level.eq(level + comes - (dut.beat.valid & dut.beat.ready)), given.eq(given + dut.given),
                     jobs.eq(jobs + ends)]
        return level

    def _write(self, m: Module, level: Signal, rowing: Signal) -> None:
        """Take bursts and their beats, and answer them."""
        dut, answer, most = self.completer, self.answer.payload, self.parameters.writes_in_flight
        owed, whole, unanswered = (Signal(8, name=name) for name in ("owed", "whole", "unanswered"))
        free, waited, asks, moves = Signal(), Signal(WAIT_BITS), Signal(), Signal()
        m.d.comb += [
            asks.eq(self.burst.valid & self.burst.ready), moves.eq(self.write.valid & self.write.ready),
            free.eq(((owed == 0) | ((owed == 1) & moves)) & (unanswered != most)),
            self.burst.payload.eq(dut.burst.payload), self.burst.valid.eq(dut.burst.valid & free),
            dut.burst.ready.eq(self.burst.ready & free),
            self.write.payload.eq(dut.write.payload), self.write.valid.eq(dut.write.valid & (owed != 0)),
            dut.write.ready.eq(self.write.ready & (owed != 0)),
            dut.answered.eq(self.answer.valid & (whole != 0) & (waited == answer.wait)),
            self.answer.ready.eq(dut.answered), dut.unanswered.eq(unanswered != 0),
            dut.fault.eq(Mux(dut.answered, answer.fault.as_value(), ~0)),
            self.wrong.eq((dut.release != (asks & ~rowing)) | (dut.burst.valid & Mux(
                rowing, level < owed + dut.burst.payload.beats, unanswered != 0))),
        ]
        m.d.sync += [owed.eq(Mux(asks, dut.burst.payload.beats, owed - moves)),
                     whole.eq(whole + (moves & (owed == 1)) - dut.answered),
                     unanswered.eq(unanswered + asks - dut.answered),
                     waited.eq(Mux(dut.answered, 0, waited + (self.answer.valid & (whole != 0))))]


class Descriptors:
    """Descriptors with their rows, and what the completer has to make of them.

    Parameters
    ----------
    parameters
    row_bytes
    rng
    """

    def __init__(self, parameters: MasterParameters, row_bytes: int, rng: random.Random) -> None:
        self.parameters, self.row_bytes, self.rng = parameters, row_bytes, rng
        self.offered: dict[str, list] = {name: [] for name in ("begun", "ended", "row", "answer")}
        self.wanted: dict[str, list] = {name: [] for name in ("burst", "write", "event", "told")}
        self.rows = 0

    def add(self, *, in_core: bool, rows: int, heads: int) -> None:
        """Add a descriptor of some rows; the last of its positions may lack some."""
        rng, bus = self.rng, self.parameters.data_bytes
        layout = cache_causes_layout()
        # What befalls it before it comes to the core, or there; that a write failed is not known then.
        causes = decode(layout, rng.choice([0, 1 << rng.randrange(layout.size), rng.getrandbits(layout.size)]))
        causes["write_failed"] = 0
        begun = decode(cache_begun_layout(), rng.getrandbits(cache_begun_layout().size))
        begun |= {"in_core": in_core, "heads": heads, "stride": begun["stride"] // bus * bus,
                  "causes": dict.fromkeys(causes, 0) if in_core else causes}
        page, back = begun["address"] // BOUNDARY * BOUNDARY, rng.randrange(BOUNDARY // bus)
        begun["address"] = page + rng.choice([back, BOUNDARY // bus - rng.randint(1, 9)]) * bus
        ring = {"address": rng.getrandbits(ADDRESS_BITS - 6) << 6, "number": rng.getrandbits(COUNT_BITS)}
        self.offered["begun"].append({"begun": begun, **ring})
        events = ["begun", *(["ended"] if in_core else []), "release", "done"]
        self.wanted["event"] += [1 << EVENTS.index(name) for name in events]
        failed = False
        if in_core:
            for row in range(rows):
                position, head = divmod(row, heads)
                failed |= self._row(begun["address"] + position * begun["stride"] + head * self.row_bytes)
            self.rows += rows
            self.offered["ended"].append({"causes": causes, "rows": self.rows % (1 << COUNT_BITS)})
        self.wanted["told"].append({
            "interrupt": begun["interrupt"], "invalid": not in_core,
            "refused": any(causes[f"refused_{name}"] for name in REFUSALS),
            "failed": any(causes[f"failed_{name}"] for name in FAILURES)})
        self._status(causes | {"write_failed": failed}, ring)

    def _row(self, address: int) -> bool:
        """Give a row that is to be written there; return whether that fails."""
        bus, left, failed = self.parameters.data_bytes, self.row_bytes // self.parameters.data_bytes, False
        for n in range(left):
            beat = {"data": self.rng.getrandbits(8 * bus), "strobe": self.rng.getrandbits(bus)}
            self.offered["row"].append({"beat": beat, "first": n == 0, "jobs": len(self.offered["ended"])})
            self.wanted["write"].append(beat)
        while left:
            beats = min(left, self.parameters.burst_beats, (BOUNDARY - address % BOUNDARY) // bus)
            failed |= self._burst(address, beats)
            address, left = address + beats * bus, left - beats
        return failed

    def _burst(self, address: int, beats: int) -> bool:
        self.wanted["burst"].append({"address": address % (1 << ADDRESS_BITS), "beats": beats})
        fault = {name: self.rng.random() < 0.04 for name in fault_layout().members}
        self.offered["answer"].append({"fault": fault, "wait": self.rng.choice([0, 0, self.rng.randrange(32)])})
        return any(fault.values())

    def _status(self, causes: dict, ring: dict) -> None:
        """Expect the status word; that its own write fails is told to nobody."""
        bus = self.parameters.data_bytes
        bits = causes | {"done": 1, "error": any(causes.values())}
        word = sum(int(bits[name]) << n for n, name in enumerate(CACHE_STATUS_BITS)) | ring["number"] << 16
        place = STATUS_OFFSET % bus
        self._burst(ring["address"] + STATUS_OFFSET - place, 1)
        self.wanted["write"].append({"data": word << 8 * place, "strobe": ((1 << STATUS_BYTES) - 1) << place})


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("size", SIZES)
def test_descriptors(check, stall, size):
    parameters, row_bytes = SIZES[size]
    rng = random.Random(SEED)
    descriptors = Descriptors(parameters, row_bytes, rng)
    for _ in range(120):
        heads = rng.choice([1, 2, rng.randint(1, 5), 1 << rng.randrange(COUNT_BITS) | rng.randint(1, 3)])
        descriptors.add(in_core=rng.random() < 0.85, rows=rng.choice([0, 1, 3, rng.randrange(16)]), heads=heads)
    check(CompleterBench(parameters, row_bytes), f"cache-completer-{size}",
          {name: Offer(items) for name, items in descriptors.offered.items()},
          {name: Expect(items) for name, items in descriptors.wanted.items()}, quiet=("wrong",))
