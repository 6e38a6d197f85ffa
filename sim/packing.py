"""Payload integers to NumPy arrays and back, by the Amaranth layouts of the ports."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import data

__all__ = ["PayloadReader", "locate", "pack_rows", "pack_struct"]

_WORD_BITS = 57
"""Any field up to this width lies within the eight bytes that start at its first byte."""


def locate(shape: ShapeLike, *path: str | int) -> tuple[int, ShapeLike]:
    """Return (offset of the low bit, shape) of the field at `path` in a layout."""
    offset = 0
    for key in path:
        field = data.Layout.cast(shape)[key]
        offset, shape = offset + field.offset, field.shape
    return offset, shape


def pack_struct(layout: data.StructLayout, **values: int) -> int:
    """Return the payload of a struct of plain integers."""
    payload = 0
    for name, value in values.items():
        offset, shape = locate(layout, name)
        payload |= (int(value) & ((1 << Shape.cast(shape).width) - 1)) << offset
    return payload


def pack_rows(rows: np.ndarray, bus_bytes: int) -> Iterator[int]:
    """Yield the beats of int8 rows [n, d], `bus_bytes` elements each, the first element in the low byte."""
    raw = np.ascontiguousarray(rows, np.int8).tobytes()
    return (int.from_bytes(raw[start:start + bus_bytes], "little") for start in range(0, len(raw), bus_bytes))


class PayloadReader:
    """Many payloads of one layout, field by field as arrays.

    Parameters
    ----------
    shape
        Layout of a payload.
    payloads
    """

    def __init__(self, shape: ShapeLike, payloads: Iterable[int]) -> None:
        self.shape = shape
        payloads = list(payloads)
        # Eight bytes more than needed: a field is read as one 64-bit word from its first byte.
        size = Shape.cast(shape).width // 8 + 9
        raw = b"".join([payload.to_bytes(size, "little") for payload in payloads])
        self._bytes = np.frombuffer(raw, np.uint8).reshape(len(payloads), size)

    def __len__(self) -> int:
        return len(self._bytes)

    def ints(self, *path: str | int) -> np.ndarray:
        """Return the field at `path`, int64 [N], or [N, length] of an array of integers."""
        offset, shape = locate(self.shape, *path)
        return self._read(offset, shape)

    def bits(self, *path: str | int) -> np.ndarray:
        """Return the bits of the field at `path`, low bit first, bool [N, width]."""
        offset, shape = locate(self.shape, *path)
        return np.stack([self._word(offset + i, 1) for i in range(Shape.cast(shape).width)], axis=1).astype(bool)

    def _read(self, offset: int, shape: Any) -> np.ndarray:
        if isinstance(shape, data.ArrayLayout):
            width = Shape.cast(shape.elem_shape).width
            return np.stack([self._read(offset + i * width, shape.elem_shape) for i in range(shape.length)], axis=1)
        cast = Shape.cast(shape)
        word = self._word(offset, cast.width)
        return np.where(word >> (cast.width - 1) & 1, word - (1 << cast.width), word) if cast.signed else word

    def _word(self, offset: int, width: int) -> np.ndarray:
        if width > _WORD_BITS:
            raise ValueError(f"a field of {width} bits does not fit a 64-bit word")
        first = offset // 8
        word = np.ascontiguousarray(self._bytes[:, first:first + 8]).view("<i8")[:, 0]
        return (word >> (offset % 8)) & ((1 << width) - 1)
