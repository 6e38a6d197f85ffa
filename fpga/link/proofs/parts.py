"""The host's link: what one side sends, the other has; what was damaged is none; requests are taken once, in order."""

from amaranth import Array, Cat, Const, Mux, Signal, Value

from latte.fpga.link.frame import FrameReceiver, FrameSender
from latte.fpga.link.protocol import CRC_BYTES, END, ESCAPE, ESCAPE_FLIP, HEADER_BYTES, Request
from latte.fpga.link.request_queue import RequestQueue
from latte.fpga.link.uart import UartReceiver, UartTransmitter
from latte.rtl.common.ram import RAM_LATENCY
from latte.sim.formal.followed import Followed
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_PAYLOAD_BYTES = 4
_AROUND = HEADER_BYTES + CRC_BYTES
_CLOCKS = 4
_LINE_BITS = 10
_WINDOW = 2


def _is_mark(byte: Value) -> Value:
    return (byte == END) | (byte == ESCAPE)


def _arrives(s: Setting) -> None:
    sender, receiver = FrameSender(_PAYLOAD_BYTES), FrameReceiver(_PAYLOAD_BYTES)
    sends, receives, m = s.add(sender, "sender"), s.add(receiver, "receiver"), s.m
    state = sends.state
    passes = sender.o.valid & sender.o.ready
    m.d.comb += [receiver.data.eq(sender.o.payload), receiver.valid.eq(passes)]
    s.assume("apart", ~passes | ~s.held("passed", passes))
    s.assume("listens", receiver.enable)
    header = Cat(sender.type, sender.sequence, sender.length)
    s.assume("short", sender.length <= _PAYLOAD_BYTES)
    s.assume("header_stands", state("IDLE") | (header == s.held("header", header)))
    s.seek(sender.start & (header == 1 << 16) & (sender.o.ready == ~s.held("passed_just", passes))
           & (sender.read_data == ESCAPE))
    # Any byte of the payload, and the receiver's memory there.
    index = s.constant("index", range(_PAYLOAD_BYTES))
    content, cell = s.constant("content", 8), Signal(8)
    read = [sender.read_index, *(s.held(f"read{n}", sender.read_index, n) for n in range(1, RAM_LATENCY + 1))]
    s.assume("memory", (read[-1] != index) | (sender.read_data == content))
    with m.If(receiver.write_en & (receiver.write_index == index)):
        m.d.sync += cell.eq(receiver.write_data)
    # Bytes between the marks that have passed; whether the next one is behind an escape.
    sent, flipped = Signal(range(_AROUND + _PAYLOAD_BYTES + 1)), Signal()
    with m.If(passes):
        m.d.sync += flipped.eq(state("ESCAPE"))
        with m.If(state("OPEN")):
            m.d.sync += sent.eq(0)
        with m.Elif(state("SEND")):
            m.d.sync += sent.eq(sent + 1)

    # Any byte that the sender's CRC took.
    number, fed = s.constant("number", range(-HEADER_BYTES, _PAYLOAD_BYTES)), Signal(8)
    with m.If(sends["crc"].valid & (sends["place"] == number)):
        m.d.sync += fed.eq(sends["crc"].data)
    # The CRC is Amaranth's. What `crc_sees` and `crc_follows` say makes it so: behind itself it is the residue.
    s.assume("residue", ~state("CLOSE") | receives["crc"].match_detected)

    byte, place, crc_left, at_end = (sends[name] for name in ("byte", "place", "crc_left", "at_end"))
    plain = Mux(flipped, byte ^ ESCAPE_FLIP, byte)
    pending, quiet = state("ESCAPE", "SEND"), state("IDLE", "OPEN")
    own, theirs = sends["crc"], receives["crc"]
    crc_bytes = Array(own.crc.word_select(n, 8) for n in range(CRC_BYTES))
    header_bytes = Array(header.word_select(n, 8) for n in range(HEADER_BYTES))
    for name, condition in {
            "states": state(), "flipped": ~flipped | state("SEND"),
            "opens": ~state("OPEN") | ((place == -HEADER_BYTES) & (crc_left == CRC_BYTES)),
            "place": quiet | ((place >= -HEADER_BYTES) & (place <= sender.length) & (crc_left <= CRC_BYTES)
                              & ((crc_left == CRC_BYTES) | (place == sender.length))),
            "sent": quiet | (sent + pending + crc_left == place + _AROUND),
            "more": ~state("PICK", "CHECK") | ((at_end == (place == sender.length)) & (crc_left != 0)),
            "closes": ~state("CLOSE") | ((place == sender.length) & (crc_left == 0)),
            "content_left": ~pending | (place != -HEADER_BYTES),
            "read": ~state("PICK") | Cat((sends["wait"] < n) | (read[n] == place[:len(index)])
                                         for n in range(RAM_LATENCY + 1)).all(),
            "wait": sends["wait"] <= (RAM_LATENCY * state("PICK")),
            "escape": ~state("ESCAPE") | _is_mark(byte),
            "plain": ~state("SEND") | (flipped == _is_mark(plain)) & ~_is_mark(byte),
            # Towards the receiver.
            "hunting": Mux(quiet, receives["hunting"] | (receives["place"] == -HEADER_BYTES),
                           ~receives["hunting"] & (receives["place"] == sent - HEADER_BYTES)),
            "escaped": receives["escaped"] == flipped,
            "cell": quiet | (sent <= index + HEADER_BYTES) | (index >= sender.length) | (cell == content),
            "good": ~state("CLOSE") | receives["good"] | s.held("passed_before", passes),
            **{f"header_{n}": quiet | (sent < n) | ((sent > n) & (n < HEADER_BYTES))
               | (receives["header"][8 * (HEADER_BYTES - n):] == header[:8 * n]) for n in range(1, HEADER_BYTES + 1)},
            "byte_header": ~state("CHECK") | (place >= 0) | (byte == header_bytes[place[:2]]),
            "byte_payload": ~state("CHECK") | (place != index) | at_end | (byte == content),
            "byte_crc": ~state("CHECK") | ~at_end | (byte == crc_bytes[(CRC_BYTES - crc_left)[:2]]),
            "next_header": ~pending | (place > 0) | (crc_left != CRC_BYTES) | (plain == header_bytes[(place - 1)[:2]]),
            "next_payload": ~pending | (place != index + 1) | (crc_left != CRC_BYTES) | (plain == content),
            "next_fed": ~pending | (place != number + 1) | (crc_left != CRC_BYTES) | (plain == fed),
            "next_crc": ~pending | (crc_left == CRC_BYTES) | (plain == crc_bytes[(CRC_BYTES - 1 - crc_left)[:2]]),
    }.items():
        s.invariant(name, condition)

    s.stable("o_stands", "a byte stands until it is taken", sender.o.valid, sender.o.ready, sender.o.payload)
    s.claim("arrives", "a frame that was sent is received, with its type, sequence number and length",
            receiver.frame & (Cat(receiver.type, receiver.sequence, receiver.length) == header), when=sender.done)
    s.claim("only_sent", "no frame is received but when one was sent", sender.done, when=receiver.frame)
    s.claim("none_discarded", "none that was sent is discarded", ~receiver.discarded, when=passes)
    s.claim("payload_arrives", "its payload is in the receiver's memory, byte for byte", cell == content,
            when=sender.done & (index < sender.length))
    begins = passes & state("OPEN")
    s.claim("crc_begins", "both sides begin their CRC with the opening mark", theirs.start & own.start, when=begins)
    s.claim("crc_sees", "the receiver's CRC takes the bytes that the sender's did, in turn", theirs.data == fed,
            when=theirs.valid & (receives["place"] == number) & (number < sender.length))
    s.claim("crc_follows", "and behind them that CRC, which stands", ~own.valid & ~own.start
            & (theirs.data == crc_bytes[(receives["place"] - sender.length)[:2]]),
            when=theirs.valid & (receives["place"] >= sender.length))
    s.claim("marks", "between the marks of a frame there is none", state("OPEN", "CLOSE"),
            when=passes & (sender.o.payload == END))


def _refuses(s: Setting) -> None:
    dut = FrameReceiver(_PAYLOAD_BYTES)
    inside, m = s.add(dut), s.m
    s.assume("apart", ~dut.valid | ~s.held("came", dut.valid))
    most = _PAYLOAD_BYTES + _AROUND
    # Since the last mark: bytes, one more than a frame has at most; an escape that nothing followed.
    listens, escaped = Signal(), Signal()
    count = Signal(range(most + 2))
    crc = inside["crc"]
    fields = Signal(8 * HEADER_BYTES)
    ends = dut.valid & (dut.data == END)
    comes = dut.valid & (dut.data != END) & (dut.data != ESCAPE) & listens
    byte = dut.data ^ Mux(escaped, ESCAPE_FLIP, 0)
    with m.If(dut.valid):
        m.d.sync += escaped.eq((dut.data == ESCAPE) & listens)
    with m.If(comes):
        m.d.sync += count.eq(Mux(count > most, count, count + 1))
        with m.If(count < HEADER_BYTES):
            m.d.sync += fields.word_select(count, 8).eq(byte)
    with m.If(ends):
        m.d.sync += [count.eq(0), listens.eq(1)]
    with m.If(~dut.enable):
        m.d.sync += listens.eq(0)
    length = fields[16:]
    whole = (count == length + _AROUND) & (count <= most) & crc.match_detected & ~escaped
    for name, condition in {
            "hunting": inside["hunting"] == ~listens, "escaped": inside["escaped"] == escaped,
            "place": inside["place"] == Mux(count > most, most + 1 - HEADER_BYTES, count - HEADER_BYTES),
            **{f"header_{n}": (count < n) | ((count > n) & (n < HEADER_BYTES))
               | (inside["header"][8 * (HEADER_BYTES - n):] == fields[:8 * n]) for n in range(1, HEADER_BYTES + 1)},
            "good": s.held("came_before", dut.valid) | s.after_reset | (inside["good"] == whole)}.items():
        s.invariant(name, condition)

    s.claim("crc_of_frame", "its CRC is that of the bytes behind a mark", Mux(ends, crc.start, ~crc.start)
            & (crc.valid == comes) & (~comes | (crc.data == byte)), when=dut.valid)
    s.claim("whole_frames", "a frame that is as long as it says, and whose CRC agrees, counts at its end", dut.frame,
            when=ends & listens & dut.enable & whole)
    s.claim("only_whole", "and none else", ends & listens & dut.enable & whole, when=dut.frame)
    s.claim("says_header", "type, sequence number and length are those of its header",
            Cat(dut.type, dut.sequence, dut.length) == fields, when=dut.frame)
    s.claim("discards", "any other is discarded", dut.discarded, when=ends & listens & ~whole & (count != 0))
    s.claim("keeps_quiet", "but not an empty one, or what came before it listened",
            ends & listens & ~whole & (count != 0), when=dut.discarded)
    s.claim("writes", "bytes behind the header are written in turn, as many as there is room for",
            comes & (dut.write_index == count - HEADER_BYTES) & (dut.write_data == byte), when=dut.write_en)
    s.claim("writes_all", "none of a payload is left out, and nothing is written beyond",
            dut.write_en == ((count >= HEADER_BYTES) & (count < HEADER_BYTES + _PAYLOAD_BYTES)), when=comes)


class _Line:
    """Frames of bytes on a line, each bit of as many cycles: the one that is sent, and one that is taken meanwhile.

    Attributes
    ----------
    pending, next_byte
        A byte was taken whose start bit has not begun.
    sends, bit, cycle, byte
        A frame is on the line; which of its bits, for how many cycles.
    """

    def __init__(self, s: Setting, taken: Value, byte: Value) -> None:
        m = s.m
        self.pending, self.next_byte = Signal(name="pending"), Signal(8, name="next_byte")
        self.sends, self.byte = Signal(name="sends"), Signal(8, name="sent_byte")
        self.bit, self.cycle = Signal(range(_LINE_BITS), name="line_bit"), Signal(range(_CLOCKS), name="line_cycle")
        bit_ends = self.cycle == _CLOCKS - 1
        with m.If(self.sends):
            m.d.sync += self.cycle.eq(Mux(bit_ends, 0, self.cycle + 1))
            with m.If(bit_ends):
                m.d.sync += [self.bit.eq(self.bit + 1), self.sends.eq(self.bit != _LINE_BITS - 1)]
        with m.If(self.pending & (~self.sends | (bit_ends & (self.bit == _LINE_BITS - 1)))):
            m.d.sync += [self.sends.eq(1), self.bit.eq(0), self.cycle.eq(0), self.byte.eq(self.next_byte),
                         self.pending.eq(0)]
        with m.If(taken):
            m.d.sync += [self.pending.eq(1), self.next_byte.eq(byte)]

    @property
    def level(self) -> Value:
        """Return what is on the line: a start bit, the byte's from the lowest on, a stop bit."""
        return ~self.sends | Cat(0, self.byte, 1).bit_select(self.bit, 1)


def _bytes(s: Setting) -> None:
    sender, receiver = UartTransmitter(_CLOCKS), UartReceiver(_CLOCKS)
    sends, receives, m = s.add(sender, "sender"), s.add(receiver, "receiver"), s.m
    flops = receives.part("synchronizer")["flops"]
    m.d.comb += receiver.rx.eq(sender.tx)
    taken = sender.i.valid & sender.i.ready
    s.assume_stable("i_stable", sender.i.valid, sender.i.ready, sender.i.payload)
    # The synchroniser keeps the line's level over reset: a byte comes when what it may have been is over.
    settled = Signal(range(2 * _CLOCKS))
    m.d.sync += settled.eq(Mux(settled == 2 * _CLOCKS - 1, settled, settled + 1))
    quiet = settled != 2 * _CLOCKS - 1
    s.assume("settled", ~(quiet & sender.i.valid))
    line = _Line(s, taken, sender.i.payload)
    # The receiver sees the line so many cycles later, and is one behind that.
    behind = len(flops) + 1
    seen, byte, bit, cycle = (s.held(f"{name}_seen", getattr(line, name), behind)
                              for name in ("sends", "byte", "bit", "cycle"))
    middle = _CLOCKS // 2
    # Its bits are sampled in their middle: of the present one, whether that is over.
    over = cycle >= middle
    listens = seen & ~((bit == _LINE_BITS - 1) & over)
    left = Signal(range(_LINE_BITS))
    m.d.comb += left.eq(_LINE_BITS - 1 - line.bit)
    shift, timer = sends["shift"], receives["timer"]
    for name, condition in {
            "tx": sender.tx == line.level,
            "bits_left": sends["bits_left"] == Mux(line.pending, _LINE_BITS, Mux(line.sends, left, 0)),
            "timer": sends["timer"] == Mux(line.sends, _CLOCKS - 1 - line.cycle, 0),
            "shift": Mux(line.pending, shift == Cat(0, line.next_byte),
                         ~line.sends | (shift == (Cat(0, line.byte, ~Const(0, _LINE_BITS)) >> line.bit + 1)[:9])),
            "last_bit": ~line.pending | ~line.sends | (line.bit == _LINE_BITS - 1),
            "quiet": ~quiet | ~(line.sends | line.pending),
            **{f"flop_{n}": (settled <= n) | (flop == ~s.held(f"low_{n}", ~line.level, n + 1))
               for n, flop in enumerate(flops)},
            "false_start": ~quiet | ~receives["busy"] | (
                (receives["bit"] == 0) & (settled + timer < len(flops) + middle)),
            "listens": quiet | (receives["busy"] == listens),
            "at": ~listens | ((receives["bit"] == bit + over)
                              & (timer == Mux(over, _CLOCKS - 1 + middle - cycle, middle - 1 - cycle))),
            **{f"data_{n}": ~listens | (receives["bit"] != n + 1) | (receiver.data[8 - n:] == byte[:n])
               for n in range(1, 9)}}.items():
        s.invariant(name, condition)
    s.claim("byte_arrives", "a byte that is sent is received, in the middle of its stop bit",
            receiver.valid & (receiver.data == byte), when=seen & (bit == _LINE_BITS - 1) & (cycle == middle))
    s.claim("byte_once", "and then alone", seen & (bit == _LINE_BITS - 1) & (cycle == middle), when=receiver.valid)
    s.claim("line_level", "each bit stands as long as it should: start, the byte from its lowest bit on, stop",
            sender.tx == line.level, when=line.sends)
    s.claim("line_idle", "the line is high between bytes, and behind reset", sender.tx, when=~line.sends)
    s.claim("next_byte", "the next byte is taken in the stop bit of the one before, so that none is lost on the line",
            line.bit == _LINE_BITS - 1, when=taken & line.sends)


def _requests(s: Setting) -> None:
    dut = RequestQueue(_PAYLOAD_BYTES, _WINDOW)
    inside, m = s.add(dut), s.m
    header = dut.header.as_value()
    # As FrameReceiver has them: only while there is room, never twice in a row, headers that stand before.
    s.assume("room", ~dut.frame | dut.enable)
    s.assume("apart", ~(dut.frame & s.held("frame", dut.frame)))
    s.assume("header_stands", ~dut.frame | (header == s.held("header", header)))
    s.assume("session_stands", ~dut.frame | (dut.session == s.held("session", dut.session)))
    s.assume("carried_out", ~dut.done | dut.waiting)
    s.assume("sent_again", ~dut.resent | dut.due)
    s.assume("not_at_once", ~(dut.frame & s.held("done", dut.done)))
    expected = Signal(8)
    is_next = (dut.header.type == Request.HELLO) | ~dut.session | (dut.header.sequence == expected)
    taken = dut.frame & is_next
    with m.If(taken):
        m.d.sync += expected.eq(dut.header.sequence + 1)
    items = s.count("items", taken, dut.done, _WINDOW)
    item = Followed(s, taken, Cat(dut.landing, header), items, dut.done)
    # Any slot's answer.
    slot_bits = len(dut.landing)
    slot = s.constant("slot", slot_bits)
    kept, answer = Signal(), Signal.like(dut.answer)
    with m.If(dut.done & (dut.answer.sequence[:slot_bits] == slot)):
        m.d.sync += [kept.eq(1), answer.eq(dut.answer)]
    arrived, served = inside["arrived"], inside["served"]
    place = served + item.ahead
    for name, condition in {
            "items": (arrived - served)[:slot_bits + 1] == items, "most": items <= _WINDOW,
            "expected": inside["expected"] == expected,
            "enable": ~dut.enable | (items != _WINDOW) | s.held("came", taken),
            "item": ~item.here | ((item.ahead < items) & (item.item == Cat(
                place[:slot_bits], inside["requests"][place[:slot_bits]].as_value()))),
            "answer": ~kept | (inside["answers"][slot].as_value() == answer.as_value())}.items():
        s.invariant(name, condition)
    s.claim("in_turn", "a request is carried out once, as it came, in the order in which they came",
            Cat(dut.first, dut.request) == item.item, when=item.here & (item.ahead == 0) & dut.waiting)
    s.claim("waits_for", "one waits if, and only if, one came that was not carried out",
            dut.waiting == (items != 0), when=dut.waiting | (items != 0))
    s.claim("has_room", "no request overwrites another one", items != _WINDOW, when=taken)
    s.claim("next_only", "a frame is a new request if it is the next one by its number, or says HELLO, or there is no "
            "session, and no other is", dut.landing == (s.held("landing", dut.landing) + s.held("taken", taken))[
                :slot_bits], when=s.held("frame_came", dut.frame))
    repeats = dut.frame & ~is_next & kept & (dut.header.sequence == answer.sequence) & (
        dut.header.sequence[:slot_bits] == slot)
    s.claim("again_due", "a request whose answer is kept makes that due again", inside["due"].bit_select(slot, 1),
            when=s.held("repeats", repeats))
    s.claim("answers_again", "what is sent again is the answer that was kept", dut.again == answer,
            when=dut.due & kept & (inside["lowest"] == 1 << slot))


_BUILD = f"payloads of up to {_PAYLOAD_BYTES} bytes"
PROOFS = (
    Proof("FrameSender", _arrives, "induction", 2, 80, f"{_BUILD}, at a FrameReceiver; Amaranth's CRC-32"),
    Proof("FrameReceiver", _refuses, "induction", 2, 60, _BUILD),
    Proof("UartTransmitter", _bytes, "induction", 6, 70, f"{_CLOCKS} cycles a bit, at a UartReceiver"),
    Proof("RequestQueue", _requests, "induction", 2, 20, f"{_WINDOW} requests"),
)
