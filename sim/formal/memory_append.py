"""Rows that are appended: what is written of which, where, and how often."""

from typing import NamedTuple

from amaranth import Array, Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from latte.golden.memory.page_format import PageFormat
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.page_table import PagePart, PageTable
from latte.rtl.memory.piece_bursts import PIECE_BITS
from latte.rtl.memory.row_appender import RowAppender
from latte.sim.formal.axi_master import MASTER
from latte.sim.formal.memory_builds import small_build
from latte.sim.formal.setting import Inside, Proof, Setting
from latte.sim.formal.streams import QueueState

__all__ = ["PROOFS"]

_BUILD = small_build()
_PARTS = (PagePart.VALUE, PagePart.LOW, PagePart.HIGH)
"""In the order in which a row's are written; in this build each is a beat, or part of one."""


class _Appended:
    """The command under way, or the last one, and how far it is.

    Attributes
    ----------
    rows, place, under_way, failed
        An answer of it was an error.
    keys, values
        Rows of K and V that were taken.
    looked, gone
        Pieces that were looked up, and beats that were given: (rows, parts of the next one).
    begun, answered
        Bursts.
    """

    def __init__(self, s: Setting, dut: RowAppender, looks: Value) -> None:
        m, command, shape = s.m, dut.command.payload, range(dut.build.core.max_seq_len + 1)
        self.under_way, self.failed = Signal(), Signal()
        self.rows, self.place = Signal(shape), Signal(shape)
        self.keys, self.values = Signal(shape, name="keys_taken"), Signal(shape, name="values_taken")
        self.looked, self.gone = ((Signal(shape, name=f"{name}_rows"), Signal(range(len(_PARTS)), name=f"{name}_parts"))
                                  for name in ("looked", "gone"))
        pieces = range(len(_PARTS) * shape.stop)
        self.begun, self.answered = Signal(pieces, name="bursts_begun"), Signal(pieces, name="bursts_answered")
        self.gives = dut.beat.valid & dut.beat.ready
        s.assume("command", ~dut.command.valid | (command.rows + command.place < shape.stop))
        for count, event in ((self.keys, dut.k.valid & dut.k.ready), (self.values, dut.v.valid & dut.v.ready),
                             (self.begun, dut.burst.valid & dut.burst.ready), (self.answered, dut.write_answered)):
            m.d.sync += count.eq(count + event)
        for (row, part), event in ((self.looked, looks), (self.gone, self.gives)):
            last = part == len(_PARTS) - 1
            with m.If(event):
                m.d.sync += [part.eq(Mux(last, 0, part + 1)), row.eq(row + last)]
        with m.If(dut.write_answered & dut.write_fault.as_value().any()):
            m.d.sync += self.failed.eq(1)
        with m.If(dut.done):
            m.d.sync += self.under_way.eq(0)
        with m.If(dut.command.valid & dut.command.ready):
            m.d.sync += [self.under_way.eq(1), self.rows.eq(command.rows), self.place.eq(command.place),
                         self.failed.eq(0)]
            m.d.sync += [count.eq(0) for count in (self.keys, self.values, self.begun, self.answered, *self.looked,
                                                   *self.gone)]

    @staticmethod
    def number(progress: tuple[Value, Value]) -> Value:
        """Return how many pieces (rows, parts) are."""
        row, part = progress
        return row * len(_PARTS) + part

    def given(self, part: PagePart) -> Value:
        """Return how many rows' beat of one part was given."""
        row, parts = self.gone
        return row + (parts > _PARTS.index(part))


class _Inside(NamedTuple):
    """Parts of the block, and the states of those that are queues, by their names."""

    parts: dict[str, Inside]
    queues: dict[str, QueueState]


class _Kept(NamedTuple):
    """Where the table says that any piece of the command lies: its number, whether that has come, and the beat."""

    number: Value
    here: Value
    beat: Value


def _appends(s: Setting) -> None:
    build, form = _BUILD, PageFormat(_BUILD)
    dut = RowAppender(build, MASTER)
    inside, m = s.add(dut), s.m
    parts = {name: inside.part(name) for name in ("marks", "found", "bursts", "value_queue", "low_queue", "high_queue",
                                                  "low_rows", "high_rows")}
    queues = {name: QueueState(s, part.block, part, name) for name, part in parts.items()
              if isinstance(part.block, StreamQueue)}
    within, looks = _Inside(parts, queues), inside["looks"]
    job = _Appended(s, dut, looks)
    rows, place, number = job.rows, job.place, job.number
    # The engine takes beats of bursts that were begun, and has each of these answered behind its data.
    s.assume("beats", ~dut.beat.ready | (job.begun > number(job.gone)))
    s.assume("answers", ~dut.write_answered | (job.answered < number(job.gone)))
    s.assume("idle", dut.write_idle == (job.answered == job.begun))
    for name, port in (("command", dut.command), ("k", dut.k), ("v", dut.v)):
        s.assume_stable(f"{name}_stable", port.valid, port.ready, port.payload)
    sizes = {PagePart.VALUE: form.value_bytes, PagePart.LOW: form.low_bytes, PagePart.HIGH: form.high_bytes}
    row = s.constant("any_row", rows.shape())
    offsets = {part: (place + row) * size % build.bus_bytes for part, size in sizes.items()}
    came, kept = _keep_row(s, dut, job, within, row), _keep_address(s, dut, job, within, looks)
    _control(s, dut, inside, job, within)
    beat, (row_now, part_now) = dut.beat.payload, job.gone
    s.claim("takes", "as many rows of K and V are taken as the command has", job.under_way & Cat(
        ~port.ready | (count < rows) for port, count in ((dut.k, job.keys), (dut.v, job.values))).all(),
        when=dut.k.ready | dut.v.ready)
    s.claim("looks_up", "the parts of each row are looked up, one after the other, when all of it is here",
            (Cat(dut.look_up.row, dut.look_up.page) == (place + job.looked[0])[:len(Cat(
                dut.look_up.row, dut.look_up.page))])
            & (dut.look_up.part == Array(Const(part, 2) for part in _PARTS)[job.looked[1]]) & (job.looked[0] < job.keys)
            & (job.looked[0] < job.values), when=looks)
    s.stable("burst_stable", "a burst stands until it is taken", dut.burst.valid, dut.burst.ready, dut.burst.payload)
    s.claim("bursts", "each part of a row is one burst, of the beat in which the table says that it lies",
            kept.here & (dut.burst.payload.address == kept.beat) & (dut.burst.payload.beats == 1),
            when=dut.burst.valid & (kept.number == job.begun))
    s.claim("bytes", "bytes of the row's part alone are written, in this order: value, low part, high part",
            beat.strobe == Array((Const((1 << sizes[part]) - 1) << offsets[part])[:build.bus_bytes]
                                 for part in _PARTS)[part_now], when=dut.beat.valid & (row_now == row))
    mask = Cat(bit.replicate(8) for bit in beat.strobe)
    for n, part in enumerate(_PARTS):
        shifted = came[part] << 8 * offsets[part]
        s.claim(f"{part.name.lower()}_data", "and they are those of the row that came, split by golden's rule",
                ((beat.data ^ shifted) & mask)[:8 * build.bus_bytes] == 0,
                when=dut.beat.valid & (row_now == row) & (part_now == n))
    s.claim("added", "the record is told of each row, when its value is written", (dut.add_valid == (
        job.gives & (part_now == 0))) & (~dut.add_valid | dut.add.last) & (dut.add.values.as_value() == beat.data),
        when=dut.add_valid | (job.gives & (part_now == 0)))
    s.claim("limits", "it is told that an element of K was limited", dut.saturated == s.held("above", (
        dut.k.valid & dut.k.ready & Cat(element > build.core.qk_max for element in dut.k.payload).any())),
        when=dut.saturated | s.held("took_key", dut.k.valid & dut.k.ready))
    s.claim("one_end", "a command ends once, when all its rows were taken, written and answered", job.under_way & Cat(
        count == rows for count in (job.keys, job.values, job.gone[0])).all() & (job.begun == len(_PARTS) * rows)
        & (job.answered == job.begun), when=dut.done)
    s.claim("idle", "it is idle from then to the next", dut.idle == ~job.under_way, when=dut.idle | ~job.under_way)
    s.claim("fault", "an answer that was an error is told, until the next command", dut.fault == job.failed,
            when=dut.fault | job.failed)
    s.claim("no_overflow", "nothing is lost", ~dut.overflow, when=looks)
    s.within("data_there", "data of a burst that was begun are there in the next cycles", 5,
             waits=(job.begun > number(job.gone)) & ~dut.beat.valid)
    waits = job.under_way & ~dut.k.ready & ~dut.v.ready & ~dut.burst.valid & ~dut.beat.valid & (job.answered
                                                                                                == job.begun)
    s.claim("returns", "while it waits for nobody it ends, or the next piece is looked up, or one is on its way",
            dut.done | looks | (number(job.looked) != job.begun), when=waits & (number(job.gone) == job.begun))
    s.reach("rows", dut.done & (rows == 2))
    s.seek(~dut.command.valid | (dut.command.payload.rows[2:] == 0))


def _control(s: Setting, dut: RowAppender, inside: Inside, job: _Appended, within: _Inside) -> None:
    """Say how many items each part holds, and which."""
    parts, queues = within
    rows, number, bursts = job.rows, job.number, parts["bursts"]
    looked, gone = number(job.looked), number(job.gone)

    def is_next(item: Value, ahead: Value) -> Value:
        behind = data.View(parts["marks"].block.shape, item)
        place = (job.gone[1] + ahead) % len(_PARTS)
        return ((behind.part == Array(Const(part, 2) for part in _PARTS)[place]) & (behind.beats == 1)
                & (behind.last == (gone + ahead + 1 == len(_PARTS) * rows)))

    queues["marks"].each(is_next)
    queues["found"].each(lambda item, ahead: item[-PIECE_BITS:] == 1)

    ways = [s.held("looks", inside["looks"], age) for age in range(1, PageTable.latency + 1)]
    row_bits = (dut.build.page_rows - 1).bit_length()
    at, state = inside["_look_up.place"], inside.state
    for name, condition in {
            "any": state(), "under_way": job.under_way == ~state("IDLE"),
            "room": rows + job.place <= dut.build.core.max_seq_len,
            "keys": (inside["elaborate.keys"] == rows - job.keys) & (job.keys <= rows),
            "values": (inside["elaborate.values"] == rows - job.values) & (job.values <= rows),
            "rows": inside["elaborate.rows"] == rows - job.looked[0],
            "place": (at == (job.place + job.looked[0])[:len(at)])
                     & (inside["elaborate.row"] == (job.place + job.keys)[:row_bits]),
            "part": inside["_look_up.part"] == Array(Const(part, 2) for part in _PARTS)[job.looked[1]],
            "parts": (job.looked[1] < len(_PARTS)) & (job.gone[1] < len(_PARTS)),
            "looked": Mux(job.looked[1] == 0, (job.looked[0] <= job.keys) & (job.looked[0] <= job.values),
                          (job.looked[0] < job.keys) & (job.looked[0] < job.values)),
            "ends": Mux(state("WRITE"), job.gone[0] < rows, (job.gone[0] == rows) & (job.gone[1] == 0)),
            "idle": ~state("IDLE") | (job.answered == job.begun),
            "gone": (gone <= job.begun) & (job.answered <= gone),
            "fault": dut.fault == job.failed,
            "first_beat": (inside["_take_keys.beat"] == 0) & (inside["_take_values.beat"] == 0)
                          & (inside["_write.number"] == 0),
            "marks": queues["marks"].items + gone == looked,
            "found_room": parts["found"].block.level + sum(ways) < parts["found"].block.depth,
            "found": queues["found"].items + sum(ways) + bursts["left"] + job.begun == looked,
            "cut": (bursts["left"] <= 1) & (~dut.burst.valid | ((bursts["left"] == 1) & (dut.burst.payload.beats == 1))),
            "value_items": queues["value_queue"].items + job.given(PagePart.VALUE) == job.values}.items():
        s.invariant(name, condition)
    for name, part in (("low", PagePart.LOW), ("high", PagePart.HIGH)):
        gearbox = parts[f"{name}_rows"]
        skip = gearbox["skipped"]
        s.invariant(f"{name}_items",
                    queues[f"{name}_queue"].items + gearbox["ends"] + job.given(part) == job.keys)
        s.invariant(f"{name}_row", (gearbox["beat"] == 0) & Mux(
            gearbox["ends"], (gearbox["level"] == skip + 1) & (skip == (job.place + job.keys - 1)[0]),
            gearbox["level"] <= 1))


def _keep_row(s: Setting, dut: RowAppender, job: _Appended, within: _Inside, row: Value) -> dict[PagePart, Value]:
    """Return what came of a row by parts, each packed as golden has it, and say where it is until it is given."""
    m, core, queues = s.m, dut.build.core, within.queues
    value, low, high = Signal(8 * core.head_dim), Signal(core.head_dim * core.low_bits), Signal(
        core.head_dim * core.estimate_bits)
    with m.If(dut.v.valid & dut.v.ready & (job.values == row)):
        m.d.sync += value.eq(dut.v.payload.as_value())
    with m.If(dut.k.valid & dut.k.ready & (job.keys == row)):
        elements = [Mux(element > core.qk_max, core.qk_max, element) for element in dut.k.payload]
        # Balanced halves: the low part is what the high one leaves, so that both are centred.
        step = 1 << core.low_bits
        highs = [(element + step // 2) >> core.low_bits for element in elements]
        m.d.sync += [high.eq(Cat(part[:core.estimate_bits] for part in highs)),
                     low.eq(Cat((element - (part << core.low_bits))[:core.low_bits]
                                for element, part in zip(elements, highs, strict=True)))]
    here = (job.values > row) & (job.given(PagePart.VALUE) <= row)
    s.invariant("value", ~here | (queues["value_queue"].at((row - job.given(PagePart.VALUE))[:len(row)]) == value))
    for name, part, packed in (("low", PagePart.LOW, low), ("high", PagePart.HIGH, high)):
        gearbox, size, bus = within.parts[f"{name}_rows"], len(packed) // 8, dut.build.bus_bytes
        offset = (job.place + row) * size % bus
        item = queues[f"{name}_queue"].at((row - job.given(part))[:len(row)])
        here = (job.keys > row) & (job.given(part) <= row)
        s.invariant(name, ~here | Mux(
            gearbox["ends"] & (job.keys - 1 == row), gearbox["buffer"].bit_select(8 * offset, 8 * size) == packed,
            (item[:8 * bus].bit_select(8 * offset, 8 * size) == packed)
            & (item[8 * bus:] == (Const((1 << size) - 1) << offset)[:bus])))
    return {PagePart.VALUE: value, PagePart.LOW: low, PagePart.HIGH: high}


def _keep_address(s: Setting, dut: RowAppender, job: _Appended, within: _Inside, looks: Value) -> _Kept:
    """Return where any piece lies, and say that its burst will."""
    m, bursts, found = s.m, within.parts["bursts"], within.queues["found"]
    number, latency = s.constant("any_piece", job.begun.shape()), PageTable.latency
    here, beat, step = Signal(name="address_here"), Signal.like(dut.address), dut.build.bus_bytes.bit_length() - 1
    ways = [s.held("way", looks, age) for age in range(1, latency + 1)]
    with m.If(s.held("piece_looks", looks & (job.number(job.looked) == number), latency)):
        m.d.sync += [here.eq(1), beat.eq(dut.address[step:] << step)]
    with m.If(dut.command.valid & dut.command.ready):
        m.d.sync += here.eq(0)
    s.invariant("address_here", here == (number + sum(ways) < job.number(job.looked)))
    ahead = (number - job.begun)[:len(number)]
    s.invariant("address", ~here | (number < job.begun) | Mux(
        ahead < bursts["left"], dut.burst.payload.address == beat,
        found.at((ahead - bursts["left"])[:len(number)]) == Cat(beat, Const(1, PIECE_BITS))))
    return _Kept(number, here, beat)


PROOFS = (
    Proof("RowAppender", _appends, "induction", 7, 40, "40 keys, a row of each part in a beat"),
)
