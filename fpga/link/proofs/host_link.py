"""The host's link as a whole: each request is carried out once and answered once, as its frame says."""

from amaranth import Array, C, Cat, Const, Mux, Signal, Value
from amaranth.hdl import Shape

from latte.fpga.link.host_link import HostLink
from latte.fpga.link.proofs.host_link_course import (
    BEAT_BYTES,
    CONFIG,
    PATIENCE,
    PAYLOAD_BYTES,
    WINDOW,
    Course,
    Link,
    words,
)
from latte.fpga.link.protocol import (
    ERROR,
    RESPONSE,
    STREAMS,
    Request,
    byte_size,
    identity,
    identity_layout,
    item_shape,
    report_layout,
    trailer_layout,
)
from latte.rtl.common.core import counters_layout
from latte.rtl.common.ram import RAM_LATENCY
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]


def _course(s: Setting) -> Course:
    return Course(s, HostLink(CONFIG, 4e6, 1e6, payload_bytes=PAYLOAD_BYTES, window=WINDOW, patience=PATIENCE))


def _carries_out(s: Setting) -> None:
    link = _course(s)
    dut, queue, sender, request, serves = link.dut, link.queue, link.sender, link.request, link.serves
    m, kind = s.m, request.type
    session = Signal()
    with m.If(link.state("BEGIN") & (kind == Request.HELLO)):
        m.d.sync += session.eq(1)
    link.seek(s)
    done = s.held("done", queue.done)
    s.claim("done_once", "each request is done once, and it is the one that waits longest", serves & queue.waiting,
            when=queue.done)
    s.claim("one_answer", "each is answered behind that, and once; else an answer is sent again that is due",
            done | s.held("resent", queue.resent), when=sender.start)
    s.claim("answers", "and at once", sender.start, when=done)
    answer = queue.answer
    s.claim("says", "an answer has its request's number, and type unless it failed",
            (answer.sequence == request.sequence)
            & (answer.type == Mux(link.failure != 0, ERROR, kind | RESPONSE)), when=queue.done)
    s.claim("length", "and is as long as its type says", answer.length == link.length,
            when=queue.done & (kind != Request.READ_OUTPUT))
    s.claim("accepts", "a write that did not fail has handed over all of its items, or was cut short",
            link.over, when=queue.done & link.is_write & (link.failure == 0))
    s.claim("fails", "one fails without a session, of an unknown type, or behind whole items that more bytes follow",
            Mux(link.refused, (link.begin == 0) & ~link.hands_any,
                link.is_write & (request.length != link.begin) & (request.length - link.begin < link.size)),
            when=queue.done & (link.failure != 0))
    s.claim("session", "a session is open from the first HELLO on", dut.session == session, when=session | dut.session)
    begun = s.held("begun", link.state("BEGIN"))
    for name, code in (("reset", Request.RESET), ("clear", Request.CLEAR)):
        s.claim(f"{name}s", f"{name} is given by its request in a session, once, and by nothing else",
                getattr(dut, name) == (begun & (kind == code) & ~link.refused), when=getattr(dut, name) | (
                    begun & (kind == code)))
    beats = dut.o.valid & dut.o.ready
    s.claim("takes_outputs", "outputs are taken by their request alone, and none behind the end of a job",
            serves & (kind == Request.READ_OUTPUT) & ~link.refused & ~link.job_last, when=dut.o.ready)
    s.claim("ready_once", "each is there when it is taken", beats, when=dut.o.ready)
    s.claim("busy", "busy while a request is carried out or an answer is sent", dut.busy == (
        serves | link.sends | sender.start), when=dut.busy | serves)
    for name in STREAMS.values():
        port = getattr(dut, name)
        hands = s.held(f"{name}_hands", link.hands[name])
        before = s.held(f"{name}_before", Cat(port.valid & ~port.ready & ~dut.reset, Value.cast(port.payload)))
        s.claim(f"{name}_waits", "an item that was handed over stands until it is taken, or the core is reset",
                Cat(port.valid, Value.cast(port.payload)) == before, when=before[0])
        s.claim(f"{name}_only", "and no other comes but from a write to its stream that is carried out", hands,
                when=port.valid & ~before[0])
        s.claim(f"{name}_hands", "which hands over one item at a time, when the one before has left", port.valid,
                when=hands)
    s.within("patience", "no request waits longer for a stream than the link has patience", PATIENCE + 1,
             waits=link.state("HAND OVER"))
    s.within("output_patience", "nor for an output", PATIENCE + 1, waits=link.state("TAKE OUTPUT") & ~dut.o.valid)


def _cell(s: Setting, link: Link, name: str, address: Value) -> Signal:
    """Return what the memory holds in some place: it is read as Ram promises."""
    buffer, cell = link.inside["buffer"], Signal(8, name=name, reset_less=True)
    with s.m.If(buffer.write_en & (buffer.write_addr == address)):
        s.m.d.sync += cell.eq(buffer.write_data)
    asked = s.held(f"{name}_asked", buffer.read_addr == address, RAM_LATENCY)
    s.assume(f"{name}_read", ~asked | (buffer.read_data == s.held(f"{name}_was", cell, RAM_LATENCY)))
    return cell


def _payloads(s: Setting) -> None:
    link = _course(s)
    m, dut, queue, receiver, inside = s.m, link.dut, link.queue, link.receiver, link.inside
    # Any byte of the payload in any slot.
    index, slot = s.constant("any_index", range(PAYLOAD_BYTES)), s.constant("any_slot", range(WINDOW))
    address = Cat(index, slot, Const(0, 1))
    cell = _cell(s, link, "cell", address)
    came, fresh, kept, byte = Signal(8), Signal(), Signal(), Signal(8)
    with m.If(receiver.write_en & (receiver.write_index == index)):
        m.d.sync += [came.eq(receiver.write_data), fresh.eq(1)]
    with m.If(queue.done & (queue.first == slot)):
        m.d.sync += kept.eq(0)
    with m.If(link.taken):
        m.d.sync += fresh.eq(0)
        with m.If((queue.landing == slot) & fresh):
            m.d.sync += [kept.eq(1), byte.eq(came)]
    lands, landing, fetched, items = inside["lands"], inside["landing"], inside["fetched"], link.items
    here = lands & (landing == address)
    item, width = inside["_control.item"], len(inside["_control.item"]) // 8
    begun = link.state("FETCH", "HAND OVER") & (queue.first == slot) & (index >= link.begin) & (index < fetched)
    for name, condition in {
            "landing_low": ~lands | ~landing[-1], "landing_slot": ~lands | (landing[-2] == queue.landing),
            "fresh": ~fresh | (queue.landing != slot) | Mux(here, inside["landed"] == came, cell == came),
            "waits": ~kept | (items == WINDOW) | ((items == 1) & (queue.first == slot)),
            "kept": ~kept | (cell == byte),
            "gathered": ~begun | (item.word_select((width + index - fetched)[:3], 8) == cell)}.items():
        s.invariant(name, condition)
    s.claim("payload_stands", "any byte of a request's payload stands in the memory as it came until that is done",
            cell == byte, when=kept)
    for code, name in STREAMS.items():
        size, bits = byte_size(item_shape(code, CONFIG)), Shape.cast(item_shape(code, CONFIG)).width
        port = Cat(Value.cast(getattr(dut, name).payload), Const(0, 8 * size - bits))
        at, used = Signal(range(size), name=f"{name}_at"), Signal(8, name=f"{name}_used")
        m.d.comb += [at.eq(index + size - link.begin), used.eq(Const((1 << bits) - 1, 8 * size).word_select(at, 8))]
        s.claim(f"{name}_item", "each item is the next bytes of its request's payload, and no byte is left out",
                port.word_select(at, 8) == (byte & used),
                when=s.held(f"{name}_hands", link.hands[name]) & kept & (queue.first == slot)
                & (index < link.begin) & (index + size >= link.begin))
    link.seek(s)


def _answers(s: Setting) -> None:
    link = _course(s)
    m, dut, queue, sender, inside, state = s.m, link.dut, link.queue, link.sender, link.inside, link.state
    # Any byte of the answer in any slot: what it should be.
    index, slot = s.constant("any_index", range(PAYLOAD_BYTES)), s.constant("any_slot", range(WINDOW))
    cell = _cell(s, link, "cell", Cat(index, slot, Const(1, 1)))
    kind, number, stored, to_store = link.request.type, inside["word_index"], inside["stored"], inside["to_store"]
    names = C(identity_layout().const(identity(CONFIG, PAYLOAD_BYTES, WINDOW)).as_bits(), 8 * PAYLOAD_BYTES)
    report, trailer, said = Signal(report_layout()), Signal(trailer_layout()), Signal(8)
    m.d.comb += [report.status.eq(dut.status.as_value()), report.discarded.eq(inside["discarded"]),
                 *(report[name].eq(dut.counters[name]) for name, _ in counters_layout()),
                 trailer.job_last.eq(link.job_last), trailer.status.eq(dut.status)]
    is_word = number - Mux(kind == Request.HELLO, 0, words(identity_layout())) == index >> 2
    with m.If(state("SELECT WORD") & is_word):
        m.d.sync += said.eq(report.as_value().word_select(index, 8))
    beat = dut.o.valid & dut.o.ready & (index >= stored) & (index < stored + BEAT_BYTES)
    of_beat = Value.cast(dut.o.payload.data).word_select((index - stored)[:1], 8)
    with m.If(beat):
        m.d.sync += said.eq(of_beat)
    with m.If(state("CONCLUDE") & (index == stored)):
        m.d.sync += said.eq(trailer.as_value())
    should = Mux(link.failure != 0, link.failure, Mux(kind == Request.HELLO, names.word_select(index, 8), Mux(
        link.is_write, link.handed.word_select(index[:1], 8), Mux(beat, of_beat, said))))
    own = link.serves & (link.request.sequence[:len(slot)] == slot)
    kept, byte, length = Signal(), Signal(8), Signal.like(queue.answer.length)
    with m.If(queue.done & own):
        m.d.sync += [kept.eq(1), byte.eq(should), length.eq(queue.answer.length)]
    answers, due = link.queued["answers"], link.queued["due"]
    ahead = (index >= stored) & (index < stored + to_store)
    place = (index - stored)[:3]
    groups, word = Array(inside["_word.groups"]), inside["_word.word"]
    for name, condition in {
            "stored": ~(own & link.settled) | (index >= stored) | (cell == should),
            "choice": ~state("LOAD") | ~ahead | (inside["choice"].word_select(place, 8) == should),
            "storing": ~state("STORE") | ~ahead | (inside["_control.item"].word_select(place, 8) == should),
            "group": ~state("PASS WORD") | ~is_word | (groups[number[2:]].word_select(index[:2], 8) == should),
            "word": ~state("TAKE WORD") | ~is_word | (word.word_select(index[:2], 8) == should),
            "concluded": ~state("TAKE TRAILER") | (index != stored) | (inside["reply"][:8] == said),
            "begins": ~state("FETCH", "HAND OVER", "COUNT", "FAIL") | (stored == 0),
            "sequences": Cat(~due[n] | (answers[n].sequence[:len(slot)] == n) for n in range(WINDOW)).all(),
            "kept": ~kept | ((answers[slot].sequence[:len(slot)] == slot) & (answers[slot].length == length)),
            "kept_cell": ~kept | (index >= length) | (cell == byte) | link.serves & own,
            "sent": ~kept | ~state("OPEN", "SEND") | (sender.sequence[:len(slot)] != slot) | (stored == length),
            }.items():
        s.invariant(name, condition)
    header = Cat(sender.type, sender.sequence, sender.length)
    sends = link.sends & kept & (sender.sequence[:len(slot)] == slot) & (index < sender.length)
    s.claim("header_stands", "the header of what is sent stands until that is over, and it is no longer than a payload",
            (header == s.held("sent_header", header)) & (sender.length <= PAYLOAD_BYTES), when=link.sends)
    s.claim("payload", "any byte of it is what its request asked for: what the build is, the core's status and "
            "counters, items accepted, outputs in their order, or why it failed", cell == byte, when=sends)
    s.claim("payload_read", "and what the frame is made of", sender.read_data == byte,
            when=sends & s.held("reads_byte", link.sends & (sender.read_index == index), RAM_LATENCY))


_BUILD = f"payloads of {PAYLOAD_BYTES} bytes, {WINDOW} requests; frames are FrameReceiver's and FrameSender's"
_READS = f"{_BUILD}; read as Ram is"
PROOFS = (
    Proof("HostLink", _carries_out, "induction", 8, 126, _BUILD),
    Proof("HostLink", _payloads, "induction", 4, 126, _READS),
    Proof("HostLink", _answers, "induction", 4, 30, _READS),
)
