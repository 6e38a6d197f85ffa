"""AXI4 master: legal bursts, each asked for once, each beat to whom it belongs, and an end to everything."""

from amaranth import Cat, Mux, Signal, Value
from amaranth.lib import data

from latte.rtl.axi.bus import BOUNDARY, MasterParameters
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.row_bursts import RowBursts
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.primitives import times
from latte.sim.formal.setting import Proof, Setting

__all__ = ["MASTER", "PROOFS", "is_legal"]

MASTER = MasterParameters(burst_beats=8, reads_in_flight=2, writes_in_flight=2)
_READERS = 2
_BEAT = MASTER.data_bytes
_STEP = _BEAT.bit_length() - 1
_PAGE = BOUNDARY.bit_length() - 1


def is_legal(address: Value, beats: Value) -> Value:
    """Return whether a burst is one: aligned, not empty, not too long, within 4 KB."""
    last = address[_STEP:_PAGE] + beats - 1
    return (address[:_STEP] == 0) & (beats != 0) & (beats <= MASTER.burst_beats) & (last < BOUNDARY // _BEAT)


def _address_channel(s: Setting, dut: ReadEngine | WriteEngine, channel: str, taken: Value, burst: data.View) -> Value:
    """Claim what holds of both address channels; return the beats that were taken and not asked for yet."""
    m = s.m
    valid, ready, address, length, size, kind = (
        getattr(dut, channel + name) for name in ("valid", "ready", "addr", "len", "size", "burst"))
    name, port = channel, channel.upper()
    s.stable(f"{name}_stable", f"{port}VALID, {port}ADDR and {port}LEN stand until {port}READY", valid, ready,
             Cat(address, length))
    kept = Signal(burst.shape())
    with m.If(taken):
        m.d.sync += kept.eq(burst)
    s.invariant(f"{name}_kept", ~valid | ((address == kept.address) & (length + 1 == kept.beats)
                                         & is_legal(kept.address, kept.beats)))
    s.claim(f"{name}_legal", "incrementing bursts of whole beats, none longer than the build's, none across 4 KB",
            is_legal(address, length + 1) & (size == _STEP) & (kind == 1), when=valid)
    s.claim(f"{name}_asked_for", f"{port}VALID a cycle after a burst was taken, for that burst, and never else",
            (address == kept.address) & (length + 1 == kept.beats)
            & (s.held(f"{name}_taken", taken) | s.held(f"{name}_waits", valid & ~ready)), when=valid)
    s.claim(f"{name}_prompt", f"{port}VALID does not wait for {port}READY", valid, when=s.held(f"{name}_begun", taken))
    s.claim(f"{name}_silent", f"no {port}VALID behind reset", ~valid, when=s.after_reset)
    return Mux(valid, length + 1, 0)


def _reads(s: Setting) -> None:
    dut = ReadEngine(MASTER, _READERS)
    inside, m = s.add(dut), s.m
    requests = [getattr(dut, f"request_{n}") for n in range(_READERS)]
    for n, request in enumerate(requests):
        burst = request.payload
        s.assume_stable(f"request_{n}_stable", request.valid, request.ready, burst)
        s.assume(f"request_{n}_legal", ~request.valid | is_legal(burst.address, burst.beats))
    grants = Cat(request.valid & request.ready for request in requests)
    reader = Signal()
    granted = Signal(requests[0].payload.shape())
    m.d.comb += [reader.eq(grants[1]), granted.eq(Mux(reader, requests[1].payload, requests[0].payload))]
    s.claim("one_granted", "one reader is granted at a time", grants != 0b11,
            when=requests[0].valid & requests[1].valid)
    pending = _address_channel(s, dut, "ar", grants.any(), granted)

    # Beats that memory owes: data come for what was asked for, and for nothing else.
    asked, came = dut.arvalid & dut.arready, dut.rvalid & dut.rready
    owed = Signal(range(2 * MASTER.burst_beats * MASTER.reads_in_flight))
    m.d.sync += owed.eq(owed + Mux(asked, dut.arlen + 1, 0) - came)
    s.assume("data_asked_for", ~dut.rvalid | (owed != 0) | asked)

    in_flight, write, read, count, order = (inside[name] for name in ("in_flight", "write", "read", "count", "order"))
    front, second = order[read], order[~read]
    open_beats = Mux(in_flight != 0, front.beats - count, 0) + Mux(in_flight == 2, second.beats, 0)
    latest = Mux(in_flight == 2, second.beats, front.beats)
    for name, condition in {
            "pointers": write == (read + in_flight)[0],
            "front": Mux(in_flight == 0, count == 0, (front.beats > count) & (front.beats <= MASTER.burst_beats)),
            "second": (in_flight != 2) | ((second.beats != 0) & (second.beats <= MASTER.burst_beats)),
            "owed": open_beats == owed + pending, "pending": ~dut.arvalid | ((latest == pending) & (in_flight != 0)),
            }.items():
        s.invariant(name, condition)
    s.claim("reads_bounded", "no more bursts under way than the build's", in_flight <= MASTER.reads_in_flight)
    s.reach("most_reads", in_flight == MASTER.reads_in_flight)
    s.claim("reads_idle", "idle if, and only if, nothing was asked for that has not come",
            dut.idle == ((owed == 0) & ~dut.arvalid), when=dut.idle | (owed == 0))
    s.claim("r_ready", "RREADY is always high", dut.rready, when=dut.rvalid)
    s.claim("reads_stop", "nothing is granted during a stop", ~grants.any(), when=dut.stop & (requests[0].valid))
    could = ~dut.stop & (in_flight != 2) & (~dut.arvalid | dut.arready)
    s.within("granted_in_turn", "a request is passed over once for each other reader at most",
             _READERS - 1, waits=requests[0].valid & ~requests[0].ready & could)

    here = Signal()
    ahead = Signal(5)
    mine = Signal(5)
    whose = Signal()
    slot = Signal()
    with m.If(here):
        m.d.sync += [ahead.eq(Mux(came & (ahead != 0), ahead - 1, ahead)),
                     mine.eq(Mux(came & (ahead == 0), mine - 1, mine)),
                     here.eq(~(came & (ahead == 0) & (mine == 1)))]
    with m.Elif(grants.any() & s.free("chosen")):
        m.d.sync += [here.eq(1), ahead.eq(owed + pending - came), mine.eq(granted.beats), whose.eq(reader),
                     slot.eq(write)]
    rest = front.beats - count
    s.invariant("followed", ~here | Mux(
        slot == read, (in_flight != 0) & (ahead == 0) & (mine == rest) & (whose == front.reader),
        (in_flight == 2) & (ahead == rest) & (mine == second.beats) & (whose == second.reader)))
    taken = Cat(getattr(dut, f"taken_{n}") for n in range(_READERS))
    s.claim("owner", "each beat of any burst goes to the reader that asked for it, and to no other",
            taken == (1 << s.held("whose", whose)), when=s.held("mine", here & came & (ahead == 0)))
    s.claim("beats", "a beat is handed on in the cycle after it came, and never else",
            taken.any() == s.held("came", came), when=taken.any() | s.held("came_now", came))
    wrong = s.held("wrong", dut.rresp[1])
    s.claim("r_carries", "data go on as they came, with an error response as zeros and with the fault",
            (dut.data == Mux(wrong, 0, s.held("rdata", dut.rdata))) & (dut.fault.as_value().any() == wrong),
            when=taken.any())


def _writes(s: Setting) -> None:
    dut = WriteEngine(MASTER)
    inside, m = s.add(dut), s.m
    burst = dut.burst.payload
    s.assume_stable("burst_stable", dut.burst.valid, dut.burst.ready, burst)
    s.assume("burst_legal", ~dut.burst.valid | is_legal(burst.address, burst.beats))
    begun, moved = dut.burst.valid & dut.burst.ready, dut.wvalid & dut.wready
    aw, b = dut.awvalid & dut.awready, dut.bvalid & dut.bready
    _address_channel(s, dut, "aw", begun, burst)

    # Beats that the oldest burst still has to get over the bus, and those of the one behind it.
    first = Signal(4)
    second = Signal(4)
    rest = first - moved
    m.d.sync += [first.eq(rest), second.eq(second)]
    with m.If(rest == 0):
        m.d.sync += [first.eq(Mux(second != 0, second, Mux(begun, burst.beats, 0))),
                     second.eq(Mux((second != 0) & begun, burst.beats, 0))]
    with m.Elif(begun):
        m.d.sync += second.eq(burst.beats)
    left = inside["left"]
    s.invariant("left", Mux(second != 0, (first == 1) & dut.wvalid & (left == second), first == left + dut.wvalid))
    s.invariant("last", ~dut.wvalid | (dut.wlast == (first == 1)))
    s.invariant("whole", (first <= MASTER.burst_beats) & (second <= MASTER.burst_beats))
    s.stable("w_stable", "WVALID, WDATA, WSTRB and WLAST stand until WREADY", dut.wvalid, dut.wready,
             Cat(dut.wdata, dut.wstrb, dut.wlast))
    s.claim("w_last", "as many beats as the burst was asked for with, WLAST with the last one, none without a burst",
            (first != 0) & (dut.wlast == (first == 1)), when=dut.wvalid)
    wanted = first + second - dut.wvalid
    s.claim("w_prompt", "a beat of a burst that was begun is taken as soon as the one before it leaves",
            dut.beat.ready == (wanted != 0), when=~dut.wvalid | dut.wready)
    s.claim("w_carries", "WDATA and WSTRB are the beat that was taken a cycle before",
            dut.wvalid & (dut.wdata == s.held("beat", dut.beat.payload.data))
            & (dut.wstrb == s.held("strobe", dut.beat.payload.strobe)),
            when=s.held("taken", dut.beat.valid & dut.beat.ready))
    s.claim("w_silent", "no WVALID behind reset", ~dut.wvalid, when=s.after_reset)

    # A slave answers when it has the address and all data.
    asked, given = s.count("asked", aw, b, 2), s.count("given", moved & dut.wlast, b, 2)
    s.assume("answers_asked_for", ~dut.bvalid | (((asked != 0) | aw) & ((given != 0) | (moved & dut.wlast))))
    unanswered = s.count("unanswered", begun, b, 2)
    s.invariant("unanswered", unanswered == inside["unanswered"])
    s.invariant("asked", unanswered == asked + dut.awvalid)
    s.invariant("given", unanswered == given + (first != 0) + (second != 0))
    s.claim("writes_bounded", "no more bursts unanswered than the build's", unanswered <= MASTER.writes_in_flight)
    s.reach("most_writes", unanswered == MASTER.writes_in_flight)
    s.claim("writes_answered", "each response is counted, for a burst that waits for it",
            (unanswered != 0) & (dut.answered == dut.bvalid), when=dut.bvalid)
    s.claim("writes_idle", "idle if, and only if, everything that was begun is answered",
            dut.idle == ((unanswered == 0) & ~dut.awvalid & ~dut.wvalid), when=dut.idle | (unanswered == 0))
    s.claim("b_ready", "BREADY is always high", dut.bready, when=dut.bvalid)
    s.claim("writes_stop", "nothing is begun during a stop", ~begun, when=dut.stop & dut.burst.valid)


def _bursts(s: Setting, row_beats: int = 3) -> None:
    dut = RowBursts(row_beats * _BEAT, MASTER)
    inside, m = s.add(dut), s.m
    rows, burst = dut.rows.payload, dut.burst.payload
    accepted, leaves = dut.rows.valid & dut.rows.ready, dut.burst.valid & dut.burst.ready
    s.assume("aligned", (rows.address[:_STEP] == 0) & (rows.stride[:_STEP] == 0))
    # Beats that are still to come, in all and of the run in front; where it goes on.
    left = Signal(18)
    run = inside["left"]
    at = Signal(64)
    row_at = Signal(64)
    stride = Signal(32)
    joined = Signal()
    with m.If(accepted):
        m.d.sync += [left.eq(times(rows.rows, row_beats)), row_at.eq(rows.address), stride.eq(rows.stride),
                     joined.eq(rows.stride == row_beats * _BEAT)]
    with m.If(leaves):
        m.d.sync += [left.eq(left - burst.beats), at.eq(at + (burst.beats << _STEP))]
    starts = inside.state("RUN")
    with m.If(starts):
        m.d.sync += [at.eq(row_at), row_at.eq(row_at + stride)]
    more, busy = times(inside["rows"], row_beats), ~inside.state("IDLE")
    for name, condition in {
            "total": Mux(busy, Mux(starts, more, run + more) == left, left == 0),
            "run": ~inside.state("CUT", "OFFER") | ((run != 0) & (burst.address == at)),
            "rows": ~starts | (inside["rows"] != 0), "states": inside.state(),
            "aligned": (burst.address[:_STEP] == 0) & (row_at[:_STEP] == 0) & (stride[:_STEP] == 0),
            "kept": ~busy | ((inside["row_address"] == row_at) & (inside["stride"] == stride)
                             & (inside["joined"] == joined)),
            "cut": ~dut.burst.valid | (is_legal(burst.address, burst.beats) & (burst.beats <= run)),
            }.items():
        s.invariant(name, condition)
    s.stable("bursts_stable", "a burst stands until it is taken", dut.burst.valid, dut.burst.ready, burst)
    s.claim("bursts_legal", "none is empty, none longer than the build's, none crosses 4 KB",
            is_legal(burst.address, burst.beats), when=dut.burst.valid)
    s.claim("all_beats", "the bursts of some rows have as many beats as the rows, in all",
            Mux(dut.rows.ready, left == 0, left >= burst.beats), when=dut.burst.valid | dut.rows.ready)
    s.claim("places", "each burst begins where the one before it ended, or at the beginning of the next row",
            burst.address == at, when=dut.burst.valid)
    s.within("bursts_in_time", "a burst is offered in two cycles from the one before, a row's first in three",
             2, waits=~dut.burst.valid & busy)
    s.reach("joined", leaves & joined & (burst.beats > row_beats))
    s.reach("cut", leaves & joined & (left > burst.beats) & (burst.beats < MASTER.burst_beats))


_BUILD = (f"{MASTER.data_bits} bits, bursts of {MASTER.burst_beats} beats, {MASTER.reads_in_flight} reads and "
          f"{MASTER.writes_in_flight} writes under way")
PROOFS = (
    Proof("ReadEngine", _reads, "induction", 4, 14, f"{_BUILD}, {_READERS} readers"),
    Proof("WriteEngine", _writes, "induction", 3, 14, _BUILD),
    Proof("RowBursts", _bursts, "induction", 4, 16, f"{_BUILD}, rows of 3 beats, of any number and stride"),
)
