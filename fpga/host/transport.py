"""Requests and answers over a serial port: one at a time, repeated until answered."""

import dataclasses
from typing import Protocol

from latte.fpga.link.protocol import (
    CRC_BYTES,
    END,
    ERROR,
    HEADER_BYTES,
    RESPONSE,
    Failure,
    Frame,
    Request,
    byte_size,
    encode_frame,
    identity_layout,
    parse_frame,
    report_layout,
    unescape,
)
from latte.golden.errors import LatteError

__all__ = ["LinkStatistics", "Port", "Transport"]

_BITS_PER_BYTE = 10
_SEQUENCES = 256
_SHORT_ANSWER = max(byte_size(identity_layout()), byte_size(report_layout()))
"""Longest payload of any answer but that of READ_OUTPUT."""


class Port(Protocol):
    """What the driver needs of a pyserial port."""

    timeout: float | None

    def read(self, size: int = 1) -> bytes:
        """Return up to `size` bytes, fewer when `timeout` seconds are over."""

    def write(self, data: bytes) -> int | None:
        """Send bytes."""

    def close(self) -> None:
        """Give the port back."""


@dataclasses.dataclass
class LinkStatistics:
    """What happened on the line.

    Parameters
    ----------
    requests
        Answered requests.
    retries
        Requests that were sent again.
    bad_frames
        Frames from the board that were damaged.
    stale_frames
        Good frames that answered an earlier sending.
    bytes_sent, bytes_received
    """

    requests: int = 0
    retries: int = 0
    bad_frames: int = 0
    stale_frames: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class Transport:
    """Stop-and-wait requests with time-outs and retries.

    Parameters
    ----------
    port
        The driver sets its `timeout`.
    baud
        For the time that bytes take.
    margin
        Seconds the board may take besides: its patience, the operating system, a USB adapter.
    retries
        How often a request is sent again.
    sequence
        Number of the first request.
    """

    def __init__(self, port: Port, baud: int, *, margin: float = 0.25, retries: int = 8, sequence: int = 0) -> None:
        self.port = port
        self.statistics = LinkStatistics()
        self.payload_bytes = 64
        self._baud = baud
        self._margin = margin
        self._retries = retries
        self._sequence = sequence % _SEQUENCES
        self._received = bytearray()

    def drain(self) -> None:
        """Read off what an earlier session left on its way."""
        self.port.timeout = self._margin
        for _ in range(64):
            if len(self.port.read(4096)) < 4096:
                break
        self._received.clear()

    def request(self, request: Request, payload: bytes = b"") -> bytes:
        """Return the payload of the board's answer.

        Raises
        ------
        LatteError
            No answer, however often it was asked; or the board refused the request.
        """
        self._sequence = (self._sequence + 1) % _SEQUENCES
        raw = encode_frame(Frame(request, self._sequence, payload))
        bad_before = self.statistics.bad_frames
        for attempt in range(self._retries + 1):
            self.statistics.retries += attempt > 0
            self.port.write(raw)
            self.statistics.bytes_sent += len(raw)
            answer = self._answer(request, len(raw))
            if answer is None:
                continue
            self.statistics.requests += 1
            if answer.type == ERROR:
                failure = Failure(answer.payload[0]).name.lower().replace("_", " ")
                raise LatteError(f"the board refused {request.name}: {failure}; it was restarted or runs another "
                                 "version: connect again")
            return answer.payload
        damaged = self.statistics.bad_frames - bad_before
        what = f"only damaged answers ({damaged})" if damaged else "no answer"
        raise LatteError(f"{what} to {request.name} in {self._retries + 1} attempts; check the cable, the baud rate "
                         f"({self._baud}) and that the bitstream is loaded")

    def _answer(self, request: Request, sent: int) -> Frame | None:
        """Return the answer to the present request, None if time is over or the line talks nonsense."""
        payload = self.payload_bytes if request is Request.READ_OUTPUT else _SHORT_ANSWER
        most = 2 * (payload + HEADER_BYTES + CRC_BYTES) + 2  # every byte escaped
        self.port.timeout = self._margin + (sent + most) * _BITS_PER_BYTE / self._baud
        budget = 4 * most
        while budget > 0:
            got = self.port.read(self._missing())
            if not got:
                return None
            budget -= len(got)
            self.statistics.bytes_received += len(got)
            self._received += got
            while END in self._received:
                raw, _, rest = bytes(self._received).partition(bytes([END]))
                self._received = bytearray(rest)
                if not raw:
                    continue
                frame = parse_frame(raw)
                if frame is None:
                    self.statistics.bad_frames += 1
                elif frame.sequence == self._sequence and frame.type in (request | RESPONSE, ERROR):
                    return frame
                else:
                    self.statistics.stale_frames += 1
        return None

    def _missing(self) -> int:
        """Return how many bytes must still come, at least, to complete a frame."""
        header = unescape(bytes(self._received))[:HEADER_BYTES]
        length = int.from_bytes(header[2:], "little") if len(header) == HEADER_BYTES else 0
        most = self.payload_bytes + HEADER_BYTES + CRC_BYTES
        return max(1, min(HEADER_BYTES + length + CRC_BYTES, most) + 1 - len(self._received))
