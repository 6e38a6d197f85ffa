"""Elements of K from the beats of its planes."""

from math import gcd

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.page_format import PageFormat
from latte.rtl.memory.tile_payloads import chunk_lanes, chunk_layout, part_shape

__all__ = ["PlaneUnpacker", "plane_beat_layout", "plane_lane"]


def plane_lane(build: MemoryBuild) -> int:
    """Return the bytes at multiples of which all rows and chunks of both planes begin."""
    form, chunks = PageFormat(build), build.core.head_dim // chunk_lanes(build)
    return gcd(build.bus_bytes, *(row // chunks for row in (form.high_bytes, form.low_bytes)))


def plane_beat_layout(build: MemoryBuild) -> data.StructLayout:
    """A beat of a piece of a plane.

    With its ``first`` beat: ``skip``, lanes of it that lie in front of the piece, and ``rows``, so many follow.
    ``low``: of the low plane.
    """
    return data.StructLayout({"data": 8 * build.bus_bytes, "first": 1, "low": 1,
                              "skip": range(build.bus_bytes // plane_lane(build) + 1),
                              "rows": range(build.page_rows + 1)})


class PlaneUnpacker(wiring.Component):
    """Repacks the rows of a piece, which follow each other without gaps, to chunks of `chunk_lanes` elements::

        beat -> lanes behind those that are left -> chunk, sign

    What lies behind a piece's last row is dropped.

    Latency: one cycle from a beat to the chunk that it completes. Throughput: a beat or a chunk per cycle, whichever
    there are more of, also from piece to piece.

    Parameters
    ----------
    build

    Members
    -------
    i : In(stream of plane_beat_layout)
    o : Out(stream of chunk_layout)
        Without the group.
    idle : Out(1)
        All chunks of the last piece have left.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        super().__init__({"i": In(stream.Signature(plane_beat_layout(build))),
                          "o": Out(stream.Signature(chunk_layout(build))), "idle": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, core, form = self.build, self.build.core, PageFormat(self.build)
        lane, lanes = plane_lane(build), chunk_lanes(build)
        chunks = core.head_dim // lanes
        coming = build.bus_bytes // lane
        high, low = (row // chunks // lane for row in (form.high_bytes, form.low_bytes))
        capacity = coming + max(high, low)
        # Of a piece, which begins with its first beat: without rows there is none.
        buffer, level = Signal(8 * lane * capacity, reset_less=True), Signal(range(capacity + 1), reset_less=True)
        plane, number = Signal(reset_less=True), Signal(range(max(2, chunks)), reset_less=True)
        rows, after = Signal(range(build.page_rows + 1)), Signal.like(level)
        going = Mux(plane, low, high)
        takes, gives, ends, done = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.idle.eq(rows == 0), self.o.valid.eq((rows != 0) & (level >= going)),
            gives.eq(self.o.valid & self.o.ready), self.o.payload.last.eq(number == chunks - 1),
            ends.eq(gives & self.o.payload.last & (rows == 1)), done.eq((rows == 0) | ends),
            after.eq(Mux(gives, level - going, level)),
            # Behind the last row, beats of the same piece are dropped.
            self.i.ready.eq(done | (~self.i.payload.first & (after <= capacity - coming))),
            takes.eq(self.i.valid & self.i.ready),
            self.o.payload.low.eq(plane), self.o.payload.number.eq(number),
        ]
        with m.If(gives):
            m.d.sync += number.eq(Mux(self.o.payload.last, 0, number + 1))
            with m.If(self.o.payload.last):
                m.d.sync += rows.eq(rows - 1)
        kept = Mux(gives, self._shifted(buffer, plane, high, low, lane), buffer)
        m.d.sync += [buffer.eq(kept), level.eq(after)]
        with m.If(takes & self.i.payload.first):
            m.d.sync += [plane.eq(self.i.payload.low), rows.eq(self.i.payload.rows), number.eq(0),
                         level.eq(coming - self.i.payload.skip)]
            with m.Switch(self.i.payload.skip):
                for skip in range(coming):
                    with m.Case(skip):
                        m.d.sync += buffer[:8 * lane * (coming - skip)].eq(self.i.payload.data[8 * lane * skip:])
        with m.Elif(takes & ~done):
            m.d.sync += level.eq(after + coming)
            with m.Switch(after):
                for place in range(capacity - coming + 1):
                    with m.Case(place):
                        m.d.sync += buffer[8 * lane * place:8 * lane * (place + coming)].eq(self.i.payload.data)
        for n in range(lanes):
            m.d.comb += self.o.payload.elements[n].eq(Mux(plane, self._part(buffer, n, core.low_bits,
                                                                           core.split == "balanced"),
                                                          self._part(buffer, n, core.estimate_bits, True)))
        return m

    @staticmethod
    def _shifted(buffer: Signal, plane: Signal, high: int, low: int, lane: int) -> Value:
        """Return the lanes behind a chunk; where none may be left that count, whatever takes no logic."""
        lanes = [buffer[place:place + 8 * lane] for place in range(0, len(buffer), 8 * lane)]
        kept: list[Value] = []
        for n, stays in enumerate(lanes):
            behind = [lanes[n + gone] for gone in (low, high) if n + gone < len(lanes)]
            kept.append(Mux(plane, *behind) if len(behind) == 2 else behind[0] if behind else stays)
        return Cat(kept)

    def _part(self, buffer: Signal, n: int, bits: int, signed: bool) -> Value:
        """Return element `n` of a chunk whose elements have so many bits."""
        part = buffer[n * bits:(n + 1) * bits]
        missing = part_shape(self.build).width - bits
        return Cat(part, part[-1].replicate(missing) if signed else Const(0, missing)).as_signed()
