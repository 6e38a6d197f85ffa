"""A host's link between received frames and frames that are sent, and what became of the request it carries out."""

from amaranth import Cat, Mux, Signal
from amaranth.hdl import Shape, ShapeLike

from latte.fpga.link.host_link import HostLink
from latte.fpga.link.protocol import (
    CONTINUED,
    ERROR,
    RESPONSE,
    STREAMS,
    Failure,
    Request,
    byte_size,
    identity_layout,
    item_shape,
    report_layout,
    trailer_layout,
)
from latte.golden.config import preset
from latte.rtl.common.core import counters_layout
from latte.sim.formal.setting import Setting

__all__ = ["BEAT_BYTES", "CONFIG", "PATIENCE", "PAYLOAD_BYTES", "WINDOW", "Course", "Link", "words"]

CONFIG = preset("tiny", head_dim=8, max_seq_len=8, heads=2)
PAYLOAD_BYTES, WINDOW, PATIENCE = 64, 2, 4
BEAT_BYTES = byte_size(item_shape(Request.READ_OUTPUT, CONFIG))
_TRAILER_BYTES = byte_size(trailer_layout())
_QUIET = 7
"""Cycles behind a frame in which no byte of the next one's payload can come: its header comes before."""
_LEFT_OUT = ("uart_receiver", "uart_transmitter", "frame_receiver", "frame_sender", "buffer")
_IDLE = ("IDLE", "OPEN", "SEND")
_WORD_BYTES = 4


def words(layout: ShapeLike) -> int:
    """Return how many words an answer of this layout has."""
    return -(-Shape.cast(layout).width // (8 * _WORD_BYTES))


class Link:
    """A `HostLink` between frames that were received and frames that are sent.

    Attributes
    ----------
    dut, inside, receiver, sender, queue, state
    taken
        A frame counts as a request.
    begins, serves, request
        A request is begun; it is carried out, until that is done.
    sends
        A frame is being sent.
    queued, items
        Inside of the queue; requests in it.
    quiet
        Cycles in which no byte of a payload can come.
    """

    def __init__(self, s: Setting, dut: HostLink) -> None:
        self.dut, m = dut, s.m
        self.inside = inside = s.add(dut, without=_LEFT_OUT)
        self.queued = queued = inside.part("request_queue")
        self.state = inside.state
        self.receiver, self.sender, self.queue = receiver, sender, queue = (
            inside["receiver"], inside["sender"], queued.block)
        # What FrameReceiver promises.
        header = Cat(receiver.type, receiver.sequence, receiver.length)
        s.assume("room", ~receiver.frame | receiver.enable)
        s.assume("header_stands", ~receiver.frame | (header == s.held("header", header)))
        s.assume("fits", ~receiver.frame | (receiver.length <= PAYLOAD_BYTES))
        comes = receiver.write_en | receiver.frame
        s.assume("apart", ~(comes & s.held("came", comes)) & ~(receiver.write_en & receiver.frame))
        self.quiet = quiet = Signal(range(_QUIET + 1), name="quiet")
        listens = Signal(name="listens")
        with m.If(~receiver.enable):
            m.d.sync += listens.eq(0)
        with m.Elif(s.free("mark_comes")):
            m.d.sync += listens.eq(1)
        m.d.sync += quiet.eq(Mux(receiver.frame, _QUIET, quiet - (quiet != 0)))
        s.assume("behind_header", ~receiver.write_en | (listens & (quiet == 0)))
        # And FrameSender.
        self.sends = Signal(name="sends")
        m.d.sync += self.sends.eq(sender.start | (self.sends & ~sender.done))
        s.assume("sent", ~sender.done | self.sends)
        self.taken = receiver.frame & queued["is_next"]
        self.serves, self.request = Signal(name="serves"), Signal(queue.request.shape(), name="served_request")
        self.begins = ~dut.busy & queue.waiting & ~queue.due
        with m.If(self.begins):
            m.d.sync += [self.serves.eq(1), self.request.eq(queue.request)]
        with m.Elif(queue.done):
            m.d.sync += self.serves.eq(0)
        kind = self.request.type
        self.items = items = Signal(2, name="items")
        m.d.comb += items.eq(queued["arrived"] - queued["served"])
        settled = ~self.state(*_IDLE, "COMPARE")
        for name, condition in {
                "any": self.state(), "serves": self.serves == ~self.state(*_IDLE),
                "sends": self.sends == self.state("SEND"),
                "request": ~self.serves | (
                    (inside["_control.request"] == self.request) & (queue.request == self.request) & queue.waiting),
                "length": self.request.length <= PAYLOAD_BYTES,
                "lengths": Cat(one.length <= PAYLOAD_BYTES for one in (*queued["requests"], *queued["answers"])).all(),
                "tells": ~settled | (inside["tells"] == ((kind == Request.HELLO) | (kind == Request.REPORT))),
                "reads": ~settled | (inside["reads"] == (kind == Request.READ_OUTPUT)),
                "items": items <= WINDOW,
                "full": (items != WINDOW) | ~queue.enable | s.held("taken", self.taken),
                "hunts": (items != WINDOW) | ~listens | (quiet >= _QUIET - 1),
                "lands": (items != WINDOW) | ~inside["lands"],
                }.items():
            s.invariant(name, condition)


class Course(Link):
    """What became of the request that is carried out.

    Attributes
    ----------
    is_write, size
        The request is a write; of one's items, in bytes.
    settled
        It has begun; whether it is known, and there is a session, is judged.
    refused, skipped, failure
        It is not carried out; it continues a write that was cut short; why it failed, 0 if it did not.
    over
        A write has handed over all of its items, or none that is whole is left out but by being cut short.
    handed, begin, hands, hands_any
        Items handed over, the bytes of them; another one is in this cycle, to each stream, to any.
    length
        Of the answer, unless it has outputs.
    job_last
        The last beat taken ends a job.
    """

    def __init__(self, s: Setting, dut: HostLink) -> None:
        super().__init__(s, dut)
        m, inside, state, kind = s.m, self.inside, self.state, self.request.type
        codes = {name: (kind & ~CONTINUED) == code for code, name in STREAMS.items()}
        self.is_write, self.size = Cat(codes.values()).any(), Signal(range(PAYLOAD_BYTES))
        for code, name in STREAMS.items():
            with m.If(codes[name]):
                m.d.comb += self.size.eq(byte_size(item_shape(code, CONFIG)))
        # The core's promise.
        s.assume_stable("output_stable", dut.o.valid, dut.o.ready, dut.o.payload)
        known = self.is_write | Cat(kind == code for code in Request).any()
        self.settled = self.serves & ~state("COMPARE", "BEGIN")
        self.failure, self.skipped, self.job_last = Signal(8), Signal(), Signal()
        self.handed, self.begin, whole = Signal(16), Signal(range(PAYLOAD_BYTES + 1)), Signal(name="all_handed")
        self.hands = {name: inside["handing"] & codes[name] & ~getattr(dut, name).valid for name in STREAMS.values()}
        self.hands_any = Cat(self.hands.values()).any()
        length, rest = self.request.length, self.request.length - self.begin
        self.refused = Signal()
        with m.If(state("BEGIN")):
            m.d.sync += [
                self.handed.eq(0), self.begin.eq(0), self.job_last.eq(0), self.refused.eq(0), self.failure.eq(0),
                self.skipped.eq(self.is_write & ((kind & CONTINUED) != 0) & ~whole)]
            with m.If((kind != Request.HELLO) & ~dut.session):
                m.d.sync += [self.refused.eq(1), self.failure.eq(Failure.NO_SESSION)]
            with m.Elif(~known):
                m.d.sync += [self.refused.eq(1), self.failure.eq(Failure.UNKNOWN_TYPE)]
        with m.If(self.hands_any):
            m.d.sync += [self.handed.eq(self.handed + 1), self.begin.eq(self.begin + self.size)]
        with m.If(state("FETCH") & (inside["fetched"] == length) & (rest != 0) & (rest < self.size)
                  & (inside["wait"] != 0)):
            m.d.sync += self.failure.eq(Failure.BAD_LENGTH)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += self.job_last.eq(dut.o.payload.job_last)
        with m.If(self.queue.done & self.is_write & ~self.refused & ~self.skipped):
            m.d.sync += whole.eq(self.begin == length)
        runs, writes = self.settled & ~self.refused & (self.failure == 0), self.is_write & ~self.refused
        fetched, gathered, stored, to_store = (inside[name] for name in ("fetched", "gathered", "stored", "to_store"))
        tells, reads, number, answers = inside["tells"], inside["reads"], inside["word_index"], state("LOAD", "STORE")
        first_word = Mux(kind == Request.HELLO, 0, words(identity_layout()))
        last_word = Mux(kind == Request.HELLO, words(identity_layout()),
                        words(identity_layout()) + words(report_layout())) - 1
        in_words = (number - first_word) * _WORD_BYTES
        room = PAYLOAD_BYTES - _TRAILER_BYTES - BEAT_BYTES
        ends = stored + to_store
        failed = self.failure != 0
        self.length = Mux(failed, 1, Mux(self.is_write, 2, Mux(kind == Request.HELLO, 4 * words(identity_layout()), Mux(
            kind == Request.REPORT, 4 * words(report_layout()), 0))))
        self.over = self.skipped | (self.begin == length) | (rest >= self.size)
        for name, condition in {
                "writes": ~state("FETCH", "HAND OVER", "COUNT") | (writes & (stored == 0) & ~failed),
                "words": ~state("SELECT WORD", "PASS WORD", "TAKE WORD") | (
                    tells & ~failed & (stored == in_words) & (number >= first_word) & (number <= last_word)),
                "last_word": ~(runs & tells) | (inside["last_word"] == last_word),
                "outputs": ~state("TAKE OUTPUT", "CONCLUDE", "TAKE TRAILER") | (
                    reads & ~failed & (stored <= PAYLOAD_BYTES - _TRAILER_BYTES)
                    & (~state("TAKE OUTPUT") | ~inside["fits"] | (stored <= room))),
                "fails": ~state("FAIL") | (failed & (stored == 0) & (inside["reply"] == self.failure)),
                "failed": ~self.settled | state("FAIL") | (inside["failed"] == failed),
                "last": ~self.settled | ~inside["last"] | (answers | state("KEEP")) & reads & ~failed,
                "loads": ~state("LOAD") | ((to_store != 0) & (failed | tells | reads | self.is_write)),
                "stores": ~state("STORE") | ((to_store != 0) & (failed | tells | reads | self.is_write)),
                "answer_words": ~answers | failed | ~tells | ((ends == in_words) & (number > first_word)
                                                              & (number <= last_word + 1)),
                "more": ~state("STORE") | ~tells | failed | (inside["more_words"] == (number <= last_word)),
                "answer_beats": ~answers | failed | ~reads | (ends <= PAYLOAD_BYTES - _TRAILER_BYTES * ~inside["last"]),
                "answer_short": ~answers | (~failed & (tells | reads)) | (ends == self.length),
                "keeps": ~state("KEEP") | Mux(reads & ~failed, stored <= PAYLOAD_BYTES, stored == self.length),
                "sent_length": ~state("OPEN", "SEND") | (stored <= PAYLOAD_BYTES),
                "type": ~self.settled | state("FAIL") | (inside["answer"] == Mux(failed, ERROR, kind | RESPONSE)),
                "refused": ~self.settled | ~self.refused | failed,
                "whole": inside["whole"] == Mux(writes & ~self.skipped & (answers | state("COUNT", "FAIL", "KEEP")),
                                                self.begin == length, whole),
                "fetches": ~state("FETCH") | ~self.skipped & (self.begin + gathered == fetched) & (gathered < self.size)
                    & (fetched <= length) & (inside["wait"] <= 2),
                "hands": ~state("HAND OVER") | ~self.skipped & (self.begin + self.size == fetched) & (gathered == 0)
                    & (fetched <= length),
                "wait": state("FETCH") | (inside["wait"] == 0),
                "exhausted": ~state("FETCH") | (inside["wait"] == 0) | (inside["exhausted"] == (fetched == length)),
                "begin": ~self.settled | (self.begin <= length),
                "reply": ~state("FETCH", "HAND OVER", "COUNT") | (inside["reply"] == self.handed),
                "all_handed": ~(self.is_write & ~failed & (answers | state("COUNT", "KEEP"))) | self.over,
                "ready": ~dut.o.ready | (state("LOAD") & reads & ~failed & ~inside["last"] & dut.o.valid
                                         & ~self.job_last & (inside["job_last"] == dut.o.payload.job_last)),
                "job_last": ~(self.settled & reads) | dut.o.ready | (inside["job_last"] == self.job_last),
                }.items():
            s.invariant(name, condition)

    def seek(self, s: Setting) -> None:
        """Seek witnesses behind a HELLO: it takes a hundred cycles, so that all else is plain there."""
        m, dut, receiver = s.m, self.dut, self.receiver
        number = Signal(8, name="frame_number")
        m.d.sync += number.eq(number + receiver.frame)
        comes = receiver.enable & ~dut.busy & ~self.queue.waiting & (self.quiet == 0) & (number < 2)
        plain = [
            receiver.frame == comes,
            receiver.write_en == (self.state("OPEN") & (number == 1)), receiver.sequence == number,
            self.sender.done == self.sends,
            receiver.type == Mux(number == 0, Request.HELLO, s.constant("sought_type", 8)),
            receiver.length == Mux(number == 0, 0, s.constant("sought_length", 8)),
            dut.o.valid == s.constant("sought_output"), dut.status.as_value() == 0, ~receiver.discarded,
            *(counter == 0 for counter in (dut.counters[name] for name, _ in counters_layout()))]
        taken = s.constant("sought_ready")
        s.seek(Cat(*plain, *(getattr(dut, name).ready == taken for name in STREAMS.values())).all())
