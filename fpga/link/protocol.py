"""The host protocol: one table of messages that makes the gateware, the driver and the tables of fpga/README.md.

A frame is ``END, type, sequence, length (2 bytes), payload, CRC-32 (4 bytes), END``. Numbers are little-endian.
Between the two END marks, END and ESCAPE are sent as ESCAPE and the byte with `ESCAPE_FLIP` applied, so END is found
again after any fault. The CRC covers type to payload.

The host asks, the board answers: with the request's type and `RESPONSE`, and the same sequence number, or with
`ERROR`. Requests are numbered one after the other from HELLO on and carried out in this order; one that does not
follow the last is ignored. Up to ``window`` may be without answer. One that stays so is sent again with its sequence
number; the board does not carry it out twice but sends the answer again, for it keeps the last ``window`` of them.

A write with `CONTINUED` in its type accepts nothing if the write before it was cut short by a stalled stream: so writes
follow each other without waiting for answers, and their items stay in order.
"""

import dataclasses
import enum
import zlib

from amaranth.hdl import Shape, ShapeLike, signed
from amaranth.lib import data

from latte.golden.builds import DEFAULT_PRESET
from latte.golden.config import AttentionConfig, ceil_div, preset
from latte.golden.documents import markdown_table
from latte.rtl.common import identity as build_identity
from latte.rtl.common.core import counters_layout, status_layout
from latte.rtl.common.entry_words import entry_words, parameter_layout
from latte.rtl.common.identity import IDENTITY_FIELDS, MAGIC, identity_values
from latte.rtl.common.payloads import job_layout, output_layout

__all__ = ["CONTINUED", "CRC_BYTES", "END", "ERROR", "ESCAPE", "ESCAPE_FLIP", "HEADER_BYTES", "IDENTITY_FIELDS",
           "MAGIC", "MESSAGES", "PROTOCOL_VERSION", "RESPONSE", "STREAMS", "Failure", "Frame", "Message", "Request",
           "byte_size", "encode_frame", "fingerprint", "identity", "identity_layout", "item_shape", "layouts_table",
           "messages_table", "parse_frame", "report_layout", "trailer_layout", "unescape"]

PROTOCOL_VERSION = 2
END, ESCAPE, ESCAPE_FLIP = 0x7E, 0x7D, 0x20
HEADER_BYTES, CRC_BYTES = 4, 4
RESPONSE = 0x80
CONTINUED = 0x40
ERROR = 0xFF


class Request(enum.IntEnum):
    """Type byte of a request."""

    HELLO = 0x01
    RESET = 0x02
    CLEAR = 0x03
    REPORT = 0x04
    READ_OUTPUT = 0x05
    WRITE_JOB = 0x10
    WRITE_PARAMETER = 0x11
    WRITE_Q = 0x12
    WRITE_K = 0x13
    WRITE_V = 0x14


class Failure(enum.IntEnum):
    """Payload of an `ERROR` response: the request was not carried out."""

    NO_SESSION = 1
    UNKNOWN_TYPE = 2
    BAD_LENGTH = 3


@dataclasses.dataclass(frozen=True)
class Message:
    """One row of the protocol table."""

    request: str
    response: str
    purpose: str


_ACCEPTED = "accepted: 16"
MESSAGES: dict[Request, Message] = {
    Request.HELLO: Message("", "identity", "Begins a session: who are you? Always carried out."),
    Request.RESET: Message("", "", "Resets the core and drops what waits for it."),
    Request.CLEAR: Message("", "", "Clears status and counters."),
    Request.REPORT: Message("", "report", "Status, frames discarded by the board, counters."),
    Request.READ_OUTPUT: Message("", "beats, trailer",
                                 "The output beats there are, as many as fit, at most to the end of a job."),
    Request.WRITE_JOB: Message("jobs", _ACCEPTED, "Work list entries."),
    Request.WRITE_PARAMETER: Message("parameters", _ACCEPTED, "Register file entries, word by word."),
    Request.WRITE_Q: Message("beats", _ACCEPTED, "Query elements."),
    Request.WRITE_K: Message("beats", _ACCEPTED, "Key elements."),
    Request.WRITE_V: Message("beats", _ACCEPTED, "Value elements."),
}
STREAMS: dict[Request, str] = {
    Request.WRITE_JOB: "job", Request.WRITE_PARAMETER: "parameter", Request.WRITE_Q: "q", Request.WRITE_K: "k",
    Request.WRITE_V: "v"}
"""The core's stream behind each write request; ``accepted`` counts the items it took, the others are sent again."""


def byte_size(shape: ShapeLike) -> int:
    """Return the bytes that an item of `shape` takes in a payload."""
    return ceil_div(Shape.cast(shape).width, 8)


def item_shape(request: Request, config: AttentionConfig) -> ShapeLike:
    """Return the shape of one item of a write request, or of one output beat."""
    if request is Request.WRITE_JOB:
        return job_layout()
    if request is Request.WRITE_PARAMETER:
        return parameter_layout()
    if request is Request.READ_OUTPUT:
        return output_layout(config)["data"].shape
    return data.ArrayLayout(signed(8), config.bus_bytes)


def identity_layout() -> data.StructLayout:
    """Answer to HELLO; a field that is a choice is the number of the choice, several choices are a bit each."""
    return data.StructLayout({"magic": 32, "protocol": 16, "payload_bytes": 16, "window": 16,
                              "fingerprint": 32, **dict.fromkeys(IDENTITY_FIELDS, 16)})


def report_layout() -> data.StructLayout:
    """Answer to REPORT: the core's `status_layout` and `counters_layout`, and the frames the board discarded."""
    return data.StructLayout({"status": 16, "discarded": 16, **counters_layout().members})


def trailer_layout() -> data.StructLayout:
    """End of the answer to READ_OUTPUT; `job_last`: the last beat before it ends a job."""
    return data.StructLayout({"job_last": 1, "status": status_layout()})


def fingerprint(config: AttentionConfig) -> int:
    """Return 32 bits that agree only if board and driver agree on `IDENTITY_FIELDS`, messages and layouts."""
    messages = [(int(code), dataclasses.astuple(message)) for code, message in MESSAGES.items()]
    return build_identity.fingerprint(config, PROTOCOL_VERSION, messages, [report_layout(), trailer_layout()])


def identity(config: AttentionConfig, payload_bytes: int, window: int) -> dict[str, int]:
    """Return the fields of `identity_layout` of a board built for `config`."""
    return {"magic": MAGIC, "protocol": PROTOCOL_VERSION, "payload_bytes": payload_bytes, "window": window,
            "fingerprint": fingerprint(config), **identity_values(config)}


@dataclasses.dataclass(frozen=True)
class Frame:
    """One message on the line."""

    type: int
    sequence: int
    payload: bytes = b""


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame, END marks included."""
    body = bytes([frame.type, frame.sequence]) + len(frame.payload).to_bytes(2, "little") + frame.payload
    body += zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    escaped = bytearray([END])
    for byte in body:
        escaped += bytes([ESCAPE, byte ^ ESCAPE_FLIP]) if byte in (END, ESCAPE) else bytes([byte])
    return bytes(escaped) + bytes([END])


def unescape(raw: bytes) -> bytes:
    """Return the body of a frame, as far as it goes."""
    body = bytearray()
    flip = 0
    for byte in raw:
        if byte == ESCAPE:
            flip = ESCAPE_FLIP
        else:
            body.append(byte ^ flip)
            flip = 0
    return bytes(body)


def parse_frame(raw: bytes) -> Frame | None:
    """Return the frame whose bytes between two END marks are `raw`, None if anything is wrong with them."""
    if raw[-1:] == bytes([ESCAPE]):
        return None
    body = unescape(raw)
    content, crc = body[:-CRC_BYTES], body[-CRC_BYTES:]
    if len(content) < HEADER_BYTES or zlib.crc32(content) != int.from_bytes(crc, "little"):
        return None
    if len(content) - HEADER_BYTES != int.from_bytes(content[2:HEADER_BYTES], "little"):
        return None
    return Frame(content[0], content[1], content[HEADER_BYTES:])


def messages_table() -> str:
    """Return the messages as Markdown."""
    rows = [[f"0x{code:02x}", code.name, message.request, message.response, message.purpose]
            for code, message in MESSAGES.items()]
    failures = ", ".join(f"{failure.value} {failure.name}" for failure in Failure)
    table = markdown_table(["type", "request", "payload", "answer", "what it does"], rows)
    return (f"{table}\n\nA write with its type + 0x{CONTINUED:02x} continues the write before it: if that was cut "
            f"short, it accepts nothing. An answer has the request's type + 0x{RESPONSE:02x} and its sequence number; "
            f"or type 0x{ERROR:02x} and one byte: {failures}.")


def layouts_table() -> str:
    """Return the layouts of payloads as Markdown."""
    config = preset(DEFAULT_PRESET)
    layouts = {"identity": identity_layout(), "report": report_layout(), "status": status_layout(),
               "trailer": trailer_layout(), "job": job_layout(),
               "parameter": parameter_layout()}
    layouts |= {f"entry word {name}": layout for name, layout in entry_words(config).items()}
    rows = [[name, ", ".join(f"{field} {Shape.cast(part.shape).width}" for field, part in layout)]
            for name, layout in layouts.items()]
    return markdown_table(["layout", "fields: bits, first field in the low bits"], rows)
