"""One plane of the scratchpad: keys or values, laid out for one reader."""

from amaranth import Module, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.rtl.common.primitives import next_modulo, slice_address
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.common.word_packer import WordPacker

__all__ = ["OperandPlane"]


class OperandPlane(wiring.Component):
    """Memories that hold rows as words of `word_lanes` elements, consecutive rows side by side.

    Row ``j`` lies in memory ``j % row_lanes``; its slice ``s`` is word ``(s * banks + bank) * groups + j // row_lanes``
    of it. Rows are written in order; writing starts over with `restart`, otherwise it goes on behind the last row.

    Latency: `latency` cycles from an address to its data. Throughput: one beat written and one word of each
    memory read per cycle.

    Parameters
    ----------
    element
        Shape of one element.
    beat_lanes, word_lanes, head_dim
        Elements per written beat, per word and per row.
    row_lanes
        Memories, and rows read at a time.
    rows
        Rows per bank.
    banks
        1 or 2.

    Members
    -------
    restart, restart_bank : In(1)
        The next beat is the first of row 0 of the given bank.
    beat_valid, beat : In
    bank, group, slice : In
        Read address: rows ``group * row_lanes ...``.
    data : Out(ArrayLayout(ArrayLayout(element, word_lanes), row_lanes))
    """

    latency = RAM_LATENCY

    def __init__(self, element: ShapeLike, *, beat_lanes: int, word_lanes: int, head_dim: int, row_lanes: int,
                 rows: int, banks: int) -> None:
        self.element = element
        self.beat_lanes = beat_lanes
        self.word_lanes = word_lanes
        self.head_dim = head_dim
        self.row_lanes = row_lanes
        self.banks = banks
        self.slices = ceil_div(head_dim, word_lanes)
        self.groups = ceil_div(rows, row_lanes)
        self.word = data.ArrayLayout(element, word_lanes)
        super().__init__({
            "restart": In(1), "restart_bank": In(1),
            "beat_valid": In(1), "beat": In(data.ArrayLayout(element, beat_lanes)),
            "bank": In(1), "group": In(range(max(2, self.groups))), "slice": In(range(max(2, self.slices))),
            "data": Out(data.ArrayLayout(self.word, row_lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.packer = packer = WordPacker(self.element, self.beat_lanes, self.word_lanes, self.head_dim)
        m.d.comb += [packer.beat_valid.eq(self.beat_valid), packer.beat.eq(self.beat)]

        # Where the next word goes; the group may be the one behind the last.
        bank, group, part = Signal(), Signal(range(self.groups + 1)), Signal.like(self.slice)
        lane = Signal(range(max(2, self.row_lanes)))
        with m.If(packer.word_valid):
            m.d.sync += part.eq(part + 1)
            with m.If(packer.row_last):
                m.d.sync += [part.eq(0), lane.eq(next_modulo(lane, self.row_lanes))]
                with m.If(lane == self.row_lanes - 1):
                    m.d.sync += group.eq(group + 1)
        with m.If(self.restart):
            m.d.sync += [bank.eq(self.restart_bank), group.eq(0), part.eq(0), lane.eq(0)]

        for n in range(self.row_lanes):
            ram = m.submodules[f"memory_{n}"] = Ram(self.word, self.groups * self.banks * self.slices)
            m.d.comb += [
                ram.write_en.eq(packer.word_valid & (lane == n)), ram.write_data.eq(packer.word),
                ram.write_addr.eq(self._address(bank, group, part)),
                ram.read_addr.eq(self._address(self.bank, self.group, self.slice)), self.data[n].eq(ram.read_data),
            ]
        return m

    def _address(self, bank: Signal, group: Signal, part: Signal) -> Value:
        row = slice_address(group, bank, self.groups) if self.banks > 1 else group
        return slice_address(row, part, self.banks * self.groups)
