"""Frames of the host's link: what one side sends, the other has; what was damaged counts as no frame."""

from amaranth import Array, Cat, Mux, Signal, Value

from latte.fpga.link.frame import FrameReceiver, FrameSender
from latte.fpga.link.protocol import CRC_BYTES, END, ESCAPE, ESCAPE_FLIP, HEADER_BYTES
from latte.rtl.common.ram import RAM_LATENCY
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_PAYLOAD_BYTES = 4
_AROUND = HEADER_BYTES + CRC_BYTES

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


_BUILD = f"payloads of up to {_PAYLOAD_BYTES} bytes"
PROOFS = (
    Proof("FrameSender", _arrives, "induction", 2, 80, f"{_BUILD}, at a FrameReceiver"),
    Proof("FrameReceiver", _refuses, "induction", 2, 60, _BUILD),
)
