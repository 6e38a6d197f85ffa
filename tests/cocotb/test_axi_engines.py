"""Both sides of the AXI4 master: bursts go out as asked for, words come to their readers, under the stall matrix.

The slave is slow to answer for some time and fast for longer; the master is told to stop now and then.
"""

import random

import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import MasterParameters, Response, burst_layout, fault_layout
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.write_engine import WriteEngine, beat_layout
from latte.rtl.common.stream_queue import StreamQueue
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.weighed import paused

stalls = pytest.mark.parametrize("stall", STALLS)

MASTER = MasterParameters(burst_beats=256, reads_in_flight=3, writes_in_flight=5)
READERS = 3
LENGTHS = (1, 1, 1, 1, 2, 2, 3, 5, 8, 9, 16)
FAULTS = {Response.OKAY: (0, 0), Response.SLVERR: (1, 0), Response.DECERR: (0, 1)}
ZONE = 40
"""Where in an address the response of its words lies."""


class WriteBench(wiring.Component):
    """A write engine whose slave listens to what is offered alone, and answers what has come whole.

    Members
    -------
    aw, w : Out(stream), b : In(stream)
        The channels.
    wrong : Out(1)
        More bursts are unanswered than may be, one begins in spite of `stop`, or `idle` or `moved` are not as they
        should be.
    """

    def __init__(self) -> None:
        super().__init__({
            "burst": In(stream.Signature(burst_layout(MASTER))), "beat": In(stream.Signature(beat_layout(MASTER))),
            "aw": Out(stream.Signature(data.StructLayout({"address": 64, "beats_less_1": 8, "size": 3, "burst": 2}))),
            "w": Out(stream.Signature(data.StructLayout({"data": MASTER.data_bits, "strobe": MASTER.data_bytes,
                                                         "last": 1}))),
            "b": In(stream.Signature(2)), "answered_valid": Out(1), "answered": Out(fault_layout()), "wrong": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.engine = engine = WriteEngine(MASTER)
        wiring.connect(m, wiring.flipped(self.burst), engine.burst)
        wiring.connect(m, wiring.flipped(self.beat), engine.beat)
        # Addresses and last beats that have come, less the answers.
        addressed, written, begun = (Signal(8, name=name) for name in ("addressed", "written", "begun"))
        owed, too_many = Signal(), Signal()
        m.d.sync += [addressed.eq(addressed + (self.aw.valid & self.aw.ready) - engine.answered),
                     written.eq(written + (self.w.valid & self.w.ready & engine.wlast) - engine.answered),
                     begun.eq(begun + (engine.burst.valid & engine.burst.ready) - engine.answered)]
        m.d.comb += [
            self.aw.valid.eq(engine.awvalid), engine.awready.eq(self.aw.ready & engine.awvalid),
            self.aw.payload.address.eq(engine.awaddr), self.aw.payload.beats_less_1.eq(engine.awlen),
            self.aw.payload.size.eq(engine.awsize), self.aw.payload.burst.eq(engine.awburst),
            self.w.valid.eq(engine.wvalid), engine.wready.eq(self.w.ready & engine.wvalid),
            self.w.payload.data.eq(engine.wdata), self.w.payload.strobe.eq(engine.wstrb),
            self.w.payload.last.eq(engine.wlast),
            owed.eq((addressed != 0) & (written != 0) & ~paused(m, 37)),
            engine.bvalid.eq(self.b.valid & owed), engine.bresp.eq(self.b.payload),
            self.b.ready.eq(engine.bready & owed), engine.stop.eq(paused(m, 50)),
            self.answered_valid.eq(engine.answered), self.answered.eq(engine.fault),
            too_many.eq((begun == MASTER.writes_in_flight) & engine.burst.ready),
            self.wrong.eq(too_many | (engine.stop & engine.burst.ready) | (engine.idle != (begun == 0))
                          | (engine.moved != (engine.wvalid & engine.wready)) | (engine.bvalid & ~engine.bready)),
        ]
        return m


@stalls
def test_bursts_are_written(stall, check):
    """Of any address and length, most of them short; each answered well or with one of the errors."""
    rng = random.Random(SEED)
    bursts, beats, written, answers = [], [], [], []
    for _ in range(400):
        count = rng.choice([*LENGTHS, rng.randint(1, MASTER.burst_beats)])
        bursts.append({"address": rng.getrandbits(64), "beats": count})
        for n in range(count):
            beats.append({"data": rng.getrandbits(64), "strobe": rng.choice([0xFF, rng.getrandbits(8)])})
            written.append(beats[-1] | {"last": n == count - 1})
        answers.append(rng.choice([Response.OKAY, Response.OKAY, Response.SLVERR, Response.DECERR]))
    addressed = [{"address": burst["address"], "beats_less_1": burst["beats"] - 1, "size": 3, "burst": 1}
                 for burst in bursts]
    check(WriteBench(), "write-engine", {"burst": Offer(bursts), "beat": Offer(beats), "b": Offer(answers)},
          {"aw": Expect(addressed), "w": Expect(written),
           "answered": Expect([dict(zip(("slverr", "decerr"), FAULTS[answer], strict=True)) for answer in answers])},
          quiet=["wrong"])


def word_of(address: int) -> tuple[int, Response]:
    """Return what the slave has at an address, and how it responds."""
    zone = (address >> ZONE) % 4
    return ~address & ((1 << 64) - 1), Response(zone)


class ReadBench(wiring.Component):
    """A read engine with several readers, and a slave whose words and responses tell their address (`word_of`).

    Members
    -------
    asked, given : In(stream)
        An item for each address that the slave takes, and for each beat that it gives.
    word_<n>, word_<n>_valid : Out
        A reader's word and its fault.
    wrong : Out(1)
        As of `WriteBench`.
    """

    def __init__(self) -> None:
        word = data.StructLayout({"data": MASTER.data_bits, "fault": fault_layout()})
        super().__init__({
            **{f"request_{n}": In(stream.Signature(burst_layout(MASTER))) for n in range(READERS)},
            "asked": In(stream.Signature(1)), "given": In(stream.Signature(1)), "wrong": Out(1),
            **{f"word_{n}": Out(word) for n in range(READERS)}, **{f"word_{n}_valid": Out(1) for n in range(READERS)}})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.engine = engine = ReadEngine(MASTER, READERS)
        m.submodules.bursts = bursts = StreamQueue(data.StructLayout({"address": 64, "beats_less_1": 8}), 8)
        beat, open_bursts, last = Signal(8), Signal(8), Signal()
        address = bursts.o.payload.address + (beat << 3)
        gives = bursts.o.valid & ~paused(m, 61)
        for n in range(READERS):
            request, word = getattr(engine, f"request_{n}"), getattr(self, f"word_{n}")
            wiring.connect(m, wiring.flipped(getattr(self, f"request_{n}")), request)
            m.d.comb += [word.data.eq(engine.data), word.fault.eq(engine.fault),
                         getattr(self, f"word_{n}_valid").eq(getattr(engine, f"taken_{n}"))]
        granted = Cat(getattr(engine, f"request_{n}").valid & getattr(engine, f"request_{n}").ready
                      for n in range(READERS)).any()
        m.d.comb += [
            bursts.i.valid.eq(engine.arvalid & self.asked.valid), self.asked.ready.eq(engine.arvalid & bursts.i.ready),
            bursts.i.payload.address.eq(engine.araddr), bursts.i.payload.beats_less_1.eq(engine.arlen),
            engine.arready.eq(self.asked.valid & engine.arvalid & bursts.i.ready),
            engine.rvalid.eq(gives & self.given.valid), self.given.ready.eq(gives & engine.rready),
            engine.rdata.eq(~address), engine.rresp.eq(address[ZONE:ZONE + 2]),
            last.eq(engine.rvalid & (beat == bursts.o.payload.beats_less_1)), bursts.o.ready.eq(last),
            engine.stop.eq(paused(m, 50)),
            self.wrong.eq((granted & (engine.stop | (open_bursts == MASTER.reads_in_flight)))
                          | (engine.idle != (open_bursts == 0)) | (engine.beat != engine.rvalid)
                          | (engine.stall != ((open_bursts != 0) & ~engine.rvalid)) | ~engine.rready
                          | (engine.arsize != 3) | (engine.arburst != 1)),
        ]
        m.d.sync += open_bursts.eq(open_bursts + granted - last)
        with m.If(engine.rvalid):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last):
                m.d.sync += beat.eq(0)
        return m


@stalls
def test_bursts_are_read(stall, check):
    """Each reader gets the words that it asked for, whatever the others ask, with their errors as zero."""
    rng = random.Random(SEED)
    requests, words = [[] for _ in range(READERS)], [[] for _ in range(READERS)]
    for reader in range(READERS):
        for _ in range((60, 150, 300)[reader]):
            count = rng.choice([*LENGTHS, rng.randint(1, MASTER.burst_beats)])
            # OKAY, SLVERR, DECERR; EXOKAY is no answer to what the master asks.
            zone = rng.choice([Response.OKAY, Response.OKAY, Response.SLVERR, Response.DECERR])
            address = (rng.getrandbits(61) << 3) & ~(3 << ZONE) | zone << ZONE
            requests[reader].append({"address": address, "beats": count})
            for n in range(count):
                word, response = word_of(address + 8 * n)
                slverr, decerr = FAULTS[response]
                words[reader].append({"data": 0 if slverr or decerr else word,
                                      "fault": {"slverr": slverr, "decerr": decerr}})
    paces = {"asked": Offer([0] * sum(map(len, requests))), "given": Offer([0] * sum(map(len, words)))}
    check(ReadBench(), "read-engine", {f"request_{n}": Offer(items) for n, items in enumerate(requests)} | paces,
          {f"word_{n}": Expect(items) for n, items in enumerate(words)}, quiet=["wrong"])
