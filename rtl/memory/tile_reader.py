"""Reads what a tile needs of a sequence: its page table, its stream of high planes, rows of survivors."""

import enum

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.config import ceil_div, ceil_log2
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.page_format import PageFormat
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.axi.read_engine import reader_members
from latte.rtl.common.payloads import key_shape, length_shape
from latte.rtl.common.primitives import delay, times
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.page_table import PagePart, PageTable
from latte.rtl.memory.piece_bursts import PIECE_BITS, piece_layout
from latte.rtl.memory.piece_reader import PieceReader
from latte.rtl.memory.plane_unpacker import PlaneUnpacker, plane_lane
from latte.rtl.memory.spill_store import recall_layout
from latte.rtl.memory.tile_payloads import check_master, chunk_layout, row_shape

__all__ = ["ReadCommand", "TileReader", "read_command_layout"]


class ReadCommand(enum.IntEnum):
    """What is read."""

    TABLE = 0
    """The page table of the first `keys` keys, at `address`."""
    STREAM = 1
    """Groups and high planes of the first `keys` keys, the last page first."""
    KEY = 2
    """High and low row of the key at `place`."""
    VALUE = 3
    """Value of the key at `place`."""
    RECALL = 4
    """Some `beats` of what a `row` has spilled, `offset` bytes behind the address of that."""


def read_command_layout(build: MemoryBuild) -> data.StructLayout:
    """A `ReadCommand` and what it is of."""
    return data.StructLayout({"command": 3, "address": ADDRESS_BITS, "keys": length_shape(build.core),
                              "place": key_shape(build.core), **recall_layout(build).members})


def _piece_mark(build: MemoryBuild) -> data.StructLayout:
    """What is known of a piece when its beats come; `rows` of a stream, which begins with the page's groups."""
    return data.StructLayout({"table": 1, "recall": 1, "row": row_shape(build), "part": 2, "beats": PIECE_BITS,
                              "rows": range(build.page_rows + 1),
                              "skip": range(build.bus_bytes // plane_lane(build) + 1)})


class TileReader(wiring.Component):
    r"""Turns commands to pieces, and beats to what they are::

        command -> pages -> [PageTable] -> PieceReader -+-> table
                                 \-> marks -------------+-> groups, PlaneUnpacker -> chunk
                                                        +-> value
                                                        +-> what was spilled

    Commands are carried out one behind the other, without a gap between rows of survivors.

    Latency: some `PageTable.latency` + 10 cycles and the memory's. Throughput: a beat per cycle; a piece in two cycles.

    Parameters
    ----------
    build
    parameters
        Of the master, as wide as the build's bus.

    Members
    -------
    first_page, spill_address : In(ADDRESS_BITS)
        Address of page 0, and of what is spilled; they stand.
    restart : In(1)
        Forget faults; nothing is under way.
    command : In(stream of read_command_layout)
    request, taken, data, fault
        As of `PieceReader`.
    table_read : Out(1)
        The page table asked for last is all here.
    unmapped, memory_error : Out(1)
        Since `restart`: a page without entry, a beat with an error.
    overflow : Out(1)
        A queue has lost something.
    chunk : Out(stream of chunk_layout)
    value : Out(stream of ArrayLayout(signed(8), bus_bytes))
    recalled_valid, recalled_row, recalled_beat : Out
        Never refused: there is room for what was asked for.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters) -> None:
        check_master(build, parameters)
        self.build = build
        self.parameters = parameters
        super().__init__({
            "first_page": In(ADDRESS_BITS), "spill_address": In(ADDRESS_BITS), "restart": In(1),
            "command": In(stream.Signature(read_command_layout(build))),
            **reader_members(parameters),
            "table_read": Out(1), "unmapped": Out(1), "memory_error": Out(1), "overflow": Out(1),
            "chunk": Out(stream.Signature(chunk_layout(build))),
            "value": Out(stream.Signature(data.ArrayLayout(signed(8), build.bus_bytes))),
            "recalled_valid": Out(1), "recalled_row": Out(row_shape(build)),
            "recalled_beat": Out(8 * build.bus_bytes)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, parameters = self.build, self.parameters
        m.submodules.table = table = PageTable(build)
        m.submodules.pieces = pieces = PieceReader(parameters)
        m.submodules.unpacker = unpacker = PlaneUnpacker(build)
        found_layout = data.StructLayout({"piece": piece_layout(), "mark": _piece_mark(build)})
        m.submodules.found = found = StreamQueue(found_layout, producer_latency=PageTable.latency + 1)
        # As many pieces may be under way as bursts.
        m.submodules.marks = marks = StreamQueue(_piece_mark(build), 2 * parameters.reads_in_flight)
        wiring.connect(m, wiring.flipped(self.request), pieces.request)
        m.d.comb += [
            table.first_page.eq(self.first_page), pieces.taken.eq(self.taken), pieces.data.eq(self.data),
            pieces.fault.eq(self.fault),
            pieces.piece.valid.eq(found.o.valid & marks.i.ready), marks.i.valid.eq(found.o.valid & pieces.piece.ready),
            found.o.ready.eq(pieces.piece.ready & marks.i.ready),
            pieces.piece.payload.eq(found.o.payload.piece), marks.i.payload.eq(found.o.payload.mark),
        ]
        self._find(m, table, found)
        self._distribute(m, table, pieces, marks, unpacker)
        with m.If(self.restart):
            m.d.sync += self.memory_error.eq(0)
        with m.Elif(pieces.o.valid & pieces.o.ready & pieces.o.payload.fault):
            m.d.sync += self.memory_error.eq(1)
        m.d.comb += [
            self.unmapped.eq(table.unmapped),
            self.overflow.eq(found.overflow | pieces.overflow),
        ]
        return m

    def _find(self, m: Module, table: PageTable, found: StreamQueue) -> None:
        """Turn commands to look-ups, and what they find to pieces."""
        build, form = self.build, PageFormat(self.build)
        row_bits, bus_bits = exact_log2(build.page_rows), exact_log2(build.bus_bytes)
        command, looks = self.command.payload, Signal()
        place = Mux(command.command == ReadCommand.STREAM, 0, command.place)
        page, row = place[row_bits:], place[:row_bits]
        # Of a stream: its next page, whether its last page was asked for already.
        next_page, begun = Signal(table.look_up.page.shape()), Signal()
        last_page = ((command.keys - 1) >> row_bits)[:len(next_page)]
        rows_of_last = Signal(range(build.page_rows + 1))
        m.d.comb += rows_of_last.eq((command.keys - 1)[:row_bits] + 1)
        part, low, ends = Signal(2), Signal(), Signal()
        is_table, is_stream = command.command == ReadCommand.TABLE, command.command == ReadCommand.STREAM
        streamed = Mux(begun, next_page, last_page)
        look_up = table.look_up
        rows = Mux(is_stream & begun, build.page_rows, Mux(is_stream, rows_of_last, 1))
        m.d.comb += [
            looks.eq(self.command.valid & found.room), self.command.ready.eq(looks & ends),
            look_up.part.eq(part), look_up.page.eq(Mux(is_stream, streamed, page)), look_up.row.eq(row),
        ]
        with m.Switch(command.command):
            with m.Case(ReadCommand.STREAM):
                m.d.comb += [part.eq(PagePart.STREAM),
                             ends.eq(Mux(begun, next_page + 1 == last_page, last_page == 0))]
                with m.If(looks):
                    m.d.sync += [begun.eq(~ends), next_page.eq(Mux(begun, next_page + 1, 0))]
            with m.Case(ReadCommand.KEY):
                m.d.comb += [part.eq(Mux(low, PagePart.LOW, PagePart.HIGH)), ends.eq(low)]
                with m.If(looks):
                    m.d.sync += low.eq(~low)
            with m.Default():
                m.d.comb += [part.eq(PagePart.VALUE), ends.eq(1)]
        pages = last_page + 1
        held_pages, address = Signal.like(table.pages, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += [table.restart.eq(looks & is_table), table.pages.eq(held_pages)]
        with m.If(looks & is_table):
            m.d.sync += [held_pages.eq(pages), address.eq(command.address)]

        is_recall = command.command == ReadCommand.RECALL
        beside = data.StructLayout({"table": 1, "recall": 1, "row": row_shape(build), "part": 2,
                                    "recalled": command.offset.shape(), "rows": range(build.page_rows + 1),
                                    "bytes": PIECE_BITS, "offset": bus_bits})
        look = Signal(beside)
        groups = build.padded(form.groups_bytes)
        sizes = {PagePart.HIGH: form.high_bytes, PagePart.LOW: form.low_bytes, PagePart.VALUE: form.value_bytes}
        m.d.comb += [look.table.eq(is_table), look.recall.eq(is_recall), look.row.eq(command.row),
                     look.recalled.eq(command.offset), look.part.eq(part), look.rows.eq(rows)]
        with m.If(is_table):
            m.d.comb += look.bytes.eq(pages * ENTRY_BYTES)
        with m.Elif(is_recall):
            m.d.comb += look.bytes.eq(command.beats << bus_bits)
        with m.Elif(is_stream):
            m.d.comb += look.bytes.eq(times(rows, form.high_bytes) + groups)
        with m.Else(), m.Switch(part):
            for one, size in sizes.items():
                with m.Case(one):
                    m.d.comb += [look.bytes.eq(size), look.offset.eq(times(row, size)[:bus_bits])]
        look = delay(m, look, table.latency, name="look", reset_less=True)
        looked = delay(m, looks, table.latency, name="looked")
        o = Signal.like(found.i.payload, reset_less=True)
        begin = Mux(look.table, address, Mux(look.recall, self.spill_address + look.recalled, table.address))
        beats = (look.bytes + look.offset + (build.bus_bytes - 1)) >> bus_bits
        m.d.sync += [
            o.piece.address.eq(Cat(Const(0, bus_bits), begin[bus_bits:ADDRESS_BITS])), o.piece.beats.eq(beats),
            *(o.mark[name].eq(look[name]) for name in ("table", "recall", "row", "part")), o.mark.beats.eq(beats),
            o.mark.rows.eq(look.rows), o.mark.skip.eq(look.offset >> ceil_log2(plane_lane(build))),
        ]
        m.d.comb += [found.i.valid.eq(delay(m, looked, 1, name="found")), found.i.payload.eq(o)]

    def _distribute(self, m: Module, table: PageTable, pieces: PieceReader, marks: StreamQueue,
                    unpacker: PlaneUnpacker) -> None:
        """Send each beat where it belongs."""
        build, core = self.build, self.build.core
        group_beats = ceil_div(PageFormat(build).groups_bytes, build.bus_bytes)
        mark, beat, number = marks.o.payload, pieces.o.payload, Signal(PIECE_BITS)
        there = pieces.o.valid & marks.o.valid
        of_page = ~mark.table & ~mark.recall
        is_stream, is_value = of_page & (mark.part == PagePart.STREAM), of_page & (mark.part == PagePart.VALUE)
        is_group = is_stream & (number < group_beats) if group_beats else Const(0)
        is_plane = of_page & ~is_value & ~is_group
        last, takes = number == mark.beats - 1, Signal()
        room = Mux(is_plane, unpacker.i.ready, Mux(is_value, self.value.ready, ~is_group | unpacker.idle))
        plane = unpacker.i.payload
        m.d.comb += [
            takes.eq(there & room),
            pieces.o.ready.eq(takes), marks.o.ready.eq(takes & last),
            table.beat_valid.eq(takes & mark.table), table.beat.eq(beat.data),
            self.value.valid.eq(there & is_value), self.value.payload.as_value().eq(beat.data),
            unpacker.i.valid.eq(there & is_plane), plane.data.eq(beat.data), plane.low.eq(mark.part == PagePart.LOW),
            plane.rows.eq(mark.rows), plane.first.eq(number == Mux(is_stream, group_beats, 0)),
            plane.skip.eq(mark.skip),
            self.chunk.valid.eq(unpacker.o.valid), unpacker.o.ready.eq(self.chunk.ready),
            self.chunk.payload.eq(unpacker.o.payload), self.recalled_valid.eq(takes & mark.recall),
            self.recalled_row.eq(mark.row), self.recalled_beat.eq(beat.data),
        ]
        with m.If(takes):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        with m.If(takes & mark.table & last):
            m.d.sync += self.table_read.eq(1)
        with m.If(self.restart | table.restart):
            m.d.sync += self.table_read.eq(0)
        if core.group_bits:
            # Of the page whose keys are being unpacked; the next key's first.
            groups = Signal(build.page_rows * core.group_bits, reset_less=True)
            m.d.comb += self.chunk.payload.group.eq(groups[:core.group_bits])
            with m.If(takes & is_group):
                for n in range(group_beats):
                    with m.If(number == n):
                        m.d.sync += groups[8 * build.bus_bytes * n:8 * build.bus_bytes * (n + 1)].eq(beat.data)
            with m.Elif(self.chunk.valid & self.chunk.ready & self.chunk.payload.last):
                m.d.sync += groups.eq(groups >> core.group_bits)
