"""Appends keys and values to the pages of a sequence."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.page_format import PageFormat
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.axi.write_engine import beat_layout, writer_members
from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.operand_split import SplitBeat
from latte.rtl.common.payloads import COUNT_BITS, groups_layout, key_shape
from latte.rtl.common.primitives import delay, next_modulo, times
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.page_table import PagePart, PageTable, look_up_layout
from latte.rtl.memory.piece_bursts import PieceBursts, piece_layout
from latte.rtl.memory.sequence_record import added_layout
from latte.rtl.memory.tile_payloads import check_master, tile_config

__all__ = ["RowAppender", "append_layout"]

_QUEUE_DEPTH = 16
"""Least beats of a queue of rows: the depth of LUT RAM, in which several short rows wait while bursts are found."""


def append_layout(build: MemoryBuild) -> data.StructLayout:
    """`rows` rows, the first of which becomes the key at `place`: the sequence's length."""
    return data.StructLayout({"rows": COUNT_BITS, "place": key_shape(build.core)})


class RowAppender(wiring.Component):
    r"""Writes rows as `latte.golden.memory.jobs` does: value, low row, high row of each key, then its group::

        k -> SplitBeat -+-> RowGearbox, high -> StreamQueue --+
                        +-> RowGearbox, low --> StreamQueue --+
                        +-> KeyMembership -> StreamQueue -+   +-> beat
        v ------------------------------> StreamQueue ----|---+
                                               \-> add <--+   |
        numbers ----------------------------------------------+
        row is here -> look_up ~> address -> PieceBursts -> burst

    A beat of group numbers is written once: with the last key in it, or the last of the command. It comes from the
    record, which has counted the key by then. Bytes that are of no row have no strobe. All data of a burst that is
    offered are here, or on their way through a queue that is faster than the burst's.

    Latency: from a row's last beat to its first burst, some `PageTable.latency` + 7 cycles. Throughput: a beat per
    cycle, also from row to row; a piece in two cycles.

    Parameters
    ----------
    build
    parameters
        Of the master, as wide as the build's bus.

    Members
    -------
    command : In(stream of append_layout)
        Taken when the last one is `done`; no more rows than a sequence may have.
    k, v : In(stream of ArrayLayout(signed(8), bus_bytes))
    saturated : Out(1)
        An element of K above `qk_max` came one cycle ago and was limited.
    look_up : Out(look_up_layout), address : In(ADDRESS_BITS)
        Of a `PageTable` that has entries of the pages that get rows; its look-ups are this block's unless it is `idle`.
    groups : In(groups_layout), numbers : In(page_rows * group_bits)
        Of the sequence, and of its last page, as `SequenceRecord` has them: in a build with several key groups.
    add_valid, add : Out
        To `SequenceRecord`.
    burst, beat, write_idle, write_answered, write_fault
        As `writer_members` has them; nothing else is written meanwhile.
    idle : Out(1)
        There is no command.
    done : Out(1)
        For one cycle: all rows are written and answered.
    fault : Out(1)
        An answer of this command was an error; stands until the next one.
    overflow : Out(1)
        A queue has lost something.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters) -> None:
        check_master(build, parameters)
        self.build = build
        self.parameters = parameters
        self.config = core = tile_config(build)
        beat = data.ArrayLayout(signed(8), build.bus_bytes)
        grouped = {"groups": In(groups_layout(core)),
                   "numbers": In(build.page_rows * core.group_bits)} if core.group_bits else {}
        super().__init__({
            "command": In(stream.Signature(append_layout(build))),
            "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)), "saturated": Out(1),
            "look_up": Out(look_up_layout(build)), "address": In(ADDRESS_BITS), **grouped,
            "add_valid": Out(1), "add": Out(added_layout(build)),
            **writer_members(parameters), "idle": Out(1), "done": Out(1), "fault": Out(1), "overflow": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core = self.config
        # Rows that have not come, and that were not looked up.
        count = range(min(core.max_seq_len + 1, 1 << COUNT_BITS))
        keys, values, rows = (Signal(count, name=name) for name in ("keys", "values", "rows"))
        row, place = Signal(exact_log2(self.build.page_rows)), Signal(key_shape(core))
        groups = None
        if core.group_bits:
            m.submodules.key_groups = groups = StreamQueue(core.group_bits, producer_latency=KeyMembership.latency)
        queues = self._take_keys(m, keys, row, groups) | {PagePart.VALUE: self._take_values(m, values)}
        marks, lost = self._look_up(m, (rows != keys) & (rows != values), rows, place)
        ends = self._write(m, marks, queues, groups)
        m.d.comb += self.overflow.eq(lost | (groups.overflow if groups is not None else 0))
        command = self.command.payload
        with m.If(self.write_answered & self.write_fault.as_value().any()):
            m.d.sync += self.fault.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.command.ready.eq(1)]
                with m.If(self.command.valid):
                    m.d.sync += [keys.eq(command.rows), values.eq(command.rows), rows.eq(command.rows),
                                 row.eq(command.place), place.eq(command.place), self.fault.eq(0)]
                    m.next = "WRITE"
                    with m.If(command.rows == 0):
                        m.next = "ANSWERS"
            with m.State("WRITE"), m.If(ends):
                m.next = "ANSWERS"
            with m.State("ANSWERS"), m.If(self.write_idle):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m

    @property
    def _row_bytes(self) -> dict[PagePart, int]:
        form = PageFormat(self.build)
        return {PagePart.VALUE: form.value_bytes, PagePart.LOW: form.low_bytes, PagePart.HIGH: form.high_bytes}

    @property
    def _most_beats(self) -> dict[PagePart, int]:
        """Beats of a row, wherever in a beat it begins."""
        bus = self.build.bus_bytes
        return {part: ceil_div(size, bus) + (size % bus != 0) for part, size in self._row_bytes.items()}

    @property
    def _group_beats(self) -> int:
        return ceil_div(PageFormat(self.build).groups_bytes, self.build.bus_bytes)

    def _offset(self, row: Value, part: PagePart) -> Value:
        """Return at which byte of a beat a row begins."""
        return times(row, self._row_bytes[part])[:exact_log2(self.build.bus_bytes)]

    def _row_queue(self, part: PagePart, shape: data.Layout) -> StreamQueue:
        """Return a queue of two rows or more: they come while others leave."""
        return StreamQueue(shape, max(_QUEUE_DEPTH, 2 * self._most_beats[part]))

    def _take_keys(self, m: Module, keys: Signal, row: Signal, groups: StreamQueue | None
                   ) -> dict[PagePart, StreamQueue]:
        """Take rows of K, pack both parts of them, find their groups; return the queues of the parts' beats."""
        build, core = self.build, self.config
        beats = core.head_dim // build.bus_bytes
        beat, takes, room = Signal(range(max(2, beats)), name="key_beat"), Signal(name="takes_key"), Signal()
        m.submodules.split = split = SplitBeat(core)
        queues, rooms = {}, [keys != 0]
        for part, name, bits in ((PagePart.HIGH, "high", core.estimate_bits), (PagePart.LOW, "low", core.low_bits)):
            size = self._row_bytes[part]
            gearbox = RowGearbox(bits * build.bus_bytes // 8, build.bus_bytes, size, skips=size % build.bus_bytes != 0)
            m.submodules[f"{name}_rows"] = gearbox
            m.submodules[f"{name}_queue"] = queue = self._row_queue(part, beat_layout(self.parameters))
            packed = Cat(Value.cast(split.elements[n][name]) for n in range(build.bus_bytes))
            m.d.comb += [
                gearbox.i.valid.eq(takes), gearbox.i.payload.eq(packed), queue.i.valid.eq(gearbox.o.valid),
                gearbox.o.ready.eq(queue.i.ready), queue.i.payload.data.eq(gearbox.o.payload),
                queue.i.payload.strobe.eq(gearbox.strobe),
            ]
            if gearbox.skips:
                m.d.comb += gearbox.skip.eq(self._offset(row, part) >> exact_log2(gearbox.lane))
            rooms.append(gearbox.i.ready)
            queues[part] = queue
        if groups is not None:
            m.submodules.membership = membership = KeyMembership(core)
            m.d.comb += [membership.groups.eq(self.groups), membership.beat_valid.eq(takes),
                         membership.beat.eq(split.limited), groups.i.valid.eq(membership.valid),
                         groups.i.payload.eq(membership.group)]
            rooms.append(groups.room)
        m.d.comb += [room.eq(Cat(rooms).all()), self.k.ready.eq(room), takes.eq(self.k.valid & room),
                     split.valid.eq(takes), split.beat.eq(self.k.payload)]
        m.d.sync += self.saturated.eq(split.saturated)
        with m.If(takes):
            m.d.sync += beat.eq(next_modulo(beat, beats))
            with m.If(beat == beats - 1):
                m.d.sync += [keys.eq(keys - 1), row.eq(row + 1)]
        return queues

    def _take_values(self, m: Module, values: Signal) -> StreamQueue:
        """Take rows of V; return the queue of their beats."""
        beats = self.config.head_dim // self.build.bus_bytes
        beat = Signal(range(max(2, beats)), name="value_beat")
        m.submodules.value_queue = queue = self._row_queue(PagePart.VALUE, self.v.payload.shape())
        m.d.comb += [queue.i.valid.eq(self.v.valid & (values != 0)), queue.i.payload.eq(self.v.payload),
                     self.v.ready.eq(queue.i.ready & (values != 0))]
        with m.If(self.v.valid & self.v.ready):
            m.d.sync += beat.eq(next_modulo(beat, beats))
            with m.If(beat == beats - 1):
                m.d.sync += values.eq(values - 1)
        return queue

    def _look_up(self, m: Module, here: Value, rows: Signal, place: Signal) -> tuple[StreamQueue, Signal]:
        """Look up where the pieces of rows that are here lie; return the queue of what is written of them, and a loss.

        That is so many beats of a part, or beat `number` of the groups; ``last`` of the command.
        """
        build, bus_bits, row_bits = self.build, exact_log2(self.build.bus_bytes), exact_log2(self.build.page_rows)
        layout = data.StructLayout({"part": 2, "beats": range(max(self._most_beats.values()) + 1),
                                    "number": range(max(2, self._group_beats)), "last": 1})
        m.submodules.marks = marks = StreamQueue(layout, _QUEUE_DEPTH)
        m.submodules.found = found = StreamQueue(piece_layout(), producer_latency=PageTable.latency)
        m.submodules.bursts = bursts = PieceBursts(self.parameters)
        wiring.connect(m, found.o, bursts.piece)
        wiring.connect(m, bursts.burst, wiring.flipped(self.burst))
        row, mark, look_up = place[:row_bits], marks.i.payload, self.look_up
        part, following, looks, ends = Signal(2, init=PagePart.VALUE), Signal(2), Signal(), Signal()
        last_row = rows == 1
        m.d.comb += [
            looks.eq(here & found.room & marks.i.ready), marks.i.valid.eq(looks), mark.part.eq(part),
            mark.last.eq(ends & last_row), look_up.page.eq(place[row_bits:]), look_up.part.eq(part),
            look_up.row.eq(row),
        ]
        with m.Switch(part):
            for this, after in ((PagePart.VALUE, PagePart.LOW), (PagePart.LOW, PagePart.HIGH),
                                (PagePart.HIGH, PagePart.STREAM)):
                with m.Case(this):
                    filled = self._offset(row, this) + (self._row_bytes[this] + build.bus_bytes - 1)
                    m.d.comb += [following.eq(after), mark.beats.eq(filled >> bus_bits)]
        if self.config.group_bits:
            first, second, whole = self._group_places(m, row)
            # Of a number that lies in two beats, the first is full; the second waits for others, if there are any.
            seconds = Signal()
            with m.If(part == PagePart.HIGH):
                m.d.comb += ends.eq(~whole & (first == second) & ~last_row)
            with m.If(part == PagePart.STREAM):
                m.d.comb += [following.eq(PagePart.STREAM), mark.beats.eq(1), look_up.row.eq(mark.number),
                             mark.number.eq(Mux(seconds, second, first)),
                             ends.eq(seconds | (first == second) | ~last_row)]
            with m.If(looks):
                m.d.sync += seconds.eq((part == PagePart.STREAM) & ~ends)
        else:
            m.d.comb += ends.eq(part == PagePart.HIGH)
        with m.If(looks):
            m.d.sync += part.eq(Mux(ends, PagePart.VALUE, following))
            with m.If(ends):
                m.d.sync += [rows.eq(rows - 1), place.eq(place + 1)]
        beats = delay(m, mark.beats, PageTable.latency, name="beats", reset_less=True)
        m.d.comb += [
            found.i.valid.eq(delay(m, looks, PageTable.latency, name="looked")), found.i.payload.beats.eq(beats),
            found.i.payload.address.eq(Cat(Const(0, bus_bits), self.address[bus_bits:])),
        ]
        return marks, found.overflow

    def _group_places(self, m: Module, row: Value) -> tuple[Value, Value, Value]:
        """Return (beat of the groups with a number's first bit, with its last one, nothing comes behind it there)."""
        bits, beat = self.config.group_bits, 8 * self.build.bus_bytes
        first, last = (Signal(range(max(beat, self.build.page_rows * bits)), name=f"{name}_bit")
                       for name in ("first", "last"))
        m.d.comb += [first.eq(times(row, bits)), last.eq(first + (bits - 1))]
        beat_bits = exact_log2(beat)
        return first[beat_bits:], last[beat_bits:], last[:beat_bits].all() | row.all()

    def _write(self, m: Module, marks: StreamQueue, queues: dict[PagePart, StreamQueue], groups: StreamQueue | None
               ) -> Value:
        """Give beats piece by piece, and values to the record as well; return that the command's last one goes."""
        mark, beat, add, bus = marks.o.payload, self.beat.payload, self.add, self.build.bus_bytes
        values = queues[PagePart.VALUE].o.payload
        number, there, goes, last = Signal.like(mark.beats), Signal(), Signal(), Signal()
        m.d.comb += [
            self.beat.valid.eq(marks.o.valid & there), goes.eq(self.beat.valid & self.beat.ready),
            last.eq(number == mark.beats - 1), marks.o.ready.eq(goes & last),
            self.add_valid.eq(goes & (mark.part == PagePart.VALUE)), add.values.eq(values), add.slice.eq(number),
            add.last.eq(last),
        ]
        with m.If(goes):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        for part, queue in queues.items():
            m.d.comb += queue.o.ready.eq(goes & (mark.part == part))
            with m.If(mark.part == part):
                m.d.comb += there.eq(queue.o.valid)
                if part != PagePart.VALUE:
                    m.d.comb += beat.eq(queue.o.payload)
        with m.If(mark.part == PagePart.VALUE):
            m.d.comb += [beat.data.eq(values), beat.strobe.eq((1 << bus) - 1)]
        if groups is not None:
            m.d.comb += [add.group.eq(groups.o.payload), groups.o.ready.eq(self.add_valid & last)]
            size = PageFormat(self.build).groups_bytes
            for n in range(self._group_beats):
                with m.If((mark.part == PagePart.STREAM) & (mark.number == n)):
                    m.d.comb += [there.eq(1), beat.data.eq(self.numbers[8 * bus * n:]),
                                 beat.strobe.eq((1 << min(bus, size - bus * n)) - 1)]
        return goes & last & mark.last
