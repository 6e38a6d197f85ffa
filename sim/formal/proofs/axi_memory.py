"""Between the ring of descriptors, the rows and the bus: nothing is overwritten, nothing finds no room."""

from amaranth import Cat, Const, Mux, Signal

from latte.golden.config import preset
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptor_ring import DescriptorRing
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.output_packer import OutputPacker
from latte.rtl.axi.ring_registers import RING_SIZE_MAX
from latte.rtl.axi.row_fetcher import RowFetcher
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_MASTER = MasterParameters(burst_beats=8, reads_in_flight=2)
_LEAN = preset("small", head_dim=4, query_lanes=1, query_rows=4).lean()


def _ring(s: Setting) -> None:
    dut = DescriptorRing()
    inside = s.add(dut)
    size_log2 = s.constant("any_size", 4)
    base = s.constant("any_base", 64)
    s.m.d.comb += [dut.size_log2.eq(size_log2), dut.base.eq(base)]
    size = Signal(17)
    s.m.d.comb += size.eq(1 << size_log2)
    s.assume("size", size_log2 <= RING_SIZE_MAX)
    s.assume("unaligned", base[:6] == 0)
    taken, released = inside["taken"], inside["released"]
    written, begun, freed, held = (Signal(16, name=name) for name in ("written", "begun", "freed", "held"))
    s.m.d.comb += [written.eq(dut.head - taken), begun.eq(taken - released), freed.eq(released - dut.tail),
                   held.eq(dut.head - released)]
    # One write of the bus takes two cycles; the others do one descriptor after the other.
    s.assume("doorbells", ~(dut.ring & s.held("rung", dut.ring)))
    s.assume("take", ~dut.take | dut.waiting)
    s.assume("release", ~dut.release | (begun != 0))
    s.assume("done", ~dut.done | (freed != 0))
    s.invariant("order", (Const(0, 18) + written + begun + freed <= size + freed) & (written + begun == held))
    s.invariant("mask", (inside["mask"] == 0) | (inside["mask"] == size - 1))
    s.invariant("free", inside["free"] + held <= Mux(s.held("rung_before", dut.ring & ~dut.overflow), 1 << 17, size))
    s.claim("fits", "the ring never holds more descriptors than it has slots, from the doorbell to the status word",
            held <= size, when=held != 0)
    s.reach("full", (held == size) & (size_log2 == 3))
    # The counters are compared as they were a cycle ago.
    settled, more = s.held("settled", Const(1), 2), Signal(16)
    s.m.d.comb += more.eq(dut.number - dut.head)
    s.claim("overflow", "a doorbell is refused if, and only if, the ring would hold too many",
            dut.overflow == (more > size - held), when=dut.ring & settled & s.held("calm", ~dut.release))
    s.claim("waiting", "a descriptor waits only if one was written that was not taken", written != 0, when=dut.waiting)
    s.within("waits", "and does so two cycles behind its doorbell", 1, waits=(written != 0) & ~dut.waiting)
    step = DESCRIPTOR_BYTES.bit_length() - 1
    slot = taken & (size - 1)
    s.claim("take_address", "it is read from its slot", dut.take_address == (base + (slot << step))[:64],
            when=dut.waiting & settled)
    s.claim("empty", "empty, but for a cycle, if, and only if, all that was written is done",
            dut.empty == (dut.head == dut.tail), when=s.held("still", ~dut.ring & ~dut.done))


def _fetcher(s: Setting) -> None:
    dut = RowFetcher(24, 2, _MASTER)
    inside = s.add(dut)
    queue = inside.part("queue")
    bursts = inside.part("bursts")
    state = QueueState(s, queue.block, queue)
    room, coming, zeros = inside["room"], inside["coming"], inside["zeros"]
    asked = dut.request.valid & dut.request.ready
    beats = Mux(asked, dut.request.payload.beats, 0)
    owed = Signal(range(queue.block.depth + 1))
    s.m.d.sync += owed.eq(owed + beats - dut.taken)
    s.assume("asked_for", ~dut.taken | (owed != 0))
    command = dut.command.payload
    s.assume_stable("command_stable", dut.command.valid, dut.command.ready, command)
    s.assume("aligned", (command.address[:3] == 0) & (command.stride[:3] == 0))
    s.invariant("coming", owed == coming)
    s.invariant("room", room + coming + state.items == queue.block.depth)
    s.invariant("zeros", (zeros == 0) | ((coming == 0) & bursts.state("IDLE") & inside["working"]))
    s.invariant("working", inside["working"] | (bursts.state("IDLE") & (coming == 0)))
    s.claim("finds_room", "every beat that comes finds room: RREADY never has to be low", queue.block.i.ready,
            when=dut.taken)
    s.claim("asks_for_room", "no burst is asked for without room for all of it", dut.request.payload.beats <= room,
            when=dut.request.valid)
    s.claim("zeros_apart", "zeros for one command and data of another never meet", zeros == 0, when=dut.taken)
    s.stable("request_stable", "a request stands until it is granted", dut.request.valid, dut.request.ready,
             dut.request.payload)
    s.claim("finished", "a command ends when all that was asked for has come, and asks for nothing more",
            (owed == 0) & ~dut.request.valid, when=dut.finished)
    s.reach("full", room == 0)


def _packer(s: Setting) -> None:
    dut = OutputPacker(_LEAN, _MASTER, 2 * _MASTER.burst_beats)
    inside = s.add(dut)
    queue = inside.part("queue")
    state = QueueState(s, queue.block, queue)
    s.invariant("level", dut.level == state.items)
    s.claim("level", "there are as many beats in the queue as `level` says, and two bursts at most",
            (dut.level == state.items) & (dut.level <= dut.depth), when=dut.level != 0)
    s.within("beats_there", "beats that `level` tells of come with gaps of two cycles at most", 2,
             waits=(dut.level != 0) & ~dut.beat.valid)
    s.stable("beat_stable", "a beat stands until it is taken", dut.beat.valid, dut.beat.ready, dut.beat.payload)
    gearbox = inside.part("gearbox").block
    lane, width = _LEAN.normalizer_lanes, 8 * dut.element_bytes
    s.claim("extends", "elements go on with their sign extended", Cat(
        gearbox.i.payload[n * width:(n + 1) * width].as_signed() == dut.o.payload.data[n] for n in range(lane)).all(),
        when=dut.o.valid)


_BUILD = f"bursts of {_MASTER.burst_beats} beats"
PROOFS = (
    Proof("DescriptorRing", _ring, "induction", 3, 12, "rings of any size"),
    Proof("RowFetcher", _fetcher, "induction", 2, 24,
          f"{_BUILD}, {_MASTER.reads_in_flight} under way, rows of 24 bytes, a core's bus of 2"),
    Proof("OutputPacker", _packer, "induction", 3, 30, f"{_BUILD}, rows of {_LEAN.head_dim} elements"),
)
