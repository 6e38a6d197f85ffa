"""Queues and width converters: what leaves is what came, in order, once."""

import functools
import types

from amaranth import Cat, Const, Mux, Signal, Value, unsigned

from latte.golden.config import ceil_div
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.common.word_packer import WordPacker
from latte.sim.formal.followed import Followed
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS", "QueueState"]


class QueueState:
    """Where the items of a `StreamQueue` are, as invariants.

    Parameters
    ----------
    setting
    queue
    inside
        Of the queue.
    name
        Of its invariants, where there are several queues.

    Attributes
    ----------
    items
        In the queue, its output register included.
    """

    def __init__(self, setting: Setting, queue: StreamQueue, inside: Inside, name: str = "queue") -> None:
        self.setting, self.queue, self.inside, self.name = setting, queue, inside, name
        self.storage = inside.memory("storage")
        self.window = self.storage.read_port(domain="comb")
        self.items = Signal(range(queue.depth + 2), name=f"{name}_items")
        stored, some, full, fetched, vacant = (inside[name] for name in ("stored", "some", "full", "fetched", "vacant"))
        read, write = self.storage.read_ports[0], self.storage.write_ports[0]
        self.out, self.fetched = ~vacant, fetched
        setting.m.d.comb += self.items.eq(stored + fetched + ~vacant)
        for part, condition in {
                "some": some == (stored != 0), "full": full == (stored == queue.depth - 1),
                "stored": stored <= queue.depth - 1, "read": read.addr < queue.depth,
                "write": write.addr == self._place(read.addr, stored)}.items():
            setting.invariant(f"{name}_{part}", condition)

    def _place(self, start: Value, steps: Value) -> Value:
        """Return an address behind another."""
        total = start + steps
        return Mux(total >= self.queue.depth, total - self.queue.depth, total)

    def slots(self) -> list[tuple[Value, Value, Value]]:
        """Return of each place that may hold an item: whether it does, behind how many, and the item's bits."""
        read, here = self.storage.read_ports[0], self.out + self.fetched
        slots = [(self.out, Const(0), self.inside["held"]), (self.fetched, self.out, read.data)]
        for n in range(self.queue.depth - 1):
            window = self.storage.read_port(domain="comb")
            self.setting.m.d.comb += window.addr.eq(self._place(read.addr, Const(n)))
            slots.append((self.inside["stored"] > n, here + n, window.data))
        return slots

    def find(self, followed: Followed | types.SimpleNamespace) -> None:
        """Say where an item that is followed lies."""
        ahead = followed.ahead
        here = self.out + self.fetched
        self.setting.m.d.comb += self.window.addr.eq(self._place(self.storage.read_ports[0].addr, ahead - here))
        self.setting.invariant(f"{self.name}_followed", ~followed.here | (
            (ahead < self.items)
            & (followed.item == Mux(ahead < self.out, self.inside["held"],
                                    Mux(ahead < here, self.storage.read_ports[0].data, self.window.data)))))


def _queue(s: Setting, depth: int, every_other: bool) -> None:
    dut = StreamQueue(unsigned(4), depth, every_other=every_other)
    state = QueueState(s, dut, s.add(dut))
    came, left = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    items = s.count("items", came, left, depth + 1)
    s.invariant("items", items == state.items)
    item = Followed(s, came, dut.i.payload, items, left)
    state.find(item)
    s.claim("order", "any item leaves as it came, behind all that came before it", dut.o.payload == item.item,
            when=item.here & (item.ahead == 0) & dut.o.valid)
    s.claim("kept", "what came and has not left is inside", item.ahead < items, when=item.here)
    s.claim("nothing_else", "nothing leaves that did not come", items != 0, when=dut.o.valid)
    s.within("delivers", "an item in an empty queue is offered within its latency", StreamQueue.latency - 1,
             waits=(items != 0) & ~dut.o.valid)
    s.claim("takes", "ready unless the queue is full", dut.i.ready, when=items < depth - 1)
    s.stable("stable", "what is offered stands until it is taken", dut.o.valid, dut.o.ready, dut.o.payload)
    s.claim("level", "level is what is inside but for the item on offer", dut.level == items - dut.o.valid,
            when=items != 0)
    s.reach("full", ~dut.i.ready)
    s.reach("wrapped", item.here & (item.ahead == 0) & s.held("was_full", ~dut.i.ready, 4))


def _room(s: Setting, latency: int, reserve: int) -> None:
    dut = StreamQueue(unsigned(1), StreamQueue.count_under_way(latency) + 1 + reserve, producer_latency=latency,
                      reserve=reserve)
    QueueState(s, dut, s.add(dut))
    s.m.d.comb += dut.i.valid.eq(s.held("begun", s.free("begins") & dut.room, latency))
    s.claim("no_overflow", "no item is lost behind a producer that begins one only while there is room", ~dut.overflow,
            when=dut.i.valid)
    s.claim("reserve", "as many entries as were asked for stay free", dut.level < dut.depth - reserve,
            when=dut.i.valid)
    s.within("room_returns", "there is room a cycle after the queue has run empty", 1,
             waits=(dut.level == 0) & ~dut.room)
    s.reach("fullest", dut.level == dut.depth - reserve - 1)


def _packer(s: Setting) -> None:
    word_lanes, row_lanes = 4, 6
    dut = WordPacker(unsigned(2), 1, word_lanes, row_lanes)
    inside, m = s.add(dut), s.m
    place = Signal(range(row_lanes))
    last, short = place == row_lanes - 1, place >= word_lanes
    in_word = Signal(range(word_lanes))
    m.d.comb += in_word.eq(Mux(short, place - word_lanes, place))
    ends = last | (place == word_lanes - 1)
    with m.If(dut.beat_valid):
        m.d.sync += place.eq(Mux(last, 0, place + 1))
    here = Signal()
    spot = Signal(range(word_lanes))
    item = Signal(2)
    with m.If(here):
        m.d.sync += here.eq(~dut.word_valid)
    with m.Elif(dut.beat_valid & s.free("chosen")):
        m.d.sync += [here.eq(1), spot.eq(in_word), item.eq(dut.beat[0])]
    for name, condition in {
            "place": (inside["in_row"] == place) & (inside["here"] == 1 << in_word) & (place < row_lanes),
            "item": ~here | ((Value.cast(dut.word).word_select(spot, 2) == item) & (dut.word_valid | (spot < in_word))),
            "zeros": ~(short & (in_word != 0)) | (Cat(dut.word[n] for n in range(2, 4)) == 0)}.items():
        s.invariant(name, condition)
    s.claim("elements", "an element is in its word, at its place", Value.cast(dut.word).word_select(spot, 2) == item,
            when=here & dut.word_valid)
    s.claim("one_word", "a word comes in the cycle after its last beat, and never else",
            dut.word_valid == s.held("ended", dut.beat_valid & ends), when=dut.word_valid | s.held("end", ends))
    s.claim("row_last", "a row's last word is marked, and no other", dut.row_last == s.held("row_ended", last),
            when=dut.word_valid)
    s.claim("padding", "beyond a row's end its last word is zero", Cat(dut.word[n] for n in range(2, 4)) == 0,
            when=dut.word_valid & dut.row_last)


def _gearbox(s: Setting, in_bytes: int, out_bytes: int, row_bytes: int) -> None:
    dut = RowGearbox(in_bytes, out_bytes, row_bytes)
    inside, m = s.add(dut), s.m
    came, left = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    beats = ceil_div(row_bytes, in_bytes)
    # The beat of a row that comes next; bytes of the row that have left; bytes inside.
    beat = Signal(range(beats + 1))
    gone = Signal(range(row_bytes + 1))
    within = Signal(range(in_bytes + out_bytes + 1))
    last = beat == beats - 1
    added = Mux(last, row_bytes - (beats - 1) * in_bytes, in_bytes)
    offered = sum(dut.strobe)
    leaves = Mux(left, offered, 0)
    after = gone + leaves
    m.d.sync += [within.eq(within + Mux(came, added, 0) - leaves), gone.eq(Mux(after == row_bytes, 0, after))]
    with m.If(came):
        m.d.sync += beat.eq(Mux(last, 0, beat + 1))
    lane = s.free("lane", range(in_bytes))
    s.assume("lane", lane < in_bytes)
    item = Followed(s, came & (lane < added), dut.i.payload.word_select(lane, 8), within + lane, leaves)
    # Where beats are not all full, a row's end holds up the next row; else the next one may be inside as well.
    passed = gone + within
    if row_bytes % in_bytes or row_bytes % out_bytes:
        row = Mux(inside["ends"], (beat == 0) & (within != 0) & (passed == row_bytes), passed == beat * in_bytes)
        places = inside["beat"] == beat
    else:
        row = (passed == beat * in_bytes) | (passed == beat * in_bytes + row_bytes)
        places = gone % out_bytes == 0
    stored = inside["buffer"].word_select(item.ahead, 8)
    for name, condition in {
            "level": inside["level"] * inside["lane"] == within, "row": row, "places": places,
            "beat": (beat < beats) & (gone < row_bytes),
            "item": ~item.here | ((item.ahead < within) & (stored == item.item))}.items():
        s.invariant(name, condition)
    s.claim("order", "any byte of a row leaves as it came, behind all that came before it",
            dut.o.payload.word_select(item.ahead, 8) == item.item,
            when=item.here & dut.o.valid & (item.ahead < offered))
    s.claim("strobes", "strobes are those of a beat's first bytes, one at least, of bytes that came",
            ((dut.strobe & (dut.strobe + 1)) == 0) & dut.strobe.any() & (offered <= within), when=dut.o.valid)
    s.claim("rows_apart", "a beat is full unless its row ends in it, and holds bytes of one row",
            (gone + offered == row_bytes) | ((gone + offered < row_bytes) & (offered == out_bytes)), when=dut.o.valid)
    s.claim("offers", "a beat is offered as soon as its bytes are there", dut.o.valid,
            when=(within >= out_bytes) | ((within != 0) & (gone + within == row_bytes)))
    s.claim("takes", "ready when it is empty", dut.i.ready, when=within == 0)
    s.stable("stable", "what is offered stands until it is taken", dut.o.valid, dut.o.ready,
             Cat(dut.strobe, *(Mux(dut.strobe[n], dut.o.payload[8 * n:8 * n + 8], 0) for n in range(out_bytes))))


_GEARS = {"uneven": (2, 3, 5), "wider": (2, 8, 16), "narrower": (8, 2, 16)}
PROOFS = (
    Proof("StreamQueue", functools.partial(_queue, depth=5, every_other=False), "induction", 3, 16, "5 entries"),
    Proof("StreamQueue", functools.partial(_queue, depth=4, every_other=True), "induction", 3, 16,
          "4 entries, one item in two cycles", "every_other"),
    Proof("StreamQueue", functools.partial(_room, latency=2, reserve=0), "induction", 7, 20, "a producer of 2 cycles"),
    Proof("StreamQueue", functools.partial(_room, latency=5, reserve=2), "induction", 10, 26,
          "a producer of 5 cycles, 2 entries in reserve", "reserve"),
    Proof("WordPacker", _packer, "induction", 2, 16, "words of 4 elements, rows of 6"),
    *(Proof("RowGearbox", functools.partial(_gearbox, in_bytes=a, out_bytes=b, row_bytes=row), "induction", 2, 16,
            f"beats of {a} bytes to beats of {b}, rows of {row}", name) for name, (a, b, row) in _GEARS.items()),
)
