"""Frames of the host protocol, from bytes and to bytes; `latte.fpga.link.protocol` says what they look like."""

from amaranth import Array, Cat, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from latte.fpga.link.protocol import CRC_BYTES, END, ESCAPE, ESCAPE_FLIP, HEADER_BYTES
from latte.rtl.common.ram import RAM_LATENCY

__all__ = ["FrameReceiver", "FrameSender"]


def _too_far(payload_bytes):
    """Return the place behind the longest frame."""
    return payload_bytes + CRC_BYTES + 1


def _place_shape(payload_bytes):
    """Shape of a place in a frame: the header from -4, the payload from 0."""
    return signed(bits_for(_too_far(payload_bytes)) + 1)


class FrameReceiver(wiring.Component):
    """Checks frames and puts their payload into a memory.

    Data flow::

        data -> unescape -+-> header (type, sequence, length)
                          +-> CRC-32
                          +-> write_* (payload)

    A frame counts only if its CRC agrees and its length is what the header says, which is known at its END; until
    then the memory may hold rubbish.

    Parameters
    ----------
    payload_bytes : int
        Power of two; longer frames are discarded.

    Members
    -------
    enable : In(1)
        Listen. After it was low, everything up to the next END is ignored.
    data, valid : In
        Received bytes, at least two cycles apart; never stalled.
    type, sequence, length : Out
        Of the last frame, until the next one begins.
    frame : Out(1)
        One cycle: a good frame is complete.
    discarded : Out(1)
        One cycle: a bad frame, not an empty one, ended.
    write_en, write_index, write_data : Out
    """

    def __init__(self, payload_bytes: int):
        self.payload_bytes = payload_bytes
        super().__init__({
            "enable": In(1), "data": In(8), "valid": In(1),
            "type": Out(8), "sequence": Out(8), "length": Out(16), "frame": Out(1), "discarded": Out(1),
            "write_en": Out(1), "write_index": Out(range(payload_bytes)), "write_data": Out(8)})

    def elaborate(self, platform):
        """Return the circuit."""
        m = Module()
        m.submodules.crc = crc = CRC32_ETHERNET(data_width=8).create()
        too_far = _too_far(self.payload_bytes)
        place = Signal(_place_shape(self.payload_bytes), init=-HEADER_BYTES)
        escaped, hunting = Signal(), Signal(init=1)
        header = Signal(8 * HEADER_BYTES)
        byte, take, end = Signal(8), Signal(), Signal()
        m.d.comb += [
            end.eq(self.valid & (self.data == END)),
            take.eq(self.valid & (self.data != END) & (self.data != ESCAPE) & ~hunting),
            byte.eq(self.data ^ (escaped << exact_log2(ESCAPE_FLIP))),
            crc.start.eq(end), crc.data.eq(byte), crc.valid.eq(take),
            Cat(self.type, self.sequence, self.length).eq(header),
            self.write_en.eq(take & (place >= 0) & (place < self.payload_bytes)),
            self.write_index.eq(place), self.write_data.eq(byte),
        ]
        with m.If(self.valid):
            m.d.sync += escaped.eq((self.data == ESCAPE) & ~hunting)
        with m.If(take & (place != too_far)):
            m.d.sync += place.eq(place + 1)
        with m.If(take & (place < 0)):
            m.d.sync += header.eq(Cat(header[8:], byte))
        # Registered: there is time between the bytes.
        good = Signal()
        m.d.sync += good.eq(crc.match_detected & (place == self.length + CRC_BYTES) & (place != too_far) & ~escaped)
        with m.If(end):
            m.d.comb += [self.frame.eq(~hunting & good & self.enable),
                         self.discarded.eq(~hunting & ~good & (place != -HEADER_BYTES))]
            m.d.sync += [place.eq(-HEADER_BYTES), hunting.eq(0)]
        with m.If(~self.enable):
            m.d.sync += hunting.eq(1)
        return m


class FrameSender(wiring.Component):
    """Sends one frame with its payload out of a memory.

    Data flow::

        header, read_data, CRC-32 -> escape -> o

    Latency: 1 + RAM_LATENCY cycles a byte besides what the line takes.

    Parameters
    ----------
    payload_bytes : int
        Power of two; the most that `length` says.

    Members
    -------
    start : In(1)
        Send; `type`, `sequence`, `length` stay as they are until `done`.
    done : Out(1)
        One cycle: the last byte was handed over.
    read_index : Out
    read_data : In(8)
        `RAM_LATENCY` cycles after `read_index`.
    o : Out(stream of 8 bits)
    """

    def __init__(self, payload_bytes: int):
        self.payload_bytes = payload_bytes
        super().__init__({
            "start": In(1), "type": In(8), "sequence": In(8), "length": In(16), "done": Out(1),
            "read_index": Out(range(payload_bytes)), "read_data": In(8), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        """Return the circuit."""
        m = Module()
        m.submodules.crc = crc = CRC32_ETHERNET(data_width=8).create()
        place = Signal(_place_shape(self.payload_bytes))
        wait = Signal(range(RAM_LATENCY + 1))
        byte, special = Signal(8), Signal()
        crc_left = Signal(range(CRC_BYTES + 1))
        # Registered: a place stands for some cycles.
        at_end = Signal()
        m.d.sync += at_end.eq(place == self.length)
        header = Array([self.type, self.sequence, self.length[:8], self.length[8:]])
        crc_bytes = Array(crc.crc.word_select(i, 8) for i in range(CRC_BYTES))
        m.d.comb += [self.read_index.eq(place), crc.data.eq(byte),
                     special.eq((byte == END) | (byte == ESCAPE))]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [place.eq(-HEADER_BYTES), crc_left.eq(CRC_BYTES)]
                with m.If(self.start):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(END), crc.start.eq(1)]
                with m.If(self.o.ready):
                    m.next = "PICK"
            with m.State("PICK"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(place < 0):
                    m.d.sync += byte.eq(header[place[:2]])
                with m.Elif(at_end):
                    m.d.sync += byte.eq(crc_bytes[(CRC_BYTES - crc_left)[:2]])
                with m.Else():
                    m.d.sync += byte.eq(self.read_data)
                with m.If(wait == RAM_LATENCY):
                    m.d.sync += wait.eq(0)
                    m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(at_end):
                    m.d.sync += crc_left.eq(crc_left - 1)
                with m.Else():
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += place.eq(place + 1)
                m.next = "SEND"
                with m.If(special):
                    m.next = "ESCAPE"
            with m.State("ESCAPE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(ESCAPE)]
                with m.If(self.o.ready):
                    m.d.sync += byte.eq(byte ^ ESCAPE_FLIP)
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(byte)]
                with m.If(self.o.ready):
                    m.next = "PICK"
                    with m.If(crc_left == 0):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(END), self.done.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
