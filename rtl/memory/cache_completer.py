"""Writes output rows and status words of the core with keys in memory, and so brings descriptors to their end."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.axi.completer_parts import RowWrites, completer_members, end_descriptor
from latte.rtl.axi.row_bursts import RowBursts
from latte.rtl.axi.write_engine import beat_layout
from latte.rtl.memory.cache_descriptors import cache_causes_layout, cache_status_word_layout
from latte.rtl.memory.cache_dispatcher import cache_begun_layout

__all__ = ["CacheCompleter"]


class CacheCompleter(wiring.Component):
    """Brings descriptors to their end, in order::

        begun -> rows that come: RowBursts -> beats there? -> burst, beat
              -> ended, no row left -> answers -> status word -> burst, beat -> answer -> done

    A job that fails gives fewer rows than it was asked for: those of the tiles before, or of the failed one as well. So
    rows are not counted off: each that comes is written to the next place, until the job has ended and none is left.

    The status word is written when all output rows are answered, so whoever sees it sees them.

    Parameters
    ----------
    row_bytes
        Of an output row in memory.
    parameters
        Of the master.
    depth
        Beats of output rows that may wait.

    Members
    -------
    begun : In(stream of cache_begun_layout)
    ended : In(stream of cache_causes_layout)
        Of the descriptor in the core, when its last row has left it; taken when that row is on its way.
    given : In(1)
        A row's first beat leaves the core; the others follow.
    level : In, beat : In(stream of beat_layout), burst, write, answered, fault, unanswered, address, number
        As of `JobCompleter`.
    release, done, refused, invalid, interrupt
        As of `JobCompleter`.
    failed : Out(1)
        Beside `done`: the job failed in course.
    """

    def __init__(self, row_bytes: int, parameters: MasterParameters, depth: int) -> None:
        self.row_bytes = row_bytes
        self.parameters = parameters
        self.depth = depth
        super().__init__({
            "begun": In(stream.Signature(cache_begun_layout())), "ended": In(stream.Signature(cache_causes_layout())),
            "given": In(1), "level": In(range(depth + 1)), "beat": In(stream.Signature(beat_layout(parameters))),
            **completer_members(parameters), "failed": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = RowBursts(self.row_bytes, self.parameters)
        begun, causes, faulty = Signal(cache_begun_layout()), Signal(cache_causes_layout()), Signal()
        said = Signal.like(causes)
        # Rows of which a beat has come and that are not begun: in the queue, or on their way there.
        rows, begins = Signal(range(2 * self.depth)), Signal()
        head, row_address, position_address = Signal(COUNT_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        burst = bursts.burst
        writes = RowWrites(m, self, burst)
        m.d.comb += [
            bursts.rows.payload.address.eq(row_address), bursts.rows.payload.rows.eq(1),
            begins.eq(bursts.rows.valid & bursts.rows.ready),
            self.burst.payload.eq(burst.payload), self.write.payload.eq(self.beat.payload),
            self.refused.eq(Cat(causes[f"refused_{name}"] for name in REFUSALS).any()),
            self.failed.eq(Cat(causes[f"failed_{name}"] for name in FAILURES).any()),
            self.invalid.eq(~begun.in_core), self.interrupt.eq(begun.interrupt), said.eq(causes),
            said.write_failed.eq(faulty),
        ]
        m.d.sync += rows.eq(rows + self.given - begins)
        with m.If(self.answered & self.fault.as_value().any()):
            m.d.sync += faulty.eq(1)
        with m.If(begins):
            m.d.sync += [head.eq(head + 1), row_address.eq(row_address + self.row_bytes)]
            with m.If(head + 1 == begun.heads):
                m.d.sync += [head.eq(0), row_address.eq(position_address),
                             position_address.eq(position_address + begun.stride)]
        with m.FSM():
            with m.State("IDLE"):
                offer = self.begun.payload
                m.d.comb += self.begun.ready.eq(1)
                m.d.sync += [begun.eq(offer), causes.eq(offer.causes), faulty.eq(0), head.eq(0),
                             row_address.eq(offer.address), position_address.eq(offer.address + offer.stride)]
                with m.If(self.begun.valid):
                    m.next = "STATUS"
                    with m.If(offer.in_core):
                        m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += [bursts.rows.valid.eq(rows != 0), self.ended.ready.eq(bursts.rows.ready & (rows == 0))]
                writes.connect(m)
                with m.If(self.ended.valid & self.ended.ready):
                    m.d.sync += causes.eq(self.ended.payload)
                    m.next = "ANSWERS"
            with m.State("ANSWERS"):
                writes.connect(m)
                with m.If(~self.unanswered):
                    m.next = "STATUS"
            end_descriptor(m, self, said, cache_status_word_layout())
        return m
