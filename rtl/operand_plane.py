"""One plane of the scratchpad: keys or values, laid out for one reader."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.rtl.primitives import Ram, next_modulo, times
from latte.rtl.word_packer import WordPacker

__all__ = ["OperandPlane"]


class OperandPlane(wiring.Component):
    """Memories that hold rows as words of `word_lanes` elements, consecutive rows side by side.

    Row ``j`` lies in memory ``j % row_lanes``; its slice ``s`` is word ``(j // row_lanes) * slices + s``, in the
    bank's part. Rows are written in order; writing starts over with `restart`, otherwise it goes on behind the last
    row.

    Latency: `RAM_LATENCY` cycles from an address to its data. Throughput: one beat written and one word of each
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

    def __init__(self, element, *, beat_lanes: int, word_lanes: int, head_dim: int, row_lanes: int, rows: int,
                 banks: int):
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

    def elaborate(self, platform):
        m = Module()
        size = self.groups * self.slices
        depth = size * self.banks
        m.submodules.packer = packer = WordPacker(self.element, self.beat_lanes, self.word_lanes, self.head_dim)
        m.d.comb += [packer.beat_valid.eq(self.beat_valid), packer.beat.eq(self.beat)]

        address, lane = Signal(range(depth + 1)), Signal(range(max(2, self.row_lanes)))
        with m.If(self.restart):
            m.d.sync += [address.eq(Mux(self.restart_bank, size, 0)), lane.eq(0)]
        with m.Elif(packer.word_valid):
            m.d.sync += address.eq(address + 1)
            with m.If(packer.row_last):
                m.d.sync += lane.eq(next_modulo(lane, self.row_lanes))
                # The rows side by side have the same addresses.
                with m.If(lane != self.row_lanes - 1):
                    m.d.sync += address.eq(address - (self.slices - 1))

        # Two short sums side by side, then one.
        read_addr = times(self.group, self.slices) + (self.slice + Mux(self.bank, size, 0))
        for n in range(self.row_lanes):
            ram = m.submodules[f"memory_{n}"] = Ram(self.word, depth)
            m.d.comb += [
                ram.write_en.eq(packer.word_valid & (lane == n)), ram.write_addr.eq(address),
                ram.write_data.eq(packer.word), ram.read_addr.eq(read_addr), self.data[n].eq(ram.read_data),
            ]
        return m
