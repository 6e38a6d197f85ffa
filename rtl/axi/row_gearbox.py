"""Rows of bytes from beats of one width to beats of another."""

from math import gcd

from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div

__all__ = ["RowGearbox"]


class RowGearbox(wiring.Component):
    """Repacks rows: the first byte of a row is the lowest of its first beat, on both sides.

    Bytes behind a row's end, in the last beat that comes in, are dropped; in the last one that goes out they have no
    strobe.

    Latency: one cycle from a beat that comes in to what it completes. Throughput: a beat per cycle on the side that has
    more of them if one width divides the other; a row whose beats are not all full waits until the one before has left.

    Parameters
    ----------
    in_bytes, out_bytes, row_bytes
    skips
        A row may begin inside the first beat that goes out.

    Attributes
    ----------
    lane
        Bytes: all beats of a row begin and end at multiples of it.

    Members
    -------
    i : In(stream of in_bytes bytes)
    o : Out(stream of out_bytes bytes)
    strobe : Out(out_bytes)
        Beside the payload of `o`: the bytes that are of a row.
    skip : In(range(out_bytes / lane))
        With a row's first beat: the lanes in front of the row. Present with `skips`.
    """

    def __init__(self, in_bytes: int, out_bytes: int, row_bytes: int, *, skips: bool = False) -> None:
        self.in_bytes = in_bytes
        self.out_bytes = out_bytes
        self.row_bytes = row_bytes
        self.skips = skips
        self.lane = gcd(in_bytes, out_bytes, row_bytes)
        skip = {"skip": In(range(out_bytes // self.lane))} if skips else {}
        super().__init__({"i": In(stream.Signature(8 * in_bytes)), "o": Out(stream.Signature(8 * out_bytes)),
                          "strobe": Out(out_bytes), **skip})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane = self.lane
        coming, going, row = self.in_bytes // lane, self.out_bytes // lane, self.row_bytes // lane
        capacity = coming + going
        buffer = Signal(8 * lane * capacity)
        level, after = Signal(range(capacity + 1)), Signal(range(capacity + 1))
        taken, given = Signal(), Signal()
        m.d.comb += [taken.eq(self.i.valid & self.i.ready), given.eq(self.o.valid & self.o.ready),
                     self.o.payload.eq(buffer[:8 * self.out_bytes])]
        added, ends, first = self._rows(m, coming, going, row, taken, level)
        m.d.comb += [
            self.o.valid.eq((level >= going) | (ends & (level != 0))),
            self.i.ready.eq((level <= capacity - coming) & ~ends),
            after.eq(Mux(given, Mux(level < going, 0, level - going), level)),
        ]
        m.d.comb += [self.strobe[byte].eq(level > byte // lane) for byte in range(self.out_bytes)]
        if self.skips:
            # As if so many lanes had come, which then have no strobe.
            skipped = Signal.like(self.skip)
            with m.If(first):
                m.d.comb += after.eq(self.skip)
                m.d.sync += skipped.eq(self.skip)
            with m.Elif(given):
                m.d.sync += skipped.eq(0)
            # A row begins in the last lane at the latest.
            for byte in range(self.out_bytes - lane):
                with m.If(skipped > byte // lane):
                    m.d.comb += self.strobe[byte].eq(0)
        m.d.sync += level.eq(after + Mux(taken, added, 0))
        kept = Mux(given, buffer >> (8 * self.out_bytes), buffer)
        m.d.sync += buffer.eq(kept)
        with m.If(taken), m.Switch(after):
            for place in range(capacity - coming + 1):
                with m.Case(place):
                    low, high = 8 * lane * place, 8 * lane * (place + coming)
                    m.d.sync += buffer[low:high].eq(self.i.payload)
        return m

    def _rows(self, m: Module, coming: int, going: int, row: int, taken: Signal, level: Signal
              ) -> tuple[Value | int, Signal, Value]:
        """Count a row's beats where some are not full.

        Returns
        -------
        Lanes of this beat; whether a row's end is in the buffer; whether it is empty and a row's first beat comes next.
        """
        beats = ceil_div(row, coming)
        ends = Signal()
        if row % coming == 0 and row % going == 0 and not self.skips:
            return coming, ends, Const(0)
        beat = Signal(range(max(2, beats)))
        last = beat == beats - 1
        with m.If(taken):
            m.d.sync += [beat.eq(Mux(last, 0, beat + 1)), ends.eq(last)]
        with m.Elif(self.o.valid & self.o.ready & (level <= going)):
            m.d.sync += ends.eq(0)
        return Mux(last, row - (beats - 1) * coming, coming), ends, (beat == 0) & ~ends
