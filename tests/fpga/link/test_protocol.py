"""Frames and identity in software."""

import random
import zlib

import pytest
from amaranth.lib.crc.catalog import CRC32_ETHERNET

from latte.fpga.link.protocol import (
    END,
    ESCAPE,
    IDENTITY_FIELDS,
    MESSAGES,
    STREAMS,
    Frame,
    Request,
    encode_frame,
    fingerprint,
    identity,
    identity_layout,
    layouts_table,
    messages_table,
    parse_frame,
)
from latte.golden.config import preset


def test_gateware_and_driver_use_one_crc():
    data = random.Random(1).randbytes(100)
    assert CRC32_ETHERNET(data_width=8).compute(data) == zlib.crc32(data)


@pytest.mark.parametrize("payload", [b"", bytes([END, ESCAPE] * 8), bytes(range(256))])
def test_round_trip(payload):
    frame = Frame(Request.WRITE_K, ESCAPE, payload)
    raw = encode_frame(frame)
    assert raw[0] == raw[-1] == END and END not in raw[1:-1]
    assert parse_frame(raw[1:-1]) == frame


def test_every_single_fault_is_seen():
    frame = Frame(Request.WRITE_Q, 7, bytes(range(0x70, 0x90)))
    raw = encode_frame(frame)[1:-1]
    for at in range(len(raw)):
        for bit in range(8):
            flipped = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1:]
            assert all(parse_frame(part) in (None, frame) for part in flipped.split(bytes([END])))
        assert parse_frame(raw[:at] + raw[at + 1:]) in (None, frame)
        for extra in (0x00, 0xFF, 0x20, raw[at]):
            assert parse_frame(raw[:at] + bytes([extra]) + raw[at:]) in (None, frame)


def test_random_bytes_are_no_frame():
    rng = random.Random(2)
    assert all(parse_frame(rng.randbytes(rng.randrange(40))) is None for _ in range(5000))


@pytest.mark.parametrize(("field", "value"), [
    ("head_dim", 32), ("max_seq_len", 32), ("heads", 3), ("split", "slice"), ("weight_bits", 11), ("bus_bytes", 1),
    ("exp_frac_bits", 9), ("reciprocal_bits", 7), ("fraction_bits", 7)])
def test_fingerprint_tells_what_matters(field, value):
    base = preset("tiny")
    assert field in IDENTITY_FIELDS
    assert fingerprint(base.replace(**{field: value})) != fingerprint(base)


def test_fingerprint_ignores_speed():
    assert fingerprint(preset("tiny").replace(query_rows=32, name="other")) == fingerprint(preset("tiny"))


def test_identity_fits_its_layout():
    fields = identity(preset("base"), 512, 2)
    constant = identity_layout().const(fields)
    assert {name: constant[name] for name in fields} == fields


def test_table_names_every_message():
    table = messages_table()
    assert all(request in MESSAGES and f"| {request.name} |" in table for request in Request)
    assert set(STREAMS) == {request for request in Request if request.name.startswith("WRITE_")}
    assert "| job | head 16, load_rows 16, fresh 1, query_rows 16, causal 1 |" in layouts_table()
