"""What the blocks share that write output rows and status words, and so bring descriptors to their end."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, burst_layout, fault_layout
from latte.rtl.axi.descriptors import STATUS_BYTES, STATUS_OFFSET
from latte.rtl.axi.write_engine import beat_layout

__all__ = ["RowWrites", "completer_members", "end_descriptor"]


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
