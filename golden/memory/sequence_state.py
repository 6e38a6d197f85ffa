"""The record of a sequence in memory: all that a job must know of it before it reads a page.

Little-endian. The parts behind the header begin at multiples of the bus; they are absent in a build without
compensation (`key_groups` = 0), and group numbers with fewer than two groups::

    0    1 bit    live                          4    32 bits  length, keys
    2    16 bits  generation                    8    64 bits  address of the page table
    16   8 bits   bits of a group's number      17   3 x 8    elements of K      20   3 x 8   cuts, signed
    32   groups   32 bits each: keys of the group
         numbers  of the keys in the last page, as they lie in the page
         sums     groups x d x 24 bits, signed: sums of V

The group numbers of the last page are here so that a row is appended without reading what lies beside it. 24 bits hold
the sum of 65,536 values of -128.
"""

import dataclasses

import numpy as np

from latte.golden.key_groups import GROUP_BITS_MAX, ONE_GROUP, KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.page_format import PageFormat

__all__ = ["HEADER_BYTES", "SUM_BYTES", "SequenceState", "StateFormat"]

HEADER_BYTES = 32
SUM_BYTES = 3


@dataclasses.dataclass(frozen=True)
class SequenceState:
    """What a record says.

    Parameters
    ----------
    live
        Not freed.
    generation
        Counts the sequences that had this record; a job names the one that it means.
    length
        Keys.
    table_address
    groups
        Of the keys.
    group_keys : int64 [key_groups]
    group_sums : int64 [key_groups, d]
        Of V.
    last_groups : int8 [page_rows]
        Group numbers of the keys in the last page, if it is not full; zeros behind them.
    """

    live: bool
    generation: int
    length: int
    table_address: int
    groups: KeyGroups
    group_keys: np.ndarray
    group_sums: np.ndarray
    last_groups: np.ndarray


@dataclasses.dataclass(frozen=True)
class StateFormat:
    """Offsets and codec of a build's records.

    Parameters
    ----------
    build
    """

    build: MemoryBuild

    @property
    def numbers_offset(self) -> int:
        """Of the last page's group numbers."""
        return HEADER_BYTES + self.build.padded(4 * self.build.core.key_groups)

    @property
    def sums_offset(self) -> int:
        """Of the sums of V."""
        return self.numbers_offset + self.build.padded(PageFormat(self.build).groups_bytes)

    @property
    def state_bytes(self) -> int:
        """Of a record, from one to the next."""
        core = self.build.core
        return self.sums_offset + self.build.padded(core.key_groups * core.head_dim * SUM_BYTES)

    def empty(self, generation: int, table_address: int) -> SequenceState:
        """Return a new sequence's record."""
        core = self.build.core
        return SequenceState(True, generation, 0, table_address, ONE_GROUP, np.zeros(core.key_groups, np.int64),
                             np.zeros((core.key_groups, core.head_dim), np.int64),
                             np.zeros(self.build.page_rows, np.int8))

    def encode(self, state: SequenceState) -> np.ndarray:
        """Return the bytes of a record, uint8 [`state_bytes`]."""
        image = np.zeros(self.state_bytes, np.uint8)

        def put(offset: int, values: np.ndarray | int, kind: str) -> None:
            packed = np.frombuffer(np.asarray(values).astype(kind).tobytes(), np.uint8)
            image[offset:offset + len(packed)] = packed

        put(0, int(state.live), "u1")
        put(2, state.generation, "<u2")
        put(4, state.length, "<u4")
        put(8, state.table_address, "<u8")
        put(16, len(state.groups.elements), "u1")
        put(17, np.array(state.groups.elements, np.int64), "u1")
        put(20, np.array(state.groups.cuts, np.int64), "i1")
        put(HEADER_BYTES, state.group_keys, "<u4")
        packed = PageFormat(self.build).pack_groups(state.last_groups)
        image[self.numbers_offset:self.numbers_offset + len(packed)] = packed
        wide = np.ascontiguousarray(state.group_sums, "<i4").view(np.uint8).reshape(-1, 4)
        put(self.sums_offset, wide[:, :SUM_BYTES].reshape(-1), "u1")
        return image

    def decode(self, image: np.ndarray) -> SequenceState:
        """Return what the bytes of a record say."""
        core = self.build.core

        def get(offset: int, kind: str, count: int) -> np.ndarray:
            size = np.dtype(kind).itemsize
            return np.frombuffer(image[offset:offset + count * size].tobytes(), kind).astype(np.int64)

        bits = min(int(image[16]), GROUP_BITS_MAX)
        groups = KeyGroups(tuple(map(int, get(17, "u1", bits))), tuple(map(int, get(20, "i1", bits))))
        last = PageFormat(self.build).group_numbers(image[self.numbers_offset:], self.build.page_rows)
        count = core.key_groups * core.head_dim
        sums = image[self.sums_offset:self.sums_offset + count * SUM_BYTES].reshape(-1, SUM_BYTES)
        wide = np.concatenate([np.zeros((count, 1), np.uint8), sums], axis=1)
        return SequenceState(bool(image[0] & 1), int(get(2, "<u2", 1)[0]), int(get(4, "<u4", 1)[0]),
                             int.from_bytes(image[8:16].tobytes(), "little"), groups,
                             get(HEADER_BYTES, "<u4", core.key_groups),
                             (np.ascontiguousarray(wide).view("<i4").astype(np.int64) >> 8).reshape(-1, core.head_dim),
                             last)
