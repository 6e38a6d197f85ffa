"""Driver of a board, or of its simulation: load parameters, keys and values, stream queries, read outputs."""

import dataclasses
import os
import secrets
from types import TracebackType

import numpy as np
from amaranth.lib import data

from latte.fpga.boards.board import DEFAULT_BAUD
from latte.fpga.host.exchange import Exchange, fields_of, set_bits
from latte.fpga.host.transport import LinkStatistics, Port, Transport
from latte.fpga.link.protocol import (
    IDENTITY_FIELDS,
    MAGIC,
    PROTOCOL_VERSION,
    Request,
    byte_size,
    identity,
    identity_layout,
    item_shape,
    report_layout,
)
from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.jobs import REFUSALS, Job
from latte.golden.register_image import RegisterImage
from latte.rtl.common.core import counters_layout
from latte.rtl.common.entry_words import entry_words, pack_entry, parameter_layout
from latte.rtl.common.payloads import job_layout
from latte.sim.packing import PayloadReader, pack_struct

__all__ = ["Board", "BoardReport", "JobRefused", "open_port"]

class JobRefused(LatteError):
    """The core refused a job; its data were dropped and the board is ready for the next."""


@dataclasses.dataclass(frozen=True)
class BoardReport:
    """Status and counters of a board.

    Parameters
    ----------
    status : frozenset of str
        Sticky bits that are set.
    discarded : int
        Frames that the board discarded because they were damaged.
    counters : dict of str to int
    """

    status: frozenset[str]
    discarded: int
    counters: dict[str, int]


def open_port(name: str, baud: int) -> Port:
    """Open a serial port.

    Raises
    ------
    LatteError
        There is none of this name, or it cannot be used.
    """
    try:
        import serial
        from serial.tools import list_ports
    except ImportError as error:
        raise LatteError(f"this system has no serial ports that pyserial can use ({error}); --port sim takes the "
                         "simulated board") from None
    try:
        return serial.Serial(name, baud, timeout=1, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as error:
        ports = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else str(error).splitlines()[0].rstrip(".")
        raise LatteError(f"the serial port {name!r} cannot be opened ({reason}); serial ports here: {ports}") from None


class Board:
    """A session with a board.

    Parameters
    ----------
    port
        Open serial port, or anything that behaves like one; closed with the session.
    config
        What the board must have been built for; speed and area fields do not matter.
    baud
    margin, retries
        See `latte.fpga.host.transport.Transport`.

    Raises
    ------
    LatteError
        Nobody answers, or a board of another version or configuration.
    """

    def __init__(self, port: Port, config: AttentionConfig, baud: int = DEFAULT_BAUD, *, margin: float = 0.25,
                 retries: int = 8) -> None:
        self.config = config
        # A board remembers the last number of an earlier session: begin anywhere.
        self._transport = Transport(port, baud, margin=margin, retries=retries, sequence=secrets.randbelow(256))
        self.reset()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the session."""
        self._transport.port.close()

    @property
    def statistics(self) -> LinkStatistics:
        """What happened on the line so far."""
        return self._transport.statistics

    def _shake_hands(self) -> None:
        answer = self._transport.request(Request.HELLO)
        board = fields_of(identity_layout(), answer.ljust(byte_size(identity_layout()), b"\0"))
        if board["magic"] != MAGIC:
            raise LatteError("what answers is not a LATTE board; choose another port with --port")
        if board["protocol"] != PROTOCOL_VERSION:
            raise LatteError(f"the board speaks protocol version {board['protocol']}, this driver version "
                             f"{PROTOCOL_VERSION}; build and load the bitstream again")
        expected = identity(self.config, board["payload_bytes"], board["window"])
        for field in IDENTITY_FIELDS:
            if board[field] != expected[field]:
                raise LatteError(f"the board was built with {field} = {board[field]}, not {expected[field]}; name "
                                 f"it with --board, or its build with --config and --{field.replace('_', '-')}, or "
                                 "load another bitstream")
        if board["fingerprint"] != expected["fingerprint"]:
            raise LatteError("the board was built from another version of the messages or layouts; build and load the "
                             "bitstream again")
        self._transport.payload_bytes, self._transport.window = board["payload_bytes"], board["window"]

    def reset(self) -> None:
        """Begin again, after an error of the line, too: parameters, sequences and outputs of the core are gone."""
        self._transport.drain()
        self._shake_hands()
        self._transport.request(Request.RESET)

    def clear(self) -> None:
        """Clear status and counters."""
        self._transport.request(Request.CLEAR)

    def report(self) -> BoardReport:
        """Return status and counters."""
        fields = fields_of(report_layout(), self._transport.request(Request.REPORT))
        return BoardReport(set_bits(fields["status"]), fields["discarded"],
                           {name: fields[name] for name, _ in counters_layout()})

    def load_parameters(self, parameters: dict[int, HeadParameters]) -> None:
        """Write register file entries."""
        layout, words = parameter_layout(), entry_words(self.config)
        widths = {str(name): field.width for word in words.values() for name, field in word}
        for head, entry in parameters.items():
            if not 0 <= head < self.config.heads:
                raise LatteError(f"head {head} does not exist; the board has heads 0 to {self.config.heads - 1}")
            try:
                fields = entry.registers(self.config)
            except LatteError as error:
                raise LatteError(f"head {head}: {error}") from error
            for name, value in fields.items():
                if name in widths and not -1 << widths[name] <= 2 * value < 2 << widths[name]:
                    raise LatteError(f"{name} = {value} of head {head} does not fit {widths[name]} bits")
        items = [pack_struct(layout, **word) for head, entry in parameters.items()
                 for word in pack_entry(head, entry, self.config)]
        size = byte_size(layout)
        raw = b"".join(item.to_bytes(size, "little") for item in items)
        Exchange(self._transport, self.config, [(Request.WRITE_PARAMETER, raw)]).run()

    def load_image(self, image: RegisterImage) -> None:
        """Write the whole register file; job heads are then `RegisterImage.index` of (block, head).

        Raises
        ------
        LatteError
            The image is made for another configuration, has more heads than the board, or needs what it lacks.
        """
        image.check_fits(self.config)
        self.load_parameters(image.parameters())

    def run(self, job: Job) -> np.ndarray:
        """Compute one job.

        Returns
        -------
        ndarray of int32 [query_rows, d]
            Output codes.

        Raises
        ------
        JobRefused
            The core refused it; the message says why.
        LatteError
            The operands cannot be handed to the board, and nothing was sent; or the line or the core failed.
        """
        job.check(self.config)
        if self.report().status & set(REFUSALS):
            self.clear()
        item = pack_struct(job_layout(), head=job.head, load_rows=len(job.k), fresh=job.fresh, query_rows=len(job.q),
                           causal=job.causal)
        # Queries last: they wait for the computation, which waits for keys, values and free outputs.
        rows = {Request.WRITE_K: job.k, Request.WRITE_V: job.v, Request.WRITE_Q: job.q}
        writes = [(Request.WRITE_JOB, item.to_bytes(byte_size(job_layout()), "little")),
                  *((request, np.ascontiguousarray(part, np.int8).tobytes()) for request, part in rows.items())]
        beats = len(job.q) * self.config.head_dim // self.config.normalizer_lanes
        output, status = Exchange(self._transport, self.config, writes, beats).run()
        # Only a core without anything to put out must be asked.
        return self._read_rows(job, output, status if beats else self.report().status)

    def _read_rows(self, job: Job, output: bytes, status: frozenset[str]) -> np.ndarray:
        """Return the output codes of a job; a refused one has none."""
        config = self.config
        refusal = sorted(status & set(REFUSALS))
        if refusal:
            raise JobRefused(f"the core refused the job: {', '.join(refusal)} (head {job.head}, {len(job.k)} keys, "
                             f"{len(job.q)} queries)")
        shape = item_shape(Request.READ_OUTPUT, config)
        size = byte_size(shape)
        payloads = [int.from_bytes(output[at:at + size], "little") for at in range(0, len(output), size)]
        if not payloads:
            return np.zeros((0, config.head_dim), np.int32)
        codes = PayloadReader(data.StructLayout({"data": shape}), payloads).ints("data")
        return codes.reshape(len(job.q), config.head_dim).astype(np.int32)
