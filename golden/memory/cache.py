"""The host's side of a memory: where records, page tables and pages lie, and which pages are free.

From address 0: the records of all slots, their page tables, the pages. A table has an entry of 32 bits for each page of
the longest sequence, the page's number plus 1; 0 is an entry without a page. The core only reads entries; the host
writes them before a job needs the page, and takes the pages back when a sequence is freed. A sequence here is the cache
of one head of keys of one attention block.
"""

import dataclasses
import heapq

import numpy as np

from latte.golden.config import ceil_div
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.image import MemoryImage
from latte.golden.memory.page_format import PAGE_ALIGNMENT, PageFormat
from latte.golden.memory.sequence_state import SequenceState, StateFormat

__all__ = ["ENTRY_BYTES", "CacheMemory", "Handle"]

ENTRY_BYTES = 4
_GENERATIONS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Handle:
    """What names a sequence: its slot, and which of the sequences that had the slot it is."""

    slot: int
    generation: int


class CacheMemory:
    """One memory with the caches of many sequences.

    Parameters
    ----------
    build
    pages
        That it holds, of all sequences together.

    Attributes
    ----------
    image : MemoryImage
    format : PageFormat
    records : StateFormat
    """

    def __init__(self, build: MemoryBuild, pages: int) -> None:
        self.build = build
        self.format, self.records = PageFormat(build), StateFormat(build)
        self._tables = -(-build.slots * self.records.state_bytes // PAGE_ALIGNMENT) * PAGE_ALIGNMENT
        self._table_bytes = build.padded(ENTRY_BYTES * build.page_limit)
        self.first_page = -(-(self._tables + build.slots * self._table_bytes) // PAGE_ALIGNMENT) * PAGE_ALIGNMENT
        self.image = MemoryImage(self.first_page + pages * self.format.page_bytes, build.bus_bytes)
        self._free = list(range(pages))
        self._generations = [0] * build.slots

    @property
    def free_pages(self) -> int:
        """Pages that no sequence has."""
        return len(self._free)

    def state_address(self, slot: int) -> int:
        """Return where the record of a slot lies."""
        return slot * self.records.state_bytes

    def page_address(self, page: int | np.ndarray) -> int | np.ndarray:
        """Return where a page begins."""
        return self.first_page + page * self.format.page_bytes

    def state(self, handle: Handle) -> SequenceState:
        """Return a record as the host reads it."""
        at = self.state_address(handle.slot)
        return self.records.decode(self.image.data[at:at + self.records.state_bytes])

    def open(self) -> Handle:
        """Begin a sequence without keys and pages, in the first free slot.

        Raises
        ------
        LatteError
            All slots have a sequence.
        """
        for slot in range(self.build.slots):
            if not self.image.data[self.state_address(slot)] & 1:
                break
        else:
            raise LatteError(f"all {self.build.slots} slots hold a sequence; free one, or build more with slots")
        self._generations[slot] = (self._generations[slot] + 1) % _GENERATIONS
        handle = Handle(slot, self._generations[slot])
        table = self._tables + slot * self._table_bytes
        self._put(self.state_address(slot), self.records.encode(self.records.empty(handle.generation, table)))
        self._put(table, np.zeros(self._table_bytes, np.uint8))
        return handle

    def reserve(self, handle: Handle, keys: int) -> None:
        """Give a sequence pages for so many keys in all, lowest numbers first; nothing if it has them.

        Raises
        ------
        LatteError
            The sequence was freed, the length is beyond the build, or there are fewer free pages than that takes.
        """
        self._check(handle)
        if keys > self.build.core.max_seq_len:
            raise LatteError(f"{keys} keys are more than the {self.build.core.max_seq_len} that the build holds")
        mapped = self._entries(handle)
        missing = [index for index in range(ceil_div(keys, self.build.page_rows)) if not mapped[index]]
        if len(missing) > len(self._free):
            raise LatteError(f"{keys} keys take {len(missing)} more pages, but {len(self._free)} are free; free a "
                             "sequence")
        for index in missing:
            mapped[index] = heapq.heappop(self._free) + 1

    def free(self, handle: Handle) -> None:
        """End a sequence; its pages and its slot can be had again.

        Raises
        ------
        LatteError
            It was freed before.
        """
        self._check(handle)
        mapped = self._entries(handle)
        for page in mapped[mapped > 0]:
            heapq.heappush(self._free, int(page) - 1)
        mapped[:] = 0
        self.image.data[self.state_address(handle.slot)] = 0

    def page_of(self, handle: Handle, index: int) -> int:
        """Return the number of one of a sequence's pages; -1 if there is none."""
        return int(self._entries(handle)[index]) - 1

    def unmap(self, handle: Handle, index: int) -> None:
        """Take one page from a sequence, as a host that swaps would."""
        self._check(handle)
        mapped = self._entries(handle)
        if mapped[index]:
            heapq.heappush(self._free, int(mapped[index]) - 1)
            mapped[index] = 0

    def _entries(self, handle: Handle) -> np.ndarray:
        """Return a sequence's page table, a view of the memory, uint32 [page_limit]."""
        at = self._tables + handle.slot * self._table_bytes
        return self.image.data[at:at + ENTRY_BYTES * self.build.page_limit].view("<u4")

    def _check(self, handle: Handle) -> None:
        state = self.state(handle)
        if not state.live or state.generation != handle.generation:
            raise LatteError(f"the sequence of slot {handle.slot}, generation {handle.generation}, was freed")

    def _put(self, address: int, data: np.ndarray) -> None:
        self.image.data[address:address + len(data)] = data
