"""What a job exchanges with a board: items written in order, and outputs read between them, without waiting."""

import collections
import dataclasses
from collections.abc import Sequence

from amaranth.lib import data

from latte.fpga.host.transport import Transport
from latte.fpga.link.protocol import CONTINUED, STREAMS, Request, byte_size, item_shape, trailer_layout
from latte.golden.config import AttentionConfig, ceil_div
from latte.golden.errors import LatteError
from latte.golden.jobs import REFUSALS
from latte.rtl.common.core import status_layout

__all__ = ["Exchange", "fields_of", "set_bits"]

_QUIET_ANSWERS = 32
"""Answers that moved nothing, one after the other, after which the core counts as stuck."""


@dataclasses.dataclass
class _Write:
    """Items of one stream under way; `void` if the board hands over none, as a write before them was cut short."""

    stream: int
    at: int
    items: int
    void: bool = False


class Exchange:
    """Writes items and reads outputs, several requests under way.

    Writes follow each other as continuations, so the board keeps their order; where one is cut short, writing begins
    again. Each write of the last stream, which makes the core produce, is followed by reads for what it is expected to
    yield: line and core work both ways at once. A core that stalls gets a read, which may relieve it.

    Parameters
    ----------
    transport
        Without anything under way.
    config
    writes
        Requests and all bytes of their items, in order.
    beats
        Output beats to read.
    """

    def __init__(self, transport: Transport, config: AttentionConfig, writes: Sequence[tuple[Request, bytes]],
                 beats: int = 0) -> None:
        self._transport = transport
        self._config = config
        self._writes = [(request, raw) for request, raw in writes if raw]
        beat_bytes = byte_size(item_shape(Request.READ_OUTPUT, config))
        self._expected = beats * beat_bytes
        self._most = (transport.payload_bytes - byte_size(trailer_layout())) // beat_bytes * beat_bytes
        self._output = bytearray()
        self._status: frozenset[str] = frozenset()
        self._flights: collections.deque[_Write | None] = collections.deque()  # None: a read
        self._stream = self._at = 0
        self._continues = False
        self._reads_due = self._quiet = 0

    def run(self) -> tuple[bytes, frozenset[str]]:
        """Return (output, status with the last of it); a job that was refused has less output.

        Raises
        ------
        LatteError
            The line failed, the core is stuck, or it ended a job too early or too late.
        """
        try:
            while True:
                while self._transport.has_room and self._send():
                    pass
                if not self._flights:
                    return bytes(self._output), self._status
                flight, answer = self._flights.popleft(), self._transport.answer()
                if flight is None:
                    self._take_output(answer)
                elif not flight.void:
                    self._take_count(flight, int.from_bytes(answer, "little"))
                if self._quiet == _QUIET_ANSWERS:
                    self._give_up()
        finally:
            self._transport.settle()

    def _send(self) -> bool:
        """Send what is best sent next, if anything."""
        writes_left = self._stream < len(self._writes)
        reads = self._flights.count(None)
        missing = self._expected - len(self._output) - reads * self._most
        if missing > 0 and not self._status & set(REFUSALS) and (self._reads_due > 0 or not writes_left):
            self._reads_due -= self._reads_due > 0
            self._transport.send(Request.READ_OUTPUT)
            self._flights.append(None)
            return True
        if not writes_left:
            return False
        request, raw = self._writes[self._stream]
        size = byte_size(item_shape(request, self._config))
        part = raw[self._at:self._at + self._transport.payload_bytes // size * size]
        self._transport.send(request | CONTINUED if self._continues else request, part)
        self._flights.append(_Write(self._stream, self._at, len(part) // size))
        if self._stream == len(self._writes) - 1:
            self._reads_due = ceil_div(len(part) * self._expected, len(raw) * self._most)
        self._continues = True
        self._at += len(part)
        if self._at == len(raw):
            self._stream, self._at = self._stream + 1, 0
        return True

    def _take_count(self, write: _Write, taken: int) -> None:
        """Go back to where a write was cut short."""
        self._note(taken > 0)
        if taken < write.items:
            size = byte_size(item_shape(self._writes[write.stream][0], self._config))
            self._stream, self._at, self._continues = write.stream, write.at + taken * size, False
            self._reads_due = max(self._reads_due, 1)
            for flight in self._flights:
                if flight is not None:
                    flight.void = True

    def _take_output(self, answer: bytes) -> None:
        """Append the output of a read."""
        size = byte_size(trailer_layout())
        trailer = fields_of(trailer_layout(), answer[-size:])
        self._note(len(answer) > size)
        self._status = set_bits(trailer["status"])
        self._output += answer[:-size]
        if bool(trailer["job_last"]) != (len(self._output) == self._expected):
            raise LatteError("the core ended a job too early or too late; reset the board")

    def _note(self, moved: bool) -> None:
        self._quiet = 0 if moved else self._quiet + 1

    def _give_up(self) -> None:
        if self._stream < len(self._writes):
            raise LatteError(f"the core does not take more of {STREAMS[self._writes[self._stream][0]]!r}; reset the "
                             "board")
        raise LatteError("the core produces no more output; reset the board")


def fields_of(layout: data.StructLayout, raw: bytes) -> dict[str, int]:
    """Return the fields of a struct as unsigned numbers."""
    value = int.from_bytes(raw, "little")
    return {str(name): value >> field.offset & (1 << field.width) - 1 for name, field in layout}


def set_bits(status: int) -> frozenset[str]:
    """Return the status bits that are set."""
    return frozenset(str(name) for name, field in status_layout() if status >> field.offset & 1)
