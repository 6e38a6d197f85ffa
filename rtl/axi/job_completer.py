"""Writes output rows and status words, and so brings descriptors to their end."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from latte.golden.jobs import REFUSALS
from latte.rtl.axi.bus import MasterParameters, fault_layout
from latte.rtl.axi.completer_parts import RowWrites, completer_members, end_descriptor
from latte.rtl.axi.descriptors import status_word_layout
from latte.rtl.axi.payloads import STREAMS, descriptor_causes_layout, written_layout
from latte.rtl.axi.row_bursts import RowBursts
from latte.rtl.axi.write_engine import beat_layout

__all__ = ["JobCompleter"]


class JobCompleter(wiring.Component):
    """Brings descriptors to their end, in order::

        begun -> rows: RowBursts -> beats there? -> burst, beat -> answers
              -> faults of the rows that were fetched
              -> status word -> burst, beat -> answer -> done

    The status word is written when all output rows are answered, so whoever sees it sees them. A job whose rows met
    errors on the bus runs to its end: the core was fed zeros, its output is written, and the status says that it means
    nothing. So jobs and rows never lose step, and the next descriptor finds the core as it should be. Only what is
    built on keys or values that were not loaded is worthless, too: a descriptor that goes on with such a sequence gets
    `sequence_invalid`, until a fresh one has been loaded whole.

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
    begun : In(stream of written_layout)
    fetched_q, fetched_k, fetched_v : In(stream of fault_layout)
        For each descriptor in the core, when its rows have come.
    level : In
        Beats of output rows that wait.
    beat : In(stream of beat_layout)
        They.
    burst, write : Out(stream)
        To `WriteEngine`; `answered`, `fault`, `unanswered` : In from there.
    address : In(64), number : In(16)
        Of the oldest descriptor that is not done.
    release : Out(1)
        For one cycle: its status word is on its way.
    done : Out(1)
        For one cycle: it is done, with `refused`, `invalid`, `interrupt` beside it.
    """

    def __init__(self, row_bytes: int, parameters: MasterParameters, depth: int) -> None:
        self.row_bytes = row_bytes
        self.parameters = parameters
        self.depth = depth
        super().__init__({
            "begun": In(stream.Signature(written_layout())),
            **{f"fetched_{name}": In(stream.Signature(fault_layout())) for name in STREAMS},
            "level": In(range(depth + 1)), "beat": In(stream.Signature(beat_layout(parameters))),
            **completer_members(parameters)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = RowBursts(self.row_bytes, self.parameters)
        written, causes = Signal(written_layout()), Signal(descriptor_causes_layout())
        begun = written.begun
        broken = Signal()
        rows, burst = bursts.rows.payload, bursts.burst
        writes = RowWrites(m, self, burst)
        fetched = [getattr(self, f"fetched_{name}") for name in STREAMS]
        m.d.comb += [
            rows.address.eq(written.address), rows.stride.eq(written.stride),
            rows.rows.eq(Mux(begun.refused, 0, begun.rows)),
            self.burst.payload.eq(burst.payload), self.write.payload.eq(self.beat.payload),
            self.refused.eq(Cat(causes[f"refused_{name}"] for name in REFUSALS).any()),
            self.invalid.eq(~begun.in_core | causes.sequence_invalid), self.interrupt.eq(begun.interrupt),
        ]
        with m.If(self.answered):
            m.d.sync += [causes.write_slverr.eq(causes.write_slverr | self.fault.slverr),
                         causes.write_decerr.eq(causes.write_decerr | self.fault.decerr)]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.begun.ready.eq(1)
                m.d.sync += [written.eq(self.begun.payload), causes.eq(self.begun.payload.begun.causes)]
                with m.If(self.begun.valid):
                    m.next = "STATUS"
                    with m.If(self.begun.payload.begun.in_core):
                        m.next = "ROWS"
            with m.State("ROWS"):
                m.d.sync += causes.sequence_invalid.eq(~begun.fresh & broken)
                m.d.comb += bursts.rows.valid.eq(1)
                m.next = "BURSTS"
            with m.State("BURSTS"):
                writes.connect(m)
                with m.If(bursts.rows.ready & ~self.unanswered):
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                with m.If(Cat(port.valid for port in fetched).all()):
                    m.d.comb += [port.ready.eq(1) for port in fetched]
                    faults = [port.payload for port in fetched]
                    for kind in fault_layout().members:
                        m.d.sync += causes[f"read_{kind}"].eq(Cat(fault[kind] for fault in faults).any())
                    lost = Cat(port.payload.as_value() for name, port in zip(STREAMS, fetched) if name != "q").any()
                    m.d.sync += broken.eq(Mux(begun.fresh, 0, broken) | lost)
                    m.next = "STATUS"
            end_descriptor(m, self, causes, status_word_layout())
        with m.If(fsm.ongoing("STATUS") & ~begun.in_core):
            m.d.sync += broken.eq(1)
        return m
