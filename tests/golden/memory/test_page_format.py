"""The bits of pages and records: against a calculation bit by bit, there and back, and where parts begin."""

import dataclasses

import numpy as np
import pytest

from latte.golden.errors import LatteError
from latte.golden.key_groups import KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.page_format import PAGE_ALIGNMENT, PageFormat, pack_bits, unpack_bits
from latte.golden.memory.sequence_state import HEADER_BYTES, StateFormat
from latte.golden.quantizer import saturate_qk
from tests.golden.memory.made_up import build, rows


def bit_by_bit(k, v, numbers, of, page_rows):
    """Return a page's image as the documents describe it, with Python's integers."""
    core, form = of.core, PageFormat(of)
    b, low_bits, d = core.estimate_bits, core.low_bits, core.head_dim
    page = bytearray(form.page_bytes)

    def put(offset, bit, width, value):
        for i in range(width):
            place = bit + i
            page[offset + place // 8] |= (int(value) >> i & 1) << place % 8

    for r in range(len(k)):
        for e in range(d):
            x = int(k[r, e])
            high = (x + (1 << (low_bits - 1) if core.split == "balanced" else 0)) >> low_bits
            put(0, 8 * (r * d + e), 8, int(v[r, e]))
            put(form.low_offset + r * form.low_bytes, low_bits * e, low_bits, x - (high << low_bits))
            put(form.high_offset + r * form.high_bytes, b * e, b, high)
        put(form.groups_offset, core.group_bits * r, core.group_bits, int(numbers[r]))
    return np.frombuffer(bytes(page), np.uint8)


@pytest.mark.parametrize("bus_bytes", [8, 16])
@pytest.mark.parametrize("page_rows", [16, 32, 64])
@pytest.mark.parametrize(("bits", "split"), [(4, "balanced"), (3, "balanced"), (2, "balanced"), (4, "slice")])
def test_page_bit_by_bit(bits, split, page_rows, bus_bytes):
    rng = np.random.default_rng(bits)
    of = build(estimate_bits=bits, split=split, head_dim=16, key_groups=rng.choice([1, 2, 4, 8]).item(),
               page_rows=page_rows, bus_bytes=bus_bytes)
    form = PageFormat(of)
    for count in (1, page_rows - 1, page_rows):
        k, v = saturate_qk(rows(rng, count, 16), of.core.qk_max)[0], rows(rng, count, 16)
        numbers = rng.integers(0, of.core.key_groups, count)
        page = form.encode(k, v, numbers)
        np.testing.assert_array_equal(page, bit_by_bit(k, v, numbers, of, page_rows))
        for found, expected in zip(form.decode(page, count), (k, v, numbers), strict=True):
            np.testing.assert_array_equal(found, expected)
    offsets = [0, form.low_offset, form.groups_offset, form.high_offset]
    assert all(offset % bus_bytes == 0 for offset in offsets) and offsets == sorted(offsets)
    assert form.page_bytes % PAGE_ALIGNMENT == 0
    # Planes have no gaps: 16 bytes of K and V a key, whatever the width, and the groups.
    assert form.high_offset - form.low_offset >= page_rows * 2 * (8 - bits)
    assert form.high_bytes + form.low_bytes == form.value_bytes == 16


def test_no_byte_in_vain_at_three_bits():
    form = PageFormat(MemoryBuild(core=dataclasses.replace(build().core, estimate_bits=3)))
    assert (form.high_bytes, form.low_bytes, form.groups_bytes) == (24, 40, 16)
    assert form.page_bytes == 64 * (64 + 64) + 16 + 48  # the last 48 fill up to a burst


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_rows_there_and_back(bits):
    rng = np.random.default_rng(bits)
    for signed in (False, True) if bits < 8 else (True,):
        low = -(1 << (bits - 1)) if signed else 0
        values = rng.integers(low, low + (1 << bits), (5, 24))
        packed = pack_bits(values, bits)
        assert packed.shape == (5, 3 * bits)
        np.testing.assert_array_equal(unpack_bits(packed, 24, bits, signed=signed), values)


@pytest.mark.parametrize("key_groups", [0, 1, 2, 4, 8])
def test_record_there_and_back(key_groups):
    rng = np.random.default_rng(key_groups)
    of = build(key_groups=key_groups, page_rows=32)
    form = StateFormat(of)
    bits = of.core.group_bits
    state = dataclasses.replace(
        form.empty(0xBEEF, 0x1_2345_6789), length=65536, groups=KeyGroups((63, 0, 17)[:bits], (-128, 127, 1)[:bits]),
        group_keys=rng.integers(0, 65537, key_groups), group_sums=rng.integers(-1 << 23, 1 << 23, (key_groups, 64)),
        last_groups=rng.integers(0, max(1, key_groups), 32).astype(np.int8) * (bits > 0))
    image = form.encode(state)
    assert len(image) == form.state_bytes and form.state_bytes % of.bus_bytes == 0
    found = form.decode(image)
    for name, value in vars(state).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    assert image[:4].tobytes() == b"\x01\x00\xef\xbe" and image[4:8].tobytes() == b"\x00\x00\x01\x00"
    assert image[8:16].tobytes() == bytes.fromhex("8967452301000000")
    if not key_groups:
        assert form.state_bytes == HEADER_BYTES


@pytest.mark.parametrize("address", [0, 1 << 63, (1 << 64) - 16])
def test_addresses_of_tables_have_no_sign(address):
    form = StateFormat(build(key_groups=1))
    assert form.decode(form.encode(form.empty(1, address))).table_address == address


def test_sums_hold_the_longest_sequence():
    form = StateFormat(build(key_groups=1))
    for value in (-128 * 65536, 127 * 65536):
        state = dataclasses.replace(form.empty(1, 0), group_sums=np.full((1, 64), value))
        np.testing.assert_array_equal(form.decode(form.encode(state)).group_sums, value)


@pytest.mark.parametrize(("changes", "words"), [
    ({"page_rows": 48}, "page_rows must be one of 16, 32, 64"), ({"bus_bytes": 4}, "bus_bytes"),
    ({"window": 1000}, "power of two"), ({"window": 8}, "window"), ({"candidates": 0}, "candidates"),
    ({"tile_rows": True}, "tile_rows"), ({"slots": 0}, "slots"), ({"head_dim": 20, "estimate_bits": 3}, "whole bytes")])
def test_impossible_builds(changes, words):
    with pytest.raises(LatteError, match=words):
        build(**changes)


def test_dense_has_no_stream():
    with pytest.raises(LatteError, match="no estimate to stream"):
        MemoryBuild(core=build().core.dense())
