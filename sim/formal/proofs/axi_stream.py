"""AXI4-Stream ports: what is offered stands, packets end, and jobs never lose step with them."""

from amaranth import Cat, Mux, Signal

from latte.golden.config import ceil_div
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import StreamParameters
from latte.rtl.axi.packet_receiver import PacketReceiver
from latte.rtl.axi.packet_sender import PacketSender
from latte.rtl.axi.packet_transmitter import PacketTransmitter
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_STREAM = StreamParameters(data_bits=32)
_ROW_BYTES = 6
_ROW_BEATS = ceil_div(_ROW_BYTES, _STREAM.data_bytes)
_TOTAL_BITS = COUNT_BITS + _ROW_BEATS.bit_length()


def _transmits(s: Setting) -> None:
    dut = PacketTransmitter(_STREAM)
    inside, m = s.add(dut), s.m
    came, left = dut.i.valid & dut.i.ready, dut.tvalid & dut.tready
    # The beat on offer is one that came; the packet that was seen outside has not ended.
    own, begun = Signal(), Signal()
    with m.If(came):
        m.d.sync += own.eq(1)
    with m.Elif(left):
        m.d.sync += own.eq(0)
    with m.If(left):
        m.d.sync += begun.eq(~dut.tlast)
    s.invariant("begun", inside["begun"] == Mux(dut.tvalid, ~dut.tlast, begun))
    s.invariant("own", ~own | dut.tvalid)

    s.stable("t_stable", "TVALID, TDATA, TLAST and TUSER stand until TREADY, whatever is stopped", dut.tvalid,
             dut.tready, Cat(dut.tdata, dut.tlast, dut.tuser))
    s.claim("offers", "TVALID comes a cycle after a beat, whatever TREADY does", dut.tvalid, when=s.held("came", came))
    s.claim("takes", "a beat is taken whatever TREADY does if none is on offer and nothing is stopped", dut.i.ready,
            when=~dut.tvalid & ~dut.stop)
    beat = dut.i.payload
    s.claim("carries", "what is offered is what came", Cat(dut.tdata, dut.tlast, dut.tuser) == s.held("beat", Cat(
        beat.data, beat.last, beat.error)), when=s.held("carried", came))
    s.claim("adds", "only a packet's end is added, with TLAST and TUSER, to one that was stopped",
            dut.tlast & dut.tuser & s.held("unended", inside["begun"]), when=dut.tvalid & ~own & ~s.held("waited",
                                                                                                dut.tvalid & ~left))
    s.within("stops", "a packet that is stopped has ended two cycles of TREADY later", 2,
             waits=dut.stop & dut.tready & ~dut.idle)
    s.claim("ends", "when it is idle, every packet that was begun has ended", ~begun, when=dut.idle)
    s.claim("silent", "no TVALID behind reset", ~dut.tvalid, when=s.after_reset)


def _receives(s: Setting) -> None:
    dut = PacketReceiver(_ROW_BYTES, 2, _STREAM)
    inside, m = s.add(dut), s.m
    gearbox = inside.part("gearbox").block
    asked, beat = dut.rows.valid & dut.rows.ready, dut.tvalid & dut.tready
    moved = gearbox.i.valid & gearbox.i.ready
    # Of the packet that is asked for: its beats; those taken, one more than it has at most; those handed on.
    waits, ended = Signal(), Signal()
    total, taken, given = (Signal(_TOTAL_BITS, name=name) for name in ("total", "taken", "given"))
    with m.If(asked):
        m.d.sync += [waits.eq(1), ended.eq(0), taken.eq(0), given.eq(0), total.eq(dut.rows.payload * _ROW_BEATS)]
    with m.Elif(dut.finished):
        m.d.sync += waits.eq(0)
    with m.If(beat):
        m.d.sync += [taken.eq(Mux(taken > total, taken, taken + 1)), ended.eq(dut.tlast)]
    with m.If(moved):
        m.d.sync += given.eq(given + 1)
    faults = dut.faults
    state = inside.state
    for name, condition in {
            "idle": state("IDLE") == ~waits,
            "left": ~waits | ((inside["left"] + given)[:_TOTAL_BITS] == total) & (given <= total),
            "begin": ~state("BEGIN") | ((given == 0) & (taken == 0) & ~ended),
            "take": ~state("TAKE") | (~ended & (taken == given) & (given < total) & ~faults.packet_short
                                      & ~faults.packet_long),
            "fill": ~state("FILL") | (ended & (taken < total) & (given < total) & faults.packet_short
                                      & ~faults.packet_long),
            "drop": ~state("DROP") | (~ended & (given == total) & (total != 0) & (taken >= total) & faults.packet_long
                                      & ~faults.packet_short),
            "finish": ~state("FINISH") | ((given == total) & (ended == (total != 0))
                                          & (faults.packet_short == (taken < total))
                                          & (faults.packet_long == (taken > total))),
            "total": ~waits | (total <= _ROW_BEATS * ((1 << COUNT_BITS) - 1)), "any": state()}.items():
        s.invariant(name, condition)
    s.claim("asked_for", "nothing is taken before a job asks for it, nor behind the packet's TLAST", waits & ~ended,
            when=dut.tready)
    s.claim("in_step", "a packet is finished when its rows, no more and no fewer, were handed on", given == total,
            when=dut.finished)
    s.claim("one_packet", "and when its TLAST was taken, if the job has rows", ended == (total != 0), when=dut.finished)
    s.claim("short", "packet_short says that TLAST came before the last beat", faults.packet_short == (taken < total),
            when=dut.finished)
    s.claim("long", "packet_long says that it did not come with the last beat", faults.packet_long == (taken > total),
            when=dut.finished)
    s.claim("tells_of_bytes", "a byte of a row without TKEEP is remembered to the packet's end", faults.bytes_missing,
            when=s.held("missed", beat & state("TAKE") & ~dut.tkeep[0]) & waits)
    s.claim("takes", "a beat that is asked for is taken as soon as there is room", dut.tready,
            when=state("TAKE") & gearbox.i.ready)
    s.reach("filled", dut.finished & faults.packet_short & (total == 2 * _ROW_BEATS))
    s.reach("dropped", dut.finished & faults.packet_long & (total == _ROW_BEATS))
    s.claim("silent", "no TREADY behind reset", ~dut.tready, when=s.after_reset)


def _sends(s: Setting) -> None:
    dut = PacketSender(_ROW_BYTES, _STREAM)
    inside, m = s.add(dut), s.m
    begins, left = dut.begun.valid & dut.begun.ready, dut.o.valid & dut.o.ready
    s.assume_stable("beat", dut.beat.valid, dut.beat.ready, dut.beat.payload)
    # The transmitter has sent its packet when it is empty behind a last beat, or before the first.
    s.assume("sent", ~(dut.sent & s.held("given", left)))
    at_work, ended = Signal(), Signal()
    total, given = Signal(_TOTAL_BITS), Signal(_TOTAL_BITS)
    with m.If(begins):
        m.d.sync += [at_work.eq(1), ended.eq(0), given.eq(0), total.eq(dut.begun.payload.rows * _ROW_BEATS)]
    with m.Elif(dut.done):
        m.d.sync += at_work.eq(0)
    with m.If(left):
        m.d.sync += [given.eq(given + 1), ended.eq(dut.o.payload.last)]
    state = inside.state
    for name, condition in {
            "idle": state("IDLE") == ~at_work,
            "left": ~at_work | ((inside["left"] + given)[:_TOTAL_BITS] == total) & (given <= total),
            "ended": ~at_work | (ended == ((given == total) & (total != 0))),
            "fetched": ~state("FETCHED") | (total - given <= 1) & ((given != total) | (total == 0)),
            "last": ~state("LAST") | (total - given <= 1), "done": ~state("DONE") | (given == total),
            "any": state()}.items():
        s.invariant(name, condition)
    s.stable("stable", "a beat stands until it is taken", dut.o.valid, dut.o.ready, dut.o.payload)
    s.claim("one_packet", "a job is done when as many beats as its rows have were given, the last one marked",
            (given == total) & (ended == (total != 0)), when=dut.done)
    s.claim("last", "the last beat alone is marked", dut.o.payload.last == (given + 1 == total), when=dut.o.valid)
    s.claim("tells", "the last beat, and no other, says whether anything is wrong with the job",
            dut.o.payload.error == (dut.o.payload.last & dut.causes.as_value().any()), when=dut.o.valid)
    s.claim("fetched", "and waits until the packets that came in have ended", s.held("ends", state("FETCHED", "LAST")),
            when=dut.o.valid & dut.o.payload.last)
    s.claim("zeros", "a refused job gives zeros, and takes no rows of another", (dut.o.payload.data == 0)
            & ~dut.beat.ready, when=dut.o.valid & inside["begun"].refused)


_BUILD = f"{_STREAM.data_bits} bits, rows of {_ROW_BYTES} bytes"
PROOFS = (
    Proof("PacketTransmitter", _transmits, "induction", 3, 12, f"{_STREAM.data_bits} bits"),
    Proof("PacketReceiver", _receives, "induction", 2, 24, f"{_BUILD}, a core's bus of 2"),
    Proof("PacketSender", _sends, "induction", 2, 16, _BUILD),
)
