"""Driver against boards that are not there, or not the right ones."""

import numpy as np
import pytest

from latte.fpga.host.driver import Board, open_port
from latte.fpga.host.simulated_port import simulated_port
from latte.fpga.link.protocol import (
    END,
    ERROR,
    RESPONSE,
    Failure,
    Frame,
    Request,
    encode_frame,
    identity,
    identity_layout,
    parse_frame,
)
from latte.golden.attention import HeadParameters
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.jobs import Job
from latte.golden.thresholds import Threshold

CONFIG = preset("tiny", heads=16)


class FakeBoard:
    """A port whose board answers HELLO with given fields and other requests with nothing in them.

    Parameters
    ----------
    fields
        Of the identity, in place of the right ones.
    answers
        By request, in place of an empty payload.
    """

    def __init__(self, fields=None, answers=None):
        self.timeout = None
        self.closed = False
        self.asked = []
        self._hello = identity(CONFIG, 64, 2) | (fields or {})
        self._answers = answers or {}
        self._out = b""

    def write(self, data):
        """Answer a request."""
        frame = parse_frame(data.strip(bytes([END])))
        self.asked.append(frame)
        payload = self._answers.get(frame.type, b"")
        if frame.type == Request.HELLO:
            layout = identity_layout()
            payload = layout.const(self._hello).as_bits().to_bytes(layout.size // 8, "little")
        if payload is not None:
            kind = ERROR if frame.type in self._answers else frame.type | RESPONSE
            self._out += encode_frame(Frame(kind, frame.sequence, payload))

    def read(self, size=1):
        """Return what is left of the answer."""
        part, self._out = self._out[:size], self._out[size:]
        return part

    def close(self):
        """Remember it."""
        self.closed = True


def test_opens_and_closes():
    port = FakeBoard()
    with Board(port, CONFIG) as board:
        assert board.statistics.requests == 2
    assert port.closed
    assert [frame.type for frame in port.asked] == [Request.HELLO, Request.RESET]


def test_speed_fields_do_not_matter():
    Board(FakeBoard(), CONFIG.replace(query_rows=64, name="other"))


@pytest.mark.parametrize(("fields", "message"), [
    ({"magic": 1}, "not a LATTE board"),
    ({"protocol": 99}, "protocol version 99, this driver version"),
    ({"head_dim": 32}, "head_dim = 32, not 64.*--head-dim"),
    ({"weight_bits": 8}, "weight_bits = 8, not 12"),
    ({"estimate_bits": 3}, "estimate_bits = 3, not 4.*--estimate-bits"),
    ({"split": 1}, "split = 1"),
    ({"fingerprint": 5}, "another version of the messages"),
])
def test_refuses_another_board(fields, message):
    with pytest.raises(LatteError, match=message) as error:
        Board(FakeBoard(fields), CONFIG)
    assert "\n" not in str(error.value)


def test_silent_board():
    port = FakeBoard(answers={Request.RESET: None})
    with pytest.raises(LatteError, match=r"no answer to RESET in 4 attempts; check the cable"):
        Board(port, CONFIG, retries=3)
    assert [frame.type for frame in port.asked] == [Request.HELLO] + [Request.RESET] * 4
    assert len({frame.sequence for frame in port.asked}) == 2


def test_board_that_lost_its_session():
    port = FakeBoard(answers={Request.REPORT: bytes([Failure.NO_SESSION])})
    board = Board(port, CONFIG)
    with pytest.raises(LatteError, match="refused REPORT: no session"):
        board.report()


@pytest.mark.parametrize(("head", "entry", "message"), [
    (16, HeadParameters(Threshold.relative(1), 1, 1), "head 16 does not exist"),
    (0, HeadParameters(Threshold.relative(1 << 14), 1, 1),
     "head 0: .* threshold codes of kind relative from 1 to 16383, not 16384"),
])
def test_parameters_that_do_not_fit(head, entry, message):
    with pytest.raises(LatteError, match=message):
        Board(FakeBoard(), CONFIG).load_parameters({head: entry})


ROWS = np.zeros((3, 64), np.int8)


@pytest.mark.parametrize(("job", "words"), [
    (Job(0, ROWS.astype(np.uint8), ROWS, ROWS), "'q' must be an int8 array, not uint8"),
    (Job(0, ROWS, np.full((3, 64), 300, np.int16), ROWS), "'k' must be an int8 array, not int16"),
    (Job(0, ROWS, ROWS, ROWS.astype(np.float32)), "'v' must be an int8 array, not float32"),
    (Job(0, ROWS.tolist(), ROWS, ROWS), "'q' must be an int8 array, not list"),
    (Job(0, ROWS, ROWS, ROWS[:2]), "'k' has 3 rows, but 'v' has 2"),
    (Job(0, ROWS, ROWS[:, :32], ROWS[:, :32]), "'k' must have shape .*head_dim = 64"),
    (Job(0, ROWS[0], ROWS, ROWS), "'q' must have shape"),
    (Job(0, ROWS[None], ROWS, ROWS), "'q' must have shape"),
    (Job(-1, ROWS, ROWS, ROWS), "head must be an integer from 0 to 65535"),
    (Job(1.5, ROWS, ROWS, ROWS), "head must be an integer"),
    (Job(0, ROWS, *np.zeros((2, 65536, 64), np.int8)), "'k' has 65536 rows"),
])
def test_operands_that_no_core_takes_are_refused_before_anything_is_sent(job, words):
    port = FakeBoard()
    board = Board(port, CONFIG)
    sent = len(port.asked)
    with pytest.raises(LatteError, match=words):
        board.run(job)
    assert len(port.asked) == sent


def test_missing_serial_port(tmp_path):
    with pytest.raises(LatteError, match=r"nowhere' cannot be opened \(No such file or directory\); serial ports here"):
        open_port(str(tmp_path / "nowhere"), 115_200)


def test_not_a_serial_port(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LatteError, match="cannot be opened"):
        open_port(str(file), 115_200)


def test_a_simulator_that_ends_at_once_is_named(tmp_path):
    class Dead:
        """A compiled model that does not run."""

        def run(self, *arguments, **options):
            """Return at once."""

    with pytest.raises(LatteError, match=f"did not start; see {tmp_path}"), simulated_port(Dead(), tmp_path):
        pass
