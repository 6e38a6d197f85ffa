"""Keys and values of the serial core: each element is read as it came, at its place, and not while it is loaded."""

import operator

from amaranth import Cat, Const, Mux, Signal, Value, signed, unsigned
from amaranth.utils import exact_log2

from latte.rtl.serial.serial_scratchpad import SerialScratchpad, SinglePortPlane
from latte.sim.formal.proofs.serial import BEAT, BEATS, BUILD, is_both, is_high, limited
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]


class _Plane:
    """Any element of a plane, until it is filled anew.

    Parameters
    ----------
    s
    inside
        Of the plane.
    chosen
        The element is in the beat of this cycle, if there is one.
    lane
        Its place in the beat.
    name
        Of invariants.

    Attributes
    ----------
    beats
        Since the start.
    ended
        A word is written in this cycle: its last beat came in the one before.
    item, place
        The element; its place in its word.
    here, readable
        There is one; and its word was written before this cycle.
    reads
        It is read in this cycle.
    """

    def __init__(self, s: Setting, inside: Inside, chosen: Value, lane: Value, name: str) -> None:
        m, dut, self.name = s.m, inside.block, name
        packer, memory = inside.part("packer"), inside.part("memory").memory("single_port_array_0")
        width, steps = len(dut.beat.as_value()) // BEAT, exact_log2(dut.lanes // BEAT)
        most = dut.config.max_seq_len * BEATS
        self.beats, words = Signal(range(most + 1), name=f"{name}_beats"), Signal(range((most >> steps) + 1))
        last = self.beats[:steps].all() if steps else Const(1)
        self.ended = s.held(f"{name}_ended", dut.beat_valid & last)
        m.d.sync += [self.beats.eq(self.beats + dut.beat_valid), words.eq(words + self.ended)]
        with m.If(dut.restart):
            m.d.sync += [self.beats.eq(0), words.eq(0)]
        self.here, at, self.item = Signal(name=f"{name}_here"), Signal.like(self.beats), Signal(width)
        self.taken = ~self.here & dut.beat_valid & chosen
        with m.If(dut.restart):
            m.d.sync += self.here.eq(0)
        with m.Elif(self.taken):
            m.d.sync += [self.here.eq(1), at.eq(self.beats), self.item.eq(dut.beat.as_value().word_select(lane, width))]
        self.place, window = Cat(lane, at[:steps]), memory.read_port(domain="comb")
        self.readable = self.here & (at[steps:] < words)
        m.d.comb += window.addr.eq(at[steps:])
        word = Mux(self.readable, window.data.as_value(), packer.block.word.as_value())
        in_row = (BEATS - 1).bit_length()
        for part, condition in {
                "packer": (packer["in_row"] == self.beats[:in_row])
                          & (packer["here"] == (1 << self.beats[:steps] if steps else 1)),
                "words": (self.beats >> steps == words + self.ended) & (self.ended == packer.block.word_valid),
                "address": inside["address"] == words[:-1], "all": self.beats <= most,
                "item": ~self.here | ((at < self.beats) & (self.item == word.word_select(self.place, width))),
                }.items():
            s.invariant(f"{name}_{part}", condition)
        self.reads = self.here & (dut.port.key == at[in_row:]) & (dut.port.slice == at[steps:in_row])

    def read(self, s: Setting, data: Value) -> Value:
        """Return the element in a word that was addressed a cycle ago."""
        return data.as_value().word_select(s.held(f"{self.name}_place", self.place), len(self.item))


def _plane(s: Setting) -> None:
    dut = SinglePortPlane(BUILD, unsigned(2), 2 * BEAT)
    plane = _Plane(s, s.add(dut), s.free("chosen"), s.constant("lane"), "plane")
    s.assume("rows", ~dut.beat_valid | (plane.beats != BUILD.max_seq_len * BEATS))
    s.assume("restart", ~dut.restart | ((plane.beats[:2] == 0) & ~dut.beat_valid))
    reads = s.held("reads", plane.reads & plane.readable & ~plane.ended)
    s.claim("read", "any element of any row is read as it came, from two cycles behind its word's last beat on",
            plane.read(s, dut.port.data) == s.held("item", plane.item), when=reads)
    s.claim("conflict", "it is told when a word is read in the cycle in which one is written, and never else",
            dut.conflict == (plane.ended & dut.port.read), when=plane.ended | dut.port.read)
    s.reach("filled_anew", reads & s.held("refilled", dut.restart, 8))


class _Stream:
    """Rows of keys, or of values, on their way from the port.

    Attributes
    ----------
    left, beat
        Rows that are still to come, and beats of the first of them that came.
    count
        Beats since the start that are kept.
    kept
        One comes in this cycle.
    """

    def __init__(self, s: Setting, dut: SerialScratchpad, port: str, drop: Value, inside: Inside) -> None:
        m, load, beats = s.m, dut.load.payload, getattr(dut, port)
        self.left, self.beat, most = Signal(16), Signal(range(BEATS)), BUILD.max_seq_len * BEATS
        self.count = Signal(range(most + 1), name=f"{port}_count")
        comes = beats.valid & beats.ready
        self.kept = comes & ~drop
        m.d.sync += [self.beat.eq(self.beat + comes), self.count.eq(self.count + self.kept),
                     self.left.eq(self.left - (comes & (self.beat == BEATS - 1)))]
        with m.If(dut.load.valid & dut.load.ready):
            m.d.sync += [self.left.eq(load.rows), self.count.eq(Mux(load.start == 0, 0, self.count))]
        s.claim(f"{port}_ready", f"a beat of {port} is taken as long as rows of a command are to come",
                beats.ready == (self.left != 0), when=beats.valid)
        loads = inside.state("LOAD")
        for name, condition in {
                "states": inside.state(), "rows": ~loads | (inside["rows"] == self.left - 1),
                "beats": (inside["beat"] == self.beat) & (loads | ((self.left == 0) & (self.beat == 0)))
                         & ((self.left != 0) | (self.beat == 0)),
                "drop": ~loads | (inside["drop"] == drop),
                "whole": self.count[:2] == Mux(drop, 0, self.beat),
                "room": drop | (self.count + (self.left << 2) - self.beat <= most)}.items():
            s.invariant(f"{port}_{name}", condition)


def _scratchpad(s: Setting) -> None:
    dut = SerialScratchpad(BUILD)
    inside, m = s.add(dut), s.m
    loader = inside.part("loader")
    loaders = {"k": loader.part("keys"), "v": loader.part("values")}
    drop, busy, load = Signal(), Signal(), dut.load.payload
    starts = dut.load.valid & dut.load.ready
    streams = {port: _Stream(s, dut, port, drop, part) for port, part in loaders.items()}
    rows = streams["k"].count >> 2
    s.assume("load", ~starts | (((load.start == 0) | (load.start == rows)) & (
        load.drop | (load.start + load.rows <= BUILD.max_seq_len))))
    with m.If(dut.loaded):
        m.d.sync += busy.eq(0)
    with m.If(starts):
        m.d.sync += [busy.eq(1), drop.eq(load.drop)]
    for name in ("high", "halves", "values"):
        s.assume(f"{name}_apart", ~(getattr(dut, name).read & busy))
    lane, key_chosen, value_chosen = s.constant("lane"), s.free("key_chosen"), s.free("value_chosen")
    planes = {name: _Plane(s, inside.part(f"{name}_plane"), s.held(f"{name}_chosen", chosen), lane, name)
              for name, chosen in (("high", key_chosen), ("halves", key_chosen), ("value", value_chosen))}
    key, element = Signal(signed(8)), dut.k.payload.as_value().word_select(lane, 8).as_signed()
    value, came = Signal(signed(8)), dut.v.payload.as_value().word_select(lane, 8).as_signed()
    was_limited, as_came = s.held("limited", limited(element)), s.held("as_came", came)
    with m.If(planes["high"].taken):
        m.d.sync += key.eq(was_limited)
    with m.If(planes["value"].taken):
        m.d.sync += value.eq(as_came)
    finished = loader["finished"]
    states = [(part.state("IDLE"), finished[n]) for n, part in enumerate(loaders.values())]
    for name, plane in planes.items():
        stream, part = (streams["v"], loaders["v"]) if name == "value" else (streams["k"], loaders["k"])
        arrived = loader.block.value_valid if name == "value" else loader.block.key_valid
        s.invariant(f"{name}_count", Mux(loader.block.restart, (stream.count == 0) & ~arrived & (plane.beats[:2] == 0),
                                         plane.beats == stream.count - arrived))
        s.invariant(f"{name}_arrived", (arrived == s.held(f"{name}_kept", stream.kept)) & (
            ~arrived | part.state("LOAD")) & (~plane.ended | ~part.state("IDLE")))
    for n, (idle, done) in enumerate(states):
        s.invariant(f"busy_{n}", Mux(busy, idle == done, idle & ~done))
    whole = [Mux(drop, 0, (stream.left << 2) - stream.beat) + stream.count for stream in streams.values()]
    s.invariant("both", whole[0] == whole[1])
    s.invariant("same", planes["high"].here == planes["halves"].here)
    s.invariant("restart", ~loader.block.restart | (busy & ~states[0][0] & ~states[1][0]))
    for name, of, test in (("high", key, is_high), ("halves", key, is_both), ("value", value, operator.eq)):
        s.invariant(f"{name}_element", ~planes[name].here | test(planes[name].item.as_signed(), of))
    was_key, was_value = s.held("key", key), s.held("value", value)
    free = ~busy & ~starts
    reads = {name: s.held(f"{name}_reads", plane.reads & free) for name, plane in planes.items()}
    s.claim("high", "of any element of any key the nearest high part is read, as soon as the command is through",
            is_high(planes["high"].read(s, dut.high.data).as_signed(), was_key), when=reads["high"])
    s.claim("halves", "both its halves, which add up to it, are read by the scorer",
            is_both(planes["halves"].read(s, dut.halves.data), was_key), when=reads["halves"])
    s.claim("values", "any element of any value is read as it came",
            planes["value"].read(s, dut.values.data).as_signed() == was_value, when=reads["value"])
    s.claim("loaded", "a command is through when all its rows have come, keys and values",
            busy & (streams["k"].left == 0) & (streams["v"].left == 0), when=dut.loaded)
    s.within("loaded_in_time", "in the second cycle behind the last of them", 1,
             waits=busy & (streams["k"].left == 0) & (streams["v"].left == 0) & ~dut.loaded)
    s.claim("no_conflict", "nothing is told of conflicts while nobody reads what is being loaded", ~dut.conflict,
            when=planes["high"].ended)
    s.reach("goes_on", starts & (load.start != 0) & ~load.drop)


PROOFS = (
    Proof("SerialScratchpad", _scratchpad, "induction", 2, 10, "2 rows, words of 2 and of 1 beats"),
    Proof("SinglePortPlane", _plane, "induction", 2, 12, "2 rows of 2 words of 2 beats"),
)
