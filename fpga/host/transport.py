"""Requests and answers over a serial port: several under way, repeated until answered."""

import collections
import dataclasses
from typing import Protocol

from latte.fpga.link.protocol import (
    CONTINUED,
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
    item_shape,
    parse_frame,
    report_layout,
    unescape,
)
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError

__all__ = ["LinkStatistics", "Port", "Transport", "line_limit"]

_BITS_PER_BYTE = 10
_SEQUENCES = 256
_SHORT_ANSWER = max(byte_size(identity_layout()), byte_size(report_layout()))
"""Longest payload of any answer but that of READ_OUTPUT."""


def line_limit(config: AttentionConfig, rows: int, baud: int) -> float:
    """Return the heads of `rows` queries and keys a second whose bare operands and outputs pass one after the other."""
    beat = byte_size(item_shape(Request.READ_OUTPUT, config))
    head = rows * config.head_dim * 3 + rows * config.head_dim // config.normalizer_lanes * beat
    return baud / _BITS_PER_BYTE / head


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


@dataclasses.dataclass
class _Flight:
    """A request under way."""

    request: int
    sequence: int
    raw: bytes
    answer: Frame | None = None

    def most(self, payload_bytes: int) -> int:
        """Return the most bytes that the answer takes on the line: every one escaped."""
        payload = payload_bytes if self.request == Request.READ_OUTPUT else _SHORT_ANSWER
        return 2 * (payload + HEADER_BYTES + CRC_BYTES) + 2


class Transport:
    """Requests with time-outs and retries, as many under way as the board holds.

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

    Attributes
    ----------
    payload_bytes, window
        What the board says of itself; until then, what any board can.
    """

    def __init__(self, port: Port, baud: int, *, margin: float = 0.25, retries: int = 8, sequence: int = 0) -> None:
        self.port = port
        self.statistics = LinkStatistics()
        self.payload_bytes = 64
        self.window = 1
        self._baud = baud
        self._margin = margin
        self._retries = retries
        self._sequence = sequence % _SEQUENCES
        self._received = bytearray()
        self._flights: collections.deque[_Flight] = collections.deque()

    def drain(self) -> None:
        """Read off what an earlier session left on its way, and forget what is under way."""
        self._flights.clear()
        self.port.timeout = self._margin
        for _ in range(64):
            if len(self.port.read(4096)) < 4096:
                break
        self._received.clear()

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent before the next answer."""
        return len(self._flights) < self.window

    def request(self, request: Request, payload: bytes = b"") -> bytes:
        """Return the payload of the board's answer; nothing else may be under way. Raises as `answer` does."""
        self.send(request, payload)
        return self.answer()

    def send(self, request: int, payload: bytes = b"") -> None:
        """Send a request if the transport `has_room`; its answer comes after those of the requests before it.

        Parameters
        ----------
        request
            Of `Request`; a write may have `CONTINUED` in it.
        payload
        """
        self._sequence = (self._sequence + 1) % _SEQUENCES
        flight = _Flight(request, self._sequence, encode_frame(Frame(request, self._sequence, payload)))
        self._flights.append(flight)
        self._write(flight)

    def answer(self) -> bytes:
        """Return the payload of the answer to the oldest request under way.

        Raises
        ------
        LatteError
            No answer, however often it was asked; or the board refused the request. Nothing is under way then.
        """
        oldest = self._flights[0]
        name = Request(oldest.request & ~CONTINUED).name
        bad_before = self.statistics.bad_frames
        for attempt in range(self._retries + 1):
            if attempt > 0:
                self._repeat()
            self._receive(oldest)
            if oldest.answer is None:
                continue
            self._flights.popleft()
            self.statistics.requests += 1
            if oldest.answer.type == ERROR:
                self._flights.clear()
                failure = Failure(oldest.answer.payload[0]).name.lower().replace("_", " ")
                raise LatteError(f"the board refused {name}: {failure}; it was restarted or runs another version: "
                                 "connect again")
            return oldest.answer.payload
        self._flights.clear()
        damaged = self.statistics.bad_frames - bad_before
        what = f"only damaged answers ({damaged})" if damaged else "no answer"
        raise LatteError(f"{what} to {name} in {self._retries + 1} attempts; check the cable, the baud rate "
                         f"({self._baud}) and that the bitstream is loaded")

    def settle(self) -> None:
        """Take the answers to all that is under way. Raises as `answer` does."""
        while self._flights:
            self.answer()

    def _write(self, flight: _Flight) -> None:
        self.port.write(flight.raw)
        self.statistics.bytes_sent += len(flight.raw)

    def _repeat(self) -> None:
        """Send again what has no answer: the board ignored what followed a lost request."""
        for flight in self._flights:
            if flight.answer is None:
                self.statistics.retries += 1
                self._write(flight)

    def _receive(self, oldest: _Flight) -> None:
        """Take in answers until `oldest` has its own, time is over, or the line talks nonsense."""
        most = sum(flight.most(self.payload_bytes) for flight in self._flights)
        sent = sum(len(flight.raw) for flight in self._flights)
        self.port.timeout = self._margin + (sent + most) * _BITS_PER_BYTE / self._baud
        budget = 4 * most
        while oldest.answer is None and budget > 0:
            got = self.port.read(self._missing())
            if not got:
                return
            budget -= len(got)
            self.statistics.bytes_received += len(got)
            self._received += got
            while END in self._received:
                raw, _, rest = bytes(self._received).partition(bytes([END]))
                self._received = bytearray(rest)
                if raw:
                    self._sort(parse_frame(raw))

    def _sort(self, frame: Frame | None) -> None:
        """Give an answer to its request."""
        if frame is None:
            self.statistics.bad_frames += 1
            return
        for flight in self._flights:
            if (flight.answer is None and frame.sequence == flight.sequence
                    and frame.type in (flight.request | RESPONSE, ERROR)):
                flight.answer = frame
                return
        self.statistics.stale_frames += 1

    def _missing(self) -> int:
        """Return how many bytes must still come, at least, to complete a frame."""
        header = unescape(bytes(self._received))[:HEADER_BYTES]
        length = int.from_bytes(header[2:], "little") if len(header) == HEADER_BYTES else 0
        most = self.payload_bytes + HEADER_BYTES + CRC_BYTES
        return max(1, min(HEADER_BYTES + length + CRC_BYTES, most) + 1 - len(self._received))
