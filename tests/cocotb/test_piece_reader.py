"""Pieces of memory that are read ahead, of an addressed memory, under the stall matrix."""

import random

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import MasterParameters
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.piece_bursts import piece_layout
from latte.rtl.memory.piece_reader import PieceReader, beat_layout
from latte.sim.block_testbench import Expect, Offer
from tests.cocotb.addressed import AddressedMemory, bytes_of, response_of
from tests.cocotb.blocks import SEED
from tests.cocotb.test_piece_bursts import bursts_of, masters, random_piece, stalls
from tests.cocotb.weighed import paused


class PieceBench(wiring.Component):
    """A reader of pieces and an addressed memory; for some time nobody listens.

    Members
    -------
    flood : In(stream of 1)
        Beats that nobody asked for; until a 1 comes, nobody listens.
    lost, lost_valid : Out(1)
        The queue has no place for a beat.
    """

    def __init__(self, master: MasterParameters) -> None:
        self.master = master
        super().__init__({
            "piece": In(stream.Signature(piece_layout())), "asked": In(stream.Signature(1)),
            "given": In(stream.Signature(1)), "flood": In(stream.Signature(1)),
            "o": Out(stream.Signature(beat_layout(master))), "lost": Out(1), "lost_valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.reader = reader = PieceReader(self.master)
        m.submodules.memory = memory = AddressedMemory(self.master)
        m.submodules.listener = listener = StreamQueue(beat_layout(self.master))
        floods = Signal()
        with m.If(self.flood.valid):
            m.d.sync += floods.eq(~self.flood.payload)
        listens = ~paused(m, 150) & ~floods & ~self.flood.valid
        for ours, theirs in ((self.piece, reader.piece), (self.asked, memory.asked), (self.given, memory.given),
                             (self.o, listener.o)):
            wiring.connect(m, wiring.flipped(ours), theirs)
        wiring.connect(m, reader.request, memory.request)
        m.d.comb += [reader.taken.eq(memory.taken | self.flood.valid), self.flood.ready.eq(1),
                     reader.data.eq(memory.data), reader.fault.eq(memory.fault),
                     listener.i.valid.eq(reader.o.valid & listens),
                     reader.o.ready.eq(listener.i.ready & listens), listener.i.payload.eq(reader.o.payload),
                     self.lost_valid.eq(reader.overflow)]
        return m


@stalls
@masters
def test_pieces_are_read(master, stall, check):
    """Whoever does not listen for longer than the queue lasts loses nothing; errors come with their beat."""
    rng = random.Random(SEED)
    pieces = [random_piece(rng, master, 200) for _ in range(120)]
    beats = [address % (1 << 64) for piece in pieces
             for address in range(piece["address"], piece["address"] + piece["beats"] * master.data_bytes,
                                  master.data_bytes)]
    wanted = [{"data": int.from_bytes(bytes_of(address, master.data_bytes).tobytes(), "little"),
               "fault": bool(response_of(address))} for address in beats]
    check(PieceBench(master), f"piece-reader-{master.data_bits}",
          {"piece": Offer(pieces), "flood": Offer([]), "given": Offer([0] * len(beats)),
           "asked": Offer([0] * sum(len(bursts_of(piece, master)) for piece in pieces))},
          {"o": Expect(wanted), "lost": Expect([])})


@stalls
@masters
def test_beats_that_nobody_asked_for_are_lost_aloud(master, stall, check):
    """A queue holds what may be in flight, and a beat that is offered."""
    held = master.burst_beats * master.reads_in_flight + 1
    flood = [0] * (held + 9) + [1]
    check(PieceBench(master), f"piece-reader-{master.data_bits}",
          {"piece": Offer([]), "given": Offer([]), "asked": Offer([]), "flood": Offer(flood)},
          {"o": Expect([None] * held), "lost": Expect([0] * (len(flood) - held))})
