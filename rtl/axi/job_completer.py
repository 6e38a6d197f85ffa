"""Writes output rows and status words, and so brings descriptors to their end."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, burst_layout, fault_layout
from latte.rtl.axi.descriptors import STATUS_BYTES, STATUS_OFFSET, status_word_layout
from latte.rtl.axi.payloads import STREAMS, descriptor_causes_layout, written_layout
from latte.rtl.axi.row_bursts import RowBursts
from latte.rtl.axi.write_engine import beat_layout

__all__ = ["JobCompleter", "RowWrites", "completer_members", "end_descriptor"]


def completer_members(parameters: MasterParameters) -> dict[str, wiring.Member]:
    """Return the signals of a completer to `WriteEngine` and to the ring."""
    return {"burst": Out(stream.Signature(burst_layout(parameters))),
            "write": Out(stream.Signature(beat_layout(parameters))),
            "answered": In(1), "fault": In(fault_layout()), "unanswered": In(1),
            "address": In(ADDRESS_BITS), "number": In(COUNT_BITS),
            "release": Out(1), "done": Out(1), "refused": Out(1), "invalid": Out(1), "interrupt": Out(1)}


class RowWrites:
    """Hands bursts of rows over when all their beats wait, and the beats: to be used in states of a completer.

    A burst that is begun has its data, so that a core that stops producing never holds the bus. Bursts follow each
    other without a gap.

    Parameters
    ----------
    m
    completer
        With `completer_members`, `level` and `beat`.
    burst
        Of `RowBursts`.

    Attributes
    ----------
    owed
        Beats that wait and belong to the burst before.
    """

    def __init__(self, m: Module, completer: wiring.Component, burst: stream.Interface) -> None:
        self._completer, self._burst = completer, burst
        self.owed = owed = Signal.like(burst.payload.beats, name="owed")
        leaves = completer.beat.valid & completer.beat.ready
        self._there = Mux(owed == 0, completer.level >= burst.payload.beats,
                          (owed == 1) & leaves & (completer.level > burst.payload.beats))
        with m.If(leaves):
            m.d.sync += owed.eq(owed - 1)
        with m.If(burst.valid & burst.ready):
            m.d.sync += owed.eq(burst.payload.beats)

    def connect(self, m: Module) -> None:
        """Let bursts and beats pass: in a state of the completer's machine."""
        out, beat, write = self._completer.burst, self._completer.beat, self._completer.write
        m.d.comb += [out.valid.eq(self._burst.valid & self._there), self._burst.ready.eq(out.ready & self._there),
                     write.valid.eq(beat.valid), beat.ready.eq(write.ready)]


def end_descriptor(m: Module, completer: wiring.Component, causes: data.View, layout: data.StructLayout) -> None:
    """Write the status word and tell that it is done: states of a completer's machine from STATUS on, back to IDLE.

    Parameters
    ----------
    m
    completer
        With `completer_members`.
    causes
        What the word says.
    layout
        Of the word.
    """
    data_bytes = completer.parameters.data_bytes
    status, beat = Signal(layout), Signal(beat_layout(completer.parameters))
    place, low = STATUS_OFFSET % data_bytes, STATUS_OFFSET // data_bytes * data_bytes
    m.d.comb += [status[name].eq(causes[name]) for name in causes.shape().members]
    m.d.comb += [
        status.done.eq(1), status.error.eq(causes.as_value().any()), status.number.eq(completer.number),
        beat.data.eq(status.as_value() << 8 * place),
        beat.strobe.eq(((1 << STATUS_BYTES) - 1) << place),
    ]
    with m.State("STATUS"):
        m.d.comb += [completer.burst.valid.eq(1), completer.burst.payload.address.eq(completer.address | low),
                     completer.burst.payload.beats.eq(1), completer.release.eq(completer.burst.ready)]
        with m.If(completer.burst.ready):
            m.next = "WORD"
    with m.State("WORD"):
        m.d.comb += [completer.write.valid.eq(1), completer.write.payload.eq(beat)]
        with m.If(completer.write.ready):
            m.next = "ANSWER"
    with m.State("ANSWER"):
        with m.If(~completer.unanswered):
            m.next = "DONE"
    with m.State("DONE"):
        m.d.comb += completer.done.eq(1)
        m.next = "LEAVE"
    with m.State("LEAVE"):
        # The next one's address is on its way.
        m.next = "IDLE"


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
