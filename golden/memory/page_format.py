"""Where the bits of a page lie: `page_rows` keys and values of one head of keys.

A page is four parts, in this order, each padded to the bus::

    values   row r: d bytes of V, element e at byte e
    low      row r: the low parts of K, 8 - b bits each
    groups   the number of each key's group, group_bits each; absent with one group or none
    high     row r: the high parts of K, b bits each

Groups and high plane are one piece, which the estimate streams; a key's group is there before its high parts. Values
and low plane come first, so that their rows lie at multiples of their size.

Parts of a row are packed without gaps, least significant bit first: element ``e`` of ``w`` bits has bits ``w e`` to
``w e + w - 1`` of the row, bit ``i`` of a row is bit ``i % 8`` of its byte ``i // 8``. Signed parts are two's
complement. A row is whole bytes for every width, so that three bits move no byte in vain either.
"""

import dataclasses

import numpy as np

from latte.golden.memory.build import MemoryBuild
from latte.golden.split import split_halves

__all__ = ["PAGE_ALIGNMENT", "PageFormat", "pack_bits", "unpack_bits"]

PAGE_ALIGNMENT = 64
"""Bytes that a page's size is rounded up to: the widest burst of a memory part, so that rows do not straddle one."""


def pack_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the low `bits` of each value of a row, packed, uint8 [n, ceil(d * bits / 8)].

    Parameters
    ----------
    values : int [n, d]
    bits
        1 to 8.
    """
    single = (values.astype(np.int16)[:, :, None] >> np.arange(bits, dtype=np.int16)) & 1
    return np.packbits(single.astype(np.uint8).reshape(len(values), -1), axis=1, bitorder="little")


def unpack_bits(packed: np.ndarray, count: int, bits: int, *, signed: bool) -> np.ndarray:
    """Return the first `count` values of each packed row, int8 [n, count]; the inverse of `pack_bits`.

    Unsigned values have less than 8 bits.
    """
    single = np.unpackbits(packed, axis=1, count=count * bits, bitorder="little").reshape(len(packed), count, bits)
    values = np.zeros((len(packed), count), np.uint8)
    for bit in range(bits):
        values |= single[:, :, bit] << np.uint8(bit)
    if not signed:
        return values.astype(np.int8)
    unused = np.uint8(8 - bits)
    return (values << unused).view(np.int8) >> np.int8(unused)


@dataclasses.dataclass(frozen=True)
class PageFormat:
    """Offsets and codecs of a build's pages.

    Parameters
    ----------
    build
    """

    build: MemoryBuild

    @property
    def value_bytes(self) -> int:
        """A row of V."""
        return self.build.core.head_dim

    @property
    def low_bytes(self) -> int:
        """A row of low parts."""
        return self.build.core.head_dim * self.build.core.low_bits // 8

    @property
    def high_bytes(self) -> int:
        """A row of high parts."""
        return self.build.core.head_dim * self.build.core.estimate_bits // 8

    @property
    def low_offset(self) -> int:
        """Of the low plane in a page."""
        return self.build.padded(self.build.page_rows * self.value_bytes)

    @property
    def groups_offset(self) -> int:
        """Of the group numbers in a page."""
        return self.low_offset + self.build.padded(self.build.page_rows * self.low_bytes)

    @property
    def groups_bytes(self) -> int:
        """All group numbers of a page, without padding."""
        return self.build.page_rows * self.build.core.group_bits // 8

    @property
    def high_offset(self) -> int:
        """Of the high plane in a page."""
        return self.groups_offset + self.build.padded(self.groups_bytes)

    @property
    def page_bytes(self) -> int:
        """From one page to the next."""
        end = self.high_offset + self.build.padded(self.build.page_rows * self.high_bytes)
        return -(-end // PAGE_ALIGNMENT) * PAGE_ALIGNMENT

    def split_keys(self, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (high, low) rows of saturated keys as they lie in a page, uint8 [n, `high_bytes`], [n, `low_bytes`].

        Parameters
        ----------
        k : int8 [n, d]
            At most `qk_max`.
        """
        core = self.build.core
        high, low = split_halves(k, core.split, core.estimate_bits)
        return pack_bits(high, core.estimate_bits), pack_bits(low, core.low_bits)

    def high_parts(self, rows: np.ndarray) -> np.ndarray:
        """Return the high parts of packed rows, int8 [n, d]."""
        return unpack_bits(rows, self.build.core.head_dim, self.build.core.estimate_bits, signed=True)

    def low_parts(self, rows: np.ndarray) -> np.ndarray:
        """Return the low parts of packed rows, int8 [n, d]; not negative with the sliced split."""
        core = self.build.core
        return unpack_bits(rows, core.head_dim, core.low_bits, signed=core.split == "balanced")

    def group_numbers(self, packed: np.ndarray, count: int) -> np.ndarray:
        """Return the first `count` group numbers of a page's packed ones, int8 [count]; zeros with one group or none.

        Parameters
        ----------
        packed : uint8 [any]
        """
        bits = self.build.core.group_bits
        return unpack_bits(packed[None], count, bits, signed=False)[0] if bits else np.zeros(count, np.int8)

    def pack_groups(self, numbers: np.ndarray) -> np.ndarray:
        """Return a page's packed group numbers, uint8 [`groups_bytes`], zeros behind the last.

        Parameters
        ----------
        numbers : int [at most page_rows]
        """
        whole = np.zeros((1, self.build.page_rows), np.int64)
        whole[0, :len(numbers)] = numbers
        bits = self.build.core.group_bits
        return pack_bits(whole, bits)[0] if bits else np.zeros(0, np.uint8)

    def encode(self, k: np.ndarray, v: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the image of a page that holds some keys from its first, uint8 [`page_bytes`], zeros elsewhere.

        Parameters
        ----------
        k, v : int8 [n, d], n at most page_rows, k saturated
        numbers : int [n]
            Of the keys' groups.
        """
        page = np.zeros(self.page_bytes, np.uint8)
        high, low = self.split_keys(k)
        for offset, rows in ((0, v.view(np.uint8)), (self.low_offset, low), (self.high_offset, high)):
            page[offset:offset + rows.size] = rows.reshape(-1)
        page[self.groups_offset:self.groups_offset + self.groups_bytes] = self.pack_groups(numbers)
        return page

    def decode(self, page: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (k, v, group numbers) of a page's first `count` keys, int8 [count, d] twice, int8 [count]."""
        def rows(offset: int, size: int) -> np.ndarray:
            return page[offset:offset + count * size].reshape(count, size)

        high = self.high_parts(rows(self.high_offset, self.high_bytes)).astype(np.int64)
        low = self.low_parts(rows(self.low_offset, self.low_bytes))
        k = (high << self.build.core.low_bits) + low
        groups = page[self.groups_offset:self.groups_offset + self.groups_bytes]
        return k.astype(np.int8), rows(0, self.value_bytes).view(np.int8).copy(), self.group_numbers(groups, count)
