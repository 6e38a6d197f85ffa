"""Where the rows of a sequence lie: the numbers of its pages, and what lies where in each."""

import enum

from amaranth import Array, Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.page_format import PageFormat
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.common.primitives import delay, register, times
from latte.rtl.common.ram import RAM_LATENCY, Ram

__all__ = ["PagePart", "PageTable", "look_up_layout"]

_ENTRY_BITS = 8 * ENTRY_BYTES


class PagePart(enum.IntEnum):
    """What is read or written of a page."""

    STREAM = 0
    """Groups and high plane; it is beats of the groups that are counted, not rows."""
    HIGH = 1
    LOW = 2
    VALUE = 3


def look_up_layout(build: MemoryBuild) -> data.StructLayout:
    """A row of a page of the sequence, and of which part (`PagePart`)."""
    return data.StructLayout({"part": 2, "page": range(build.page_limit), "row": range(build.page_rows)})


class PageTable(wiring.Component):
    """Holds a page table as it was read, and finds addresses by it::

        beat -> [table] -> number x page -+
                                          + -> + first page -> address
        row x size of a row + plane ------+

    Latency: `latency` cycles from a look-up to its address. Throughput: one per cycle.

    Parameters
    ----------
    build
    from_middle
        A table may be read from another page than its first.

    Members
    -------
    first_page : In(ADDRESS_BITS)
    restart, first, pages : In
        The entries of a table from page `first` on, before `pages`, come; the last two stand. `first` is present with
        `from_middle`.
    beat_valid, beat : In(8 * bus_bytes)
        All beats that hold some of them, in order.
    unmapped : Out(1)
        Since `restart`: a page has no entry.
    look_up : In(look_up_layout)
    address : Out(ADDRESS_BITS)
    """

    latency = RAM_LATENCY + 4
    """The table; its entry, the page's number, its place, the address."""

    def __init__(self, build: MemoryBuild, *, from_middle: bool = False) -> None:
        self.build = build
        self.from_middle = from_middle
        super().__init__({
            "first_page": In(ADDRESS_BITS), "restart": In(1),
            **({"first": In(range(build.page_limit))} if from_middle else {}), "pages": In(range(build.page_limit + 1)),
            "beat_valid": In(1), "beat": In(8 * build.bus_bytes), "unmapped": Out(1),
            "look_up": In(look_up_layout(build)), "address": Out(ADDRESS_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, form = self.build, PageFormat(self.build)
        entries = build.bus_bytes // ENTRY_BYTES
        word = data.ArrayLayout(_ENTRY_BITS, entries)
        m.submodules.table = table = Ram(word, ceil_div(build.page_limit, entries))
        number = Signal(range(ceil_div(build.page_limit, entries) + 1))
        beat = Signal(word)
        bits = exact_log2(entries)
        m.d.comb += [
            beat.as_value().eq(self.beat), table.write_en.eq(self.beat_valid), table.write_addr.eq(number),
            table.write_data.eq(beat), table.read_addr.eq(self.look_up.page >> bits),
        ]
        index = [(number << bits) + n for n in range(entries)]
        wanted = [at < self.pages for at in index]
        if self.from_middle:
            wanted = [before & (at >= self.first) for before, at in zip(wanted, index, strict=True)]
        missing = Cat((beat[n] == 0) & wanted[n] for n in range(entries)).any()
        with m.If(self.beat_valid):
            m.d.sync += [number.eq(number + 1), self.unmapped.eq(self.unmapped | missing)]
        with m.If(self.restart):
            m.d.sync += [number.eq(self.first >> bits if self.from_middle else 0), self.unmapped.eq(0)]

        look_up = delay(m, self.look_up, RAM_LATENCY, name="look_up", reset_less=True)
        entry = register(m, Array(table.read_data[n] for n in range(entries))[look_up.page[:bits]], "entry")
        place = register(m, times(register(m, entry - 1, "page_number", _ENTRY_BITS), form.page_bytes), "place")
        offset = delay(m, register(m, self._offset(look_up, form), "offset"), 1, name="offset", reset_less=True)
        m.d.sync += self.address.eq(self.first_page + place + register(m, offset, "offset_held"))
        return m

    @staticmethod
    def _offset(look_up: data.View, form: PageFormat) -> Value:
        """Return where in a page a row lies."""
        row = look_up.row
        places = {PagePart.STREAM: times(row, form.build.bus_bytes) + form.groups_offset,
                  PagePart.HIGH: times(row, form.high_bytes) + form.high_offset,
                  PagePart.LOW: times(row, form.low_bytes) + form.low_offset,
                  PagePart.VALUE: times(row, form.value_bytes)}
        return Array(places[part] for part in PagePart)[look_up.part]
